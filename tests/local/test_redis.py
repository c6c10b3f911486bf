import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.commands.search.field import TextField
from redis.commands.search.index_definition import IndexDefinition, IndexType

from harness.processes import family
from local import redis as bundled
from local.process import LocalServiceError, NotReadyError, Service
from local.redis import Installation, find_redis, start_redis


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


def redis_on_path(binaries: Path, version: str) -> Path:
    server = binaries / "redis-server"
    server.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0:0 malloc=libc bits=64'\n")
    server.chmod(0o755)
    return server


def test_the_bundled_redis_stores_json_and_searches_it(client: "redis.Redis") -> None:
    """It has the two modules that a checkpointer needs."""
    index = client.ft("local-test")
    definition = IndexDefinition(prefix=["local-test:"], index_type=IndexType.JSON)
    index.create_index([TextField("$.text", as_name="text")], definition=definition)
    client.json().set("local-test:1", "$", {"text": "a refund within thirty days"})
    assert "local-test:1" in str(client.execute_command("FT.SEARCH", "local-test", "refund"))


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
    found = find_redis()
    server = tmp_path / "redis-server"
    shutil.copyfile(found.server, server)
    server.chmod(0o644)
    with start_redis(Installation(server, found.modules)) as service:
        assert service.wait()


def test_a_server_whose_run_bit_cannot_be_set_runs_as_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages may lie where the user cannot write."""
    found = find_redis()
    server = tmp_path / "redis-server"
    shutil.copyfile(found.server, server)
    server.chmod(0o644)
    chmod = Path.chmod

    def refuse(path: Path, mode: int) -> None:
        if path == server:
            raise PermissionError(path)
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", refuse)
    with start_redis(Installation(server, found.modules)) as service:
        service.wait()
        assert service.log.with_name("redis-server").exists()


def test_a_redis_without_the_modules_is_refused() -> None:
    """A Redis that cannot hold checkpoints is no use."""
    service = start_redis(Installation(find_redis().server))
    with pytest.raises(LocalServiceError, match=r"^The bundled Redis lacks the module ReJSON and search \(log"):
        service.wait()


def test_a_redis_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The reason is Redis's own, without its prefix of process and time."""
    missing = tmp_path / "no.so"
    service = start_redis(Installation(find_redis().server, (missing,)))
    with pytest.raises(LocalServiceError, match=r"^The bundled Redis did not start: Can't load module from"):
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
def test_a_platform_without_a_bundled_redis_is_told_what_to_set() -> None:
    """One clear line."""
    with pytest.raises(LocalServiceError) as caught:
        find_redis("linux", "aarch64")
    assert str(caught.value) == (
        "The bundled Redis does not run on linux aarch64: set REDIS_URL to a Redis 8 (or any with JSON and Search)."
    )


@pytest.mark.usefixtures("nothing_on_path")
def test_an_installation_without_the_packages_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear line."""
    monkeypatch.setattr(bundled.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LocalServiceError) as caught:
        find_redis("linux", "x86_64")
    assert str(caught.value) == (
        "The bundled Redis is not installed (dependency group `local`): "
        "install it, or set REDIS_URL to a Redis 8 (or any with JSON and Search)."
    )


def test_macos_runs_the_server_of_the_redis_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS one package has all of it."""
    stack = tmp_path / "redis-stack-server"
    files = [stack / "bin" / "redis-server", stack / "lib" / "rejson.so", stack / "lib" / "redisearch.so"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setattr(bundled, "_package", lambda _: tmp_path)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType] - its argument is unused
    assert find_redis("darwin", "arm64") == Installation(files[0], (files[1], files[2]))


def test_elsewhere_a_redis_8_on_the_path_is_used(nothing_on_path: Path) -> None:
    """A system's own Redis does, with its modules if it has them as files."""
    server = redis_on_path(nothing_on_path, "8.0.3")
    assert find_redis("linux", "aarch64") == Installation(server)
    library = nothing_on_path.parent / "lib" / "redis" / "modules"
    library.mkdir(parents=True)
    for name in ("redisearch.so", "rejson.so", "redisbloom.so"):
        (library / name).touch()
    modules = (library / "rejson.so", library / "redisearch.so")
    assert find_redis("linux", "aarch64") == Installation(server, modules)


@pytest.mark.parametrize("version", ["7.2.4", "unknown"])
def test_an_older_redis_on_the_path_is_not_used(nothing_on_path: Path, version: str) -> None:
    """Redis 7 has neither JSON nor Search of its own."""
    redis_on_path(nothing_on_path, version)
    with pytest.raises(LocalServiceError, match="does not run on freebsd amd64"):
        find_redis("freebsd", "amd64")
