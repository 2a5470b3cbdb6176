"""Receipts: what they hold, and that an edited one is found out."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unia.errors import UserError
from unia.files import read_listing, sha256, sha256_tree
from unia.tracking import record
from unia.tracking.receipt import contents, files_of, find_receipt, made_hash, read_receipt, write_receipt
from unia.tracking.runs import step_run

SETTINGS = {"train": {"lr": 1e-3, "crop": 96}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a little data, and no store of MLflow."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setenv("UNIA_SET", "size=small\nsmall.train.crop=96")
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/unia", "train", "shapes"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    return tmp_path


def train() -> dict[str, Any]:
    """The receipt of a step that writes a folder."""
    out = Path("results/train")
    with step_run("train", "shapes", SETTINGS, {"data": Path("data")}, {"out": out}, size="small"):
        out.mkdir(parents=True)
        (out / "checkpoint").write_bytes(b"weights")
        (out / "losses.csv").write_text("1\n")
    return json.loads(Path("results/train.run.json").read_text())


def test_a_receipt_says_what_the_outputs_were_made_of(folder: Path) -> None:
    receipt = train()
    assert receipt == read_receipt(Path("results/train.run.json"))
    assert (receipt["step"], receipt["dataset"], receipt["size"]) == ("train", "shapes", "small")
    assert (receipt["mlflow_run_id"], receipt["mlflow_experiment"]) == (None, None)
    assert receipt["command"] == ["unia", "train", "shapes"]
    assert receipt["settings"] == ["size=small", "small.train.crop=96"]
    assert receipt["params"] == SETTINGS
    assert receipt["inputs"] == {
        "data": {"path": "data", "sha256": sha256_tree(Path("data")), "receipt": None}
    }
    assert receipt["started"] <= receipt["ended"]
    made = receipt["outputs"]["out"]
    assert (made["path"], made["sha256"]) == ("results/train", sha256_tree(Path("results/train")))
    listed = read_listing(gzip.decompress(Path(made["files"]).read_bytes()).decode())
    assert listed == files_of(made)
    assert listed == {name: sha256(Path("results/train") / name) for name in ("checkpoint", "losses.csv")}


def test_a_receipt_knows_the_environment_but_not_whose_it_is(folder: Path) -> None:
    import platform

    import torch

    found = train()["environment"]
    assert found["lock"] == sha256(record.ROOT / "envs/requirements.txt")
    assert found["packages"]["torch"] == torch.__version__.split("+")[0]
    assert found["python"] == platform.python_version()
    assert found["device"] == (torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU")
    assert found["host"]["cores"] >= 1
    assert platform.node() not in json.dumps(found)


def test_an_input_names_the_receipt_of_the_step_that_made_it(folder: Path) -> None:
    first = train()
    inputs = {"checkpoint": Path("results/train/checkpoint"), "model": Path("results/train")}
    with step_run("infer", "shapes", {}, inputs, {"out": Path("results/out")}):
        Path("results/out").touch()
    used = read_receipt(Path("results/out.run.json"))["inputs"]
    maker = {"path": "results/train.run.json", "sha256": first["sha256"]}
    assert used["checkpoint"]["receipt"] == used["model"]["receipt"] == maker
    assert made_hash(first, inputs["checkpoint"]) == used["checkpoint"]["sha256"]
    assert find_receipt(inputs["checkpoint"]) == Path("results/train.run.json")


def test_a_receipt_of_other_content_made_no_input(folder: Path) -> None:
    train()
    Path("results/train/checkpoint").write_bytes(b"others")
    with step_run("infer", "shapes", {}, {"model": Path("results/train")}, {"out": Path("results/out")}):
        Path("results/out").touch()
    assert read_receipt(Path("results/out.run.json"))["inputs"]["model"]["receipt"] is None


def test_a_flipped_byte_is_found(folder: Path) -> None:
    train()
    path = Path("results/train.run.json")
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"results/train\.run\.json: is not what a step wrote"):
            read_receipt(path)
    path.write_bytes(whole)
    read_receipt(path)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_list_of_files_is_found(damage: str, folder: Path) -> None:
    entry = train()["outputs"]["out"]
    path = Path(entry["files"])
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] if damage == "cut" else gzip.compress(b"0  a\n"))
    with pytest.raises(UserError, match=r"train\.out\.sha256\.gz"):
        files_of(entry)


def test_the_same_content_gives_the_same_list(folder: Path) -> None:
    lists = []
    for out in ("a", "b"):
        Path(out).mkdir()
        (Path(out) / "x").write_text("x")
        write_receipt({}, {}, [], contents({"out": Path(out)}))
        lists.append(Path(f"{out}.out.sha256.gz").read_bytes())
    assert lists[0] == lists[1]


def test_no_receipt_of_a_step_that_failed(folder: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        step_run("train", "shapes", {}, {}, {"out": Path("results/out")}),
    ):
        raise ZeroDivisionError
    assert not Path("results").exists()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit, as the one that holds the code."""
    (tmp_path / "code.py").write_text("1\n")
    for command in ("init -q", "add code.py", "-c user.name=a -c user.email=a@b commit -qm a"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    return tmp_path


def test_changes_of_the_code_have_a_hash(repository: Path) -> None:
    clean = record.git_state()
    assert clean["commit"]
    assert (clean["dirty"], clean["diff"]) == (False, None)
    seen = set()
    for name, text in (("code.py", "2\n"), ("code.py", "3\n"), ("new.py", "1\n"), ("new.py", "2\n")):
        (repository / name).write_text(text)
        state = record.git_state()
        assert (state["commit"], state["dirty"]) == (clean["commit"], True)
        seen.add(state["diff"])
    assert len(seen) == 4
    (repository / "new.py").unlink()
    (repository / "code.py").write_text("1\n")
    (repository / "notes.txt").write_text("no code")
    assert record.git_state() == clean


NOTHING = {"commit": None, "dirty": None, "diff": None}


def test_git_may_be_absent(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert record.git_state() == NOTHING
    assert (
        told(capsys) == f"warning: no commit of the code in {repository} is recorded: there is no git in PATH"
    )


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that was said."""
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said.strip()


def test_a_repository_of_another_user_is_told(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a shared folder, or where root runs in a container: git refuses, with its way out."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("HOME", str(repository))
    assert record.git_state() == NOTHING
    line = told(capsys)
    assert "git: detected dubious ownership in repository" in line
    assert f"git config --global --add safe.directory {repository}" in line


def test_a_repository_that_git_cannot_read_is_told(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / ".git/HEAD").write_text("nothing")
    assert record.git_state() == NOTHING
    assert "is recorded: git: not a git repository" in told(capsys)


def test_a_repository_around_the_code_is_not_its_own(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unpacked into a folder of another repository, it is at no commit of that."""
    (repository / "unpacked").mkdir()
    (repository / "unpacked/code.py").write_text("1\n")
    monkeypatch.setattr(record, "ROOT", repository / "unpacked")
    assert record.git_state() == NOTHING
    assert f"the repository {repository} does not hold it" in told(capsys)


def test_a_step_that_runs_the_code_of_another_folder_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "unia").mkdir()
    (folder / "unia/cli.py").write_text("")
    train()
    assert f"what runs is the code in {record.ROOT}, not that of this folder" in capsys.readouterr().err


def test_every_step_says_that_its_commit_is_not_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record, "ROOT", folder)
    for step in ("download", "prepare"):
        with step_run(step, "shapes", {}, {}, {"out": Path(step)}):
            Path(step).write_text("")
        assert capsys.readouterr().err.count("warning: no commit of the code") == 1
        assert read_receipt(Path(f"{step}.run.json"))["git"] == NOTHING


def test_a_second_output_has_the_receipt_of_the_first(folder: Path) -> None:
    outputs = {"out": Path("results/scores.json"), "images": Path("results/images.csv")}
    with step_run("score", "shapes", {}, {"data": Path("data")}, outputs):
        Path("results").mkdir()
        for path in outputs.values():
            path.write_text(path.name)
    (folder / "results" / "other.csv").write_text("by hand")
    with step_run(
        "ablation", "shapes", {}, outputs | {"other": Path("results/other.csv")}, {"out": folder / "t"}
    ):
        (folder / "t").write_text("table")
    inputs = read_receipt(folder / "t.run.json")["inputs"]
    made = {name: used["receipt"] and used["receipt"]["path"] for name, used in inputs.items()}
    assert made == dict.fromkeys(outputs, "results/scores.json.run.json") | {"other": None}
