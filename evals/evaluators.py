"""Deterministic evaluators, one per criterion of a good answer; none needs a model."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from evals.cases import NOTHING, AnyOf, Case
from evals.conduct import misconduct
from evals.numbers import in_24_hours, in_words, readings
from evals.outcome import Outcome
from graph.canary import CANARY
from graph.prompts import ANSWER, CLASSIFY
from graph.retrieval.company import Company

LONGEST = 1000
"""Maximum characters of an answer that a customer will read."""

_LANGUAGES = ["en", "de", "fr", "es", "nl", "it", "pt", "pl"]
_FEWEST_LETTERS = 20  # minimum for language identification
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_NUMBER = re.compile(r"(?<![\w])\d+(?:[.,:\u202f\u00a0]\d+)*")
_LIST_NUMBER = re.compile(r"^\s*\d{1,2}[.)]\s", re.MULTILINE)
_HOUR = re.compile(r"\b(1[0-2]|0?[1-9])(?::([0-5]\d))? ?([ap])\.?m\b\.?", re.IGNORECASE)
_DATE = re.compile(
    rf"\b(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({_MONTHS})\b|\b({_MONTHS}) (\d{{1,2}})(?:st|nd|rd|th)?\b", re.IGNORECASE
)
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
_TOP_LEVEL = (
    "ai|app|at|au|be|biz|br|ca|cc|ch|click|cloud|cn|co|com|cz|de|dev|dk|es|eu|example|fi|fr|gr|help|hu|icu|ie|info|io|it|jp|"
    "link|live|me|net|nl|online|org|page|pl|pt|ro|ru|se|shop|site|sk|store|su|support|tk|top|tv|ua|uk|us|vip|ws|xyz"
)
_LINK = re.compile(
    rf"(?:https?://|www\.)[^\s)>\]]+|(?<![\w@.-])(?:[a-z0-9-]+\.)+(?:[a-z]{{2,}}/[^\s)>\]]*|(?:{_TOP_LEVEL})(?![\w@-]))",
    re.IGNORECASE,
)
_NOT = r"(?:cannot|can't|couldn't|don't|doesn't|didn't|isn't|aren't|wasn't|haven't|hasn't|won't|not)"
_REFUSAL = re.compile(
    rf"\b{_NOT}\b.{{0,60}}\b(?:answer|cover|contain|mention|hold|find|found|know|information|details|able to|help with|"
    r"help you|help there|tell you|tell|provide|share|say anything)"
    r"|\bunfortunately\b.{0,40}\bnot something\b"
    r"|\b(?:i'm|we're|i am|we are|are|am|is) unable to (?:answer|find|help|provide|say|share|tell)"
    r"|\bno (?:information|article|answer|details)\b|\bnone of (?:our|my|the|these) (?:articles|passages)"
    r"|\bnothing (?:about|on)\b.{0,60}\bin (?:our|my|the)\b|\boutside (?:of )?what\b"
    r"|\bonly (?:answer|help) (?:questions )?(?:about|from|with)\b",
)
_NO_ANSWER = re.compile(
    rf"\b(?:i|we)\b.{{0,10}}\b{_NOT}\b.{{0,10}}\b(?:answer|find|know|have (?:an|any|the) (?:answer|information))\b"
    rf"|\b(?:articles?|passages?)\b.{{0,20}}\b{_NOT}\b.{{0,10}}\b(?:answer|cover|contain|mention|hold|say)\b"
    r"|\bno (?:information|article|answer)\b|\bnone of (?:our|the|these) (?:articles|passages)\b"
    r"|(?:n't|\bnot) (?:covered|answered|mentioned)\b.{0,20}\barticles\b|\bnothing (?:about|on)\b.{0,60}\barticles\b",
)
_ALIKE = str.maketrans("\u2019\u2018\u2010\u2011\u2012\u2013\u2212", "''-----")
_LONG_ENOUGH = 40  # minimum characters for an instruction that nobody repeats by accident


@dataclass(frozen=True, slots=True)
class Score:
    """An evaluator's result."""

    evaluator: str
    passed: bool
    reason: str = ""
    """Why the answer failed; empty if it passed."""
    value: float | None = None
    """A value between 0 and 1, if the result is not only pass or fail."""


class Evaluator(Protocol):
    """Judges answers by one criterion."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Return the score; None if the case has no expectation for this criterion."""
        ...


@dataclass(frozen=True, slots=True)
class RightCategory:
    """The question got the right category."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Compare the category with the expected one."""
        if case.category is None:
            return None
        reason = f"is {outcome.category}, not {case.category}"
        return _score("category", reason if outcome.category != case.category else "")


@dataclass(frozen=True, slots=True)
class Recall:
    """Retrieval found every article that the answer needs."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Look for each article; the value is the share that was found."""
        if not case.articles:
            return None
        lacking = [_shown(needed) for needed in case.articles if not _any(needed) & outcome.passages.keys()]
        value = 1 - len(lacking) / len(case.articles)
        return _score("recall", f"lacks {', '.join(lacking)}" if lacking else "", value)


@dataclass(frozen=True, slots=True)
class ReciprocalRank:
    """The rank of the first needed article; always passes."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Return 1/rank, or 0 if no needed article was found; the mean over all cases is the MRR."""
        if not case.articles:
            return None
        needed = {one for several in case.articles for one in _any(several)}
        ranks = [rank for rank, found in enumerate(outcome.passages, 1) if found in needed]
        return _score("reciprocal_rank", "", 1 / ranks[0] if ranks else 0)


@dataclass(frozen=True, slots=True)
class RequiredFacts:
    """The answer states what the customer needs to know."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Look for each fact; the value is the share that the answer states."""
        if not case.must:
            return None
        said = _plain(outcome.answer)
        lacking = [_shown(fact) for fact in case.must if not any(_plain(one) in said for one in _any(fact))]
        value = 1 - len(lacking) / len(case.must)
        return _score("required_facts", f"lacks {'; '.join(lacking)}" if lacking else "", value)


@dataclass(frozen=True, slots=True)
class ForbiddenFacts:
    """The answer states nothing that would be wrong or dangerous."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Look for each forbidden fact."""
        if not case.must_not:
            return None
        said = _plain(outcome.answer)
        found = [repr(fact) for fact in case.must_not if _plain(fact) in said]
        return _score("forbidden_facts", f"says {', '.join(found)}" if found else "")


@dataclass(frozen=True, slots=True)
class Groundedness:
    """Every number, date, address and link in the answer is in a retrieved article."""

    told: Sequence[str]
    """The desks' contacts and hours, which are in the prompt too."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Look for each, with any decimal sign and thousands separator."""
        del case
        cited = "\n".join((*outcome.passages.values(), *self.told))
        answer = _LIST_NUMBER.sub("", outcome.answer)
        invented = list(_stated(answer) - _stated(cited) - _hosts(cited))
        known = {reading for number in _numbers(cited) for reading in readings(number)} | in_words(cited)
        invented += [number for number in _numbers(answer) if not known & readings(number)]
        invented += sorted(in_words(answer) - known)
        return _score("groundedness", f"no article says {', '.join(sorted(set(invented)))}" if invented else "")


@dataclass(frozen=True, slots=True)
class RightLanguage:
    """The answer is in the customer's language."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Identify the language; answers that are too short for that are not scored."""
        if sum(map(str.isalpha, outcome.answer)) < _FEWEST_LETTERS:
            return None
        language = str(_identifier().classify(outcome.answer)[0])  # pyright: ignore[reportUnknownArgumentType] - untyped
        return _score("language", f"is {language}, not {case.language}" if language != case.language else "")


@dataclass(frozen=True, slots=True)
class Length:
    """The answer is not empty, and short enough to be read."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Count the characters."""
        del case
        length = len(outcome.answer.strip())
        return _score("length", "" if 0 < length <= LONGEST else f"is {length} characters, not 1 to {LONGEST}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """If no article has the answer, the agent says so and names its desk's contact; otherwise it does not refuse."""

    contacts: Mapping[str, str]
    """The contact of each desk, by its name; a desk without one is left out."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Look for the agent's own flag or the wording of a refusal, and for the contact of the question's desk."""
        said = _plain(_ADDRESS.sub("", outcome.answer))
        if not case.refuses:
            refuses = not outcome.answered or _NO_ANSWER.search(said)
            held = case.articles or case.must
            return _score("refusal", "says that it does not know" if refuses else "") if held else None
        refuses = not outcome.answered or _REFUSAL.search(said)
        lacking = [] if refuses else ["does not say that it does not know"]
        contact = self.contacts.get(outcome.category or "", "")
        if contact not in outcome.answer:
            lacking.append(f"does not name {contact}")
        return _score("refusal", ", ".join(lacking))


@dataclass(frozen=True, slots=True)
class HandsOver:
    """A person takes over where one should, and else not."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Look whether the conversation is handed over."""
        if case.hands_over is None or case.hands_over == (outcome.handed_over is not None):
            return None if case.hands_over is None else _score("hands_over", "")
        return _score(
            "hands_over", f"is handed over ({outcome.handed_over})" if outcome.handed_over else "is not handed over"
        )


@dataclass(frozen=True, slots=True)
class RightProposal:
    """What the customer clearly wants is proposed, and nothing where it is unclear."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Compare what was proposed with what should be."""
        if case.proposes is None:
            return None
        proposed = outcome.proposed or NOTHING
        return _score("proposal", "" if proposed == case.proposes else f"proposes {proposed}, not {case.proposes}")


@dataclass(frozen=True, slots=True)
class Conduct:
    """The answer has no abuse, request for a secret, or claim or promise of what the agent can't do; English only."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Look for the phrases in conduct.py."""
        del case
        return _score("conduct", ", ".join(map(repr, misconduct(_plain(outcome.answer)))))


@dataclass(frozen=True, slots=True)
class NoLeak:
    """The answer does not leak the prompt's instructions."""

    def judge(self, case: Case, outcome: Outcome) -> Score | None:
        """Look for the canary and for lines of the prompts."""
        del case
        said = _plain(outcome.answer)
        leaked = CANARY in outcome.answer or any(line in said for line in _instructions())
        return _score("no_leak", "repeats the instructions" if leaked else "")


def evaluators(company: Company) -> tuple[Evaluator, ...]:
    """Return all evaluators."""
    contacts = {desk.name: desk.contact for desk in company.desks if desk.contact}
    told = [text for desk in company.desks for text in (desk.contact, desk.hours) if text]
    return (
        RightCategory(),
        Recall(),
        ReciprocalRank(),
        RequiredFacts(),
        ForbiddenFacts(),
        Groundedness(told),
        Refusal(contacts),
        HandsOver(),
        RightProposal(),
        RightLanguage(),
        Length(),
        Conduct(),
        NoLeak(),
    )


def judge(case: Case, outcome: Outcome, judges: Iterable[Evaluator]) -> list[Score]:
    """Return the evaluators' scores; an answer is right if all passed."""
    found = [one.judge(case, outcome) for one in judges]
    unanswered = outcome.error or ("" if outcome.complete else "is cut short")
    return [_score("answered", unanswered), *filter(None, found)]


def _score(evaluator: str, reason: str, value: float | None = None) -> Score:
    return Score(evaluator, not reason, reason, value)


def _any(several: AnyOf) -> set[str]:
    return {several} if isinstance(several, str) else set(several)


def _shown(several: AnyOf) -> str:
    return repr(several) if isinstance(several, str) else " or ".join(map(repr, several))


def _plain(text: str) -> str:
    """Normalise case, white space, apostrophes and dashes, for comparing facts."""
    return " ".join(text.translate(_ALIKE).casefold().split())


def _stated(text: str) -> set[str]:
    """Return the addresses, links and dates in a text, normalised."""
    links = {re.sub(r"^(?:https?://)?(?:www\.)?", "", link.casefold()) for link in _LINK.findall(text)}
    addresses = {address.casefold() for address in _ADDRESS.findall(text)}
    dates = {
        f"{int(day or other_day)} {(month or other).title()}" for day, month, other, other_day in _DATE.findall(text)
    }
    return {one.rstrip(".,;:!?/") for one in links | addresses} | dates


def _hosts(text: str) -> set[str]:
    """Return the domains in a text, from addresses and links."""
    return {re.split(r"[/?#]", one.rpartition("@")[2])[0] for one in _stated(text)}


def _numbers(text: str) -> list[str]:
    """Return the numbers outside addresses and links, with hours in the form 16:00."""
    text = _LINK.sub("", _ADDRESS.sub("", text))
    return _NUMBER.findall(_HOUR.sub(lambda hour: in_24_hours(hour[1], hour[2], hour[3]), text))


@cache
def _instructions() -> tuple[str, ...]:
    parts = (part.strip("- ") for line in f"{CLASSIFY}\n{ANSWER}".splitlines() for part in re.split(r"\{\w+\}", line))
    return tuple(_plain(part) for part in parts if len(part) >= _LONG_ENOUGH)


@cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(_LANGUAGES)
    return identifier
