"""What tests of several folders share: the reference's numbers, and errors planted on purpose."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

COPIES = Path(__file__).parent / "golden"
ORIGINALS = Path(__file__).parents[2] / "shared" / "golden"

for profile, examples in (("few", 20), ("many", 1000)):  # in CI; by `make faults`
    settings.register_profile(
        profile,
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
settings.load_profile("few")

Golden = dict[str, NDArray[Any]]
Plant = Callable[[ModuleType, str, str], None]


def pytest_configure() -> None:
    """Of several test processes each keeps to one core, with all that it starts: threads would fight."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture
def golden() -> Callable[[str], Golden]:
    """golden("losses.npz"): its arrays; the copy in tests/golden, which may hold only a part."""
    return lambda name: _read(COPIES / name)


@pytest.fixture
def golden_original() -> Callable[[str], Golden]:
    """The same from the reference's own file; skips the test where it is absent."""

    def read(name: str) -> Golden:
        if not (ORIGINALS / name).exists():
            pytest.skip(f"needs the reference's {name}, too large to be kept here")
        return _read(ORIGINALS / name)

    return read


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """plant(module, old, new): for this test, `module` as if its source said `new` for `old`.

    Functions and methods are replaced in place: call them through the module.
    """

    def plant(module: ModuleType, old: str, new: str) -> None:
        source = inspect.getsource(module)
        assert old in source, f"{module.__name__} no longer says {old!r}"
        changed: dict[str, Any] = {"__name__": module.__name__}
        exec(compile(source.replace(old, new), module.__name__, "exec"), changed)
        for name, value in changed.items():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            if isinstance(value, type):
                for method, function in vars(value).items():
                    if isinstance(function, FunctionType | staticmethod) and method != "__new__":
                        monkeypatch.setattr(getattr(module, name), method, function)
            elif callable(value):
                monkeypatch.setattr(module, name, value)

    return plant


def _read(path: Path) -> Golden:
    with np.load(path) as file:
        return {key: file[key] for key in file}
