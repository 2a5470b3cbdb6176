"""The state of a training, on disk: a killed run goes on from it, and a finished one is found done.

It lies in `<out>.state/`, which is nobody's output: Snakemake and DVC delete a step's outputs before they
run it again. Below it, each training has a folder of its own, named by what it is made of (parameters,
data, code); so a changed one starts anew, and changing back finds the old state again. The last KEEP
states stay: should a crash of the machine lose the end of the newest, the one before is whole. There is no
"best" one: training sees no masks, and its loss is another one whenever a term joins or a label switches.

Of a training that is done the weights stay, till another one is done: when Snakemake and DVC have deleted
the checkpoint for a new training, and that fails, the old one need not be trained again.

A state is one safetensors file: weights, moments of the optimiser, and in its header the losses logged so
far. Generators have no state to keep (`unia.training.noise`, `unia.data.stream`).
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from unia.errors import UserError
from unia.files import atomic, remove, sha256
from unia.identity import of_code, of_parameters, of_split
from unia.pipeline import STEPS
from unia.recipe import Recipe
from unia.system import of_system

KEEP = 2
CODE = ("data", "labels.py", "losses", "model", "refine", "resize.py", "training", "steps/train.py")
"""Where the code is that decides what training computes."""

Row = Mapping[str, float]


def identity(recipe: Recipe, data: Path) -> dict[str, str]:
    """What a training is made of: sha256 of its parameters, of its data, of the code, of a file of weights.

    Parameters that change nothing of the result are left out.
    """
    sections = {name: getattr(recipe, name).model_dump(mode="json") for name in STEPS["train"]}
    for name in ("workers", "save_every"):
        del sections["train"][name]
    weights = recipe.model.weights_file
    return {
        "parameters": of_parameters(sections),
        "data": of_split(data, "train"),
        "code": of_code(*CODE),
        "weights": sha256(weights) if weights is not None and weights.is_file() else "",
    }


class States:
    """The saved states of one training, in a folder that they may share with those of others."""

    def __init__(self, folder: Path, made_of: Mapping[str, str]):
        self.folder = folder
        self._made_of = made_of
        self._own = folder / of_parameters(made_of)[:12]

    def newest(self) -> "State | None":
        """The newest whole state of this training."""
        for path in sorted(self._own.glob("*.safetensors"), reverse=True):
            state = State(path)
            if state.whole:
                return state
        return None

    def others(self) -> list[str]:
        """In what the training whose states lie here instead differs: of parameters, data, code."""
        for path in sorted(self.folder.glob("*/*.safetensors"), reverse=True):
            state = State(path)
            if state.whole:
                return [part for part, value in self._made_of.items() if state.made_of.get(part) != value]
        return []

    def save(
        self, iteration: int, model: nn.Module, optimiser: torch.optim.Optimizer | None, rows: list[Row]
    ) -> None:
        """Write the state after `iteration` steps, then remove all but the last KEEP.

        Raises UserError where it cannot be written; what was there stays.
        """
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        moments = {} if optimiser is None else optimiser.state
        for name, parameter in model.named_parameters():
            for key, value in moments.get(parameter, {}).items():
                tensors[f"optimiser.{key}.{name}"] = value
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        header = json.dumps({"iteration": iteration, "made_of": self._made_of, "rows": rows})
        try:
            with atomic(self._own / f"{iteration:08}.safetensors") as temporary:
                temporary.write_bytes(save(tensors, metadata={"unia": header}))
        except OSError as error:
            raise UserError(
                f"{self._own}: the state of iteration {iteration} cannot be written ({error.strerror}); "
                "mend that and run the step again: it goes on from the state before"
            ) from None
        for path in sorted(self._own.glob("*.safetensors"))[:-KEEP]:
            remove(path)

    def finish(self, iteration: int, model: nn.Module, rows: list[Row]) -> None:
        """The training is done, and its checkpoint written: keep its weights, and nothing of any other."""
        with suppress(UserError):  # no room: the last state, which is larger, says the same
            self.save(iteration, model, None, rows)
        for path in sorted(self._own.glob("*.safetensors"))[:-1]:
            remove(path)
        for other in self.folder.glob(12 * "[0-9a-f]"):
            if other != self._own:
                remove(other)


class State:
    """One saved state; what its header says is read, its tensors when it is `restore`d."""

    def __init__(self, path: Path):
        self.path = path
        try:
            path.open("rb").close()  # what it says of one that may not be read is "not found"
            with safe_open(path, framework="pt") as file:
                header: dict[str, Any] = json.loads((file.metadata() or {})["unia"])
            self.iteration: int = header["iteration"]
            self.made_of: dict[str, str] = header["made_of"]
            self.rows: list[Row] = header["rows"]
            self.whole = True
        except (OSError, SafetensorError, LookupError, ValueError, TypeError, RecursionError) as error:
            if of_system(error):
                raise
            self.whole = False

    def restore(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Put the weights into `model` and the moments of its parameters into `optimiser`.

        Before a step is recorded on a GPU: the graph keeps the addresses that it was recorded with.
        """
        tensors = load_file(self.path)
        model.load_state_dict(_below("model.", tensors))
        for key in ("step", "exp_avg", "exp_avg_sq"):
            for name, value in _below(f"optimiser.{key}.", tensors).items():
                parameter = model.get_parameter(name)
                # laid out as the parameter is: the fused kernels walk both in the order of memory
                like = parameter.detach() if value.shape == parameter.shape else value
                moved = torch.empty_like(like, device=parameter.device, dtype=value.dtype).copy_(value)
                optimiser.state[parameter][key] = moved


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
