"""How params.yaml refuses what is wrong: in one line."""

from pathlib import Path

import pytest

from unia.config import load
from unia.errors import UserError

FILE = Path(__file__).parents[1] / "params.yaml"


def refusal(path: Path, settings: tuple[str, ...] = ()) -> str:
    """The one line that refuses it."""
    with pytest.raises(UserError) as caught:
        load(path, settings)
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message
