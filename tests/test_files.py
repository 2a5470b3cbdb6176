"""Files appear whole or not at all, and are known by their content."""

import errno
import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from unia.errors import UserError
from unia.files import (
    alone,
    atomic,
    content,
    read_json,
    read_listing,
    remove,
    resumed,
    sha256,
    sha256_tree,
    write_json,
    write_text,
)
from unia.files import names as files_below


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.txt"
    with atomic(target) as temporary:
        assert temporary.parent == target.parent  # of one file system, so that renaming is atomic
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names(target.parent) == {"file.txt"}


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with atomic(target) as temporary:
        temporary.write_text("half")
        assert target.read_text() == "old"
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert names(tmp_path) == {"file"}


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "stale").mkdir(parents=True)
    with atomic(target) as temporary:
        (temporary / "below").mkdir(parents=True)
        (temporary / "below" / "file").write_text("new")
        assert (target / "stale").exists()
    assert names(tmp_path) == {"out", "out/below", "out/below/file"}


def test_a_file_and_a_folder_take_each_others_place(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("a file")
    with atomic(target) as temporary:
        temporary.mkdir()
        (temporary / "x").touch()
    assert names(tmp_path) == {"out", "out/x"}


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_what_was_there(kind: str, error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "out"
    if kind == "file":
        target.write_text("old")
    else:
        target.mkdir()
        (target / "old").write_text("old")
    before = sha256_tree(tmp_path)

    def half_write(temporary: Path) -> None:
        if kind == "file":
            temporary.write_text("half")
        else:
            temporary.mkdir()
            (temporary / "half").touch()
        raise error

    with pytest.raises(error), atomic(target) as temporary:
        half_write(temporary)
    assert sha256_tree(tmp_path) == before
    assert names(tmp_path) == ({"out"} if kind == "file" else {"out", "out/old"})


def test_failure_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic(tmp_path / "out") as temporary:
            temporary.write_text("half")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert names(tmp_path) == set()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_leftovers_of_a_killed_run_are_cleared(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic(target) as temporary:
        leftover = temporary
        temporary.mkdir()
    remove(target)
    if kind == "file":
        leftover.write_text("half")
    else:
        (leftover / "half").mkdir(parents=True)
    with atomic(target) as temporary:
        assert temporary == leftover
        assert not temporary.exists()
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert names(tmp_path) == {"out"}


def test_what_was_finished_stays_until_all_is(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "old").mkdir(parents=True)

    def fill(*files: str, made_of: str, fail: bool = False) -> set[str]:
        with resumed(target, made_of) as folder:
            found = names(folder)
            for name in files:
                (folder / name).touch()
            if fail:
                raise ValueError("planted")
        return found

    def fails(*files: str, made_of: str) -> None:
        with pytest.raises(ValueError, match="planted"):
            fill(*files, made_of=made_of, fail=True)
        assert names(target) == {"old"}

    fails("a", "b", made_of="0" * 64)
    fails("c", made_of="0" * 64)
    assert fill("d", made_of="0" * 64) == {"a", "b", "c"}
    assert names(tmp_path) == {"out", "out/a", "out/b", "out/c", "out/d"}
    remove(target)
    (target / "old").mkdir(parents=True)
    fails("a", made_of="0" * 64)
    fails(made_of="1" * 64)  # what was made of other things is gone, and nothing is left of nothing
    assert names(tmp_path) == {"out", "out/old"}
    assert fill("e", made_of="1" * 64) == set()
    assert names(tmp_path) == {"out", "out/e"}


def test_one_run_at_a_time(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out"
    with alone(target):
        with pytest.raises(UserError, match=r"new/out: another run is writing it"), alone(target):
            pass
        with alone(target.with_name("other")):
            pass
    with alone(target):
        pass
    assert names(tmp_path) == set()


def test_a_full_disk_names_the_output_not_the_file_in_it(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def write(number: int) -> None:
        with atomic(target) as folder, atomic(folder / "file") as file:
            file.write_text("half")
            raise OSError(number, "planted")

    with pytest.raises(OSError, match="planted") as full:
        write(errno.ENOSPC)
    assert full.value.filename == str(target)
    with pytest.raises(OSError, match="planted") as other:
        write(errno.EIO)
    assert other.value.filename == str(target)
    assert names(tmp_path) == set()


def test_remove_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove(tmp_path / "link")
    remove(tmp_path / "absent")
    assert names(tmp_path) == {"kept", "kept/file"}


def test_text_and_json(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "ü\n")
    assert (tmp_path / "a").read_bytes() == "ü\n".encode()
    value = {"name": "Zürich", "values": [1, 2.5, None]}
    write_json(tmp_path / "b.json", value)
    assert read_json(tmp_path / "b.json") == value
    assert "Zürich" in (tmp_path / "b.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_bad_json_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(UserError, match="no such file"):
        read_json(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match="not valid JSON") as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def tree(folder: Path, *, reverse: bool = False) -> Path:
    files = {"a": "1", "b/c": "2", "b/d": "3"}
    for name in sorted(files, reverse=reverse):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(files[name])
    return folder


def test_sha256_of_a_file(tmp_path: Path) -> None:
    content = os.urandom(100_000)
    (tmp_path / "x").write_bytes(content)
    assert sha256(tmp_path / "x") == sha256_tree(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_sha256_of_a_tree_is_of_names_and_contents_alone(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "first"), tree(tmp_path / "second", reverse=True)
    os.utime(second / "a", (0, 0))
    (second / ".hidden").write_text("of a tool")
    (second / ".cache").mkdir()
    (second / ".cache" / "x").touch()
    assert sha256_tree(first) == sha256_tree(second)


@pytest.mark.parametrize("change", ["content", "name", "more", "less", "moved", "swapped"])
def test_sha256_of_a_tree_sees_every_change(change: str, tmp_path: Path) -> None:
    folder = tree(tmp_path / "tree")
    before = sha256_tree(folder)
    if change == "content":
        (folder / "b" / "c").write_text("x")
    elif change == "name":
        (folder / "a").rename(folder / "z")
    elif change == "more":
        (folder / "b" / "empty").touch()
    elif change == "less":
        (folder / "a").unlink()
    elif change == "moved":
        (folder / "b" / "c").rename(folder / "c")
    else:
        (folder / "b" / "c").write_text("3")
        (folder / "b" / "d").write_text("2")
    assert sha256_tree(folder) != before


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    """Shared storage: folders and files are links to where the data lies."""
    store, folder = tmp_path / "store", tmp_path / "folder"
    for place in (store / "deep", folder / "one"):
        place.mkdir(parents=True)
    (store / "deep" / "a.png").write_text("a")
    (folder / "images").symlink_to(store)
    (folder / "one" / "again").symlink_to(store / "deep")  # what two links lead to is there twice
    (folder / "one" / "b.png").symlink_to(store / "deep" / "a.png")
    (folder / "one" / "gone.png").symlink_to(store / "none.png")
    (folder / "one" / "self").symlink_to("self")
    (folder / "one" / "up").symlink_to(folder)
    (store / "deep" / "back").symlink_to(folder / "one")  # and from there to store/deep
    expected = ["images/deep/a.png", "images/deep/back/b.png", "one/again/a.png", "one/b.png"]
    assert files_below(folder) == expected
    before = content(folder)
    (store / "deep" / "a.png").write_text("b")
    assert content(folder).sha256 != before.sha256


def test_a_folder_s_list_is_what_sha256sum_writes(tmp_path: Path) -> None:
    folder = tree(tmp_path / "tree")
    for name in ("new\nline", "back\\slash\\n", "Zürich", "two  spaces", "b.x"):
        (folder / name).write_text(name)
    found = content(folder)
    assert found.files is not None
    assert found.sha256 == hashlib.sha256(found.files.encode()).hexdigest() == sha256_tree(folder)
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "-"], cwd=folder, input=found.files.encode()
    )
    assert checked.returncode == 0
    own = {str(p.relative_to(folder)): sha256(p) for p in folder.rglob("*") if p.is_file()}
    assert read_listing(found.files) == own
    assert found.files.count("\n") == len(own) == 8


def test_nothing_has_no_hash(tmp_path: Path) -> None:
    assert content(tmp_path / "absent").sha256 is None
    with pytest.raises(FileNotFoundError):
        sha256_tree(tmp_path / "absent")
