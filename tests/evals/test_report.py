"""What is told of an evaluation, what the judge is compared with, and what outlives a broken run."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml
from markdown_it import MarkdownIt

from conftest import REPOSITORY
from evals.baseline import OFFLINE, Before, Comparison, shortened
from evals.cases import Case, Dataset
from evals.errors import CannotMeasure
from evals.evaluation import Evaluation, Plan, dollars, results
from evals.evaluators import evaluators, judge
from evals.gate import Policy, gate
from evals.judging import Judged, kappa, load_labels
from evals.outcome import Outcome
from evals.report import MARK, markdown, write_report
from evals.run import Journal
from graph.retrieval.articles import load_library

ARTICLE = "A full refund within 30 days of the payment. Team costs 12 euros. Open from 9:00 to 17:00."
GOOD = "You have 30 days."
BAD = "You have 14 days."
PASSED = Before(passed=True, failed=[], answer="Within 30 days.")
FAILED = Before(passed=False, failed=["required_facts"], answer="I cannot help.")


def case(name: str, **fields: Any) -> Case:
    some = {"id": name, "intent": name, "split": "tune", "question": f"How long is {name}?", "must": ["30 days"]}
    return Case.model_validate({**some, **fields})


def outcome(name: str, answer: str, repeat: int = 0, **fields: Any) -> Outcome:
    some = {"case": name, "repeat": repeat, "answer": answer, "passages": {"other": "", "refund": ARTICLE}}
    return Outcome.model_validate({**some, **fields})


DATASET = Dataset(
    {
        "billing": [
            case(
                "refund",
                history=["Hello there", "I paid twice"],
                category="billing",
                articles=["refund", ["terms", "law"]],
                must=[["30 days", "thirty days"], "full"],
                must_not=["14 days"],
                split="held_out",
            ),
            case("seats"),
            case("price", articles=["refund"]),
            case("tax", refuses=True),
        ],
        "opening": [case("hours", split="held_out")],
    }
)
OUTCOMES = {
    "refund": [outcome("refund", "Only 14 days.", category="general", seconds=3, tokens=100, dollars=0.01)],
    "seats": [outcome("seats", GOOD, seconds=1, tokens=20, dollars=0.0005)],
    "price": [outcome("price", GOOD, seconds=2, dollars=0)],
    "tax": [outcome("tax", "", seconds=1, error="answer-withheld")],
    "hours": [outcome("hours", GOOD, seconds=1, dollars=0)],
}
BEFORE = {"refund": PASSED, "seats": PASSED, "price": FAILED, "tax": FAILED, "hours": PASSED}


def evaluation(
    dataset: Dataset = DATASET,
    outcomes: Mapping[str, Sequence[Outcome]] = OUTCOMES,
    before: Mapping[str, Before] | None = BEFORE,
    judged: Judged | None = None,
    judge_error: str | None = None,
    experiment: str | None = None,
    unmeasured: Sequence[str] = (),
    models: str = "gpt-a, gpt-b",
    **policy: Any,
) -> Evaluation:
    """What these outcomes come to, by the real evaluators and the real gate."""
    rules = Policy.model_validate({"floor": 0, "alpha": 0.04, "p95_seconds": 15, "dollars": 0.02, **policy})
    repeats = len(next(iter(outcomes.values())))
    compared = None if before is None else Comparison("gpt-a, gpt-b", before)
    offline = models == OFFLINE
    plan = Plan(dataset, repeats, compared, rules, offline, Path("unused"), labels=None, upload=False)
    dataset = dataset.without(unmeasured)
    judges = evaluators(["billing@fernway.example"])
    scores = {case.id: [judge(case, run, judges) for run in outcomes[case.id]] for case in dataset.cases}
    runs = [run for some in outcomes.values() for run in some]
    costs = dollars(runs, len(runs))
    verdict = gate(results(dataset, scores), before, [run.seconds for run in runs], costs, rules)
    return Evaluation(plan, models, dataset, unmeasured, outcomes, scores, verdict, judged, judge_error, experiment)


def repeated(*answers: str) -> Evaluation:
    """One case, asked several times."""
    runs = [outcome("refund", answer, repeat) for repeat, answer in enumerate(answers)]
    return evaluation(Dataset({"billing": [case("refund")]}), {"refund": runs}, {"refund": PASSED})


def test_the_report_begins_with_what_was_measured() -> None:
    """A later comment finds the earlier one by the first line."""
    text = markdown(evaluation())
    assert text.startswith(f"{MARK}\n\n## Evaluation: passed\n\n5 cases, dataset `{DATASET.hash}`, by gpt-a, gpt-b.\n")
    assert "runs each" not in text
    assert "LangSmith" not in text
    assert "The judge" not in text


@pytest.mark.parametrize(
    ("policy", "row"),
    [
        ({"floor": 0.24}, "| pass rate | ❌ | 60.0% (23.1% to 88.2%), lower bound to reach 24% |"),
        ({"floor": 0.23}, "| pass rate | ✅ | 60.0% (23.1% to 88.2%), lower bound to reach 23% |"),
        (
            {"suites": {"billing": 0.2}},
            "| pass rate of billing | ❌ | 50.0% (15.0% to 85.0%), lower bound to reach 20% |",
        ),
        ({"p95_seconds": 2.5}, "| latency | ❌ | p95 3.00 s, budget 2.5 s |"),
        ({"p95_seconds": 3}, "| latency | ✅ | p95 3.00 s, budget 3 s |"),
        ({"dollars": 0.002}, "| cost | ❌ | $0.0021 a question, budget $0.002 |"),
        (
            {"alpha": 0.51},
            "| not worse than the baseline | ❌ | 2 intents worse, 1 better: p = 0.5, to be 0.51 or more |",
        ),
    ],
)
def test_each_check_is_a_row(policy: dict[str, Any], row: str) -> None:
    """One that fails blocks, and the title says so."""
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
    """By suite, by split and of all; the intervals are Wilson's, worked out by hand."""
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
    """Means over the cases that ask for them, and totals."""
    assert row in markdown(evaluation()).splitlines()


def test_the_cases_are_paired_with_the_baseline() -> None:
    """What passed and failed then and now is a table of two by two, with its test by intent."""
    assert (
        "|  | passes now | fails now |\n"
        "| --- | --- | --- |\n"
        "| passed before | 2 | **1** |\n"
        "| failed before | 1 | 1 |\n\n"
        "By intent: 2 worse, 1 better; exact McNemar test, one-sided: p = 0.5.\n"
    ) in markdown(evaluation())


def test_a_regressed_case_is_told_from_question_to_mistake() -> None:
    """Whoever reads it need not look it up."""
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
    """With the evaluators that it failed, and the error that took the answer's place."""
    _, _, told = markdown(evaluation()).partition("#### `tax`\n\n")
    assert told.split("\n\n")[1:] == [
        "**Expected:** says '30 days'; says that it does not know, and names a contact",
        r"**Before** (required\_facts): I cannot help.",
        "**After:** answer-withheld",
        (
            r"**Wrong:** answered: answer-withheld; required\_facts: lacks '30 days'; refusal: does not say that it "
            "does not know, names no contact; length: is 0 characters, not 1 to 1000"
        ),
        "Improved: `price`\n",
    ]


def test_what_did_not_change_is_not_told() -> None:
    """Neither as regressed nor as improved."""
    same = {"refund": FAILED, "hours": PASSED}
    dataset = Dataset({"billing": [case("refund")], "opening": [case("hours")]})
    runs = {"refund": [outcome("refund", "You have a full month.")], "hours": [outcome("hours", GOOD)]}
    text = markdown(evaluation(dataset, runs, same))
    assert "| passed before | 1 | **0** |\n| failed before | 0 | 1 |" in text
    assert "Regressed" not in text
    assert "Improved" not in text


def test_without_a_baseline_nothing_is_compared() -> None:
    """The rates stand alone."""
    text = markdown(evaluation(before=None))
    assert "| **all** | 5 | 3 | 60.0% | 23.1% to 88.2% |  |" in text.splitlines()
    assert "Against the baseline" not in text
    assert "Regressed" not in text


def test_no_more_than_forty_regressed_cases_are_told() -> None:
    """A comment has an end; the others are named."""
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
    """How many there were, and how often three in a row pass; the case passes with most of them."""
    text = markdown(repeated(*answers))
    assert f"1 cases, {len(answers)} runs each, dataset" in text
    assert row in text.splitlines()
    assert "| billing | 1 | 1 | 100.0% | 20.7% to 100.0% | 100.0% |" in text.splitlines()


def test_two_runs_are_too_few_for_three_in_a_row() -> None:
    """There is no such row."""
    text = markdown(repeated(GOOD, GOOD))
    assert "2 runs each" in text
    assert "pass^3" not in text


def test_the_report_says_what_it_can_not() -> None:
    """Cases without an answer, prices that nobody knows, a judge that is down, and what the offline model ignores."""
    runs = {**OUTCOMES, "seats": [outcome("seats", GOOD)]}
    text = markdown(evaluation(outcomes=runs, unmeasured=["tax"], judge_error="gpt-judge is away", models=OFFLINE))
    assert f"4 cases, dataset `{DATASET.hash}`, by the offline model. The baseline is of gpt-a, gpt-b." in text
    assert "It does not read instructions" in text
    assert "Not measured, since they got no answer: `tax`." in text
    assert "The judge does not count: gpt-judge is away." in text
    assert "| cost | unknown |" in text
    assert "| billing | 3 |" in text


@pytest.mark.parametrize(("agreement", "says"), [(0.7, "it counts"), (0.699, "too little to count")])
def test_the_judge_is_told_with_its_agreement(agreement: float, says: str) -> None:
    """And whether that is enough for it to decide, as is the experiment."""
    good = {"refund": False, "seats": True, "price": True, "tax": False, "hours": True}
    text = markdown(evaluation(judged=Judged("gpt-judge", agreement, 60, good, {}), experiment="eval-1"))
    assert "LangSmith experiment: eval-1. The judge gpt-judge finds 60.0% good;" in text
    assert f"its agreement with 60 labels of ours is κ = 0.70, {says}." in text


class Seen(HTMLParser):
    """What a browser makes of a page: its elements, and the text that it shows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep its name, and what could run or load something."""
        self.attributes |= {name for name, _ in attrs}
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data


HOSTILE = {
    "a script": "<script>alert(1)</script>",
    "an image": '<img src="x" onerror="alert(1)">',
    "a Markdown image": "![x](http://evil)",
    "a Markdown link": "[x](http://evil) and [y][z]",
    "a link": "<http://evil.example>",
    "the end of all": "</p></td></table></body><a href='http://evil'>x</a>",
    "a comment": "<!-- nothing is seen from here",
    "pipes": "| a | b |\n| --- | --- |\n| c | d |",
    "backticks": "`one` ``two`` ```three```",
    "a fence": "```\ncode\n```",
    "a mention": "@everyone and @fernway/team",
    "lines": "first\n\n# second\n\n> third\n\n- fourth\n\n    fifth",
    "other lines": "first\r\u2028# second\x85\x0b# third",
    "emphasis": "**bold**, __bold__, *it*, _it_",
    "backslashes": "\\*it\\* \\\\<b>",
    "a reference": "[x]: http://evil",
}


def attacked(text: str) -> Evaluation:
    """One case, and all of it is a text: what was asked, expected and answered, before and after."""
    said = case("refund", history=[text], question=text, must=[f"not {text}"], must_not=[text])
    before = Before(passed=False, failed=["length"], answer=shortened(text))
    return evaluation(Dataset({"billing": [said]}), {"refund": [outcome("refund", text)]}, {"refund": before})


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_stays_text(text: str, tmp_path: Path) -> None:
    """Both files hold the elements that they hold for a harmless text, and show it as it is, but for its mentions."""
    write_report(attacked(text), tmp_path / "hostile")
    write_report(attacked("Harmless."), tmp_path / "harmless")
    shown = " ".join(text.split()).replace("@", "@\u2060").replace(":/", ":\u2060/")
    page, other = (Seen((tmp_path / name / "report.html").read_text()) for name in ("hostile", "harmless"))
    assert page.elements == other.elements
    assert {"script", "img", "a"}.isdisjoint(page.elements)
    assert {"onerror", "src"}.isdisjoint(page.attributes)
    assert page.text.count(f": {shown}\n") == 4
    read = MarkdownIt("commonmark", {"html": True}).enable("table")  # as GitHub reads it
    page, other = (Seen(read.render((tmp_path / name / "report.md").read_text())) for name in ("hostile", "harmless"))
    assert page.elements == other.elements
    assert page.text.count(f": {shown}\n") == 4
    [suite] = JUnitXml.fromfile(str(tmp_path / "hostile" / "junit.xml"))
    assert [(test.name, len(test.result)) for test in suite] == [("refund", 1)]


def test_the_page_is_the_markdown_with_two_plots(tmp_path: Path) -> None:
    """The rates with their intervals, and the latencies; nothing is loaded from elsewhere."""
    folder = tmp_path / "not" / "yet"
    write_report(evaluation(), folder)
    html = (folder / "report.html").read_text(encoding="utf-8")
    page = Seen(html)
    assert html.startswith("<!doctype html>")
    assert page.elements.count("svg") == 2
    assert {"link", "script", "iframe", "img", "a"}.isdisjoint(page.elements)
    assert "Evaluation: passed" in page.text
    assert "Only 14 days." in page.text
    assert MARK not in html
    assert (folder / "report.md").read_text(encoding="utf-8") == markdown(evaluation())


def test_the_same_evaluation_is_the_same_report(tmp_path: Path) -> None:
    """No time and no chance is in any of the files."""
    write_report(evaluation(), tmp_path / "one")
    write_report(evaluation(), tmp_path / "two")
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert sorted(one) == ["junit.xml", "report.html", "report.md"]


def test_the_page_has_its_plots_without_a_baseline_too(tmp_path: Path) -> None:
    """There is just no mark of it."""
    write_report(evaluation(before=None), tmp_path)
    assert Seen((tmp_path / "report.html").read_text()).elements.count("svg") == 2


def test_a_machine_reads_a_test_a_case(tmp_path: Path) -> None:
    """A suite of tests each suite; a case that failed says what is wrong, and is skipped where it did so before."""
    known = Before(passed=False, failed=["answered", "length", "refusal", "required_facts"], answer="")
    write_report(evaluation(before={**BEFORE, "tax": known}), tmp_path)
    document = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (document.tests, document.failures, document.errors, document.skipped) == (5, 1, 0, 1)
    tests = {test.name: test for suite in document for test in suite}
    assert {suite.name: [test.name for test in suite] for suite in document} == {
        "billing": ["refund", "seats", "price", "tax"],
        "opening": ["hours"],
    }
    assert {name: (test.classname, test.time) for name, test in tests.items()} == {
        "refund": ("evals.billing", 3),
        "seats": ("evals.billing", 1),
        "price": ("evals.billing", 2),
        "tax": ("evals.billing", 1),
        "hours": ("evals.opening", 1),
    }
    assert [name for name, test in tests.items() if test.result] == ["refund", "tax"]
    assert tests["refund"].result[0].message.startswith("category: is general, not billing; recall: lacks ")
    assert tests["tax"].result[0].message.startswith("as at the baseline: answered: answer-withheld; ")


@pytest.mark.parametrize(
    ("answers", "failures"), [((GOOD, BAD, GOOD), 0), ((GOOD, BAD, BAD), 1), ((GOOD, BAD), 1), ((BAD, BAD, BAD), 1)]
)
def test_a_machine_reads_what_most_runs_did(tmp_path: Path, answers: tuple[str, ...], failures: int) -> None:
    """A case fails when not even most of its runs pass, and says what was wrong in one that failed."""
    write_report(repeated(*answers), tmp_path)
    document = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert document.failures == failures
    found = [failure.message for suite in document for test in suite for failure in test.result]
    assert found == ["required_facts: lacks '30 days'; groundedness: no article says 14"] * failures


@pytest.mark.parametrize(
    ("both", "ours", "theirs", "neither", "agreement"),
    [
        (20, 5, 10, 15, 0.4),
        (45, 15, 25, 15, 0.06 / 0.46),
        (25, 35, 5, 35, 0.14 / 0.54),
        (10, 0, 0, 10, 1),
        (0, 10, 10, 0, -1),
        (5, 5, 5, 5, 0),
        (9, 0, 1, 0, 0),
        (10, 0, 0, 0, 0),
        (0, 0, 0, 10, 0),
    ],
)
def test_kappa_is_agreement_beyond_chance(both: int, ours: int, theirs: int, neither: int, agreement: float) -> None:
    """As worked out by hand from how often both raters, one of them, and neither said yes."""
    one = [True] * (both + ours) + [False] * (theirs + neither)
    other = [True] * both + [False] * ours + [True] * theirs + [False] * neither
    assert kappa(one, other) == pytest.approx(agreement)
    assert kappa(other, one) == pytest.approx(agreement)


def test_kappa_needs_a_verdict_of_each() -> None:
    """Raters who looked at different things can't agree."""
    with pytest.raises(ValueError, match="zip"):
        kappa([True, False], [True])


def test_the_committed_labels_are_enough_and_of_both_verdicts() -> None:
    """Sixty answers; why one is bad is written beside it."""
    labels = load_labels(REPOSITORY / "evals/labels.yaml")
    known = {article.id for article in load_library(REPOSITORY / "knowledge").articles}
    assert len({label.id for label in labels}) == len(labels) == 60
    assert 20 <= sum(label.good for label in labels) <= 40
    assert [label.id for label in labels if not label.good and not label.why] == []
    assert [label.id for label in labels if not known.issuperset(label.articles)] == []


LABEL = "- id: one\n  question: How long?\n  articles: [refund]\n  answer: Within 30 days.\n  good: true\n"


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        "- one",
        LABEL.replace("  good: true\n", ""),
        LABEL.replace("true", "perhaps"),
        LABEL.replace("one", "Number One"),
        LABEL.replace("Within 30 days.", '""'),
        f"{LABEL}  score: 3\n",
        f"{LABEL}- id: [\n",
        LABEL.replace("How long", "Wie lang f\u00fcr").encode("latin-1"),
    ],
)
def test_bad_labels_are_named(tmp_path: Path, content: str | bytes | None) -> None:
    """A judge is never compared with half of them."""
    file = tmp_path / "labels.yaml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CannotMeasure) as raised:
        load_labels(file)
    assert str(raised.value).startswith(f"{file}: holds no labels; each has id, question, articles, answer, good")


ONE = outcome(
    "one", "Within 30 days,\nor \u20ac12.", category="billing", seconds=1.5, tokens=3, dollars=0.1, run_id="r"
)
AGAIN = outcome("one", "Within 31 days.", repeat=1)
TWO = outcome("two", "", error="answer-withheld")
DOWN = outcome("three", "", error="model-timeout")


@contextmanager
def open_journal(file: Path, fingerprint: str = "abc") -> Generator[Journal]:
    """The journal of an evaluation that is broken off."""
    journal = Journal(file, fingerprint)
    yield journal
    journal.close(is_complete=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A journal of three outcomes, broken off."""
    file = tmp_path / "report" / "journal.jsonl"
    with open_journal(file) as journal:
        for kept in KEPT.values():
            journal.add(kept)
    return file


KEPT = {("one", 0): ONE, ("one", 1): AGAIN, ("two", 0): TWO}


def kept(file: Path, fingerprint: str = "abc") -> dict[tuple[str, int], Outcome]:
    """What the next evaluation begins with."""
    with open_journal(file, fingerprint) as journal:
        return dict(journal.outcomes)


def test_a_broken_run_goes_on_where_it_stopped(file: Path) -> None:
    """Its outcomes are there again, each on its line, and the next are added to them."""
    assert len(file.read_text().splitlines()) == 4
    three = outcome("three", "Yes.")
    with open_journal(file) as journal:
        assert journal.outcomes == KEPT
        journal.add(three)
    assert kept(file) == {**KEPT, ("three", 0): three}


def test_the_outcomes_of_another_evaluation_are_forgotten(file: Path) -> None:
    """They say nothing about this one, not even later."""
    assert kept(file, "abd") == {}
    assert kept(file) == {}


def test_two_evaluations_do_not_share_a_folder(file: Path) -> None:
    """The second is told so, and the first loses nothing."""
    with open_journal(file) as journal, pytest.raises(CannotMeasure, match="choose another --report"):
        Journal(file, "abd")
    assert journal.outcomes == KEPT
    assert kept(file) == KEPT


def test_half_a_line_is_ignored(file: Path) -> None:
    """The outcome before it is kept, and the one after it is whole."""
    file.write_text(file.read_text()[:-20])
    with open_journal(file) as journal:
        assert journal.outcomes == {("one", 0): ONE, ("one", 1): AGAIN}
        journal.add(TWO)
    assert kept(file) == KEPT


@pytest.mark.parametrize("content", ["", "\n", '{"fingerprint": "a', "no journal", '{"fingerprint": "abc"}'])
def test_a_journal_that_holds_nothing_is_begun_anew(file: Path, content: str) -> None:
    """It was broken off before its first outcome."""
    file.write_text(content)
    with open_journal(file) as journal:
        assert journal.outcomes == {}
        journal.add(ONE)
    assert kept(file) == {("one", 0): ONE}


def test_a_run_that_measured_nothing_is_asked_again(file: Path) -> None:
    """What it depends on was down: this evaluation knows that, the next one tries again."""
    with open_journal(file) as journal:
        journal.add(DOWN)
        assert journal.outcomes == {**KEPT, ("three", 0): DOWN}
    assert kept(file) == KEPT


def test_a_complete_evaluation_leaves_no_journal(file: Path) -> None:
    """It is not there to go on with."""
    Journal(file, "abc").close(is_complete=True)
    assert not file.exists()
