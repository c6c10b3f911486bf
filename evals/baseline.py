"""The baseline: the results of an earlier evaluation, as a JSON file with one line per case, for commit and review."""

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
"""Its name in a baseline."""

_LONGEST = 240  # characters of an answer, enough to see what changed


class BaselineCase(BaseModel):
    """A case's result in the baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passed: bool
    """Whether most runs passed all evaluators."""
    failed: list[str]
    """The evaluators that at most half of the runs passed."""
    answer: str
    """The answer's beginning."""

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.passed and self.failed:
            raise ValueError("passed, and failed evaluators")
        return self


class BaselineSuite(BaseModel):
    """A suite's results in the baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: str
    models: str
    """The names of the models that answered, or OFFLINE."""
    cases: Annotated[dict[str, BaselineCase], Field(min_length=1)]


class Baseline(BaseModel):
    """The results of all suites."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suites: dict[str, BaselineSuite]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The part of a baseline that an evaluation is compared with."""

    models: str
    cases: Mapping[str, BaselineCase]


def load_baseline(file: Path, dataset: Dataset, *, offline: bool, whole: bool) -> Comparison:
    """Read a baseline; raises CannotMeasure if it has other cases than the dataset, or another kind of model.

    If the dataset is `whole`, not one suite only, the baseline must not have further suites.
    """
    if not file.exists():
        raise CannotMeasure(f"{file}: no baseline found; create one with --update-baseline")
    baseline = _read(file)
    for suite in dataset.suites:
        if not _is_of(baseline, suite, dataset):
            raise CannotMeasure(f"{file}: has other cases than {suite}.yaml; update it with --update-baseline")
    if whole and (gone := sorted(baseline.suites.keys() - dataset.suites.keys())):
        raise CannotMeasure(
            f"{file}: has suites that do not exist ({', '.join(gone)}); update it with --update-baseline"
        )
    for suite in dataset.suites:
        models = baseline.suites[suite].models
        if (models == OFFLINE) != offline:
            ours = OFFLINE if offline else "a configured model"
            raise CannotMeasure(
                f"{file}: was measured with {models}, not with {ours}; name another file with --baseline"
            )
    return _comparison(baseline, dataset.suites)


def load_unchanged(file: Path, dataset: Dataset, *, offline: bool) -> Comparison | None:
    """Read the suites of a baseline whose cases and kind of model have not changed; return None if there are none."""
    if not file.exists():
        return None
    try:
        baseline = _read(file)
    except CannotMeasure:  # it is about to be replaced
        return None
    same = [
        suite
        for suite in dataset.suites
        if _is_of(baseline, suite, dataset) and (baseline.suites[suite].models == OFFLINE) == offline
    ]
    return _comparison(baseline, same) if same else None


def save_baseline(file: Path, dataset: Dataset, models: str, now: Mapping[str, BaselineCase], *, whole: bool) -> None:
    """Write the results of the dataset's cases; unless the dataset is `whole`, other suites stay unchanged."""
    suites = {
        suite: BaselineSuite(
            hash=digest, models=models, cases={case.id: now[case.id] for case in dataset.suites[suite]}
        )
        for suite, digest in dataset.hashes.items()
    }
    kept: dict[str, BaselineSuite] = {}
    if file.exists() and not whole:
        with suppress(CannotMeasure):  # an invalid file is replaced
            kept = _read(file).suites
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_json({**kept, **suites}), encoding="utf-8")


def _is_of(baseline: Baseline, suite: str, dataset: Dataset) -> bool:
    """Whether the baseline has the suite, with exactly the cases that the dataset has."""
    before = baseline.suites.get(suite)
    ids = {case.id for case in dataset.suites[suite]}
    return before is not None and before.hash == dataset.hashes[suite] and before.cases.keys() == ids


def _comparison(baseline: Baseline, suites: Iterable[str]) -> Comparison:
    some = [baseline.suites[suite] for suite in suites]
    models = sorted({suite.models for suite in some})
    return Comparison("; ".join(models), {name: case for suite in some for name, case in suite.cases.items()})


def shortened(answer: str) -> str:
    """Return an answer's beginning, as a baseline stores it."""
    text = " ".join(answer.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _read(file: Path) -> Baseline:
    try:
        return Baseline.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError):
        raise CannotMeasure(
            f"{file}: is not a valid baseline; restore it, or replace it with --update-baseline"
        ) from None


def _json(suites: Mapping[str, BaselineSuite]) -> str:
    """Return the file's text, with one line per case."""
    blocks = ",\n".join(f"    {json.dumps(name)}: {_block(suite)}" for name, suite in sorted(suites.items()))
    return f'{{\n  "suites": {{\n{blocks}\n  }}\n}}\n'


def _block(suite: BaselineSuite) -> str:
    lines = ",\n".join(
        f"      {json.dumps(case)}: {json.dumps(before.model_dump(), ensure_ascii=False)}"
        for case, before in suite.cases.items()
    )
    about = f'"hash": {json.dumps(suite.hash)}, "models": {json.dumps(suite.models)}'
    return f'{{{about}, "cases": {{\n{lines}\n    }}}}'
