"""Time and peak memory of a Python program."""

import subprocess
import sys
import time

import psutil


def measured(program: str, *arguments: object) -> tuple[float, int]:
    """(seconds, peak bytes) of `program`, Python code whose `sys.argv[1:]` are the arguments.

    Memory is what is resident in its process and all that it starts, added up, so what they share counts
    for each; seconds hold the program's start. Raises CalledProcessError where it fails.
    """
    command = [sys.executable, "-c", program, *map(str, arguments)]
    start, most = time.perf_counter(), 0
    with subprocess.Popen(command) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            most = max(most, _resident(watched))
            time.sleep(0.05)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command[:2])
    return seconds, most


def _resident(process: psutil.Process) -> int:
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass  # one ended meanwhile
    return total
