"""Fixture: how long threads slept. Unlike how long they took, this is the same on a busy machine."""

import threading
import time
from collections import defaultdict
from collections.abc import Mapping

import pytest

Slept = Mapping[threading.Thread, float]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> Slept:
    """Seconds of `time.sleep` since the test began, by thread."""
    seconds: dict[threading.Thread, float] = defaultdict(float)
    sleep = time.sleep

    def noted(duration: float) -> None:
        seconds[threading.current_thread()] += duration
        sleep(duration)

    monkeypatch.setattr(time, "sleep", noted)
    return seconds
