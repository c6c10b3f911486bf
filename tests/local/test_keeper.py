import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local import keeper

# The keeper has one thread; a test has several, and Python warns when such a process forks.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

SLEEP = ["sleep", "60"]


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def pipe() -> Iterator[tuple[int, Callable[[bytes], None]]]:
    """Yield the read end, and a function that writes a last byte and closes the write end."""
    read, write = os.pipe()
    closed = threading.Event()

    def close(last: bytes) -> None:
        if last:
            os.write(write, last)
        os.close(write)
        closed.set()

    yield read, close
    os.close(read)
    if not closed.is_set():
        os.close(write)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "service"
    directory.mkdir()
    (directory / "log").touch()
    return directory


def later(action: Callable[[], None]) -> None:
    threading.Timer(0.3, action).start()


def test_a_closed_pipe_ends_the_command_and_removes_the_directory(
    pipe: tuple[int, Callable[[bytes], None]], directory: Path
) -> None:
    """A parent that ends before its keeper is ready leaves nothing behind."""
    read, close = pipe
    close(b"")
    assert keeper.keep(str(directory), SLEEP, read) == 0
    assert not directory.exists()


def test_a_byte_ends_the_command_and_keeps_the_directory(
    pipe: tuple[int, Callable[[bytes], None]], directory: Path
) -> None:
    """A byte from the parent keeps the directory, so that the log can be read."""
    read, close = pipe
    later(lambda: close(b"k"))
    assert keeper.keep(str(directory), SLEEP, read) == 0
    assert (directory / "log").exists()


def test_sigterm_ends_the_command_and_removes_the_directory(directory: Path) -> None:
    """SIGTERM ends the keeper with its command and its directory."""
    command = [sys.executable, "-I", "-S", keeper.__file__, str(directory), *SLEEP]
    # As a program of its own: the threads of a test's process have no part in its signals.
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 10
        while not (directory / "pid").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not directory.exists()


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 128 + 9)])
def test_a_command_that_ends_by_itself_leaves_its_code_and_its_directory(
    pipe: tuple[int, Callable[[bytes], None]], directory: Path, script: str, code: int
) -> None:
    """The keeper exits with the command's status, as a shell does, and keeps the log."""
    assert keeper.keep(str(directory), ["sh", "-c", script], pipe[0]) == code
    assert (directory / "log").exists()


def test_a_command_that_ignores_sigterm_is_killed(
    pipe: tuple[int, Callable[[bytes], None]], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the grace period the command is killed."""
    monkeypatch.setattr(keeper, "GRACE", 0.2)
    read, close = pipe
    later(lambda: close(b""))
    began = time.monotonic()
    keeper.keep(str(directory), ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], read)
    assert 0.4 < time.monotonic() - began < 30


def test_elsewhere_than_on_linux_the_keeper_does_without_a_death_signal(
    pipe: tuple[int, Callable[[bytes], None]], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper works on platforms without PR_SET_PDEATHSIG."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keeper.keep(str(directory), ["true"], pipe[0]) == 0


def test_the_script_ends_when_its_standard_input_does(directory: Path) -> None:
    """As a program the keeper ends with its standard input."""
    command = [sys.executable, "-I", "-S", keeper.__file__, str(directory), *SLEEP]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=10)
    assert not directory.exists()
