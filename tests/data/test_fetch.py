"""Archives from servers that drop, stall, lie and change their minds."""

import hashlib
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from flaky_server import FlakyServer, cuts, serving

from unia.data.fetch import AT_ONCE, Archive, check, fetch
from unia.data.transfer import Patience
from unia.errors import UserError

CONTENT = random.Random(0).randbytes(3_000_000)
OTHER = random.Random(1).randbytes(3_000_000)
QUICK = Patience(tries=4, wait=0.01, longest=0.02, stall=0.5)


@pytest.fixture
def server() -> Iterator[FlakyServer]:
    with serving() as server:
        server.files["data.zip"] = CONTENT
        yield server


@pytest.fixture
def mirror() -> Iterator[FlakyServer]:
    """A second server."""
    with serving() as server:
        server.files["data.zip"] = CONTENT
        yield server


def archive_at(*servers: FlakyServer, name: str = "data.zip", content: bytes = CONTENT) -> Archive:
    md5 = hashlib.md5(content).hexdigest()
    return Archive(tuple(f"{server.url}/{name}" for server in servers), len(content), md5)


def get(
    server: FlakyServer,
    folder: Path,
    mirrors: Sequence[str] = (),
    spare: int = 0,
    patience: Patience = QUICK,
) -> Path:
    """`data.zip` from `server`; it must be in `folder`, and be what it should."""
    found = fetch([archive_at(server)], folder, mirrors, spare, patience)
    assert found == [folder / "data.zip"]
    assert found[0].read_bytes() == CONTENT
    return found[0]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("version", "resets"), [("", True), ('"1"', False)])
def test_connections_dropped_after_random_numbers_of_bytes(
    tmp_path: Path,
    server: FlakyServer,
    seed: int,
    version: str,
    resets: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.cuts, server.versions["data.zip"], server.resets = cuts(seed, 400_000), version, resets
    get(server, tmp_path, patience=Patience(tries=200, wait=0.01, longest=0.02))
    assert len(server.asked) > 7
    starts = [int(wanted[6:-1]) for _, wanted in server.asked if wanted]
    assert starts == sorted(starts)  # what is there isn't fetched again
    assert starts[-1] > 2_500_000
    assert left(tmp_path) == ["data.zip"]
    assert "try 2 of 200" in capfd.readouterr().err


def test_a_line_that_always_breaks_is_given_up_and_gone_on_with_later(
    tmp_path: Path, server: FlakyServer
) -> None:
    server.cuts = iter([700_000] + [0] * 3)
    with pytest.raises(
        UserError, match=r"^data\.zip: cannot be fetched \(http.*; run the step again"
    ) as caught:
        get(server, tmp_path)
    assert "\n" not in str(caught.value)
    assert left(tmp_path) == ["data.zip.part", "data.zip.part.from"]
    get(server, tmp_path)
    first, *again = [wanted for _, wanted in server.asked]
    assert first is None
    assert len(again) == QUICK.tries
    assert len(set(again)) == 1
    assert left(tmp_path) == ["data.zip"]


def test_tries_that_bring_a_mib_are_not_counted(tmp_path: Path, server: FlakyServer) -> None:
    server.cuts, server.resets = iter([1_200_000, 1_200_000, 100]), False
    get(server, tmp_path, patience=Patience(tries=2, wait=0.01, longest=0.01))
    assert len(server.asked) == 4


def test_a_stall_is_a_broken_connection(
    tmp_path: Path, server: FlakyServer, capfd: pytest.CaptureFixture[str]
) -> None:
    server.stalls = 1
    begun = time.monotonic()
    get(server, tmp_path)
    assert time.monotonic() - begun < 4  # the server is silent for 5
    assert "Read timed out" in capfd.readouterr().err
    assert len(server.asked) == 2


def test_a_server_without_ranges_is_fetched_from_the_beginning(
    tmp_path: Path, server: FlakyServer, capfd: pytest.CaptureFixture[str]
) -> None:
    server.ranges, server.cuts = False, iter([2_000_000])
    get(server, tmp_path)
    assert len(server.asked) == 2
    assert "starts from its beginning" in capfd.readouterr().err


@pytest.mark.parametrize("lying", [False, True])
def test_a_file_that_changes_between_two_tries_is_not_mixed(
    tmp_path: Path, server: FlakyServer, lying: bool
) -> None:
    """By If-Range; or, from a server that disregards that, by its ETag."""
    server.files["data.zip"], server.versions["data.zip"] = OTHER, '"old"'
    server.cuts, server.lying = iter([500_000] * QUICK.tries), lying
    with pytest.raises(UserError):
        get(server, tmp_path, patience=Patience(tries=1))
    server.files["data.zip"], server.versions["data.zip"], server.cuts = CONTENT, '"new"', iter(())
    get(server, tmp_path)
    assert left(tmp_path) == ["data.zip"]


def test_a_change_that_the_server_does_not_tell_is_found_by_the_checksum(
    tmp_path: Path, server: FlakyServer, capfd: pytest.CaptureFixture[str]
) -> None:
    server.files["data.zip"], server.cuts = OTHER, iter([500_000])
    with pytest.raises(UserError):
        get(server, tmp_path, patience=Patience(tries=1))
    server.files["data.zip"] = CONTENT
    get(server, tmp_path)
    assert "once more from its beginning" in capfd.readouterr().err
    assert [wanted is None for _, wanted in server.asked] == [True, False, True]


def test_a_corrupted_file_is_named_and_kept_aside(tmp_path: Path, server: FlakyServer) -> None:
    server.files["data.zip"] = OTHER
    with pytest.raises(UserError) as caught:
        get(server, tmp_path)
    message = str(caught.value)
    assert f"md5 is {hashlib.md5(OTHER).hexdigest()}, should be {hashlib.md5(CONTENT).hexdigest()}" in message
    assert f"kept as {tmp_path / 'data.zip.bad'}" in message
    assert "data.mirrors" in message
    assert left(tmp_path) == ["data.zip.bad"]
    assert (tmp_path / "data.zip.bad").read_bytes() == OTHER
    assert len(server.asked) == 1
    server.files["data.zip"] = CONTENT
    get(server, tmp_path)


def test_a_page_instead_of_the_file_is_refused_before_it_is_read(tmp_path: Path, server: FlakyServer) -> None:
    server.files["data.zip"] = b"<html>please log in</html>"
    with pytest.raises(UserError, match="is 26 bytes, should be 3000000: another file"):
        get(server, tmp_path)
    assert left(tmp_path) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [404, 403])
def test_what_is_not_there_fails_at_once(tmp_path: Path, server: FlakyServer, status: int) -> None:
    server.statuses = [status] * 9
    with pytest.raises(UserError, match=rf"data\.zip: HTTP {status}"):
        get(server, tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("statuses", [[503], [500, 429, 502]])
def test_a_busy_server_is_asked_again(tmp_path: Path, server: FlakyServer, statuses: list[int]) -> None:
    server.statuses = list(statuses)
    get(server, tmp_path)
    assert len(server.asked) == len(statuses) + 1


def test_a_server_that_stays_busy_is_given_up(tmp_path: Path, server: FlakyServer) -> None:
    server.statuses = [503] * 99
    with pytest.raises(UserError, match="HTTP 503"):
        get(server, tmp_path)
    assert len(server.asked) == QUICK.tries


@pytest.mark.parametrize("fault", ["missing", "corrupted", "dropping", "another file"])
def test_the_next_source_is_asked(
    tmp_path: Path, server: FlakyServer, mirror: FlakyServer, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A mirror comes before the official address, and is left for it."""
    if fault == "dropping":
        mirror.cuts = iter([900_000] + [0] * 9)
    else:
        mirror.files = {"corrupted": {"data.zip": OTHER}, "another file": {"data.zip": b"x"}}.get(fault, {})
    get(server, tmp_path, mirrors=[f"{mirror.url}/some/folder/"])
    assert mirror.asked
    assert f"cannot fetch {mirror.url}/some/folder/data.zip: " in capfd.readouterr().err
    (official,) = server.asked
    assert (official[1] is not None) == (fault == "dropping")  # what the mirror brought is kept


def test_a_good_mirror_spares_the_official_server(
    tmp_path: Path, server: FlakyServer, mirror: FlakyServer
) -> None:
    get(server, tmp_path, mirrors=[mirror.url])
    assert server.asked == []


def test_no_network_is_one_line_with_the_address(tmp_path: Path) -> None:
    nowhere = Archive(("http://127.0.0.1:9/data.zip",), 5, "0")
    with pytest.raises(
        UserError, match=r"^data\.zip: cannot be fetched \(http://127\.0\.0\.1:9/data\.zip: "
    ) as e:
        fetch([nowhere], tmp_path, patience=QUICK)
    assert "\n" not in str(e.value)
    assert "Connection refused" in str(e.value)


def test_several_at_a_time_within_a_bound_and_one_failure_does_not_hinder_the_rest(
    tmp_path: Path, server: FlakyServer
) -> None:
    server.pause = 0.002
    contents = {f"{i}.zip": random.Random(i).randbytes(1_000_000) for i in range(6)}
    server.files |= contents
    archives = [archive_at(server, name=name, content=content) for name, content in contents.items()]
    lacking = archive_at(server, name="lacking.zip")
    with pytest.raises(UserError, match=r"lacking\.zip: HTTP 404"):
        fetch([lacking, *archives], tmp_path, patience=QUICK)
    assert 1 < server.most_at_once <= AT_ONCE
    asked = len(server.asked)
    found = fetch(archives, tmp_path, patience=QUICK)
    assert [path.read_bytes() for path in found] == list(contents.values())
    assert len(server.asked) == asked


def test_what_is_there_is_checked(tmp_path: Path, server: FlakyServer) -> None:
    get(server, tmp_path)
    get(server, tmp_path)
    assert len(server.asked) == 1
    for wrong in (OTHER, CONTENT[:-1]):
        (tmp_path / "data.zip").write_bytes(wrong)
        get(server, tmp_path)
        assert (tmp_path / "data.zip.bad").read_bytes() == wrong
    assert len(server.asked) == 3


def test_a_whole_part_needs_no_network(tmp_path: Path, server: FlakyServer) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT)
    get(server, tmp_path)
    assert server.asked == []


def test_a_part_that_is_too_long_is_dropped(tmp_path: Path, server: FlakyServer) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT + b"x")
    get(server, tmp_path)
    assert server.asked == [("data.zip", None)]


def test_a_file_address_is_used_where_it_is(tmp_path: Path, server: FlakyServer) -> None:
    near = tmp_path / "near by"
    near.mkdir()
    (near / "data.zip").write_bytes(CONTENT)
    mirrors = [(tmp_path / "nowhere").as_uri(), near.as_uri()]
    folder = tmp_path / "archives"
    assert fetch([archive_at(server)], folder, mirrors, patience=QUICK) == [near / "data.zip"]
    assert server.asked == []
    (near / "data.zip").write_bytes(OTHER)
    assert get(server, folder, mirrors=mirrors)
    assert (near / "data.zip").read_bytes() == OTHER  # another's file is left alone


def test_an_archive_of_the_users_is_checked_and_left_alone(tmp_path: Path, server: FlakyServer) -> None:
    path = tmp_path / "data.zip"
    path.write_bytes(CONTENT)
    check(path, archive_at(server))
    path.write_bytes(OTHER)
    with pytest.raises(UserError, match=r"data\.zip: md5 is .*, should be .*; copy it again, or rename it"):
        check(path, archive_at(server))
    assert path.exists()


def test_a_disk_too_small_is_told_before_the_first_byte(
    tmp_path: Path, server: FlakyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=len(CONTENT) + 10))
    with pytest.raises(UserError, match=rf"needs .* to unpack\), the disk has .* make {tmp_path} a link to"):
        get(server, tmp_path / "new", spare=11)
    assert server.asked == []
    assert not (tmp_path / "new").exists()
    get(server, tmp_path / "new", spare=10)


def test_what_an_earlier_try_left_needs_no_room_again(
    tmp_path: Path, server: FlakyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:-100])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    get(server, tmp_path)
