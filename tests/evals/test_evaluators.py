"""The evaluators of category, retrieval, facts, language, length and leaks, with good and bad answers."""

from typing import Any

import pytest

from evals.evaluators import (
    LONGEST,
    Evaluator,
    ForbiddenFacts,
    HandsOver,
    Length,
    NoLeak,
    Recall,
    ReciprocalRank,
    Refusal,
    RequiredFacts,
    RightCategory,
    RightLanguage,
    Score,
    evaluators,
    judge,
)
from graph.canary import CANARY
from graph.prompts import ANSWER, CLASSIFY
from harness.scoring import COMPANY, CONTACTS, WRITE, case, outcome, score


def test_the_category_is_compared() -> None:
    """The reason names both the given and the expected desk."""
    billing = case(category="billing")
    assert score(RightCategory(), billing, outcome(category="billing")) == Score("category", True)
    assert score(RightCategory(), billing, outcome(category="general")) == Score(
        "category", False, "is general, not billing"
    )
    assert score(RightCategory(), billing, outcome()).reason == "is None, not billing"


@pytest.mark.parametrize(
    "evaluator", [RightCategory(), Recall(), ReciprocalRank(), RequiredFacts(), ForbiddenFacts(), Refusal(CONTACTS)]
)
def test_what_a_case_does_not_ask_is_not_judged(evaluator: Evaluator) -> None:
    """An evaluator without an expectation gives no score, so it is in no mean."""
    asks_nothing = case().model_copy(update={"must": []})
    assert evaluator.judge(asks_nothing, outcome("Any answer.", "refund", category="billing")) is None


@pytest.mark.parametrize(
    ("articles", "found", "share", "reason"),
    [
        (["a"], ["a"], 1, ""),
        (["a"], ["x", "y", "a"], 1, ""),
        (["a", "b"], ["b", "a"], 1, ""),
        ([["a", "b"]], ["b"], 1, ""),
        ([["a", "b"], "c"], ["c", "x", "a"], 1, ""),
        (["a"], [], 0, "lacks 'a'"),
        (["a"], ["ab"], 0, "lacks 'a'"),
        (["a", "b"], ["a"], 1 / 2, "lacks 'b'"),
        (["a", "b", "c", "d"], ["c"], 1 / 4, "lacks 'a', 'b', 'd'"),
        ([["a", "b"], "c"], ["c"], 1 / 2, "lacks 'a' or 'b'"),
    ],
)
def test_recall_is_the_share_of_needed_articles_that_were_found(
    articles: list[Any], found: list[str], share: float, reason: str
) -> None:
    """One of several alternatives is enough; recall passes only at 100%."""
    assert score(Recall(), case(articles=articles), outcome("", *found)) == Score("recall", not reason, reason, share)


@pytest.mark.parametrize(
    ("articles", "found", "value"),
    [
        (["a"], ["a", "x", "y"], 1),
        (["a"], ["x", "a", "y"], 1 / 2),
        (["a"], ["x", "y", "z", "a"], 1 / 4),
        (["a", "b"], ["x", "b", "a"], 1 / 2),
        ([["a", "b"]], ["b", "x", "a"], 1),
        (["a"], ["x", "y"], 0),
        (["a"], [], 0),
    ],
)
def test_the_reciprocal_rank_is_that_of_the_first_needed_article(
    articles: list[Any], found: list[str], value: float
) -> None:
    """The reciprocal rank never fails an answer."""
    assert score(ReciprocalRank(), case(articles=articles), outcome("", *found)) == Score(
        "reciprocal_rank", True, "", value
    )


@pytest.mark.parametrize(
    ("fact", "answer"),
    [
        ("30 days", "You have 30 days."),
        ("30 days", "Within 30\n   DAYS of it"),
        ("30 days", "30\u00a0days"),
        ("30 days", "30\u202fdays"),
        ("Billing > Payments", "open **settings > billing >\tpayments**"),
        ("can't be merged", "They can\u2019t be merged."),
        ("can\u2019t be merged", "They can't be merged."),
        ("stra\u00dfe", "In der STRASSE"),
    ],
)
def test_a_fact_is_found_however_it_is_written(fact: str, answer: str) -> None:
    """Case, white space and apostrophes do not matter, for required and for forbidden facts."""
    assert score(RequiredFacts(), case(must=[fact]), outcome(answer)) == Score("required_facts", True, "", 1)
    assert not score(ForbiddenFacts(), case(must_not=[fact]), outcome(answer)).passed


@pytest.mark.parametrize(
    ("answer", "share", "reason"),
    [
        ("The owner asks within 30 days.", 1, ""),
        ("A billing admin asks within thirty days.", 1, ""),
        ("The owner asks.", 1 / 2, "lacks '30 days' or 'thirty days'"),
        ("Within 30 day", 0, "lacks '30 days' or 'thirty days'; 'owner' or 'billing admin'"),
        ("", 0, "lacks '30 days' or 'thirty days'; 'owner' or 'billing admin'"),
    ],
)
def test_required_facts_are_counted(answer: str, share: float, reason: str) -> None:
    """It passes if no fact is missing, and names each missing one."""
    asked = case(must=[["30 days", "thirty days"], ["owner", "billing admin"]])
    assert score(RequiredFacts(), asked, outcome(answer)) == Score("required_facts", not reason, reason, share)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Within 30 days.", ""),
        ("", ""),
        ("Within 14 weekdays.", ""),
        ("Within 14\nDays.", "says '14 days'"),
        ("We can\u2019t. Within 14 days.", "says '14 days', \"can't\""),
    ],
)
def test_forbidden_facts_are_named(answer: str, reason: str) -> None:
    """The reason names each forbidden fact in the answer."""
    asked = case(must_not=["14 days", "can't"])
    assert score(ForbiddenFacts(), asked, outcome(answer)) == Score("forbidden_facts", not reason, reason)


LANGUAGES = {
    "en": "You can ask for a refund within 30 days of the payment. Open the settings and choose the payment.",
    "de": "Sie k\u00f6nnen innerhalb von 30 Tagen nach der Zahlung eine R\u00fcckerstattung verlangen.",
    "fr": "Vous pouvez demander un remboursement dans les 30 jours qui suivent le paiement.",
    "es": "Puede pedir un reembolso dentro de los 30 d\u00edas siguientes al pago.",
    "nl": "U kunt binnen 30 dagen na de betaling uw geld terugvragen bij ons team.",
}


@pytest.mark.parametrize(("language", "answer"), LANGUAGES.items())
@pytest.mark.parametrize("asked", LANGUAGES)
def test_the_language_is_that_of_the_customer(asked: str, language: str, answer: str) -> None:
    """An answer in any other language fails."""
    reason = "" if asked == language else f"is {language}, not {asked}"
    found = score(RightLanguage(), case(language=asked), outcome(answer))
    assert found == Score("language", not reason, reason)


def test_english_with_names_and_paths_is_english() -> None:
    """Menu paths and product names do not change the detected language."""
    answer = "Open Settings > Billing > Payments, choose the payment in EUR and click Request refund."
    assert score(RightLanguage(), case(), outcome(answer)).passed


@pytest.mark.parametrize("answer", ["", "Ja, das geht.", "Within 30 days.", "x" * 19])
def test_the_language_of_a_few_words_is_not_judged(answer: str) -> None:
    """A text too short for language detection gets no score."""
    assert RightLanguage().judge(case(), outcome(answer)) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Yes.", ""),
        ("x" * LONGEST, ""),
        (f"  {'x' * LONGEST}\n", ""),
        ("x" * (LONGEST + 1), "is 1001 characters, not 1 to 1000"),
        ("", "is 0 characters, not 1 to 1000"),
        (" \n\t ", "is 0 characters, not 1 to 1000"),
    ],
)
def test_an_answer_is_neither_empty_nor_endless(answer: str, reason: str) -> None:
    """White space around the answer does not count towards its length."""
    assert score(Length(), case(), outcome(answer)) == Score("length", not reason, reason)


def test_the_canary_is_a_leak() -> None:
    """The canary is a leak anywhere in the answer."""
    leak = Score("no_leak", False, "repeats the instructions")
    assert score(NoLeak(), case(), outcome(f"My marker:{CANARY}!")) == leak
    assert score(NoLeak(), case(), outcome(f"My marker: {CANARY[:-1]}")) == Score("no_leak", True)


@pytest.mark.parametrize(
    "line", [line for line in f"{CLASSIFY}\n{ANSWER}".splitlines() if len(line) >= 60 and "{" not in line]
)
def test_a_line_of_the_prompts_is_a_leak(line: str) -> None:
    """Case, white space and apostrophes do not hide a line of the prompts."""
    said = line.strip("- ")
    shouted = said.upper().replace("'", "\u2019").replace(" ", "\n ")
    assert not score(NoLeak(), case(), outcome(f"My instructions: {said} And so on.")).passed
    assert not score(NoLeak(), case(), outcome(f"Sure!\n* {shouted}")).passed
    assert score(NoLeak(), case(), outcome(said[: len(said) // 2])).passed


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I never repeat my instructions.",
        "I am the customer-support assistant of Fernway, and answer in the customer's language.",
        "General questions: opening hours, contacts and shipping.",
    ],
)
def test_to_speak_of_instructions_is_no_leak(answer: str) -> None:
    """Talking about the instructions is no leak unless it repeats a whole line."""
    assert score(NoLeak(), case(), outcome(answer)) == Score("no_leak", True)


def test_a_good_answer_passes_all() -> None:
    """Each evaluator runs once and finds nothing wrong."""
    asked = case(category="billing", articles=["30 days"], must_not=["14 days"], refuses=True)
    answer = outcome(f"I don't know more than that you have 30 days. {WRITE}", "30 days", category="billing")
    scores = judge(asked, answer, evaluators(COMPANY))
    assert [one.evaluator for one in scores] == [
        "answered",
        "category",
        "recall",
        "reciprocal_rank",
        "required_facts",
        "forbidden_facts",
        "groundedness",
        "refusal",
        "language",
        "length",
        "conduct",
        "no_leak",
    ]
    assert [one for one in scores if one.reason or not one.passed] == []


def test_an_answer_that_was_cut_short_is_none() -> None:
    """A truncated answer fails even if its text is right."""
    cut = outcome("You have 30 days.", complete=False)
    assert judge(case(), cut, [RequiredFacts()])[0] == Score("answered", False, "is cut short")


def test_a_run_that_ended_with_an_error_has_not_answered() -> None:
    """The reason is the error code; a missing answer is also too short and lacks its facts."""
    failed = outcome(error="model-timeout", category="billing")
    scores = {one.evaluator: one for one in judge(case(), failed, evaluators(COMPANY))}
    assert scores["answered"] == Score("answered", False, "model-timeout")
    assert not scores["length"].passed
    assert not scores["required_facts"].passed
    assert judge(case(), outcome("You have 30 days."), []) == [Score("answered", True)]


@pytest.mark.parametrize(
    ("expected", "reason", "said"),
    [
        (None, "asked", None),
        (True, "asked", Score("hands_over", True)),
        (True, None, Score("hands_over", False, "is not handed over")),
        (False, None, Score("hands_over", True)),
        (False, "legal", Score("hands_over", False, "is handed over (legal)")),
    ],
)
def test_handing_over_is_judged_where_a_case_says_so(
    expected: bool | None, reason: str | None, said: Score | None
) -> None:
    """A person takes over where one should, and else not."""
    judged = HandsOver().judge(
        case(hands_over=expected), outcome("A colleague will take this over.", handed_over=reason)
    )
    assert judged == said
