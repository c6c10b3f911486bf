"""A Redis client that puts a prefix before every key, so that several services can share one Redis."""

from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline

_NO_KEY = frozenset({"EXEC", "INFO", "MULTI", "PING", "ROLE", "SCRIPT", "TIME"})
"""The first words of the commands without a key that the service sends."""

_ALL_KEYS = frozenset({"DEL", "EXISTS", "MGET", "UNLINK", "WATCH"})
_SCRIPTS = frozenset({"EVAL", "EVALSHA"})  # with the number of their keys


class PrefixedRedis(Redis):
    """A client whose keys, those of pipelines, scripts and locks too, begin with `prefix`.

    Of a command that is not listed above, the first argument is the key.
    """

    def __init__(self, pool: ConnectionPool, prefix: str) -> None:
        super().__init__(connection_pool=pool)
        self.prefix = prefix

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's own
        """Execute a command with the keys' full names."""
        return cast("Any", await super().execute_command(*prefixed(self.prefix, args), **options))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "Pipeline":
        """Return a pipeline whose keys have the prefix."""
        pipeline = _PrefixedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.prefix = self.prefix
        return pipeline


class _PrefixedPipeline(Pipeline):
    prefix = ""

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - redis-py's own
        return super().execute_command(*prefixed(self.prefix, args), **kwargs)


def prefixed(prefix: str, args: Sequence[Any]) -> Sequence[Any]:
    """Return a command whose keys begin with `prefix`."""
    name = args[0].partition(" ")[0].upper()
    if not prefix or name in _NO_KEY:
        return args
    first, end = 1, 2
    if name in _ALL_KEYS:
        end = len(args)
    elif name in _SCRIPTS:
        first, end = 3, 3 + int(args[2])
    elif name == "XREADGROUP":  # GROUP, its name, the consumer's, options, STREAMS, keys, as many ids
        first = list(args).index(b"STREAMS", 4) + 1
        end = first + (len(args) - first) // 2
    return [_named(prefix, arg) if first <= n < end else arg for n, arg in enumerate(args)]


def _named(prefix: str, key: str | bytes) -> str | bytes:
    return prefix.encode() + key if isinstance(key, bytes) else prefix + key
