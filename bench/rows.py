"""The rows of the table: what is compared with what, and how much it may be."""

from dataclasses import dataclass

MS = "ms CPU"

_MEMORY = "plain LangGraph with AsyncRedisSaver"
_HEALTH = "10,000 passages in memory: the slowest `GET /health` during"
_FIRST = "`POST /chat/stream`, time to first token beyond the model's"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the service, mostly beside the same figure of a peer."""

    key: str
    ours: str
    """What the service does."""
    peer: str | None
    """What it is compared with; None for a figure that has no peer."""
    unit: str
    bar: float
    """The most that it may be: of the ratio ours ÷ peer, or if `absolute` or without a peer, of our own figure."""
    moonshot: float
    """What it would be at best."""
    absolute: bool = False
    quick: bool = True
    """Whether a quick run measures it too."""

    @property
    def by_ratio(self) -> bool:
        """Whether the bar is for the ratio."""
        return self.peer is not None and not self.absolute


def _streams(count: int, pace: str) -> tuple[Row, ...]:
    name = f"{count:,} open `GET /stream` of {pace}"
    return (
        Row(f"streams-{count}-errors", f"{name}: streams that failed", None, "streams", 0, 0, quick=False),
        Row(
            f"streams-{count}-gap",
            f"{name}: p99 gap between tokens over the model's",
            None,
            "ms",
            250,
            250,
            quick=False,
        ),
        Row(f"streams-{count}-memory", f"{name}: memory for each", None, "kB", 120, 120, quick=False),
    )


ROWS = (
    Row("ask-sdk", "`POST /ask`, not cached", "two calls of the OpenAI SDK", MS, 1.4, 1.0),
    Row("ask-graph", "`POST /ask`, not cached", "plain LangGraph", MS, 0.5, 0.4),
    Row("stream-sdk", "`GET /stream`, not cached", "the OpenAI SDK's stream", MS, 0.75, 0.5),
    Row("chat-graph", "`POST /chat`", _MEMORY, MS, 0.45, 0.3),
    Row("cached-get", "`POST /ask`, cached", "one `GET` of Redis", MS, 3, 2),
    Row("first-token-1", f"{_FIRST}, 1 client", _MEMORY, "ms", 0.5, 0.25, quick=False),
    Row("first-token-50", f"{_FIRST}, 50 clients", _MEMORY, "ms", 0.5, 0.25, quick=False),
    Row("redis-turn", "Redis commands of a `POST /chat`", None, "commands", 8, 8),
    Row("redis-cached", "Redis commands of a cached `POST /ask`", None, "commands", 1, 1),
    Row("memory", "idle memory", _MEMORY, "MB", 140, 120, absolute=True, quick=False),
    Row("start", "start to ready", _MEMORY, "s", 2, 1.5, absolute=True, quick=False),
    Row("turn-1000", "`POST /chat`, turn 1,000", "turn 20", MS, 1.1, 1.0, quick=False),
    Row("articles-10000", "`POST /ask` with 10,000 articles", "with 90", MS, 1.5, 1.2, quick=False),
    Row("health-start", f"{_HEALTH} a start that reads and indexes them", None, "ms", 50, 20, quick=False),
    Row("health-change", f"{_HEALTH} a change of one of their articles", None, "ms", 50, 20, quick=False),
    Row("health-questions", f"{_HEALTH} 8 questions at once", None, "ms", 50, 20, quick=False),
    Row("passage-memory", "10,000 passages in memory: memory for each", None, "kB", 12, 8, quick=False),
    *_streams(1000, "1 token/s"),
    *_streams(150, "20 tokens/s"),
)  # fmt: skip
"""All rows, in the table's order."""
