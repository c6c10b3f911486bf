"""Streams of events in Redis, in batches: entry `0-n` holds the events up to the n-th, one JSON object a line."""

from collections.abc import Iterable, Sequence

from redis.asyncio import Redis

from graph.events import Event, events_json

_APPEND = """\
local added = redis.pcall('xadd', KEYS[1], ARGV[1], 'event', ARGV[2], unpack(ARGV, 5))
if type(added) == 'table' and added.err and not added.err:find('equal or smaller', 1, true) then return added end
redis.call('expire', KEYS[1], ARGV[3])
if ARGV[4] == '0' then redis.call('del', KEYS[2]) end
if ARGV[4] > '0' and redis.call('get', KEYS[2]) ~= 'cancel' then redis.call('set', KEYS[2], 'run', 'EX', ARGV[4]) end"""


class Batches:
    """Writes batches; a batch that is written again, because it seemed to have failed, is there once."""

    def __init__(self, redis: Redis) -> None:
        self._append = redis.register_script(_APPEND)

    async def append(
        self,
        stream: str,
        after: int,
        events: Sequence[Event],
        ttl: int,
        *,
        owner: str | None = None,
        heartbeat: tuple[str, int] | None = None,
    ) -> None:
        """Write the events that follow the `after`-th, in one atomic step; the stream expires `ttl` seconds later.

        `owner` becomes a field of the entry. `heartbeat` is a key to set for so many seconds, or with 0 to delete.
        Raises RedisError.
        """
        key, seconds = heartbeat or ("", "")
        lines = b"\n".join(map(events_json.dump_json, events))
        more = [] if owner is None else ["owner", owner]
        await self._append([stream, key] if key else [stream], [f"0-{after + len(events)}", lines, ttl, seconds, *more])


def numbered(entries: Iterable[tuple[bytes, dict[bytes, bytes]]], after: int) -> list[tuple[int, Event]]:
    """Return the events of a stream's entries that follow the `after`-th, with their numbers.

    Batches overlap where Redis executed a write that seemed to have failed.
    """
    found: list[tuple[int, Event]] = []
    for name, fields in entries:
        events = [events_json.validate_json(line) for line in fields[b"event"].split(b"\n")]
        last = int(name.split(b"-")[1])
        for n, event in enumerate(events, last - len(events) + 1):
            if n > after:
                found.append((n, event))
                after = n
    return found
