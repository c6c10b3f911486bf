"""The last conversations, as a team looks at them: what went wrong comes first.

They are made of the records for ratings and of the ratings, so nothing more is stored for them: masked, a day at most.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from graph.observe.feedback import Feedback, Rating, Record, answer_of

MOST: Final = 1000
"""Answers that are looked through."""

SHOWN: Final = 200
"""Conversations that are returned."""

BAD: Final = 0.5
"""A rating below this is a bad one."""

_DAYS = 2  # of ratings; a record lives for one


@dataclass(frozen=True, slots=True)
class InboxTurn:
    """A question with its answer, masked."""

    record: Record
    rating: Rating | None

    @property
    def is_bad(self) -> bool:
        """Whether it was rated badly, was not answered, or failed."""
        is_disliked = self.rating is not None and self.rating.score < BAD
        return is_disliked or not self.record.answered or self.record.error is not None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation, or a question outside any."""

    id: str
    tenant: str
    turns: Sequence[InboxTurn]
    """Oldest first; what is older than the records is missing."""
    handoff: str | None
    """The id of the hand-over that is open."""

    @property
    def is_bad(self) -> bool:
        """Whether any of its turns is."""
        return any(turn.is_bad for turn in self.turns)


class Inbox:
    """The last conversations."""

    def __init__(self, feedback: Feedback) -> None:
        self._feedback = feedback

    async def latest(self, tenant: str | None, handoffs: Collection[str]) -> list[Conversation]:
        """Return the last conversations of a tenant, or of all; raises MemoryUnavailable.

        Those in one of the `handoffs`, the ids of those that are open, come first, then those with a bad turn, each the
        latest first.
        """
        ratings = _worst(await self._feedback.latest(_DAYS))
        records = await self._feedback.records(MOST)
        own = [record for record in records if record.run_id and tenant in (None, record.tenant)]
        found = [_conversation(name, some, ratings, handoffs) for name, some in _grouped(own).items()]
        found.sort(key=lambda one: (one.handoff is None, not one.is_bad, -one.turns[-1].record.at))
        return found[:SHOWN]


def _worst(ratings: Sequence[Rating]) -> dict[str, Rating]:
    """Return the worst rating of each answer, which its cache hits share."""
    worst: dict[str, Rating] = {}
    for rating in ratings:
        name = answer_of(rating.run_id)
        if name not in worst or rating.score <= worst[name].score:
            worst[name] = rating
    return worst


def _grouped(records: Sequence[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.at):
        groups.setdefault(record.session or record.run_id, []).append(record)
    return groups


def _conversation(
    name: str, records: Sequence[Record], ratings: Mapping[str, Rating], handoffs: Collection[str]
) -> Conversation:
    turns = [InboxTurn(record, ratings.get(answer_of(record.run_id))) for record in records]
    handoff = next((record.handoff for record in reversed(records) if record.handoff in handoffs), None)
    return Conversation(name, records[0].tenant, turns, handoff)
