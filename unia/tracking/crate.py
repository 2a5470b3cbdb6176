"""A table with its provenance as a Provenance Run Crate, for other people and other tools.

Profile: https://w3id.org/ro/wfrun/provenance/0.5, on RO-Crate 1.1. The crate holds the table and the other
small results, the receipts with their lists of files, and the workflow as committed. Data, checkpoint and
predictions are referred to by path and hash; a folder's hash is that of the list of its files.
"""

import hashlib
import io
import shlex
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from rocrate.model import ComputerLanguage, ContextEntity, SoftwareApplication
from rocrate.rocrate import ROCrate

from unia.errors import UserError
from unia.files import atomic, names, read_json
from unia.tracking import record
from unia.tracking.git import GitFailed, git
from unia.tracking.receipt import Receipt, made_hash
from unia.tracking.record import LOCK, flatten
from unia.tracking.trace import SHORT, Chain, code, name_of

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
MIT = "https://spdx.org/licenses/MIT"
DONE = "http://schema.org/CompletedActionStatus"
FORMATS = {".csv": "text/csv", ".json": "application/json", ".gz": "application/gzip"}
RESULTS = (".csv", ".json")  # outputs that are put into the crate; others are referred to
SNAKEFILE, STAGES = "Snakefile", "dvc.yaml"
WORKFLOW = (SNAKEFILE, STAGES, "workflow", "profiles", "params.yaml", LOCK.as_posix())

TERMS = {"license": "licence", "citation": "citation"}  # of the crate's data: their names in dataset.json

Entity = Any  # of rocrate, which has no types


def write_crate(chain: Chain, out: Path) -> None:
    """Pack the chain into the zip file `out`.

    Raises UserError where a receipt, a result, the workflow or its commit is missing, or has changed since.
    """
    if chain.broken:
        raise UserError("; ".join(chain.broken.values()))
    with TemporaryDirectory() as folder, atomic(out) as temporary:
        _Crate(chain, Path(folder)).crate.write_zip(temporary)


class _Crate:
    """The crate being filled: the workflow, then what the steps made, then their runs.

    Its files are written to `folder` until they are packed.
    """

    def __init__(self, chain: Chain, folder: Path):
        self.chain = chain
        self.folder = folder
        self.last = chain.steps[chain.last]
        self.crate = ROCrate(version="1.1")
        self.crate.metadata.extra_contexts.append(CONTEXT)
        self.workflow = self._workflow()
        self._root()
        self.data: dict[str, Entity] = {}
        prepared = {step["dataset"]: _dataset(step) for step in chain.steps.values() if _dataset(step)}
        self.terms = {
            name: {key: about[own] or "not stated" for key, own in TERMS.items()}
            for name, about in prepared.items()
        }
        for step in chain.steps.values():
            self._outputs(step)
        steps = enumerate(chain.steps.items(), 1)
        self.crate.root_dataset["mentions"] = [self._run(), *(self._step(n, p, s) for n, (p, s) in steps)]
        self._engine()

    def _root(self) -> None:
        root = self.crate.root_dataset
        root["name"] = f"{self.chain.table} and how it was made"
        root["description"] = f"Made by unia in {len(self.chain.steps)} steps, {code(self.last)}."
        root["datePublished"] = self.last["ended"]
        root["license"] = self._add(MIT, "CreativeWork", name="MIT License")
        root["conformsTo"] = [
            self._add(uri, "CreativeWork", name=name, version=uri.rsplit("/", 1)[-1])
            for uri, name in PROFILES.items()
        ]

    def _workflow(self) -> Entity:
        """The workflow's files; that of the engine that ran is the main entity."""
        commit = self.last["git"]["commit"]
        files = _committed(commit) if commit else _present()
        by_dvc = self.last["engine"] == "dvc"
        main = STAGES if by_dvc else SNAKEFILE
        if main not in files:
            raise UserError(
                f"{record.ROOT / main}: is missing; a crate holds the workflow that made the table"
            )
        dvc = ComputerLanguage(self.crate, "#dvc.yaml", {"name": "DVC", "url": "https://dvc.org"})
        workflow = self.crate.add_workflow(
            self._write(main, files[main]),
            main,
            main=True,
            lang=self.crate.add(dvc) if by_dvc else "snakemake",
            properties={
                "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
                "name": "unia's pipeline",
                "description": _about(self.last),
                "sha256": _sha256(files[main]),
            },
        )
        workflow["hasPart"] = [self._file(name, files[name], name) for name in files if name != main]
        return workflow

    def _outputs(self, step: Receipt) -> None:
        """What a step made, and the sources that it found, by their paths."""
        terms = self.terms.get(step["dataset"], {}) if step["sources"] or _dataset(step) else {}
        for entry in [*step["sources"].values(), *step["outputs"].values()]:
            path = Path(entry["path"])
            if path.suffix in RESULTS and "files" not in entry:
                self.data[entry["path"]] = self._result(path, entry["sha256"])
            else:
                self.data[entry["path"]] = self._reference(entry, terms)

    def _step(self, number: int, path: Path, step: Receipt) -> Entity:
        """The run of a step: of its tool, for its part of the workflow, as its receipt tells."""
        identity, name = f"{number}-{name_of(step).replace(' ', '-')}", name_of(step)
        tool = self._tool(step)
        used = [self._used(entry) for entry in [*step["inputs"].values(), *step["sources"].values()]]
        used += [self._value(identity, key, value) for key, value in flatten(step["params"]).items()]
        action = self._add(
            f"#run-{identity}",
            "CreateAction",
            name=f"{name} of {step['dataset']}",
            description=shlex.join(step["command"]),
            actionStatus=DONE,
            startTime=step["started"],
            endTime=step["ended"],
            instrument=tool,
            object=used,
            result=[self.data[entry["path"]] for entry in step["outputs"].values()],
        )
        if step["settings"]:
            action["environment"] = self._value(identity, "UNIA_SET", "\n".join(step["settings"]))
        receipt = self._file(_place(path), path.read_bytes(), f"receipt of {name}")
        receipt["about"] = action
        action["subjectOf"] = receipt
        plan = self._add(f"#step-{identity}", "HowToStep", name=name, position=number, workExample=tool)
        self.workflow.append_to("step", plan)
        self._add(f"#start-{identity}", "ControlAction", name=f"start {name}", instrument=plan, object=action)
        return action

    def _tool(self, step: Receipt) -> Entity:
        """The command of a step, at the state of the code that it ran in."""
        git = step["git"]
        identity = f"#unia-{step['step']}-{(git['diff'] or git['commit'] or 'unknown')[:SHORT]}"
        if identity not in self.crate:
            version = f"{step['environment']['packages']['unia']}, {code(step)}"
            properties = {"name": f"unia {step['step']}", "softwareVersion": version}
            tool = self.crate.add(SoftwareApplication(self.crate, identity, properties))
            lock = self.crate.get(LOCK.as_posix())
            if lock is not None and lock["sha256"] == step["environment"]["lock"]:
                tool["softwareRequirements"] = lock
            self.workflow.append_to("hasPart", tool)
        return self.crate.get(identity)

    def _run(self) -> Entity:
        """The workflow's run as a whole: from what no step made to the table."""
        steps = self.chain.steps.values()
        given = [used for step in steps for used in step["inputs"].values() if used["receipt"] is None]
        given += [source for step in steps for source in step["sources"].values()]
        return self._add(
            "#run",
            "CreateAction",
            name=f"the making of {self.chain.table}",
            actionStatus=DONE,
            startTime=min(step["started"] for step in steps),
            endTime=max(step["ended"] for step in steps),
            instrument=self.workflow,
            object=[self._used(entry) for entry in given],
            result=[self.data[entry["path"]] for entry in self.last["outputs"].values()],
        )

    def _engine(self) -> None:
        """The run of Snakemake or DVC; the steps' starts are mentioned alone where it was neither."""
        starts, engine = self.crate.get_by_type("ControlAction"), self.last["engine"]
        if engine is None:
            self.crate.root_dataset.append_to("mentions", starts)
            return
        program = self.crate.add(SoftwareApplication(self.crate, f"#{engine}", {"name": engine}))
        name, run = f"run of {engine}", self.crate.get("#run")
        organised = self._add(
            "#engine", "OrganizeAction", name=name, instrument=program, object=starts, result=run
        )
        self.crate.root_dataset.append_to("mentions", organised)

    def _used(self, entry: Mapping[str, Any]) -> Entity:
        """An input: what a step made, or part of it, or what was given."""
        path, known = Path(entry["path"]), self.data.get(entry["path"])
        maker = entry.get("receipt")
        if maker and made_hash(self.chain.steps[Path(maker["path"])], path) != entry["sha256"]:
            raise UserError(f"{path}: was made anew after it was used; see `unia trace --verify`")
        if known is None:
            known = self.data[entry["path"]] = self._reference(entry)
            folders = [folder.as_posix() for folder in path.parents if folder.as_posix() in self.data]
            if folders:
                known["isPartOf"] = self.data[folders[0]]
        return known

    def _reference(self, entry: Mapping[str, Any], terms: Mapping[str, str] = MappingProxyType({})) -> Entity:
        """What is not in the crate, by path and hash; with the list of its files, if a step made it."""
        path = Path(entry["path"])
        kind = "Dataset" if "files" in entry or path.is_dir() else "File"
        found = self._add(
            f"#{quote(entry['path'])}", kind, name=entry["path"], sha256=entry["sha256"], **terms
        )
        if "files" in entry:
            listed = Path(entry["files"])
            found["subjectOf"] = self._file(_place(listed), _read(listed), f"files of {path}")
        return found

    def _result(self, path: Path, digest: str) -> Entity:
        data = _read(path)
        if _sha256(data) != digest:
            raise UserError(f"{path}: has changed since its step wrote it; see `unia trace --verify`")
        return self._file(_place(path), data, path.name)

    def _file(self, place: str, data: bytes, name: str) -> Entity:
        properties = {"name": name, "sha256": _sha256(data), "contentSize": str(len(data))}
        if Path(place).suffix in FORMATS:
            properties["encodingFormat"] = FORMATS[Path(place).suffix]
        return self.crate.add_file(self._write(place, data), place, properties=properties)

    def _write(self, place: str, data: bytes) -> Path:
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def _value(self, identity: str, name: str, value: Any) -> Entity:
        value = value if isinstance(value, str | int | float) else str(value)
        return self._add(f"#{identity}/{name}", "PropertyValue", name=name, value=value)

    def _add(self, identity: str, kind: str, **properties: Any) -> Entity:
        entity = self.crate.add(ContextEntity(self.crate, identity, {"@type": kind}))
        for name, value in properties.items():
            entity[name] = value
        return entity


def _dataset(step: Receipt) -> dict[str, Any]:
    """dataset.json of the step that prepared a dataset, if it still lies there; {} for other steps."""
    paths = [Path(entry["path"]) / "dataset.json" for entry in step["outputs"].values()]
    return next((read_json(path) for path in paths if path.is_file()), {})


def _about(last: Receipt) -> str:
    """Which state of the workflow the crate holds, given the step that wrote its table."""
    if last["git"]["commit"] is None:
        return "As it lay beside the code when the crate was packed; the table was made at no known commit."
    changes = "; the table was made with changes that no commit holds" if last["git"]["dirty"] else ""
    return f"As commit {last['git']['commit']} holds it{changes}."


def _committed(commit: str) -> dict[str, bytes]:
    """The workflow's files by name as a commit holds them; UserError where it is not here."""
    try:
        packed = git(record.ROOT, "archive", "--format=tar", commit)
    except GitFailed as error:
        raise UserError(
            f"{record.ROOT}: lacks the commit that made the table ({error}), and a crate holds its "
            f"workflow; `git fetch origin {commit}`, or pack the crate where the table was made"
        ) from None
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = [member for member in tar if member.isfile() and _of_workflow(member.name)]
        read = {member.name: tar.extractfile(member) for member in members}
        return {name: file.read() for name, file in read.items() if file is not None}


def _of_workflow(name: str) -> bool:
    return any(PurePosixPath(name).is_relative_to(part) for part in WORKFLOW)


def _present() -> dict[str, bytes]:
    """The workflow's files by name as they lie beside the code."""
    files: dict[str, bytes] = {}
    for name in WORKFLOW:
        path = record.ROOT / name
        below = [f"{name}/{file}" for file in names(path)] if path.is_dir() else [name]
        files |= {file: (record.ROOT / file).read_bytes() for file in below if (record.ROOT / file).is_file()}
    return files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run its step again") from None


def _place(path: Path) -> str:
    """Where a file lies in the crate: where it lay, or below elsewhere/ if that was outside the project."""
    inside = not path.is_absolute() and ".." not in path.parts
    return path.as_posix() if inside else f"elsewhere/{path.name}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
