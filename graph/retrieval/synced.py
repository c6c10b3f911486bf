"""What a sync does, and how long it takes."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Difference:
    """What a set has that the one which was served has not: articles by their ids."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @classmethod
    def of(cls, before: Mapping[str, str], after: Mapping[str, str]) -> "Difference":
        """Compare the hashes of articles by their ids."""
        return cls(
            tuple(name for name in after if name not in before),
            tuple(name for name in after if name in before and before[name] != after[name]),
            tuple(name for name in before if name not in after),
        )


@dataclass(slots=True)
class Synced:
    """What a sync has done."""

    passages: int = 0
    """Of the whole set."""
    embedded: int = 0
    """Passages that the embedding model was asked for."""
    refused: int = 0
    """Passages that it refuses; they are found by their words alone."""
    difference: Difference = field(default_factory=Difference)
    number: int = 0
    """The set's number; 0 where there are no sets."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """How long each phase took: wait, read, compare, cut, embed, finish."""

    @contextmanager
    def timed(self, phase: str) -> Generator[None]:
        """Count the time of a block."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0) + time.monotonic() - began
