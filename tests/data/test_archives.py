"""Archives, friendly and not."""

import hashlib
import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from unia.data import archives
from unia.data.archives import unpack, unpacked
from unia.errors import UserError


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def tarred(
    path: Path, files: dict[str, bytes], special: tuple[str, bytes, str] | None = None, after: str = ""
) -> Path:
    """`special`: (name, type, link's target) of one more member; `after`: the name of one behind it."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if special:
            member = tarfile.TarInfo(special[0])
            member.type, member.linkname = special[1:]
            tar.addfile(member)
        if after:
            tar.addfile(tarfile.TarInfo(after))
    return path


def test_archives_are_unpacked_together_and_only_once(tmp_path: Path) -> None:
    one = zipped(tmp_path / "one.zip", {"top/a.txt": b"a"})
    two = tarred(tmp_path / "two.tar.gz", {"top/b.txt": b"b"})
    flat = zipped(tmp_path / "flat.zip", {"c.txt": b"c"})
    packed = {one: "1", two: "2", flat: "3"}
    target = unpack(packed, tmp_path / "out")
    assert {p.relative_to(target).as_posix() for p in target.rglob("*.txt")} == {
        "top/a.txt",
        "top/b.txt",
        "flat/c.txt",
    }
    (target / "top" / "a.txt").write_text("as it was")
    unpack(packed, target)
    assert (target / "top" / "a.txt").read_text() == "as it was"
    unpack(packed | {one: "another"}, target)  # the archive has changed
    assert (target / "top" / "a.txt").read_text() == "a"


@pytest.mark.parametrize("make", [zipped, tarred])
def test_an_archive_counts_as_unpacked_where_all_its_files_are_there(
    tmp_path: Path, make: Callable[..., Path]
) -> None:
    suffix = ".zip" if make is zipped else ".tar.gz"
    hidden = {"__MACOSX/top/a.txt": b"", "top/.DS_Store": b""}  # which macOS itself does not unpack
    archive = make(tmp_path / f"data{suffix}", {"top/a.txt": b"a", "top/deep/b.txt": b"b", **hidden})
    (tmp_path / "top" / "deep").mkdir(parents=True)
    (tmp_path / "top" / "a.txt").write_text("corrected since")
    assert not unpacked(
        archive, tmp_path
    )  # another archive with the same folder at its top, or an end too early
    (tmp_path / "top" / "deep" / "b.txt").touch()
    assert unpacked(archive, tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "top").rename(tmp_path / "data" / "top")  # into a folder called as the archive
    assert unpacked(archive, tmp_path)
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpacked(archive, tmp_path)


@pytest.mark.parametrize("name", ["../outside.txt", "a/../../outside.txt", "{folder}/outside.txt"])
@pytest.mark.parametrize("make", [zipped, tarred])
def test_no_member_lands_outside(tmp_path: Path, make: Callable[..., Path], name: str) -> None:
    name = name.format(folder=tmp_path)
    archive = make(tmp_path / ("bad.zip" if make is zipped else "bad.tgz"), {"a/b.txt": b"b", name: b"x"})
    with pytest.raises(
        UserError, match=f"{archive.name}: refused, '.*outside.txt' would lead out of its folder"
    ):
        unpack({archive: "1"}, tmp_path / "in" / "out")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != archive]


@pytest.mark.parametrize("target", ["/etc", "../..", "../../outside.txt", "a/../../../b"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_out_is_refused(tmp_path: Path, kind: bytes, target: str) -> None:
    archive = tarred(tmp_path / "bad.tgz", {"d/a.txt": b"x"}, ("d/out", kind, target), after="d/out/passwd")
    with pytest.raises(UserError, match=r"bad\.tgz: refused, '.*' would lead out of its folder"):
        unpack({archive: "1"}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]


def test_a_link_inside_is_kept(tmp_path: Path) -> None:
    archive = tarred(tmp_path / "good.tgz", {"d/a/b.txt": b"b"}, ("d/link", tarfile.SYMTYPE, "a/b.txt"))
    assert (unpack({archive: "1"}, tmp_path / "out") / "d/link").read_bytes() == b"b"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_is_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tarred(tmp_path / "bad.tgz", {"d/a.txt": b"x"}, ("d/device", kind, ""))
    with pytest.raises(UserError, match=r"bad\.tgz: refused, .*d/device.* special file"):
        unpack({archive: "1"}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_link_or_a_device_in_a_zip_is_refused(tmp_path: Path, kind: int) -> None:
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as file:
        member = zipfile.ZipInfo("d/strange")
        member.create_system, member.external_attr = 3, (kind | 0o777) << 16
        file.writestr(member, "/etc/passwd")
    with pytest.raises(UserError, match=r"bad\.zip: refused, 'd/strange' is a link or a device"):
        unpack({archive: "1"}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("make", [zipped, tarred])
def test_what_would_fill_the_disk_is_refused_before_a_byte_of_it(
    tmp_path: Path, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "bomb.zip" if make is zipped else "bomb.tgz"
    archive = make(tmp_path / name, {f"d/{i}": b"\0" * 1_000_000 for i in range(50)})
    assert archive.stat().st_size < 100_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=49_000_000))
    monkeypatch.setattr(archives, "track", lambda *_: pytest.fail("it has begun"))
    with pytest.raises(UserError, match=r"needs 0\.1 GB, the disk has 0\.0 GB free"):
        unpack({archive: "1"}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]


def test_a_zip_that_holds_more_than_it_says_is_broken(tmp_path: Path) -> None:
    archive = tmp_path / "liar.zip"
    zipped(archive, {"d/a.bin": b"\0" * 1_000_000})
    content = archive.read_bytes()
    true, said = (1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert content.count(true) == 2
    archive.write_bytes(content.replace(true, said))
    with pytest.raises(UserError, match=r"liar\.zip: cannot be unpacked"):
        unpack({archive: "1"}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]


def test_interrupted_unpacking_is_found_and_redone(tmp_path: Path) -> None:
    one = zipped(tmp_path / "one.zip", {"top/a.txt": b"a", "top/b.txt": b"b"})
    target = tmp_path / "out"
    (target / "top").mkdir(parents=True)  # as an older version without a stamp left it
    (target / "top/strange.txt").write_text("x")
    left = tmp_path / ".out.partial"  # as a killed run leaves it
    (left / "top").mkdir(parents=True)
    (left / "top/a.txt").write_text("half")
    unpack({one: "1"}, target)
    assert {path.name: path.read_bytes() for path in target.rglob("*.txt")} == {"a.txt": b"a", "b.txt": b"b"}
    assert not left.exists()


def test_a_failed_change_of_archives_does_not_leave_the_old_stamp(tmp_path: Path) -> None:
    """A run killed while the old files are removed must not pass for a complete one."""
    one = zipped(tmp_path / "one.zip", {"top/a.txt": b"a"})
    target = unpack({one: "1"}, tmp_path / "out")
    with pytest.raises(UserError):
        unpack({zipped(tmp_path / "bad.zip", {"../x": b"x"}): "2"}, target)
    (target / "top/a.txt").unlink()
    assert (unpack({one: "1"}, target) / "top/a.txt").read_bytes() == b"a"


@pytest.mark.parametrize("name", ["cut.zip", "cut.tgz"])
def test_broken_archives_are_named(tmp_path: Path, name: str) -> None:
    make = zipped if name.endswith(".zip") else tarred
    archive = make(tmp_path / name, {"d/a.bin": hashlib.sha512(b"x").digest() * 999})
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(UserError, match=f"{name}: cannot be unpacked"):
        unpack({archive: "1"}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]
