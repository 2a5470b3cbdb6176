import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unia.data.archives import Archive, fetch, top, unpack
from unia.errors import UserError

CONTENT = bytes(range(256)) * 10_000


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], link: tuple[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(link[0])
            member.type, member.linkname = tarfile.SYMTYPE, link[1]
            tar.addfile(member)
    return path


def test_archives_are_unpacked_together_and_only_once(tmp_path: Path) -> None:
    one = zipped(tmp_path / "one.zip", {"top/a.txt": b"a"})
    two = tarred(tmp_path / "two.tar.gz", {"top/b.txt": b"b"})
    flat = zipped(tmp_path / "flat.zip", {"c.txt": b"c"})
    archives = {one: "1", two: "2", flat: "3"}
    target = unpack(archives, tmp_path / "out")
    assert {p.relative_to(target).as_posix() for p in target.rglob("*.txt")} == {
        "top/a.txt",
        "top/b.txt",
        "flat/c.txt",
    }
    assert (top(one), top(two)) == ("top", "top")
    (target / "top" / "a.txt").write_text("as it was")
    unpack(archives, target)
    assert (target / "top" / "a.txt").read_text() == "as it was"
    unpack(archives | {one: "another"}, target)  # the archive has changed
    assert (target / "top" / "a.txt").read_text() == "a"


@pytest.mark.parametrize("name", ["../outside.txt", "a/../../outside.txt"])
def test_no_member_lands_outside(tmp_path: Path, name: str) -> None:
    for archive in (zipped(tmp_path / "bad.zip", {name: b"x"}), tarred(tmp_path / "bad.tgz", {name: b"x"})):
        with pytest.raises(UserError, match="refused, a member would leave its folder"):
            unpack({archive: "1"}, tmp_path / "in" / "out")
    assert not list(tmp_path.rglob("outside.txt"))


def test_an_absolute_member_does_not_land_there(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    with pytest.raises(UserError, match="refused, a member would leave its folder"):
        unpack({zipped(tmp_path / "bad.zip", {str(outside): b"x"}): "1"}, tmp_path / "out")
    unpack({tarred(tmp_path / "bad.tgz", {str(outside): b"x"}): "1"}, tmp_path / "out")  # made relative
    assert not outside.exists()


def test_a_link_out_is_refused(tmp_path: Path) -> None:
    archive = tarred(tmp_path / "bad.tgz", {"d/a.txt": b"x"}, link=("d/out", "/etc"))
    with pytest.raises(UserError, match=r"bad\.tgz: refused, a member would leave its folder"):
        unpack({archive: "1"}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("name", ["cut.zip", "cut.tgz"])
def test_broken_archives_are_named(tmp_path: Path, name: str) -> None:
    make = zipped if name.endswith(".zip") else tarred
    archive = make(tmp_path / name, {"d/a.bin": hashlib.sha512(b"x").digest() * 999})
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(UserError, match=f"{name}: cannot be unpacked"):
        unpack({archive: "1"}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]


class _Server(ThreadingHTTPServer):
    """Serves CONTENT; the first `cut` answers end early, `ranges` says whether Range is heeded."""

    cut = 0
    ranges = True
    asked: list[str | None]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cut:
            self.server.cut -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def archive_at(server: _Server, md5: str = hashlib.md5(CONTENT).hexdigest()) -> Archive:
    return Archive(f"http://127.0.0.1:{server.server_port}/data.zip", len(CONTENT), md5)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_stopped(tmp_path: Path, server: _Server, ranges: bool) -> None:
    server.cut, server.ranges = 1, ranges
    with pytest.raises(UserError, match=r"data\.zip: cannot be fetched .*run the step again"):
        fetch(archive_at(server), tmp_path)
    assert fetch(archive_at(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={len(CONTENT) // 2}-"]
    fetch(archive_at(server), tmp_path)
    assert len(server.asked) == 2  # it is there
    assert [path.name for path in tmp_path.iterdir()] == ["data.zip"]


def test_a_complete_part_needs_no_network(tmp_path: Path, server: _Server) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT)
    assert fetch(archive_at(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == []


def test_what_arrives_must_have_the_checksum(tmp_path: Path, server: _Server) -> None:
    with pytest.raises(UserError, match=r"md5 is .*, should be 0000"):
        fetch(archive_at(server, md5="0000"), tmp_path)
    assert not (tmp_path / "data.zip").exists()


def test_no_network_is_one_line_with_the_address(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^http://127\.0\.0\.1:9/data\.zip: cannot be fetched \(") as caught:
        fetch(Archive("http://127.0.0.1:9/data.zip", 5, "0"), tmp_path)
    assert "\n" not in str(caught.value)
