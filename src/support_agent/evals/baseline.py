"""What the cases gave before: a small JSON file, a line a case, that is committed and reviewed."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from support_agent.evals.cases import Dataset
from support_agent.evals.errors import CannotMeasure

_LONGEST = 240  # characters of an answer: enough to see what changed


class Before(BaseModel):
    """A case at the baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passed: bool
    """Whether most runs passed all evaluators."""
    failed: list[str]
    """The evaluators that not even most runs passed."""
    answer: str
    """Its beginning."""


class SuiteBefore(BaseModel):
    """A suite at the baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: str
    models: str
    """What answered: the models' names."""
    cases: Annotated[dict[str, Before], Field(min_length=1)]


class Baseline(BaseModel):
    """All of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suites: dict[str, SuiteBefore]


def load_baseline(file: Path, dataset: Dataset) -> dict[str, Before]:
    """Return the baseline's cases that are in the dataset; raises CannotMeasure where it is of others."""
    if not file.exists():
        raise CannotMeasure(f"{file}: there is no baseline; make one with --update-baseline")
    baseline = _read(file)
    before: dict[str, Before] = {}
    for suite, digest in dataset.hashes.items():
        if suite not in baseline.suites or baseline.suites[suite].hash != digest:
            raise CannotMeasure(f"{file}: is of other cases than {suite}.yaml has now; see --update-baseline")
        before |= baseline.suites[suite].cases
    return before


def save_baseline(file: Path, dataset: Dataset, models: str, now: Mapping[str, Before], *, whole: bool) -> None:
    """Write what the dataset's cases gave; unless these are the whole, other suites stay as they are."""
    suites = {
        suite: SuiteBefore(hash=digest, models=models, cases={case.id: now[case.id] for case in dataset.suites[suite]})
        for suite, digest in dataset.hashes.items()
    }
    kept: dict[str, SuiteBefore] = {}
    if file.exists() and not whole:
        with suppress(CannotMeasure):  # it is made anew
            kept = _read(file).suites
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_json({**kept, **suites}), encoding="utf-8")


def shortened(answer: str) -> str:
    """Return as much of an answer as a baseline keeps."""
    text = " ".join(answer.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _read(file: Path) -> Baseline:
    try:
        return Baseline.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError):
        raise CannotMeasure(f"{file}: is no baseline; restore it, or make it anew with --update-baseline") from None


def _json(suites: Mapping[str, SuiteBefore]) -> str:
    """Return the file's text, each case on a line of its own."""
    blocks = ",\n".join(f"    {json.dumps(name)}: {_block(suite)}" for name, suite in sorted(suites.items()))
    return f'{{\n  "suites": {{\n{blocks}\n  }}\n}}\n'


def _block(suite: SuiteBefore) -> str:
    lines = ",\n".join(
        f"      {json.dumps(case)}: {json.dumps(before.model_dump(), ensure_ascii=False)}"
        for case, before in suite.cases.items()
    )
    about = f'"hash": {json.dumps(suite.hash)}, "models": {json.dumps(suite.models)}'
    return f'{{{about}, "cases": {{\n{lines}\n    }}}}'
