"""Which function measures which rows."""

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from bench import alone, measures, passages
from bench.contest import Plan, Progress
from bench.results import Samples
from bench.rows import ROWS, Row
from bench.servers import Lab

Measure = Callable[[Lab, Plan, Progress], Coroutine[Any, Any, dict[str, Samples]]]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are measured together."""

    name: str
    measure: Measure
    keys: tuple[str, ...]


GROUPS = (
    Group("a question", measures.asks, ("ask-sdk", "ask-graph")),
    Group("a streamed answer", measures.streams, ("stream-sdk",)),
    Group("a turn", measures.chats, ("chat-graph",)),
    Group("a cached answer", measures.cached, ("cached-get",)),
    Group("first token, 1 client", measures.first_of_one, ("first-token-1",)),
    Group("first token, 50 clients", measures.first_of_many, ("first-token-50",)),
    Group("Redis commands", alone.commands, ("redis-turn", "redis-cached")),
    Group("starts", measures.starts, ("memory", "start")),
    Group("1,000 turns", alone.long_sessions, ("turn-1000",)),
    Group("10,000 articles", alone.many_articles, ("articles-10000",)),
    Group(
        "10,000 passages",
        passages.many_passages,
        ("health-start", "health-change", "health-questions", "passage-memory"),
    ),
    Group("1,000 slow streams", alone.slow_streams, tuple(f"streams-1000-{it}" for it in ("errors", "gap", "memory"))),
    Group("150 fast streams", alone.fast_streams, tuple(f"streams-150-{it}" for it in ("errors", "gap", "memory"))),
)
"""All groups, in the order in which they are measured."""


def wanted(plan: Plan, keys: Collection[str]) -> tuple[list[Group], dict[str, str]]:
    """Return the groups that measure the rows `keys` (none: all of the plan's), and why other rows are left out."""

    def reason(row: Row) -> str | None:
        if keys:
            return None if row.key in keys else "not asked for"
        return None if row.quick or not plan.quick else "a quick run leaves it out"

    left_out = {row.key: why for row in ROWS if (why := reason(row))}
    return [group for group in GROUPS if not left_out.keys() >= set(group.keys)], left_out
