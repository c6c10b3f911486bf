"""Keeps one process running for as long as the process that asked for it lives.

Run as `python -I -S keeper.py DIRECTORY COMMAND…`, with the read end of a pipe as its standard input. Only
the parent holds the write end, so whatever ends the parent closes it, SIGKILL included.

- The pipe closes, or SIGTERM comes: the command is terminated and DIRECTORY removed.
- A byte comes through the pipe: the command is terminated, DIRECTORY (the log is in there) is kept.
- The command ends by itself: DIRECTORY is kept, and the keeper exits with the command's code.

It runs in a session of its own, so that a terminal's Ctrl-C does not reach the command while the parent still
drains. It uses the standard library only, and little of it, because every start waits for it.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

GRACE = 12.0
"""Seconds between SIGTERM and SIGKILL, more than the slowest command needs: a replica drains for 9."""

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def keep(directory: str, command: list[str], pipe: int) -> int:
    """Run `command` until it ends, or `pipe` or SIGTERM ends it; return the keeper's exit code."""
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, _noted)
    process = subprocess.Popen(  # noqa: S603 - the command is the parent's own
        command, stdin=subprocess.DEVNULL, preexec_fn=_dying_with(os.getpid())
    )
    Path(directory, "pid").write_text(str(process.pid))
    while process.poll() is None:
        asked = pipe in select.select([pipe, wake], [], [])[0]
        if asked or signal.SIGTERM in os.read(wake, 512):
            keep_directory = asked and os.read(pipe, 1) != b""
            _terminate(process)
            if not keep_directory:
                shutil.rmtree(directory, ignore_errors=True)
            return 0
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _noted(number: int, frame: object) -> None:
    """Do nothing: that a handler exists is what makes the signal's byte arrive at `wake`."""


def _terminate(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _dying_with(keeper: int) -> Callable[[], None] | None:
    """Return what the command must do first, so that a SIGKILL of the keeper takes it along (Linux only)."""
    if sys.platform != "linux":
        return None
    import ctypes

    libc = ctypes.CDLL(None)

    def prepare() -> None:  # pragma: no cover - runs between fork and exec, where nothing is measured
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:  # it died before the line above
            os._exit(1)

    return prepare


if __name__ == "__main__":  # pragma: no cover - runs with -I -S, which turns measuring off
    sys.exit(keep(sys.argv[1], sys.argv[2:], sys.stdin.fileno()))
