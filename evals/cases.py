"""The evaluation cases, read from one YAML file per suite."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from evals.errors import CannotMeasure
from graph.state import Question

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Text = Annotated[str, Field(pattern=r"\S")]
AnyOf = Text | Annotated[list[Text], Field(min_length=1)]
"""One text, or several alternatives."""


class Case(BaseModel):
    """A customer's question, and what the answer must satisfy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Name
    intent: Name
    """What the customer wants, however it is worded; cases with the same intent are not independent."""
    split: Literal["tune", "held_out"]
    """`held_out` cases are never used to tune a prompt."""
    history: list[Question] = []
    """The customer's earlier messages in the same conversation."""
    question: Question
    category: Text | None = None
    """The desk that the question belongs to; None if two are equally right."""
    articles: list[AnyOf] = []
    """Ids of articles that retrieval must find."""
    must: list[AnyOf] = []
    """What the answer must state; letter case and white space are ignored."""
    must_not: list[Text] = []
    """What the answer must not state."""
    refuses: bool = False
    """No article answers the question: the answer must say so and name a contact."""
    hands_over: bool | None = None
    """Whether a person takes over; None if the case is about something else."""
    proposes: Text | None = None
    """The tool whose call is proposed to the customer, or `nothing`; None if the case is about something else."""
    language: Annotated[str, Field(pattern="^[a-z]{2}$")] = "en"
    """The answer's language, ISO 639-1."""
    safety: bool = False
    """A wrong answer would be a security or privacy failure."""

    @model_validator(mode="after")
    def _says_what_must_hold(self) -> Self:
        expected = (self.articles, self.must, self.must_not, self.refuses, self.proposes)
        if not any(expected) and self.hands_over is None:
            raise ValueError("has no expectations: add articles, must, must_not, refuses, hands_over or proposes")
        return self


NEED_TOOLS = frozenset({"tool_use"})
"""The suites that only a model that calls tools can pass."""

NOTHING = "nothing"
"""What a case proposes that should propose nothing."""

_suite = TypeAdapter(Annotated[list[Case], Field(min_length=1)])


@dataclass(frozen=True)
class Dataset:
    """The cases by suite."""

    suites: Mapping[str, list[Case]]

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """All cases, in file order."""
        return tuple(case for cases in self.suites.values() for case in cases)

    @cached_property
    def suite_of(self) -> Mapping[str, str]:
        """Each case's suite, by case id."""
        return {case.id: suite for suite, cases in self.suites.items() for case in cases}

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """A hash of each suite's cases, 12 hexadecimal digits."""
        return {suite: _hash([_expected(case) for case in cases]) for suite, cases in self.suites.items()}

    @cached_property
    def hash(self) -> str:
        """A hash of all suites."""
        return _hash(self.hashes)

    def without(self, cases: Collection[str]) -> "Dataset":
        """Return the dataset without these cases, and without suites that become empty."""
        suites = {suite: [case for case in some if case.id not in cases] for suite, some in self.suites.items()}
        return Dataset({suite: some for suite, some in suites.items() if some})

    def require(self, articles: Collection[str]) -> None:
        """Raise CannotMeasure if a case needs an article that does not exist."""
        for case in self.cases:
            needed = {one for several in case.articles for one in ([several] if isinstance(several, str) else several)}
            if lacking := sorted(needed - set(articles)):
                raise CannotMeasure(
                    f"{self.suite_of[case.id]}.yaml: case {case.id!r} needs the article {lacking[0]!r}, which is not "
                    "in the knowledge folder; restore it, or change the case"
                )

    def require_desks(self, desks: Collection[str]) -> None:
        """Raise CannotMeasure if a case belongs to a desk that the company does not have."""
        for case in self.cases:
            if case.category is not None and case.category not in desks:
                raise CannotMeasure(
                    f"{self.suite_of[case.id]}.yaml: case {case.id!r} has the category {case.category!r}, which is no "
                    f"desk in company.yaml; it must be one of {', '.join(desks)}"
                )


def _expected(case: Case) -> dict[str, Any]:
    """Return what the hash of a suite covers; what a case says nothing of leaves it as it was."""
    return case.model_dump(exclude={name for name in ("hands_over", "proposes") if getattr(case, name) is None})


def suites_in(folder: Path, *, offline: bool = False) -> list[str]:
    """Return the names of the suites in a folder; the offline model calls no tools."""
    names = {file.stem for file in folder.glob("*.yaml") if file.is_file()}
    return sorted(names - NEED_TOOLS if offline else names)


def load_dataset(folder: Path, suite: str | None = None, *, offline: bool = False) -> Dataset:
    """Read all suites of a folder, or one; raises CannotMeasure, naming the problem and the place."""
    names = suites_in(folder, offline=offline)
    if offline and suite in NEED_TOOLS:
        raise CannotMeasure(f"--suite {suite}: needs a model that calls tools, which the offline model does not")
    if not names:
        raise CannotMeasure(f"{folder}: no cases found; each suite is a YAML file in this folder")
    if suite is not None and suite not in names:
        raise CannotMeasure(f"--suite {suite}: no such suite; the suites are {', '.join(names)}")
    dataset = Dataset({name: _load(folder / f"{name}.yaml") for name in names if suite in (None, name)})
    if len(dataset.suite_of) < len(dataset.cases):
        ids = [case.id for case in dataset.cases]
        raise CannotMeasure(f"{folder}: the id {next(one for one in ids if ids.count(one) > 1)!r} is used twice")
    return dataset


def schema() -> dict[str, Any]:
    """Return the JSON schema of a suite."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_suite.json_schema()}


def _load(file: Path) -> list[Case]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise CannotMeasure(f"{file.name}: is not valid YAML{'' if line is None else f' in line {line + 1}'}") from None
    try:
        return _suite.validate_python(found)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place, *field = first["loc"] or ("",)
        where = ": ".join(filter(None, (_named(found, place), ".".join(map(str, field)))))
        message = first["msg"].removeprefix("Value error, ")
        raise CannotMeasure(": ".join(filter(None, (file.name, where, message)))) from None


def _named(found: Any, place: object) -> str:  # noqa: ANN401 - anything that YAML can contain
    """Return a case's id, or its number if it has no id."""
    if not isinstance(place, int):
        return ""
    case: Any = found[place]
    name = cast("dict[str, object]", case).get("id") if isinstance(case, dict) else None
    return f"case {name!r}" if isinstance(name, str) else f"case {place + 1}"


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
