"""A step replaces what a step has made, and nothing else: folders and files of others stay, and are named."""

import os
import sys
from pathlib import Path

import pytest
from program import unia
from smallest import NETWORK

from unia.commands import options
from unia.commands.options import running
from unia.config import load
from unia.errors import UserError

PARAMS = Path(__file__).parents[2] / "params.yaml"
DATA = "datasets.shapes.data={kind: shapes, size: 32, train: 3, val: 2, seed: 0}"
MADE_OF = "--data data --split val"
STEPS = (
    "download shapes",
    "prepare shapes --raw raw.json",
    "train shapes --data data",
    f"infer shapes {MADE_OF} --checkpoint x",
    f"crf shapes {MADE_OF} --predictions x",
    f"score shapes {MADE_OF} --predictions x --crf x --images y",
    "table shapes --scores x --metrics y",
    f"figures shapes {MADE_OF} --checkpoint x --predictions x --crf x --scores x --images x --losses x",
    "ablation shapes --results results --split val",
    f"volumes shapes {MADE_OF} --labels x",
    "evaluate x --dataset shapes --split val",
)


@pytest.fixture(autouse=True)
def without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)


def run(folder: Path, command: str, code: int = 0) -> str:
    settings = "\n".join((*NETWORK, DATA))
    arguments = [*command.split(), "--params", str(PARAMS)]
    return unia(folder, *arguments, code=code, environment={"UNIA_SET": settings})


def there(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("step", STEPS)
def test_what_no_step_has_made_stays(step: str, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years")
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "code" / ".git").mkdir(parents=True)
    before = there(tmp_path)
    for name in ("thesis", "notes", "code"):
        said = run(tmp_path, f"{step} --out {name}", code=1).splitlines()[-1]
        assert said.startswith(f"unia: {name}: lies where this step would write"), said
        assert there(tmp_path) == before


@pytest.mark.parametrize("step", STEPS)
def test_the_folder_that_one_works_in_is_no_place_to_write_to(step: str, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    for place in (".", "..", "../project", "/"):
        said = run(folder, f"{step} --out {place}", code=1).splitlines()[-1]
        assert said.startswith(f"unia: {place}: is the folder that you work in, or holds it")
    assert not there(tmp_path)


def test_its_own_work_is_replaced_till_something_is_added(tmp_path: Path) -> None:
    download, prepare = "download shapes --out raw.json", "prepare shapes --raw raw.json --out data"
    for _ in range(2):
        run(tmp_path, download)
        run(tmp_path, prepare)
    for place, step in (
        ("data/masks/notes.txt", prepare),
        ("data/masks/.remarks", prepare),
        ("data/.ipynb_checkpoints/notebook.ipynb", prepare),
        ("raw/VOCdevkit/notes.txt", download),
    ):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("mine")
        assert f"unia: {place}: lies where this step would write" in run(tmp_path, step, code=1)
        assert (tmp_path / place).read_text() == "mine"
        (tmp_path / place).unlink()
        run(tmp_path, step)


def test_what_a_run_left_that_did_not_end_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output was there, the receipt was not."""
    monkeypatch.chdir(tmp_path)
    params = load(PARAMS, [*NETWORK, DATA])

    def make() -> None:
        with running("crf", params, "shapes", {}, Path("crf"), "val"):
            Path("crf").mkdir(exist_ok=True)
            Path("crf/0.png").write_text("")

    def fail(*_: object) -> None:
        raise OSError("planted")

    with monkeypatch.context() as patch:
        patch.setattr("unia.tracking.runs.write_receipt", fail)
        with pytest.raises(OSError, match="planted"):
            make()
    assert Path("crf/0.png").exists()
    make()
    assert not list(tmp_path.glob(".crf*"))

    Path(".crf.begun").touch()  # a run that was killed before it touched the old result
    Path("crf/notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"^crf/notes.txt: lies where this step would write"):
        make()
    Path("crf/notes.txt").unlink()
    make()
    Path(".crf.begun").touch()  # one that was killed when it had written its list of files, not its receipt
    Path("crf.out.sha256.gz").write_bytes(b"of other files")
    Path("crf/0.png").write_text("new")
    os.utime("crf/0.png", (2**32, 2**32))
    make()


def test_a_trial_does_not_replace_what_was_made_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def make(step: str, size: str) -> None:
        params = load(PARAMS, [*NETWORK, DATA, f"size={size}"])
        with options.running(step, params, "shapes", {}, Path(step)):
            Path(step).mkdir(exist_ok=True)
            Path(step, "made").write_text(size)

    for step in ("train", "infer", "crf", "score", "table", "figures", "volumes", "ablation"):
        make(step, "small")
        make(step, "full")
        make(step, "full")
        with pytest.raises(UserError, match=rf"^{step}: was made in full .* move the full results away$"):
            make(step, "small")
        assert Path(step, "made").read_text() == "full"
    for step in ("download", "prepare"):  # the same for both
        make(step, "full")
        make(step, "small")


@pytest.mark.parametrize(
    "command",
    [
        "card data train --out {}",
        "show x_val.csv --html {}",
        "crate x_val.csv {}",
        "weights shapes --out {}",
        "checkpoint import x.pth --out {}",
        "checkpoint export x.safetensors --out {}",
        "prepare shapes --raw raw.json --out data --log {}",
    ],
)
def test_a_file_that_no_receipt_tells_of_is_not_replaced(command: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,split,labels")
    (tmp_path / "params.yaml").write_bytes(PARAMS.read_bytes())
    before = there(tmp_path)
    (said,) = unia(tmp_path, *command.format("labels.csv").split(), code=1).splitlines()
    assert said.startswith("unia: labels.csv: is "), said
    assert there(tmp_path) == before
