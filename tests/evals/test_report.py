"""The report of an evaluation, as a pull request's comment shows it."""

from typing import Any

import pytest

from evals.baseline import OFFLINE
from evals.cases import Dataset
from evals.judging import Judged
from evals.report import MARK, markdown
from harness.reports import BAD, DATASET, FAILED, GOOD, OUTCOMES, PASSED, case, evaluation, outcome, repeated


def test_the_report_begins_with_what_was_measured() -> None:
    """The first line is the marker by which the next comment finds this one."""
    text = markdown(evaluation())
    assert text.startswith(
        f"{MARK}\n\n## Evaluation: passed\n\n5 cases, dataset `{DATASET.hash}`, answered by gpt-a, gpt-b.\n"
    )
    assert "runs each" not in text
    assert "LangSmith" not in text
    assert "The judge" not in text


@pytest.mark.parametrize(
    ("policy", "row"),
    [
        ({"floor": 0.24}, "| pass rate | ❌ | 60.0% (23.1% to 88.2%), lower bound must be at least 24% |"),
        ({"floor": 0.23}, "| pass rate | ✅ | 60.0% (23.1% to 88.2%), lower bound must be at least 23% |"),
        (
            {"suites": {"billing": 0.2}},
            "| pass rate of billing | ❌ | 50.0% (15.0% to 85.0%), lower bound must be at least 20% |",
        ),
        ({"p95_seconds": 2.5}, "| latency | ❌ | p95 3.00 s, budget 2.5 s |"),
        ({"p95_seconds": 3}, "| latency | ✅ | p95 3.00 s, budget 3 s |"),
        ({"dollars": 0.002}, "| cost | ❌ | $0.0021 per question, budget $0.002 |"),
        (
            {"alpha": 0.51},
            "| not worse than the baseline | ❌ | 2 intents worse, 1 better; p = 0.5, must be at least 0.51 |",
        ),
    ],
)
def test_each_check_is_a_row(policy: dict[str, Any], row: str) -> None:
    """Each check is a row, and a failed one blocks and changes the title."""
    text = markdown(evaluation(**policy))
    assert row in text.splitlines()
    assert ("## Evaluation: blocked" in text) == ("❌" in row)
    assert ("## Evaluation: passed" in text) == ("✅" in row)


@pytest.mark.parametrize(
    "row",
    [
        "| suite | cases | passed | rate | 95% interval | baseline |",
        "| billing | 4 | 2 | 50.0% | 15.0% to 85.0% | 50.0% |",
        "| opening | 1 | 1 | 100.0% | 20.7% to 100.0% | 100.0% |",
        "| **all** | 5 | 3 | 60.0% | 23.1% to 88.2% | 60.0% |",
        "| tune | 3 | 2 | 66.7% | 20.8% to 93.9% | 33.3% |",
        r"| held\_out | 2 | 1 | 50.0% | 9.5% to 90.5% | 100.0% |",
    ],
)
def test_each_rate_has_its_cases_interval_and_baseline(row: str) -> None:
    """Rates by suite, split and in total have Wilson intervals, computed by hand here."""
    assert row in markdown(evaluation()).splitlines()


@pytest.mark.parametrize(
    "row",
    [
        "| retrieval recall | 75.0% |",
        "| retrieval MRR | 50.0% |",
        "| grounded answers | 80.0% |",
        "| latency p50 | 1.00 s |",
        "| latency p95 | 3.00 s |",
        "| tokens | 120 |",
        "| cost | $0.0105 |",
    ],
)
def test_each_figure_is_a_row(row: str) -> None:
    """Means count only the cases that have the figure; tokens and cost are totals."""
    assert row in markdown(evaluation()).splitlines()


def test_the_cases_are_paired_with_the_baseline() -> None:
    """A two-by-two table compares both runs, with the test by intent."""
    assert (
        "|  | passes now | fails now |\n"
        "| --- | --- | --- |\n"
        "| passed before | 2 | **1** |\n"
        "| failed before | 1 | 1 |\n\n"
        "By intent: 2 worse, 1 better; one-sided exact McNemar test: p = 0.5.\n"
    ) in markdown(evaluation())


def test_a_regressed_case_is_told_from_question_to_mistake() -> None:
    """A regressed case is shown with questions, expectation, both answers and mistakes."""
    _, _, regressed = markdown(evaluation()).partition("### Regressed\n\n")
    told, _, _ = regressed.partition("\n\n#### `tax`")
    assert told.split("\n\n") == [
        "#### `refund`",
        "**Customer:** Hello there",
        "**Customer:** I paid twice",
        "**Customer:** How long is refund?",
        (
            "**Expected:** category billing; article 'refund'; article 'terms' or 'law'; says '30 days' or "
            "'thirty days'; says 'full'; does not say '14 days'"
        ),
        "**Before** (passed): Within 30 days.",
        "**After:** Only 14 days.",
        (
            r"**Wrong:** category: is general, not billing; recall: lacks 'terms' or 'law'; required\_facts: lacks "
            r"'30 days' or 'thirty days'; 'full'; forbidden\_facts: says '14 days'; groundedness: no article says 14"
        ),
    ]


def test_a_case_that_failed_before_and_fails_in_more_is_regressed_too() -> None:
    """Its failed evaluators are listed, and an error stands for a missing answer."""
    _, _, told = markdown(evaluation()).partition("#### `tax`\n\n")
    assert told.split("\n\n")[1:] == [
        "**Expected:** says '30 days'; says that it does not know, and names a contact",
        r"**Before** (required\_facts): I cannot help.",
        "**After:** answer-withheld",
        (
            r"**Wrong:** answered: answer-withheld; required\_facts: lacks '30 days'; refusal: does not say that it "
            "does not know; length: is 0 characters, not 1 to 1000"
        ),
        "Improved: `price`\n",
    ]


def test_what_did_not_change_is_not_told() -> None:
    """An unchanged case is neither regressed nor improved."""
    same = {"refund": FAILED, "hours": PASSED}
    dataset = Dataset({"billing": [case("refund")], "opening": [case("hours")]})
    runs = {"refund": [outcome("refund", "You have a full month.")], "hours": [outcome("hours", GOOD)]}
    text = markdown(evaluation(dataset, runs, same))
    assert "| passed before | 1 | **0** |\n| failed before | 0 | 1 |" in text
    assert "Regressed" not in text
    assert "Improved" not in text


def test_without_a_baseline_nothing_is_compared() -> None:
    """Without a baseline only the rates are shown."""
    text = markdown(evaluation(before=None))
    assert "| **all** | 5 | 3 | 60.0% | 23.1% to 88.2% |  |" in text.splitlines()
    assert "Compared with the baseline" not in text
    assert "Regressed" not in text


def test_no_more_than_forty_regressed_cases_are_told() -> None:
    """The first 40 regressed cases are shown, and the others only named."""
    names = [f"case-{number}" for number in range(42)]
    dataset = Dataset({"billing": [case(name) for name in names]})
    text = markdown(evaluation(dataset, {name: [outcome(name, BAD)] for name in names}, dict.fromkeys(names, PASSED)))
    assert text.count("#### `case-") == 40
    assert text.endswith("\n\nAnd 2 more: `case-40`, `case-41`.\n")


@pytest.mark.parametrize(
    ("answers", "row"),
    [
        ((GOOD, GOOD, GOOD), "| pass^3 | 1 | 1 | 100.0% | 20.7% to 100.0% |  |"),
        ((BAD, GOOD, GOOD), "| pass^3 | 1 | 0 | 0.0% | 0.0% to 79.3% |  |"),
        ((BAD, GOOD, GOOD, GOOD), "| pass^3 | 1 | 0.25 | 25.0% | 1.5% to 88.2% |  |"),
    ],
)
def test_runs_of_a_case_are_told(answers: tuple[str, ...], row: str) -> None:
    """The report has the number of runs and pass^3; a case passes by majority."""
    text = markdown(repeated(*answers))
    assert f"1 cases, {len(answers)} runs each, dataset" in text
    assert row in text.splitlines()
    assert "| billing | 1 | 1 | 100.0% | 20.7% to 100.0% | 100.0% |" in text.splitlines()


def test_two_runs_are_too_few_for_three_in_a_row() -> None:
    """With two runs there is no row for pass^3."""
    text = markdown(repeated(GOOD, GOOD))
    assert "2 runs each" in text
    assert "pass^3" not in text


def test_the_report_says_what_it_can_not() -> None:
    """It lists unanswered cases, unknown prices, a judge that is down and the offline model's limits."""
    runs = {**OUTCOMES, "seats": [outcome("seats", GOOD)]}
    text = markdown(evaluation(outcomes=runs, unmeasured=["tax"], judge_error="gpt-judge is away", models=OFFLINE))
    assert (
        f"4 cases, dataset `{DATASET.hash}`, answered by the offline model. The baseline is from gpt-a, gpt-b." in text
    )
    assert "The offline model ignores instructions" in text
    assert "Not measured, because they got no answer: `tax`." in text
    assert "The judge does not count: gpt-judge is away." in text
    assert "| cost | unknown |" in text
    assert "| billing | 3 |" in text


@pytest.mark.parametrize(("agreement", "says"), [(0.7, "enough to count"), (0.699, "too low to count")])
def test_the_judge_is_told_with_its_agreement(agreement: float, says: str) -> None:
    """The judge's agreement decides whether it counts; the experiment is named too."""
    good = {"refund": False, "seats": True, "price": True, "tax": False, "hours": True}
    text = markdown(evaluation(judged=Judged("gpt-judge", agreement, 60, good, {}), experiment="eval-1"))
    assert "LangSmith experiment: eval-1. The judge gpt-judge finds 60.0% of the answers good." in text
    assert f"Its agreement with our 60 labels is κ = 0.70, {says}." in text
