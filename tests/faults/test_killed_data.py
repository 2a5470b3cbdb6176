"""`unia download` and `unia prepare`, from a local server, ended by kill -9 at several moments."""

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flaky_server import FlakyServer, serving
from PIL import Image

from unia.data.coco import CATEGORIES as COCO
from unia.files import sha256, sha256_tree

pytestmark = [pytest.mark.slow, pytest.mark.faults]
CATEGORIES = [{"id": k, "name": COCO[k]} for k in range(1, 6)]
ROOT = Path(__file__).parents[2]
RAW, PREPARED = Path("data/raw/coco.json"), Path("data/coco")
UNPACKING, PREPARING = "data/raw/coco/.unpacked.partial/*/*", "data/.coco.partial"
# The command line, with other archives in place of COCO's own.
DRIVER = """
import json, sys
from unia.data import official
from unia.data.fetch import Archive
archives = json.loads(sys.argv.pop(1))
official.COCO = tuple(Archive((f"file:///nowhere/{name}",), size, md5) for name, size, md5 in archives)
from unia.cli import main
main()
"""


def coco(split: str, images: int, others: int) -> tuple[bytes, dict[str, object]]:
    """(a zip of `images` annotated JPEGs and `others` that are not, the annotations)."""
    draw = np.random.default_rng(images)
    listed, objects, packed = [], [], io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for i in range(images + others):
            name = f"COCO_{split}2014_{i:012}.jpg"
            jpeg = io.BytesIO()
            Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(jpeg, "JPEG")
            file.writestr(f"{split}2014/{name}", jpeg.getvalue())
            listed.append({"id": i, "file_name": name, "height": 40, "width": 50})
            if i < images:
                x, y = draw.integers(0, 20, 2).tolist()
                square = [x, y, x + 15, y, x + 15, y + 15, x, y + 15]
                objects.append(
                    {"id": i, "image_id": i, "category_id": 1 + i % 5, "segmentation": [square], "iscrowd": 0,
                     "area": 225, "bbox": [x, y, 15, 15]}
                )  # fmt: skip
    return packed.getvalue(), {"images": listed, "annotations": objects, "categories": CATEGORIES}


@pytest.fixture(scope="module")
def server() -> Iterator[FlakyServer]:
    train, train_objects = coco("train", 150, 1200)
    val, val_objects = coco("val", 40, 300)
    annotations = io.BytesIO()
    with zipfile.ZipFile(annotations, "w", zipfile.ZIP_DEFLATED) as file:
        for split, objects in (("train", train_objects), ("val", val_objects)):
            file.writestr(f"annotations/instances_{split}2014.json", json.dumps(objects))
    with serving() as server:
        server.files = {
            "train2014.zip": train,
            "val2014.zip": val,
            "annotations_trainval2014.zip": annotations.getvalue(),
        }
        server.versions = {name: f'"{hashlib.md5(name.encode()).hexdigest()}"' for name in server.files}
        yield server


class Folder:
    """A folder that commands run in."""

    def __init__(self, path: Path, server: FlakyServer):
        self.path = path
        self._server = server
        self._tracking = f"sqlite:///{path.parent}/mlflow.db"  # made once for all: that takes long

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """`unia <command>` with data.mirrors set to the server."""
        files = self._server.files.items()
        sizes = [(name, len(content), hashlib.md5(content).hexdigest()) for name, content in files]
        options = [
            "--params",
            str(ROOT / "params.yaml"),
            "--set",
            f"datasets.coco.data.mirrors=[{self._server.url}]",
        ]
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps(sizes), *command, *options], cwd=self.path, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": self._tracking},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, *command: str) -> tuple[int, str]:
        """(exit code, what it said)."""
        process = self.start(*command)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def ok(self, *command: str) -> None:
        code, said = self.run(*command)
        assert code == 0, said

    def kill_when(self, moment: Callable[[], bool], *command: str) -> None:
        """Run the command, and kill it and its children when `moment` comes; it must come."""
        process = self.start(*command)
        while process.poll() is None and not moment():
            time.sleep(0.001)
        assert process.poll() is None, f"it ended before it was killed: {process.communicate()[0]}"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def hashes(self) -> list[str]:
        """Of all that the two steps made."""
        archives = sorted((self.path / "data/raw/coco/archives").iterdir())
        assert [path.name for path in archives] == sorted(self._server.files)  # and nothing beside
        assert not list(self.path.rglob(".*.partial"))
        unpacked = sha256_tree(self.path / "data/raw/coco/unpacked")
        return [sha256(self.path / RAW), unpacked, sha256_tree(self.path / PREPARED)]

    def arrived(self) -> int:
        """Bytes of archives that are there."""
        total = 0
        for path in (self.path / "data/raw/coco/archives").glob("*.zip*"):
            with suppress(FileNotFoundError):  # it has just been renamed
                total += path.stat().st_size
        return total

    def has_bytes(self, least: float) -> bool:
        return self.arrived() >= least

    def has_files(self, pattern: str, least: int) -> bool:
        return sum(1 for _ in self.path.glob(pattern)) >= least


DOWNLOAD = ("download", "coco", "--out", str(RAW))
PREPARE = ("prepare", "coco", "--raw", str(RAW), "--out", str(PREPARED))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, server: FlakyServer) -> list[str]:
    """The hashes of a run from which nothing was taken."""
    folder = Folder(tmp_path_factory.mktemp("undisturbed"), server)
    folder.ok(*DOWNLOAD)
    folder.ok(*PREPARE)
    return folder.hashes()


def test_kill_in_the_middle_of_download_unpacking_and_prepare(
    tmp_path: Path, server: FlakyServer, undisturbed: list[str]
) -> None:
    folder, draw = Folder(tmp_path, server), random.Random(0)
    total = sum(map(len, server.files.values()))
    server.pause = 0.1
    for share in (0.05, 0.3, 0.6):
        before = folder.arrived()
        folder.kill_when(partial(folder.has_bytes, total * (share + draw.uniform(0, 0.2))), *DOWNLOAD)
        assert before < folder.arrived() < total  # each goes on where the one before ended
        assert not (tmp_path / RAW).exists()
    server.pause = 0.0
    for least in (1, 400, 1500):
        folder.kill_when(partial(folder.has_files, UNPACKING, least), *DOWNLOAD)
        assert not (tmp_path / RAW).exists()
        assert not (tmp_path / "data/raw/coco/unpacked").exists()
    folder.ok(*DOWNLOAD)
    for pattern in ("", "masks/train/*", "masks/val/*"):
        folder.kill_when(partial(folder.has_files, f"{PREPARING}/{pattern}", 1), *PREPARE)
        assert not (tmp_path / PREPARED).exists()
    folder.ok(*PREPARE)
    assert folder.hashes() == undisturbed


def test_kill_while_data_is_made_again(tmp_path: Path, server: FlakyServer, undisturbed: list[str]) -> None:
    """A rerun that dies leaves what was there whole, or nothing that would pass for it."""
    folder = Folder(tmp_path, server)
    folder.ok(*DOWNLOAD)
    folder.ok(*PREPARE)
    (tmp_path / "data/raw/coco/unpacked/.unpacked").write_text("other archives\n")
    folder.kill_when(partial(folder.has_files, UNPACKING, 100), *DOWNLOAD)
    folder.kill_when(partial(folder.has_files, f"{PREPARING}/masks/*/*", 20), *PREPARE)
    folder.ok(*DOWNLOAD)
    folder.ok(*PREPARE)
    assert folder.hashes() == undisturbed


def test_what_cannot_be_fetched_is_one_line_and_leaves_no_record(tmp_path: Path, server: FlakyServer) -> None:
    """The mirror's archive is another one, and the official source is not there."""
    folder = Folder(tmp_path, server)
    sound = dict(server.files)
    process = folder.start(*DOWNLOAD)  # has been told the sound one's size
    server.files["val2014.zip"] = b"another"
    said, _ = process.communicate(timeout=300)
    server.files = sound
    assert process.returncode == 1
    assert "Traceback" not in said
    line = said.strip().splitlines()[-1]
    url = f"{server.url}/val2014.zip"
    assert line.startswith(f"unia: val2014.zip: cannot be fetched ({url}: is 7 bytes, should be ")
    assert "file:///nowhere/val2014.zip: no such file" in line
    assert "run the step again" in line
    assert not (tmp_path / RAW).exists()
    folder.ok(*DOWNLOAD)
