"""What the cases gave before: a small JSON file, a line a case, that is committed and reviewed."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evals.cases import Dataset
from evals.errors import CannotMeasure

OFFLINE = "the offline model"
"""What a baseline calls it."""

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

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.passed and self.failed:
            raise ValueError("passed, and failed evaluators")
        return self


class SuiteBefore(BaseModel):
    """A suite at the baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: str
    models: str
    """What answered: the models' names, or OFFLINE."""
    cases: Annotated[dict[str, Before], Field(min_length=1)]


class Baseline(BaseModel):
    """All of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suites: dict[str, SuiteBefore]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared with."""

    models: str
    cases: Mapping[str, Before]


def load_baseline(file: Path, dataset: Dataset, *, offline: bool, whole: bool) -> Comparison:
    """Read what to compare with; raises CannotMeasure where that is of other cases, or of another kind of model.

    If the dataset is the `whole`, the baseline may have no other suites.
    """
    if not file.exists():
        raise CannotMeasure(f"{file}: there is no baseline; make one with --update-baseline")
    baseline = _read(file)
    for suite in dataset.suites:
        if not _is_of(baseline, suite, dataset):
            raise CannotMeasure(f"{file}: is of other cases than {suite}.yaml has now; see --update-baseline")
    if whole and (gone := sorted(baseline.suites.keys() - dataset.suites.keys())):
        raise CannotMeasure(
            f"{file}: has cases of {', '.join(gone)}, which there are none of now; see --update-baseline"
        )
    for suite in dataset.suites:
        models = baseline.suites[suite].models
        if (models == OFFLINE) != offline:
            ours = OFFLINE if offline else "a configured model"
            raise CannotMeasure(f"{file}: is of {models}, which says nothing of {ours}; name another with --baseline")
    return _comparison(baseline, dataset.suites)


def load_unchanged(file: Path, dataset: Dataset, *, offline: bool) -> Comparison | None:
    """Read what a new baseline can be compared with: the suites whose cases are the same; None where there are none."""
    if not file.exists():
        return None
    try:
        baseline = _read(file)
    except CannotMeasure:  # it is made anew
        return None
    same = [
        suite
        for suite in dataset.suites
        if _is_of(baseline, suite, dataset) and (baseline.suites[suite].models == OFFLINE) == offline
    ]
    return _comparison(baseline, same) if same else None


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


def _is_of(baseline: Baseline, suite: str, dataset: Dataset) -> bool:
    """Whether the baseline has the suite, and just the cases that it has now."""
    before = baseline.suites.get(suite)
    ids = {case.id for case in dataset.suites[suite]}
    return before is not None and before.hash == dataset.hashes[suite] and before.cases.keys() == ids


def _comparison(baseline: Baseline, suites: Iterable[str]) -> Comparison:
    some = [baseline.suites[suite] for suite in suites]
    models = sorted({suite.models for suite in some})
    return Comparison("; ".join(models), {name: case for suite in some for name, case in suite.cases.items()})


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
