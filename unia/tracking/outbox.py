"""What waits to be told to MLflow: a thread sends it, in order, and again while a server is away.

So a step never waits for MLflow while it works, and a server that restarts meanwhile misses nothing.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from unia.progress import say

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 5.0  # seconds between two tries of one message
OPENING = 30.0  # seconds that a step waits for the first answer before it begins

Send = Callable[[], object]


class Outbox:
    """Sends messages in a thread of its own; `passing(error)` says whether an error may go by itself.

    After such an error a message is sent again, and those behind it wait. After any other it is dropped, and
    the next is tried. The user reads one line when a trouble starts, and one when it is over.
    """

    def __init__(self, passing: Callable[[Exception], bool]):
        self._passing = passing
        self._waiting: deque[Send] = deque()
        self._changed = threading.Condition()
        self._tried = self._refused = self._away = self._left = False
        self._end: float | None = None  # when to give up, once the step is done
        self._thread = threading.Thread(target=self._work, name="MLflow", daemon=True)
        self._thread.start()

    def put(self, send: Send) -> None:
        """Send it after all that waits already."""
        with self._changed:
            self._waiting.append(send)
            self._changed.notify_all()

    def wait_for_first(self) -> None:
        """Wait until the first message was tried, but not for ever."""
        with self._changed:
            self._changed.wait_for(lambda: self._tried, OPENING)

    def close(self, patience: float) -> None:
        """Wait until all is sent; where MLflow is away, for so many seconds, and then try the last alone."""
        with self._changed:
            self._end = time.monotonic() + patience
            if self._away and patience:
                say(f"MLflow is still away: waiting for it, {patience:.0f} seconds at most")
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while (send := self._next()) is not None:
            error = _try(send)
            again = error is not None and self._passing(error) and not self._over()
            self._tell(error)
            with self._changed:
                self._tried = True
                self._changed.notify_all()
                if not again:
                    self._waiting.popleft()
            if again:
                time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE) if again else FIRST_PAUSE
            if self._away and self._over():
                self._give_up()

    def _next(self) -> Send | None:
        """The oldest message, once there is one; None when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._end is not None)
            return self._waiting[0] if self._waiting else None

    def _over(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end

    def _tell(self, error: Exception | None) -> None:
        """One line for each change between MLflow's being there and away, and one for all that it refuses."""
        if self._left:
            return
        if error is None:
            if self._away:
                say("MLflow answers again")
            self._away = False
        elif self._passing(error):
            if not self._away:
                say(f"warning: MLflow is away; what it misses waits, and the step goes on: {reason(error)}")
            self._away = True
        elif not self._refused:
            say(f"warning: MLflow does not record this step: {reason(error)}")
            self._refused = True

    def _give_up(self) -> None:
        """Keep the last message alone, which ends the run."""
        if not self._left:
            say("warning: MLflow stayed away: what waited for it is lost; the step's receipt is whole")
        self._left = True
        with self._changed:
            while len(self._waiting) > 1:
                self._waiting.popleft()


def reason(error: Exception) -> str:
    """In one line why: what lies at the root where a request failed, else the first line of the error.

    SQLAlchemy may put a preface before that, which is left out.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if lines[0].startswith("API request to"):
        root: BaseException = error
        while (cause := root.__cause__ or root.__context__) is not None:
            root = cause
        return f"{' '.join(lines[0].split()[:4])} failed ({root})"
    return next((line for line in lines if not line.startswith("(raised as a result of")), lines[0])


def _try(send: Send) -> Exception | None:
    try:
        send()
    except Exception as error:
        return error
    return None
