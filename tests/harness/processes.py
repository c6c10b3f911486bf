"""Helpers for processes."""

import time

import psutil


def family(keeper: int) -> list[psutil.Process]:
    """Return a keeper process and its children."""
    process = psutil.Process(keeper)
    return [process, *process.children(recursive=True)]


def assert_gone(processes: list[psutil.Process]) -> None:
    """Wait until all these processes have ended; a zombie counts as ended."""
    deadline = time.monotonic() + 10
    while alive := [process for process in processes if _runs(process)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
