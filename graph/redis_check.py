"""Whether Redis takes what a turn needs: every command on every kind of key, one MULTI, one script, one delete.

That is done at the start, by `support-agent doctor`, and by the next probe after a command that failed.
"""

import hashlib
import uuid
from collections.abc import Sequence
from typing import Any, cast

from redis.exceptions import RedisError

from graph.redis_faults import Faults, Trouble, kind_of, trouble_of
from graph.redis_prefix import PrefixedRedis

_SCRIPT = "return 1"  # which commands a user may run is the same in scripts
_SCRIPT_HASH = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_TTL = 10  # seconds until the keys of a check expire, if they could not be deleted

_Command = tuple[str | int, ...]


async def ask_redis(redis: PrefixedRedis) -> None:
    """Send Redis the cheapest command that a turn needs; raises RedisError."""
    await redis.get("turn:")


async def find_trouble(redis: PrefixedRedis, faults: Faults) -> Trouble | None:
    """Return what keeps Redis from being used, with every command and key that it refuses; None if nothing does."""
    probe = uuid.uuid4().hex
    turn, rest = _of_a_turn(probe), _beside_turns(probe)
    try:
        refused = await _refused(redis, [*turn, *rest])
        trouble = _trouble(refused, turn, probe, redis.prefix)
        if trouble and trouble.kind == "UNKNOWN" and await _is_sentinel(redis):
            trouble = trouble_of("SENTINEL")
    except RedisError as error:  # counted where it was raised
        return trouble_of(kind_of(error))
    if trouble:
        faults.tell(trouble)
    return trouble


def _of_a_turn(probe: str) -> list[_Command]:
    turn, lock, claim = f"turn:{probe}", f"session:{probe}:lock", f"idempotency:{probe}"
    log, alive = f"run:{probe}", f"run:{probe}:alive"
    return [
        ("SET", lock, probe, "NX", "PX", _TTL * 1000),
        ("SET", turn, probe, "EX", _TTL),
        ("GET", turn),
        ("TTL", turn),
        ("SCRIPT LOAD", _SCRIPT),
        ("EVALSHA", _SCRIPT_HASH, 1, lock),
        ("PEXPIRE", lock, _TTL * 1000),
        ("XADD", log, "0-1", "event", probe),
        ("EXPIRE", log, _TTL),
        ("XLEN", log),
        ("XRANGE", log, "-", "+", "COUNT", 1),
        ("XREVRANGE", log, "+", "-", "COUNT", 1),
        ("MULTI",),
        ("SET", claim, probe, "NX", "GET", "EX", _TTL),
        ("SET", alive, probe, "EX", _TTL),
        ("EXISTS", alive),
        ("EXEC",),
        ("MGET", alive, log + ":read"),
        *(("DEL", key) for key in (turn, lock, claim, log, alive)),
    ]


def _beside_turns(probe: str) -> list[_Command]:
    """Return what the answer cache, the rate limits, ratings and actions need."""
    limit, counts, action = f"LIMITS:{probe}", f"answers:{probe}", f"action:{probe}"
    return [
        ("GET", f"answer:{probe}"),
        ("HINCRBY", counts, "hit", 1),
        ("HGETALL", "answers"),
        ("TIME",),
        ("ZADD", limit, 1, probe),
        ("ZCARD", limit),
        ("ZRANGE", limit, 0, 0),
        ("ZSCORE", limit, probe),
        ("ZREMRANGEBYSCORE", limit, 0, 0),
        ("ZPOPMIN", limit),
        ("ZCARD", "feedback:records"),
        ("XDEL", "feedback", "0-1"),
        ("SET", action, probe, "NX", "EX", _TTL),
        ("ZREM", "actions:begun", probe),
        *(("DEL", key) for key in (limit, counts, action)),
    ]


async def _refused(redis: PrefixedRedis, commands: Sequence[_Command]) -> list[tuple[_Command, RedisError]]:
    pipe = redis.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    replies = await pipe.execute(raise_on_error=False)
    pairs = zip(commands, replies, strict=True)
    return [(command, reply) for command, reply in pairs if isinstance(reply, RedisError)]


def _trouble(
    refused: Sequence[tuple[_Command, RedisError]], turn: Sequence[_Command], probe: str, prefix: str
) -> Trouble | None:
    """Return the first kind of trouble, and all that it concerns; what comes after is often its consequence."""
    if not refused:
        return None
    kind = kind_of(refused[0][1])
    same = [(command, error) for command, error in refused if kind_of(error) == kind]
    # "no permissions to access a key"
    of_keys = [command for command, error in same if kind == "WRONGTYPE" or "access" in str(error)]
    commands = [str(command[0]) for command, _ in same if command not in of_keys]
    keys = [prefix + _pattern(command, probe) for command in of_keys]
    return trouble_of(
        kind,
        commands=", ".join(dict.fromkeys(commands)),
        keys=", ".join(dict.fromkeys(keys)),
        stops_turns=refused[0][0] in turn,
    )


def _pattern(command: _Command, probe: str) -> str:
    key = str(command[3 if command[0] == "EVALSHA" else 1])
    before, found, _ = key.partition(probe)
    return f"{before}*" if found else key


async def _is_sentinel(redis: PrefixedRedis) -> bool:
    role = cast("list[Any]", await redis.execute_command("ROLE"))
    return role[0] == b"sentinel"
