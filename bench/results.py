"""The results of a run, as bench/results.json holds them."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Self

from pydantic import BaseModel

from bench.load import Cost
from bench.rows import ROWS, Row

_LIBRARIES = (
    "fastapi", "uvicorn", "openai", "langchain-core", "langchain-openai", "langgraph", "langgraph-checkpoint-redis",
    "redis", "pydantic", "uvloop",
)  # fmt: skip
_DIGITS = 4  # significant ones


class Spread(BaseModel):
    """The median of a row's rounds, and their quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of at least one value."""
        quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
        low, median, high = (float(f"{value:.{_DIGITS}g}") for value in quartiles)
        return cls(median=median, low=low, high=high)

    @property
    def width(self) -> float:
        """The distance of the quartiles."""
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class Samples:
    """What the rounds of a row gave, in its unit; the peer's are in the same order."""

    ours: Sequence[float]
    peer: Sequence[float] | None = None
    our_rates: Sequence[float] | None = None
    """Requests per second."""
    peer_rates: Sequence[float] | None = None

    @classmethod
    def of(cls, ours: Sequence[Cost], peer: Sequence[Cost]) -> Self:
        """Return the samples of two contestants."""
        return cls(
            [cost.cpu for cost in ours],
            [cost.cpu for cost in peer],
            [cost.rate for cost in ours],
            [cost.rate for cost in peer],
        )


class Result(BaseModel):
    """A measured row."""

    ours: Spread
    peer: Spread | None = None
    our_rate: Spread | None = None
    """Requests per second; without meaning on a busy machine."""
    peer_rate: Spread | None = None
    ratio: Spread | None = None
    """Ours ÷ peer, of each round."""
    unit: str
    bar: float
    moonshot: float
    met: bool
    """Whether the bar is met."""
    moonshot_met: bool

    @classmethod
    def of(cls, row: Row, samples: Samples) -> Self:
        """Return a row's result."""
        ours = Spread.of(samples.ours)
        ratio = None
        if samples.peer:
            ratio = Spread.of([our / peer for our, peer in zip(samples.ours, samples.peer, strict=True)])
        judged = ratio if ratio and row.by_ratio else ours
        return cls(
            ours=ours,
            peer=Spread.of(samples.peer) if samples.peer else None,
            our_rate=Spread.of(samples.our_rates) if samples.our_rates else None,
            peer_rate=Spread.of(samples.peer_rates) if samples.peer_rates else None,
            ratio=ratio,
            unit=row.unit,
            bar=row.bar,
            moonshot=row.moonshot,
            met=judged.median <= row.bar,
            moonshot_met=judged.median <= row.moonshot,
        )


class Machine(BaseModel):
    """Where it was measured."""

    cpu: str
    cores: int
    system: str
    python: str

    @classmethod
    def this(cls) -> Self:
        """Describe this machine."""
        return cls(
            cpu=_cpu(),
            cores=os.cpu_count() or 1,
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
        )


class Results(BaseModel):
    """A run."""

    date: str
    """UTC, ISO 8601."""
    machine: Machine
    versions: dict[str, str]
    quick: bool
    rounds: int
    requests: int
    """Requests of a contestant in a round."""
    rows: dict[str, Result]
    left_out: dict[str, str]
    """Why a row was not to be measured, by the row's key."""
    failed: dict[str, str]
    """Why a row could not be measured, by the row's key."""

    @classmethod
    def of(
        cls,
        samples: Mapping[str, Samples],
        left_out: dict[str, str],
        failed: dict[str, str],
        *,
        quick: bool,
        rounds: int,
        requests: int,
    ) -> Self:
        """Return the results of a run on this machine."""
        return cls(
            date=datetime.now(UTC).date().isoformat(),
            machine=Machine.this(),
            versions={name: version(name) for name in _LIBRARIES},
            quick=quick,
            rounds=rounds,
            requests=requests,
            rows={row.key: Result.of(row, samples[row.key]) for row in ROWS if row.key in samples},
            left_out=left_out,
            failed=failed,
        )

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a results.json; raises OSError or ValueError."""
        return cls.model_validate_json(file.read_text("utf-8"))

    def write(self, file: Path) -> None:
        """Write a results.json."""
        file.write_text(self.model_dump_json(indent=2, exclude_none=True) + "\n", "utf-8")


def _cpu() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
