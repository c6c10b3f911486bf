"""What `support-agent doctor` says of Redis: broken set-ups, and ones that are odd but work."""

import logging
import socketserver
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import typer

from cli.doctor import doctor
from harness.acl import documented_rules
from harness.own_redis import OwnRedis, own_redis
from harness.redis_setups import PASSWORD, clustered, demote, fill, mend, sentinel, unsaved, with_user

Examine = Callable[[str], tuple[int, str, str]]

CLUSTER = (
    "REDIS_URL: Redis runs in cluster mode, or spreads its keys over several shards, which is not supported; "
    "use a Redis with cluster mode off and one shard; at Azure, choose the clustering policy Non-clustered"
)
PRIMARY = "set REDIS_URL to the address of the primary"
RIGHTS = "docs/deploy.md lists the commands and keys that the user needs"
OWN_KEYS = "set SUPPORT_REDIS_PREFIX, or end REDIS_URL with the number of a database of its own"
LOGIN = "REDIS_URL: Redis refused the login; correct its user or password"
VERSION = "use Redis 7.2 or Valkey 8, or later, in which no command that docs/deploy.md lists is renamed"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[OwnRedis]:
    with own_redis(tmp_path_factory.mktemp("redis")) as own:
        yield own


@pytest.fixture
def own(server: OwnRedis) -> Generator[OwnRedis]:
    """A Redis, one for all tests, which is mended after each."""
    yield server
    mend(server)


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], articles: Path) -> Examine:
    """Run `doctor`; return its exit code, and what it says of Redis."""

    def examine(url: str) -> tuple[int, str, str]:
        monkeypatch.setenv("REDIS_URL", url)
        monkeypatch.setenv("SUPPORT_KNOWLEDGE", str(articles))
        code = 0
        try:
            doctor()
        except typer.Exit as ended:
            code = ended.exit_code
        finally:
            logging.disable(logging.NOTSET)
        said = capsys.readouterr()
        assert PASSWORD not in said.out + said.err
        return code, said.out, said.err

    return examine


def without_command(own: OwnRedis) -> str:
    return with_user(own, "~*", "+@all", "-xadd", "-xlen")


def without_keys(own: OwnRedis) -> str:
    return with_user(own, "~turn:*", "~run:*", "~answer*", "~feedback*", "~LIMITS:*", "~action*", "+@all")


def without_limits(own: OwnRedis) -> str:
    return with_user(own, "~*", "+@all", "-zadd", "-zpopmin")


def without_transactions(own: OwnRedis) -> str:
    return with_user(own, "~*", "+@all", "-exec")


def without_rights(own: OwnRedis) -> str:
    return with_user(own)


def full(own: OwnRedis) -> str:
    fill(own)
    return own.url


def a_replica(own: OwnRedis) -> str:
    demote(own)
    return own.url


def lonely(own: OwnRedis) -> str:
    own.send("CONFIG", "SET", "min-replicas-to-write", 1)
    return own.url


def the_wrong_password(own: OwnRedis) -> str:
    return with_user(own, "~*", "+@all").replace(PASSWORD, "wrong")


def a_user_that_is_off(own: OwnRedis) -> str:
    return with_user(own, "~*", "+@all", "off")


def no_such_database(own: OwnRedis) -> str:
    return own.url.replace("/0", "/99")


def anothers_answers(own: OwnRedis) -> str:
    own.send("RPUSH", "answers", "theirs")
    return own.url


def anothers_ratings(own: OwnRedis) -> str:
    own.send("SET", "feedback", "theirs")
    return own.url


def an_unknown_host(own: OwnRedis) -> str:
    return own.url.replace("127.0.0.1", "redis.invalid")


def an_unknown_option(own: OwnRedis) -> str:
    return f"{own.url}?timeout_ms=5"


def a_bad_option(own: OwnRedis) -> str:
    return f"{own.url}?socket_timeout=5s"


@pytest.mark.parametrize(
    ("setup", "complaint"),
    [
        (without_command, f"does not let its user run XADD, XLEN; {RIGHTS}"),
        (without_keys, f"does not let its user use the keys session:*, idempotency:*; {RIGHTS}"),
        (without_limits, f"does not let its user run ZADD, ZPOPMIN; {RIGHTS}"),
        (without_transactions, f"does not let its user run EXEC; {RIGHTS}"),
        (
            full,
            "is full; raise its maxmemory, or lower SUPPORT_RATABLE_ANSWERS, SUPPORT_SESSION_TTL and SUPPORT_CACHE_TTL",
        ),
        (a_replica, f"is a read-only replica; {PRIMARY}"),
        (lonely, "has too few replicas, and so refuses writes; start them, or lower min-replicas-to-write"),
        (the_wrong_password, LOGIN),
        (a_user_that_is_off, LOGIN),
        (no_such_database, "does not have the database that REDIS_URL names; end REDIS_URL with /0"),
        (anothers_answers, f"has another program's data under answers; {OWN_KEYS}"),
        (anothers_ratings, f"has another program's data under feedback; {OWN_KEYS}"),
        (an_unknown_host, "has a host name without an address; correct REDIS_URL"),
        (an_unknown_option, "REDIS_URL: has an option after the ? that is unknown, or has a bad value"),
        (a_bad_option, "REDIS_URL: has an option after the ? that is unknown, or has a bad value"),
    ],
)
def test_doctor_names_the_cause_and_the_remedy(
    own: OwnRedis, examine: Examine, setup: Callable[[OwnRedis], str], complaint: str
) -> None:
    """In one line, without a password; it exits with 1."""
    code, _, said = examine(setup(own))
    assert (code, said) == (1, f"Redis     {complaint}\n")


def test_doctor_names_all_that_a_user_may_not_do(own: OwnRedis, examine: Examine) -> None:
    """A user without any rights gets the whole list, in the order of a turn."""
    code, _, said = examine(without_rights(own))
    assert code == 1
    assert said.startswith("Redis     does not let its user run SET, GET, TTL, SCRIPT LOAD, EVALSHA, PEXPIRE, XADD")


def test_doctor_names_a_cluster(tmp_path: Path, examine: Examine) -> None:
    """Also one with a single node, which takes every command but those of several keys."""
    with clustered(tmp_path) as own:
        assert examine(own.url)[::2] == (1, f"Redis     {CLUSTER}\n")


def test_doctor_names_a_sentinel(own: OwnRedis, tmp_path: Path, examine: Examine) -> None:
    """Whether REDIS_URL has its port or its scheme."""
    with sentinel(tmp_path, own) as watching:
        complaint = f"Redis     REDIS_URL: Redis is a Sentinel, which keeps no data; {PRIMARY}\n"
        assert examine(watching.url)[::2] == (1, complaint)


def test_doctor_names_a_disk_that_can_not_be_written(tmp_path: Path, examine: Examine) -> None:
    """Such a Redis answers every PING."""
    with unsaved(tmp_path) as own:
        complaint = "can't save to its disk, and so refuses writes; free disk space; its own log has the reason"
        assert examine(own.url)[::2] == (1, f"Redis     {complaint}\n")


def test_doctor_names_a_renamed_command(tmp_path: Path, examine: Examine) -> None:
    """As some providers do."""
    with own_redis(tmp_path, "--rename-command", "EVALSHA", "") as own:
        assert examine(own.url)[::2] == (1, f"Redis     does not know EVALSHA; {VERSION}\n")


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (
            b"-DENIED Redis is running in protected mode because protected mode is enabled\r\n",
            "is in protected mode, in which it accepts no other machines; give it a password",
        ),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer as Redis does; correct the host or port in REDIS_URL"),
        (b"", "closes the connection without an answer; write rediss:// in REDIS_URL if it expects TLS"),
    ],
    ids=["protected", "a web server", "TLS"],
)
def test_doctor_names_what_hangs_up(examine: Examine, said: bytes, complaint: str) -> None:
    """A Redis in protected mode, another program on that port, and a Redis that expects TLS are three things."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler(said)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        code, _, complaints = examine(f"redis://127.0.0.1:{server.server_address[1]}/0")
        server.shutdown()
    assert (code, complaints[: len(complaint) + 10]) == (1, f"Redis     {complaint}")


def handler(said: bytes) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(said)

    return Handler


@pytest.mark.parametrize("option", ["decode_responses=true", "encoding=utf-16"])
def test_doctor_is_content_with_options_for_other_programs(own: OwnRedis, examine: Examine, option: str) -> None:
    """The service reads bytes, whatever form the URL asks for."""
    own.send("HSET", "answers", "hit", 1, "miss", 1)
    code, said, _ = examine(f"{own.url}?{option}")
    assert (code, "50% of 2 came without asking the model" in said) == (0, True)


def the_documented_user(own: OwnRedis) -> str:
    return with_user(own, *documented_rules())


def an_evicting_one(own: OwnRedis) -> str:
    own.send("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    return own.url


def another_database(own: OwnRedis) -> str:
    return own.url.replace("/0", "/3")


def one_without_administration(own: OwnRedis) -> str:
    return with_user(own, "~*", "+@all", "-ping", "-info", "-config", "-keys", "-client", "-flushall", "-@admin")


@pytest.mark.parametrize("setup", [the_documented_user, an_evicting_one, another_database, one_without_administration])
def test_doctor_is_content_with_what_works(own: OwnRedis, examine: Examine, setup: Callable[[OwnRedis], str]) -> None:
    """However odd it is; it exits with 0, and leaves nothing behind."""
    code, said, complaints = examine(setup(own))
    assert (code, complaints) == (0, "")
    assert "takes what the service needs" in said
    assert own.send("DBSIZE") == 0


def test_doctor_is_content_with_a_socket(tmp_path: Path, examine: Examine) -> None:
    """A Unix socket needs no host."""
    path = tmp_path / "redis.sock"
    with own_redis(tmp_path, "--unixsocket", str(path)):
        assert examine(f"unix://{path}")[0] == 0
