"""Supervises one child process, and terminates it when the parent process ends.

Run it as `python -I -S keeper.py DIRECTORY COMMAND…`, with the read end of a pipe as standard input. Only the parent
holds the write end, so the pipe closes however the parent ends, SIGKILL included.

- The pipe closes, or the keeper gets SIGTERM: it terminates the command and removes DIRECTORY.
- A byte arrives through the pipe: it terminates the command and leaves DIRECTORY, which contains the log.
- The command exits by itself: it leaves DIRECTORY and exits with the command's exit code.

It runs in its own session, so that Ctrl-C in a terminal does not reach the command while the parent still drains. It
uses only a small part of the standard library, because each start waits for its imports.
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
"""Seconds between SIGTERM and SIGKILL; longer than the 9 seconds for which a replica drains."""

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def keep(directory: str, command: list[str], pipe: int) -> int:
    """Run `command` until it exits, or until `pipe` or SIGTERM ends it; return the keeper's exit code."""
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
    """Do nothing: Python writes the signal's byte to `wake` only if the signal has a handler."""


def _terminate(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _dying_with(keeper: int) -> Callable[[], None] | None:
    """Return a function for the child to call first, so that it dies with a killed keeper (Linux only)."""
    if sys.platform != "linux":
        return None
    import ctypes

    libc = ctypes.CDLL(None)

    def prepare() -> None:  # pragma: no cover - runs between fork and exec, where coverage does not measure
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:  # the keeper died before prctl
            os._exit(1)

    return prepare


if __name__ == "__main__":  # pragma: no cover - runs with -I -S, which turns coverage off
    sys.exit(keep(sys.argv[1], sys.argv[2:], sys.stdin.fileno()))
