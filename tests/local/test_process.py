import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from harness.processes import assert_gone, family
from local import process
from local.process import LocalServiceError, NotReadyError, Program, Service, free_port

SECRET = "s3cret"

ECHO = """\
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    connection = listener.accept()[0]
    connection.sendall(os.environ["SECRET"].encode())
    connection.close()
"""


def program(command: list[str] | None = None, secret: str = SECRET) -> Program:
    """A service that sends its secret to each connection; or another command, with the port appended."""

    def check(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection:
            said = connection.recv(100).decode()
        if said == "broken":
            raise LocalServiceError("is broken")
        if said != secret:
            raise NotReadyError(f"it says {said!r}")

    return Program(
        name="The echo",
        command=lambda _, port: [*(command or [sys.executable, "-S", "-c", ECHO]), str(port)],
        check=check,
        url="echo://127.0.0.1:{port}",
        secret=secret,
        environment={"SECRET": SECRET},
    )


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        yield stranger.getsockname()[1]


def test_a_service_answers_until_it_is_stopped(temporary: Path) -> None:
    """After `wait` the service answers; after `stop` its processes and directory are gone."""
    service = Service(program())
    url = service.wait()
    assert url == service.url
    processes = family(service._keeper.pid)
    assert len(processes) == 2
    assert service.log.read_text() == "listening\n"
    service.stop()
    service.stop()  # harmless
    assert_gone(processes)
    assert list(temporary.iterdir()) == []


def test_only_its_owner_can_read_a_service_directory() -> None:
    """The directory is private, since its configuration may hold a secret."""
    with Service(program()) as service:
        assert service.log.parent.stat().st_mode & 0o777 == 0o700


def test_waiting_for_a_stopped_service_fails() -> None:
    """A stopped service cannot be waited for."""
    service = Service(program())
    service.stop()
    with pytest.raises(LocalServiceError, match="The echo was stopped before it was ready"):
        service.wait()


def test_two_services_have_nothing_in_common() -> None:
    """Each service has its own port and directory."""
    with Service(program()) as one, Service(program()) as other:
        assert one.wait() != other.wait()
        assert one.log.parent != other.log.parent


def test_a_process_that_dies_is_reported_with_its_last_words_and_its_log() -> None:
    """The error is one line with the last output and the path of the kept log."""
    service = Service(program(["sh", "-c", "echo first; echo no more disk >&2; exit 1"]))
    with pytest.raises(LocalServiceError) as caught:
        service.wait()
    assert str(caught.value) == f"The echo did not start: no more disk (log: {service.log})"
    assert service.log.read_text() == "first\nno more disk\n"


def test_a_replica_that_dies_is_reported_with_its_reason() -> None:
    """The error has the reason, not uvicorn's line after it."""
    said = "DATABASE_URL: Postgres can't be reached\nApplication startup failed. Exiting."
    with pytest.raises(LocalServiceError, match="did not start: DATABASE_URL: Postgres can't be reached "):
        Service(program(["sh", "-c", 'echo "$1"; exit 3', "sh", said])).wait()


def test_a_process_that_dies_in_silence_is_reported() -> None:
    """A process that ends without output is reported too."""
    with pytest.raises(LocalServiceError, match="did not start: no output"):
        Service(program(["true"])).wait()


def test_a_process_that_never_answers_is_ended_at_the_deadline() -> None:
    """The error names the time-out and the kept log, and the process has ended."""
    service = Service(program(["sh", "-c", "echo starting; exec sleep 60"]))
    time.sleep(0.3)  # so that there is a child to look for
    processes = family(service._keeper.pid)
    with pytest.raises(LocalServiceError) as caught:
        service.wait(deadline=0.2)
    assert str(caught.value) == f"The echo did not answer within 0.2 s (log: {service.log})"
    assert service.log.read_text() == "starting\n"
    assert_gone(processes)


def test_a_server_that_does_not_accept_the_secret_is_not_believed() -> None:
    """A server on the port must accept the secret; the error has its response."""
    service = Service(program(secret="another"))
    with pytest.raises(LocalServiceError, match=r"did not answer within 1 s: it says 's3cret' \(log:"):
        service.wait(deadline=1)


def test_a_server_that_will_never_do_is_reported_at_once() -> None:
    """A permanent failure is reported without waiting for the time-out."""
    service = Service(program(["env", "SECRET=broken", sys.executable, "-S", "-c", ECHO]))
    began = time.monotonic()
    with pytest.raises(LocalServiceError, match=r"The echo is broken \(log:"):
        service.wait(deadline=60)
    assert time.monotonic() - began < 30


def test_a_port_that_was_taken_meanwhile_costs_another_try(taken_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It retries with another port if the chosen one is taken meanwhile."""
    ports = iter([taken_port, taken_port, free_port()])
    monkeypatch.setattr(process, "free_port", lambda: next(ports))
    with Service(program()) as service:
        assert service.wait() != f"echo://127.0.0.1:{taken_port}"


def test_a_third_taken_port_is_the_last(taken_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives up after three ports."""
    monkeypatch.setattr(process, "free_port", lambda: taken_port)
    with pytest.raises(LocalServiceError, match=r"did not start: .*Address already in use"):
        Service(program()).wait()


def test_a_command_that_does_not_exist_is_reported() -> None:
    """The error names the file."""
    with pytest.raises(LocalServiceError, match=r"The echo did not start: .*'/no/such/program'"):
        Service(program(["/no/such/program"])).wait()


def test_a_directory_that_cannot_be_made_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full or read-only disk is reported in one line."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(LocalServiceError, match=r"The echo did not start: .*'/nonexistent"):
        Service(program())


def test_a_config_that_cannot_be_written_leaves_no_directory(temporary: Path) -> None:
    """A failed start removes its directory."""

    def command(directory: Path, port: int) -> list[str]:
        raise PermissionError(f"no config in {directory.name} for {port}")

    with pytest.raises(LocalServiceError, match="The echo did not start: no config in"):
        Service(Program("The echo", command, lambda _: None, "echo://", ""))
    assert list(temporary.iterdir()) == []


PARENT = """\
import sys, time
from local.model import start_model
from local.redis import start_redis
services = [start_redis(), start_model()]
if sys.argv[1] == "wait":
    for service in services:
        service.wait()
print(*(service._keeper.pid for service in services), flush=True)
if sys.argv[1] == "wait":
    time.sleep(60)
"""


@pytest.fixture
def start_parent(temporary: Path) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []

    def start(mode: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", PARENT, mode]
        environment = {**os.environ, "TMPDIR": str(temporary)}
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for parent in started:
        parent.kill()
        parent.communicate()


def keepers(parent: "subprocess.Popen[str]") -> list[int]:
    assert parent.stdout is not None
    return [int(pid) for pid in parent.stdout.readline().split()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_parent_is_killed(
    start_parent: Callable[[str], "subprocess.Popen[str]"], temporary: Path, number: signal.Signals
) -> None:
    """However the parent ends, its services and their directories go too."""
    parent = start_parent("wait")
    processes = [one for keeper in keepers(parent) for one in family(keeper)]
    assert len(processes) == 4
    assert len(list(temporary.iterdir())) == 2
    parent.send_signal(number)
    assert_gone(processes)
    assert list(temporary.iterdir()) == []


def test_nothing_is_left_when_the_parent_is_gone_before_its_services_are_ready(
    start_parent: Callable[[str], "subprocess.Popen[str]"], temporary: Path
) -> None:
    """A keeper that starts without its parent ends at once."""
    parent = start_parent("leave")
    pids = keepers(parent)
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a death signal")
def test_a_killed_keeper_takes_its_service_along() -> None:
    """The service ends even if its keeper gets SIGKILL."""
    service = Service(program())
    service.wait()
    processes = family(service._keeper.pid)
    service._keeper.kill()
    assert_gone(processes)
    service.stop()


def test_a_terminal_interrupt_does_not_reach_a_service() -> None:
    """Ctrl-C does not reach services, so that they serve while the parent drains."""
    with Service(program()) as service:
        service.wait()
        assert {os.getsid(one.pid) for one in family(service._keeper.pid)} == {service._keeper.pid}


def test_a_service_that_ended_is_revived_where_it_was(temporary: Path) -> None:
    """It restarts on its port with its data; its exit status is reported, and its log continues."""
    with Service(program()) as service:
        url = service.wait()
        (service.log.parent / "written").touch()
        assert service.revive() is None
        os.kill(service.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while (code := service.revive()) is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert code == 128 + signal.SIGKILL
        while True:
            try:
                socket.create_connection(("127.0.0.1", service.port), timeout=0.2).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        assert (service.url, (service.log.parent / "written").exists()) == (url, True)
        assert service.log.read_text().count("listening") == 2
    assert service.revive() is None
    assert not service.log.parent.exists()


def test_a_service_whose_keeper_was_terminated_is_revived() -> None:
    """It restarts without its earlier data."""
    with Service(program()) as service:
        service.wait()
        os.kill(service._keeper.pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while service.revive() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        while not service.log.exists() or service.log.read_text().count("listening") != 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_port_that_must_be_is_not_exchanged(temporary: Path, taken_port: int) -> None:
    """A service with a fixed port fails if that port is taken."""
    with pytest.raises(LocalServiceError, match="in use"):
        Service(replace(program(), port=taken_port)).wait()
