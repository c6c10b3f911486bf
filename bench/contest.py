"""Contestants that take turns."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bench.load import Cost, Script, cost
from bench.servers import Server

CLIENTS = 8
"""Clients that send requests at once."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    requests: int
    """Requests of each contestant in a round."""
    quick: bool

    @property
    def each(self) -> int:
        """Requests of each client in a round."""
        return max(1, self.requests // CLIENTS)


FULL = Plan(rounds=7, requests=320, quick=False)
QUICK = Plan(rounds=3, requests=40, quick=True)


class Progress(Protocol):
    """Shows how far the rows of one group are."""

    def expect(self, steps: int) -> None:
        """Announce the number of steps."""
        ...

    def step(self) -> None:
        """Show that a step is done."""
        ...


async def in_turn(
    contestants: Sequence[Callable[[int], Awaitable[_T]]], plan: Plan, progress: Progress
) -> list[list[_T]]:
    """Call each contestant with -1 to warm it up, then all of them in turn with each round's number.

    Return the rounds' results for each contestant.
    """
    progress.expect(len(contestants) * (plan.rounds + 1))
    for contestant in contestants:
        await contestant(-1)
        progress.step()
    results: list[list[_T]] = [[] for _ in contestants]
    for number in range(plan.rounds):
        for contestant, so_far in zip(contestants, results, strict=True):
            so_far.append(await contestant(number))
            progress.step()
    return results


def costs(server: Server, script: Script, clients: int = CLIENTS) -> Callable[[int], Awaitable[Cost]]:
    """Return a contestant whose rounds are those of `script`."""
    return lambda number: cost(server, script, number, clients)
