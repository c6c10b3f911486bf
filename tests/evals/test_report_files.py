"""The files of a report: text never becomes markup, and the HTML and JUnit files match the report."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from junitparser import JUnitXml
from markdown_it import MarkdownIt

from evals.baseline import BaselineCase, shortened
from evals.cases import Dataset
from evals.evaluation import Evaluation
from evals.report import MARK, markdown, write_report
from harness.reports import BAD, BEFORE, GOOD, case, evaluation, outcome, repeated


class Seen(HTMLParser):
    """What a browser makes of a page: its elements and its visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element's name and its attributes."""
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
    """One case made of this text: question, history, expectation, and both answers."""
    said = case("refund", history=[text], question=text, must=[f"not {text}"], must_not=[text])
    before = BaselineCase(passed=False, failed=["length"], answer=shortened(text))
    return evaluation(Dataset({"billing": [said]}), {"refund": [outcome("refund", text)]}, {"refund": before})


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_stays_text(text: str, tmp_path: Path) -> None:
    """Hostile text adds no elements to either file and is shown as it is, except that mentions are disarmed."""
    write_report(attacked(text), tmp_path / "hostile")
    write_report(attacked("Harmless."), tmp_path / "harmless")
    shown = " ".join(text.split()).replace("@", "@\u2060").replace(":/", ":\u2060/")
    page, other = (Seen((tmp_path / name / "report.html").read_text()) for name in ("hostile", "harmless"))
    assert page.elements == other.elements
    assert {"script", "img", "a"}.isdisjoint(page.elements)
    assert {"onerror", "src"}.isdisjoint(page.attributes)
    assert page.text.count(f": {shown}\n") == 4
    read = MarkdownIt("commonmark", {"html": True}).enable("table")  # GitHub's dialect
    page, other = (Seen(read.render((tmp_path / name / "report.md").read_text())) for name in ("hostile", "harmless"))
    assert page.elements == other.elements
    assert page.text.count(f": {shown}\n") == 4
    [suite] = JUnitXml.fromfile(str(tmp_path / "hostile" / "junit.xml"))
    assert [(test.name, len(test.result)) for test in suite] == [("refund", 1)]


def test_the_page_is_the_markdown_with_two_plots(tmp_path: Path) -> None:
    """The page has plots of rates and latencies, and loads nothing from elsewhere."""
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
    """The files are reproducible, without times or random parts."""
    write_report(evaluation(), tmp_path / "one")
    write_report(evaluation(), tmp_path / "two")
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert sorted(one) == ["junit.xml", "report.html", "report.md"]


def test_the_page_has_its_plots_without_a_baseline_too(tmp_path: Path) -> None:
    """Without a baseline the plots only lack its mark."""
    write_report(evaluation(before=None), tmp_path)
    assert Seen((tmp_path / "report.html").read_text()).elements.count("svg") == 2


def test_a_machine_reads_a_test_a_case(tmp_path: Path) -> None:
    """JUnit has one test per case; a failed one has its mistakes, and is skipped if the baseline had them too."""
    known = BaselineCase(passed=False, failed=["answered", "length", "refusal", "required_facts"], answer="")
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
    assert tests["tax"].result[0].message.startswith("as in the baseline: answered: answer-withheld; ")


@pytest.mark.parametrize(
    ("answers", "failures"), [((GOOD, BAD, GOOD), 0), ((GOOD, BAD, BAD), 1), ((GOOD, BAD), 1), ((BAD, BAD, BAD), 1)]
)
def test_a_machine_reads_what_most_runs_did(tmp_path: Path, answers: tuple[str, ...], failures: int) -> None:
    """A case fails without a majority of passing runs, with the mistakes of one failed run."""
    write_report(repeated(*answers), tmp_path)
    document = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert document.failures == failures
    found = [failure.message for suite in document for test in suite for failure in test.result]
    assert found == ["required_facts: lacks '30 days'; groundedness: no article says 14"] * failures
