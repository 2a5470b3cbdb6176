"""From a number back to its data; a change anywhere behind it is named."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import (
    DATA,
    PARAMS,
    RAW,
    SETTINGS,
    STEPS,
    TABLE,
    TRAIN,
    VAL,
    VOC,
    commit,
    run_train,
    step,
    traced,
    write,
)
from typer.testing import CliRunner

from unia.cli import app
from unia.config import load
from unia.errors import UserError
from unia.tracking import record
from unia.tracking.receipt import beside


@pytest.fixture
def pipeline(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A traced pipeline in the working directory."""
    return traced(tmp_path_factory, tmp_path, monkeypatch)


def trace(*options: str, table: Path = TABLE, code: int = 0) -> str:
    """What `unia trace` prints; it must exit with `code`."""
    result = CliRunner().invoke(app, ["trace", str(table), *options])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def found(code: int) -> list[str]:
    """The findings of --verify, without the line that counts them."""
    return trace("--verify", code=code).splitlines()[:-1]


@pytest.mark.usefixtures("pipeline")
def test_the_tree_leads_from_the_number_to_the_source() -> None:
    lines = trace("--row", "seg").splitlines()
    assert lines[0] == f"{TABLE}  seg: images 2, mIoU 40.100"
    text = "\n".join(lines)
    for name in STEPS:
        assert text.count(f"{name}: 20") == 1, name
    for path in (VAL / "scores.json", VAL / "crf", VAL / "predictions", DATA, RAW):
        assert f"{path} " in text
    assert "data/raw/shapes/ " not in text
    assert any(line.split()[-3].endswith("data/raw/shapes") for line in lines if line.endswith(" source"))
    assert "crf: {iterations: 10," in text
    assert "settings: size=small, datasets.shapes.data=" in text
    assert "seg_ms_crf: images 2, mIoU 41.234" in trace()


@pytest.mark.usefixtures("pipeline")
def test_what_cannot_be_traced_is_one_line() -> None:
    with pytest.raises(UserError, match="has no row 'crf'; there are: seg, seg_ms_crf"):
        trace("--row", "crf")
    with pytest.raises(UserError, match=r"results/none\.csv: has no receipt"):
        trace(table=Path("results/none.csv"))
    beside(TRAIN).unlink()
    with pytest.raises(UserError, match=r"results/shapes/train\.run\.json: no such receipt"):
        trace()
    assert "exclude each other" in CliRunner().invoke(app, ["trace", "x", "--verify", "--json"]).stderr


@pytest.mark.usefixtures("pipeline")
def test_a_trace_takes_no_heavy_import() -> None:
    program = (
        f"import sys, unia.cli; sys.argv = ['unia', 'trace', '{TABLE}']\n"
        "try: unia.cli.app()\n"
        "except SystemExit: print(sorted({'torch', 'mlflow', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
    assert str(RAW) in ran.stdout


@pytest.mark.usefixtures("pipeline")
def test_all_is_as_it_was() -> None:
    files = [path for folder in ("data", "results") for path in Path(folder).rglob("*") if path.is_file()]
    own = [path for path in files if path.name.endswith((".run.json", ".sha256.gz"))]
    assert trace("--verify") == f"7 steps, {len(files) - len(own)} files: all as it was\n"


@pytest.mark.usefixtures("pipeline")
@pytest.mark.parametrize(
    "path",
    [
        VOC / "JPEGImages" / "val_000001.jpg",
        VOC / "JPEGImages" / "train_000002.jpg",
        VOC / "SegmentationClassAug" / "val_000000.png",
        VOC / "Annotations" / "train_000000.xml",
        DATA / "val.csv",
        DATA / "dataset.json",
        RAW,
        TRAIN / "checkpoint.safetensors",
        VAL / "predictions" / "probabilities" / "val_000000.npz",
        VAL / "crf" / "val_000000.png",
        VAL / "scores.json",
        TABLE,
        beside(TABLE),
        beside(TRAIN),
        beside(RAW),
        Path("results/shapes/val/predictions.out.sha256.gz"),
    ],
    ids=str,
)
def test_a_flipped_byte_and_a_missing_file_are_named(path: Path) -> None:
    whole = path.read_bytes()
    place = len(whole) // 2
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    (line,) = found(3)
    assert line.startswith(f"changed  {path}: ")
    if path == beside(TABLE):
        return  # without it there is no trace
    path.unlink()
    (line,) = found(4)
    assert line.startswith(f"missing  {path}: ")


@pytest.mark.usefixtures("pipeline")
def test_images_are_held_to_the_prepared_tables_where_the_source_is_an_archive() -> None:
    receipt = json.loads(beside(RAW).read_text())
    Path(receipt["sources"]["source"]["files"]).unlink()  # as if nothing knew the folder's files
    image = VOC / "JPEGImages" / "val_000001.jpg"
    image.write_bytes(b"another")
    lines = found(3)
    assert lines[0].startswith(f"changed  {image}: ")
    assert "by the receipt of prepare" in lines[0]


@pytest.mark.usefixtures("pipeline")
def test_files_that_came_later_and_folders_that_went_are_named() -> None:
    (VAL / "crf" / "new.png").touch()
    assert found(3) == [f"changed  {VAL / 'crf' / 'new.png'}: was not there after crf val"]
    (VAL / "crf" / "new.png").unlink()
    (VAL / "crf" / "val_000000.png").unlink()
    (VAL / "crf").rmdir()
    assert found(4) == [f"missing  {VAL / 'crf'}: the folder of crf val"]


@pytest.mark.usefixtures("pipeline")
def test_a_step_that_ran_again_is_told_from_one_that_made_something_else() -> None:
    run_train()
    (line,) = found(0)
    assert line.startswith(f"note     {beside(TRAIN)}: written again after infer val used")
    run_train("otherwise")
    (line,) = found(3)
    assert line == f"changed  {TRAIN / 'checkpoint.safetensors'}: train made it anew after infer val used it"


def test_the_code_s_state_and_the_lock_file_have_exit_codes_of_their_own(pipeline: Path) -> None:
    code = pipeline / "code"
    commit(code, "2\n")
    lines = found(0)
    assert len(lines) == 7
    assert all(line.startswith("note ") and "lacks" not in line for line in lines)
    (code / "envs" / "requirements.txt").write_text("torch==1\n")
    assert sum(line.startswith("lock     train: made with the lock file") for line in found(6)) == 1
    run_train()
    lines = found(5)
    assert lines[0].startswith("dirty    train: made by commit")
    assert sum(line.startswith("lock") for line in lines) == 6
    (code / ".git").rename(code / "gone")
    run_train()
    assert found(5)[0] == "dirty    train: made by code that no commit is known of"


def test_rerun_prints_the_commit_the_settings_and_every_command(pipeline: Path) -> None:
    lines = trace("--rerun").splitlines()
    head = record.git_state()["commit"]
    assert lines[0] == f"git worktree add --detach ../unia-{head[:8]} {head}"
    words = shlex.split("\n".join(lines), comments=True)
    assert words.count("UNIA_SET=" + "\n".join(SETTINGS)) == 2
    commands = [shlex.split(line) for line in lines if line.startswith("unia ")]
    assert [command[1] for command in commands] == [name.split()[0] for name in STEPS]
    assert lines[-1].endswith(f"snakemake --cores all {TABLE}")


def test_rerun_tells_what_no_commit_holds(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iterations = load(PARAMS, ["size=small"]).recipe("shapes").train.iterations
    changed = PARAMS.read_text().replace(f"iterations: {iterations}\n", "iterations: 7\n")
    assert changed != PARAMS.read_text()
    (pipeline / "code" / "params.yaml").write_text(changed)
    monkeypatch.setattr("pipeline.PARAMS", pipeline / "code" / "params.yaml")
    run_train()
    text = trace("--rerun")
    assert "# train was made by commit" in text
    assert "unia train shapes --out results/shapes/train --set small.train.iterations=7\n" in text
    last = text.splitlines()[-1]
    assert "small.train.iterations=7'" in last


@pytest.mark.usefixtures("pipeline")
def test_a_table_that_its_receipt_does_not_tell_of_is_not_explained_by_it() -> None:
    """As DVC leaves it where it brings back an earlier one from its cache."""
    assert "41.234" in trace(table=TABLE.absolute())
    TABLE.write_text(TABLE.read_text().replace("41.234", "43.210"))
    for options in ((), ("--row", "seg"), ("--rerun",), ("--json",)):
        with pytest.raises(UserError, match=rf"^{TABLE}: is not what its receipt tells of"):
            trace(*options)
    assert found(3)[0].startswith(f"changed  {TABLE}")


@pytest.mark.usefixtures("pipeline")
def test_a_step_beside_one_of_other_predictions_is_found() -> None:
    """As the scores of a segmentation and of the CRF over another network's would be."""
    others = Path("elsewhere/predictions")
    with step("infer", {"data": DATA}, others):
        write(others, "seg/val_000000.png", content="of another network")
    with step("crf", {"data": DATA, "predictions": others}, VAL / "crf"):
        write(VAL / "crf", "val_000000.png")
    told = f"changed  {VAL}/crf: score val used it beside {VAL}/predictions, and it was made of others"
    assert told in found(3)


def test_rerun_fetches_a_commit_that_is_not_here(pipeline: Path) -> None:
    made_at = record.git_state()["commit"]
    assert "git fetch" not in trace("--rerun")
    (pipeline / "code" / ".git").rename(pipeline / "gone")
    commit(pipeline / "code", "another history")
    assert all(line.endswith("; this repository lacks the former") for line in found(0))
    lines = trace("--rerun").splitlines()
    assert lines[0].startswith("# the commit is not here")
    assert lines[1:3] == [
        f"git fetch origin {made_at}",
        f"git worktree add --detach ../unia-{made_at[:8]} {made_at}",
    ]


def test_rerun_leads_to_weights_and_checkpoints_of_the_user_s(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = pipeline / "work"
    for name in ("vit.pth", "own.safetensors"):
        (work / name).write_text(name)
    monkeypatch.setattr("pipeline.SETTINGS", (*SETTINGS, "small.model.weights=vit.pth"))
    run_train()
    setting = f"--set small.model.weights={work}/vit.pth"
    lines = trace("--rerun").splitlines()
    assert [line.split()[1] for line in lines if line.startswith("unia ") and setting in line] == ["train"]
    assert f"small.model.weights={work}/vit.pth" in lines[-1]
    out = Path("results/evaluate")
    with step("evaluate", {"checkpoint": Path("own.safetensors"), "data": DATA}, out):
        sys.argv = ["unia", "evaluate", "own.safetensors", "--dataset", "shapes", "--out", str(out)]
        out.mkdir()
    assert f"\nunia evaluate {work}/own.safetensors --dataset shapes" in trace("--rerun", table=out)


@pytest.mark.usefixtures("pipeline")
def test_json_holds_every_receipt_in_order() -> None:
    receipts = json.loads(trace("--json"))
    assert [receipt["step"] for receipt in receipts] == [name.split()[0] for name in STEPS]
    assert receipts[-1] == json.loads(beside(TABLE).read_text())


@pytest.mark.usefixtures("pipeline")
def test_a_row_of_variants_leads_to_its_own_steps() -> None:
    inputs = {}
    for variant in ("full", "plain"):
        out = Path(f"results/shapes/{variant}/0/val/scores.json")
        with step("score", {"data": DATA}, out):
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(variant)
        inputs[variant] = out
    ablation = Path("results/ablation_shapes.csv")
    with step("table", inputs, ablation):
        ablation.write_text("variant,mIoU\nfull,2\nplain,1\n")
    text = trace("--row", "plain", table=ablation)
    assert str(inputs["plain"]) in text
    assert str(inputs["full"]) not in text
    assert str(inputs["full"]) in trace(table=ablation)
