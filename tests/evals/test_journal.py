"""The journal of an evaluation: an interrupted run continues and repeats no question."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evals.errors import CannotMeasure
from evals.outcome import Outcome
from evals.run import Journal
from harness.reports import outcome

ONE = outcome(
    "one", "Within 30 days,\nor \u20ac12.", category="billing", seconds=1.5, tokens=3, dollars=0.1, run_id="r"
)
AGAIN = outcome("one", "Within 31 days.", repeat=1)
TWO = outcome("two", "", error="answer-withheld")
DOWN = outcome("three", "", error="model-timeout")


@contextmanager
def open_journal(file: Path, fingerprint: str = "abc") -> Generator[Journal]:
    """The journal of an interrupted evaluation."""
    journal = Journal(file, fingerprint)
    yield journal
    journal.close(is_complete=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A journal with three outcomes of an interrupted evaluation."""
    file = tmp_path / "report" / "journal.jsonl"
    with open_journal(file) as journal:
        for kept in KEPT.values():
            journal.add(kept)
    return file


KEPT = {("one", 0): ONE, ("one", 1): AGAIN, ("two", 0): TWO}


def kept(file: Path, fingerprint: str = "abc") -> dict[tuple[str, int], Outcome]:
    """Return the outcomes that the next evaluation starts with."""
    with open_journal(file, fingerprint) as journal:
        return dict(journal.outcomes)


def test_a_broken_run_goes_on_where_it_stopped(file: Path) -> None:
    """Its outcomes are loaded, one per line, and new ones are appended."""
    assert len(file.read_text().splitlines()) == 4
    three = outcome("three", "Yes.")
    with open_journal(file) as journal:
        assert journal.outcomes == KEPT
        journal.add(three)
    assert kept(file) == {**KEPT, ("three", 0): three}


def test_the_outcomes_of_another_evaluation_are_forgotten(file: Path) -> None:
    """Outcomes of another evaluation are discarded for good."""
    assert kept(file, "abd") == {}
    assert kept(file) == {}


def test_two_evaluations_do_not_share_a_folder(file: Path) -> None:
    """The second evaluation fails with an error, and the first loses nothing."""
    with open_journal(file) as journal, pytest.raises(CannotMeasure, match="choose another --report"):
        Journal(file, "abd")
    assert journal.outcomes == KEPT
    assert kept(file) == KEPT


def test_half_a_line_is_ignored(file: Path) -> None:
    """A truncated last line is dropped; earlier and later outcomes are intact."""
    file.write_text(file.read_text()[:-20])
    with open_journal(file) as journal:
        assert journal.outcomes == {("one", 0): ONE, ("one", 1): AGAIN}
        journal.add(TWO)
    assert kept(file) == KEPT


@pytest.mark.parametrize("content", ["", "\n", '{"fingerprint": "a', "no journal", '{"fingerprint": "abc"}'])
def test_a_journal_that_holds_nothing_is_begun_anew(file: Path, content: str) -> None:
    """A journal that was interrupted before its first outcome is replaced."""
    file.write_text(content)
    with open_journal(file) as journal:
        assert journal.outcomes == {}
        journal.add(ONE)
    assert kept(file) == {("one", 0): ONE}


def test_a_run_that_measured_nothing_is_asked_again(file: Path) -> None:
    """An outcome caused by an outage is kept for this run and retried by the next one."""
    with open_journal(file) as journal:
        journal.add(DOWN)
        assert journal.outcomes == {**KEPT, ("three", 0): DOWN}
    assert kept(file) == KEPT


def test_a_complete_evaluation_leaves_no_journal(file: Path) -> None:
    """A completed evaluation deletes its journal."""
    Journal(file, "abc").close(is_complete=True)
    assert not file.exists()
