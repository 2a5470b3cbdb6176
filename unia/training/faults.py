"""What goes wrong while training, said in one line that names the sample or the parameters to change."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from unia.data.stream import SampleStream
from unia.errors import UserError
from unia.recipe import Train
from unia.system import SHARED_MEMORY

SHARED, SMALL = (
    Path("/dev/shm"),
    64 * 2**20,
)  # what containers have unless told otherwise; batches go through it


@contextmanager
def explained(config: Train, stream: SampleStream) -> Iterator[None]:
    """Turn a worker's death, a sample it could not read, and want of memory into UserError."""
    try:
        yield
    except UserError as error:
        if "in DataLoader worker" not in str(error):
            raise
        # what a worker raised arrives with its traceback before the message
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from error
    except RuntimeError as error:
        message = _explain(error, config, stream)
        if message is None:
            raise
        raise UserError(message) from error


def _explain(error: RuntimeError, config: Train, stream: SampleStream) -> str | None:
    if "DataLoader worker" in str(error):
        read = filter(None, (stream.read_by(int(number)) for number in re.findall(r"\d+", str(error))))
        names = ", ".join(sample.name for sample in read)
        told = f"a process that reads images died (last at sample {names or 'unknown'})"
        if SHARED.is_dir() and shutil.disk_usage(SHARED).total <= SMALL:
            return f"{told}: {SHARED_MEMORY}"
        return f"{told}, perhaps for want of memory; lower train.workers and run the step again"
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return (
            f"out of memory ({str(error).splitlines()[0][:160]}); raise train.accumulate (now "
            f"{config.accumulate} parts of {config.batch // config.accumulate} images), or lower train.batch "
            "or train.crop"
        )
    return None
