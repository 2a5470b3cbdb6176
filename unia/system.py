"""What the operating system refuses, as one line: the file, the reason, and what to do.

Readers of files turn a damaged or missing file into a UserError that says so. What is no fault of the file
(`of_system`) they let through, up to here.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from unia.errors import UserError

FULL = "the disk is full ({reason}); make room and run the step again"
ADVICE = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EACCES: "{reason}; ask its owner for the right to it (`ls -ld` names them), or use another folder",
    errno.EPERM: "{reason}; ask its owner for the right to it (`ls -ld` names them), or use another folder",
    errno.EROFS: "{reason}: nothing can be written there; use a folder on another disk",
    errno.ENAMETOOLONG: "{reason}; shorten the names of the file and of its folders",
    errno.EMFILE: "{reason}; allow more (`ulimit -n 4096`), or lower train.workers, and run the step again",
    errno.ENFILE: "{reason} on this machine; close other programs and run the step again",
    errno.ENOLCK: "{reason}: its file system has no locks; use a folder on another one",
    errno.EOPNOTSUPP: "{reason} by its file system; use a folder on another one",
    errno.ENOSYS: "{reason} by this system or file system; use a folder on another one",
    errno.EIO: "{reason}: the disk or the network share is failing; see `dmesg`, and run the step again",
    errno.ESTALE: "{reason}: the network share was mounted anew; run the step again",
    errno.ETIMEDOUT: "{reason}: the network share or server does not answer; run the step again",
    errno.EAGAIN: "{reason}: too many processes (`ulimit -u`); end some, or allow fewer cores (taskset)",
    errno.ENOMEM: "{reason}; free some memory, or allow fewer cores (taskset), and run the step again",
    errno.EFBIG: "{reason}, for this disk or by `ulimit -f`; use another disk, or raise the limit",
    errno.ENOENT: "{reason}; is it gone since the step began? Run the step that makes it again",
    errno.ENOTDIR: "{reason}: a file lies where a folder is needed; move it away",
    errno.EISDIR: "{reason}: a folder lies where a file is needed; move it away",
    errno.EEXIST: "{reason}; move it away",
    errno.ENOTEMPTY: "{reason}: is something else writing there? Run the step again",
    errno.ELOOP: "{reason}: links that lead to themselves; mend them",
    errno.EINVAL: "{reason}: its file system does not take it; use a folder on another one",
}
OTHER = "{reason}; mend that and run the step again"

SHARED_MEMORY = (
    "the shared memory of this machine or container, /dev/shm, is too small or cannot be written; enlarge it "
    "(`docker run --shm-size 8g`), or set train.workers: 0"
)
RUNTIME = {  # what torch and Python say of the same, without a number
    "shared memory": SHARED_MEMORY,
    "(shm)": SHARED_MEMORY,
    "</torch_": SHARED_MEMORY,
    "ancdata": ADVICE[errno.EMFILE].format(reason=os.strerror(errno.EMFILE)),
    "Too many open files": ADVICE[errno.EMFILE].format(reason=os.strerror(errno.EMFILE)),
    "can't start new thread": ADVICE[errno.EAGAIN].format(reason="no further thread can be started"),
}


NOT_THE_FILE = frozenset(
    number
    for number in ADVICE
    if number not in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENAMETOOLONG)
)


def of_system(error: BaseException) -> bool:
    """Whether reading a file failed for something that is no fault of the file."""
    return isinstance(error, OSError) and error.errno in NOT_THE_FILE


def told(error: BaseException) -> UserError | None:
    """What the user reads of an error of the system; None for any other error."""
    if isinstance(error, OSError) and error.errno is not None:
        return UserError(_of_number(error, error.errno))
    for words, message in RUNTIME.items():
        if isinstance(error, RuntimeError) and words in str(error):
            return UserError(message)
    return None


@contextmanager
def telling() -> Iterator[None]:
    """Raise an error of the system as the UserError that says it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        message = told(error)
        if message is None:
            raise
        raise message from error


def _of_number(error: OSError, number: int) -> str:
    reason = error.strerror or os.strerror(number)
    if error.filename is None and number in (errno.ENOSPC, errno.ENOSYS, errno.EACCES) and _semaphore(error):
        return SHARED_MEMORY
    name = error.filename2 or error.filename
    place = "output" if name is None else os.fsdecode(name) if isinstance(name, str | bytes) else str(name)
    return f"{place}: {ADVICE.get(number, OTHER).format(reason=reason)}"


def _semaphore(error: BaseException) -> bool:
    """Whether it was raised where multiprocessing makes a lock, which lies in /dev/shm."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith("multiprocessing/synchronize.py"):
            return True
        trace = trace.tb_next
    return False
