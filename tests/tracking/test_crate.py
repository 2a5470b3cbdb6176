"""The crate, read by rocrate and checked entity by entity."""

import hashlib
import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline import DATA, PARAMS, RAW, SETTINGS, STEPS, TABLE, TRAIN, VAL, commit, run_train, step, traced
from rocrate.rocrate import ROCrate
from typer.testing import CliRunner

from unia.cli import app
from unia.config import load
from unia.errors import UserError
from unia.tracking import runs
from unia.tracking.receipt import beside

OUT = Path("results/crate.zip")
ELSEWHERE = ("https://w3id.org/ro/crate/1.1", "https://snakemake.readthedocs.io", "https://doi.org/")

Entities = dict[str, dict[str, Any]]


@pytest.fixture
def pipeline(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A traced pipeline in the working directory."""
    return traced(tmp_path_factory, tmp_path, monkeypatch)


@pytest.fixture
def entities(pipeline: Path) -> Entities:
    """id -> entity of the crate's metadata, as plain JSON."""
    crate()
    with zipfile.ZipFile(OUT) as file:
        document = json.loads(file.read("ro-crate-metadata.json"))
    assert document["@context"] == [
        "https://w3id.org/ro/crate/1.1/context",
        "https://w3id.org/ro/terms/workflow-run/context",
    ]
    found = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(found) == len(document["@graph"])
    return found


def crate() -> None:
    OUT.unlink(missing_ok=True)
    result = CliRunner().invoke(app, ["crate", str(TABLE), str(OUT)])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0, result.output


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield value["@id"]
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def of_type(entities: Entities, kind: str) -> list[dict[str, Any]]:
    return [entity for entity in entities.values() if kind == entity["@type"] or kind in entity["@type"]]


def test_every_reference_leads_somewhere_and_every_entity_is_reached(entities: Entities) -> None:
    named = {ref for e in entities.values() for key, v in e.items() if key != "@id" for ref in references(v)}
    assert [ref for ref in named if ref not in entities and not ref.startswith(ELSEWHERE)] == []
    assert set(entities) - named == {"ro-crate-metadata.json"}


def test_every_file_is_listed_and_hashed(entities: Entities) -> None:
    with zipfile.ZipFile(OUT) as file:
        packed = {name: file.read(name) for name in file.namelist()}
    assert packed.pop("ro-crate-metadata.json")
    listed = set(references(entities["./"]["hasPart"]))
    assert listed == set(packed)
    for name, data in packed.items():
        assert entities[name]["sha256"] == hashlib.sha256(data).hexdigest(), name
        assert "File" in entities[name]["@type"]
    assert {"Snakefile", "dvc.yaml", "params.yaml"} < listed
    assert {"workflow/rules/data.smk", "profiles/default/config.yaml"} < listed
    assert "code.py" not in listed
    for path in (TABLE, RAW, VAL / "scores.json", DATA, TRAIN, VAL / "predictions", VAL / "crf"):
        assert beside(path).as_posix() in listed
    assert {str(TABLE), str(RAW), str(VAL / "scores.json")} < listed
    assert packed[str(TABLE)] == TABLE.read_bytes()
    assert not [name for name in listed if name.endswith((".png", ".jpg", ".npz", ".safetensors"))]


def test_each_step_is_an_action_of_its_tool_on_its_data(entities: Entities) -> None:
    receipts = [json.loads(beside(path).read_text()) for path in (RAW, DATA, TRAIN, VAL / "predictions")]
    actions = {a["name"]: a for a in of_type(entities, "CreateAction") if a["@id"] != "#run"}
    assert list(actions) == [f"{name} of shapes" for name in STEPS]
    for receipt, action in zip(receipts, actions.values(), strict=False):
        assert (action["startTime"], action["endTime"]) == (receipt["started"], receipt["ended"])
        assert entities[action["instrument"]["@id"]]["name"] == f"unia {receipt['step']}"
        used = [entities[ref] for ref in references(action["object"])]
        files = {e["name"]: e["sha256"] for e in used if e["@type"] != "PropertyValue"}
        entries = [*receipt["inputs"].values(), *receipt["sources"].values()]
        expected = {entry["path"]: entry["sha256"] for entry in entries}
        assert sorted(files.values()) == sorted(expected.values())
        made = [entities[ref]["sha256"] for ref in references(action["result"])]
        assert made == [entry["sha256"] for entry in receipt["outputs"].values()]
        assert entities[action["subjectOf"]["@id"]]["about"] == {"@id": action["@id"]}
    training = actions["train of shapes"]
    values = {entities[ref]["name"]: entities[ref].get("value") for ref in references(training["object"])}
    assert values["train.lr"] == load(PARAMS, ["size=small"]).recipe("shapes").train.lr
    assert entities[training["environment"]["@id"]]["value"] == "\n".join(SETTINGS)
    checkpoint = entities[f"#{TRAIN}/checkpoint.safetensors"]
    assert checkpoint["isPartOf"] == {"@id": f"#{TRAIN}"}
    assert {"@id": checkpoint["@id"]} in actions["infer val of shapes"]["object"]


def test_the_workflow_s_run_leads_from_the_source_to_the_table(entities: Entities) -> None:
    root, run = entities["./"], entities["#run"]
    assert {ref.rsplit("/", 2)[1] for ref in references(root["conformsTo"])} >= {"provenance", "workflow"}
    assert root["mainEntity"] == run["instrument"] == {"@id": "Snakefile"}
    assert run["object"] == [{"@id": "#data/raw/shapes"}]
    assert run["result"] == [{"@id": str(TABLE)}]
    main = entities["Snakefile"]
    plans = [entities[ref] for ref in references(main["step"])]
    assert [plan["name"] for plan in plans] == STEPS
    assert {"HowTo", "ComputationalWorkflow"} < set(main["@type"])
    tools = {plan["workExample"]["@id"] for plan in plans}
    assert tools <= set(references(main["hasPart"]))
    for start, plan in zip(of_type(entities, "ControlAction"), plans, strict=True):
        assert start["instrument"] == {"@id": plan["@id"]}
        assert entities[start["object"]["@id"]]["instrument"] == plan["workExample"]
    for data in ("#data/raw/shapes", f"#{DATA}"):
        assert entities[data]["license"] == "CC0 (generated)"
    assert "license" not in entities[f"#{TRAIN}"]


def test_an_independent_reader_opens_it(pipeline: Path) -> None:
    crate()
    read = ROCrate(OUT)
    assert read.mainEntity.id == "Snakefile"
    run = read.get("#run")
    assert [str(entity.id) for entity in run["result"]] == [str(TABLE)]
    assert [Path(entity.source).read_bytes() for entity in run["result"]] == [TABLE.read_bytes()]
    assert len(read.get_by_type("CreateAction")) == len(STEPS) + 1


def test_the_workflow_is_the_committed_one_or_none(pipeline: Path) -> None:
    snakefile = pipeline / "code" / "Snakefile"
    committed = snakefile.read_bytes()
    snakefile.write_text("changed since\n")
    crate()
    with zipfile.ZipFile(OUT) as file:
        assert file.read("Snakefile") == committed
    made_at = head(pipeline)
    OUT.unlink()
    (pipeline / "code" / ".git").rename(pipeline / "gone")
    with pytest.raises(
        UserError, match=f"code: lacks the commit that made the table .*`git fetch origin {made_at}`"
    ):
        crate()
    commit(pipeline / "code", "another clone, of another history")
    with pytest.raises(UserError, match="lacks the commit that made the table"):
        crate()
    assert not OUT.exists()


def test_a_table_of_no_known_commit_has_the_present_workflow_and_says_so(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "git_state", lambda: {"commit": None, "dirty": None, "diff": None})
    with step("table", {"scores": VAL / "scores.json"}, TABLE):
        pass
    snakefile = pipeline / "code" / "Snakefile"
    snakefile.write_text("of this day\n")
    crate()
    read = ROCrate(OUT)
    assert Path(read.mainEntity.source).read_bytes() == b"of this day\n"
    assert read.mainEntity["description"].endswith("the table was made at no known commit.")


def test_changes_that_no_commit_holds_are_told(pipeline: Path) -> None:
    crate()
    assert ROCrate(OUT).mainEntity["description"] == f"As commit {head(pipeline)} holds it."
    (pipeline / "code" / "code.py").write_text("changed\n")
    with step("table", {"scores": VAL / "scores.json"}, TABLE):
        pass
    crate()
    assert ROCrate(OUT).mainEntity["description"].endswith("made with changes that no commit holds.")


def head(pipeline: Path) -> str:
    """The commit of the code."""
    shown = ["git", "rev-parse", "HEAD"]
    return subprocess.run(
        shown, cwd=pipeline / "code", capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.usefixtures("pipeline")
def test_what_has_changed_is_not_packed() -> None:
    TABLE.write_text("prediction,mIoU\nseg,99\n")
    with pytest.raises(UserError, match="has changed since its step wrote it"):
        crate()
    assert not OUT.exists()


@pytest.mark.usefixtures("pipeline")
def test_what_was_made_anew_is_not_packed() -> None:
    run_train("otherwise")
    with pytest.raises(UserError, match=r"checkpoint\.safetensors: was made anew after it was used"):
        crate()


@pytest.mark.usefixtures("pipeline")
@pytest.mark.parametrize(("engine", "main"), [("snakemake", "Snakefile"), ("dvc", "dvc.yaml")])
def test_the_engine_s_run_starts_every_step(engine: str, main: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "engine", lambda: engine)
    with step("table", {"scores": VAL / "scores.json"}, TABLE):
        pass
    crate()
    read = ROCrate(OUT)
    organised = read.get("#engine")
    assert organised["instrument"]["name"] == engine
    assert organised["result"].id == "#run"
    assert organised["object"] == read.get_by_type("ControlAction")
    assert read.mainEntity.id == main
    assert organised in read.root_dataset["mentions"]
