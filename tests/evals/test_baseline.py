"""The baseline that an evaluation saves for the next one."""

from pathlib import Path

import pytest

from evals.baseline import (
    OFFLINE,
    BaselineCase,
    Comparison,
    load_baseline,
    load_unchanged,
    save_baseline,
    shortened,
)
from evals.cases import Case, Dataset
from evals.errors import CannotMeasure

PASSED = BaselineCase(passed=True, failed=[], answer='Within "30 days" \u2013 \u20ac12.')
FAILED = BaselineCase(passed=False, failed=["recall", "required_facts"], answer="I don't know.")


def case(name: str) -> Case:
    return Case(id=name, intent="refund", split="tune", question="Can I have my money back?", must=["30 days"])


BILLING = Dataset({"billing": [case("one"), case("two"), case("three")]})
HOURS = Dataset({"hours": [case("four")]})
BOTH = Dataset({**BILLING.suites, **HOURS.suites})
NOW = {"one": PASSED, "two": FAILED, "three": PASSED, "four": PASSED}


def load(file: Path, dataset: Dataset, *, offline: bool = False, whole: bool = True) -> Comparison:
    return load_baseline(file, dataset, offline=offline, whole=whole)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A baseline of four cases in two suites."""
    file = tmp_path / "evals" / "baseline.json"
    save_baseline(file, BOTH, "a model", NOW, whole=True)
    return file


def test_what_is_saved_is_loaded(file: Path) -> None:
    """A saved baseline is loaded unchanged, and its folder is created if missing."""
    assert load(file, BOTH) == Comparison("a model", NOW)


def test_cases_that_are_not_asked_are_not_loaded(file: Path) -> None:
    """A single suite is compared with its own cases only."""
    assert load(file, HOURS, whole=False).cases == {"four": PASSED}


def test_a_case_is_a_line(file: Path) -> None:
    """Each case is one line with non-ASCII letters unescaped, so that a review can read it."""
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [sum(f'"{name}": {{"passed"' in line for line in lines) for name in NOW] == [1, 1, 1, 1]
    assert [line for line in lines if '"four"' in line] == [
        '      "four": {"passed": true, "failed": [], "answer": "Within \\"30 days\\" \u2013 \u20ac12."}'
    ]


@pytest.mark.parametrize("name", NOW)
def test_a_changed_case_is_one_changed_line(file: Path, name: str) -> None:
    """A changed case changes one line, wherever it is in its suite."""
    before = file.read_text(encoding="utf-8").splitlines()
    save_baseline(
        file, BOTH, "a model", {**NOW, name: BaselineCase(passed=False, failed=["length"], answer="No.")}, whole=True
    )
    after = file.read_text(encoding="utf-8").splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert f'"{name}"' in changed[0]


def test_saving_the_same_again_changes_nothing(file: Path) -> None:
    """The file is the same whatever the order of the suites, and whether it existed before."""
    before = file.read_bytes()
    save_baseline(file, BOTH, "a model", NOW, whole=True)
    assert file.read_bytes() == before
    file.unlink()
    save_baseline(file, Dataset({**HOURS.suites, **BILLING.suites}), "a model", NOW, whole=True)
    assert file.read_bytes() == before
    assert before.endswith(b"}\n")


def test_updating_a_suite_keeps_the_others(file: Path) -> None:
    """Only the suites that were run change."""
    save_baseline(file, HOURS, "a model", {"four": FAILED}, whole=False)
    assert load(file, BOTH).cases == {**NOW, "four": FAILED}


def test_a_baseline_of_other_cases_is_refused(file: Path) -> None:
    """The error names the file, the suite and the fix."""
    other = Dataset({**HOURS.suites, "billing": [case("one"), case("two")]})
    with pytest.raises(CannotMeasure) as raised:
        load(file, other)
    assert str(raised.value) == f"{file}: has other cases than billing.yaml; update it with --update-baseline"


def test_a_baseline_without_a_suite_is_refused(file: Path) -> None:
    """A new suite without a baseline is an error."""
    with pytest.raises(CannotMeasure, match=r"baseline\.json: has other cases than new\.yaml"):
        load(file, Dataset({**BOTH.suites, "new": [case("five")]}))


def test_a_suite_that_is_gone_is_named(file: Path) -> None:
    """Deleting a failing suite does not hide it: the error names it."""
    with pytest.raises(CannotMeasure) as raised:
        load(file, BILLING)
    assert str(raised.value) == f"{file}: has suites that do not exist (hours); update it with --update-baseline"


def test_a_case_that_was_taken_out_of_the_file_is_missed(file: Path) -> None:
    """A case missing from the file is an error although the suite's hash matches."""
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(line for line in lines if '"two"' not in line), encoding="utf-8")
    with pytest.raises(CannotMeasure, match=r"has other cases than billing\.yaml"):
        load(file, BOTH)


@pytest.mark.parametrize("offline", [False, True])
def test_the_offline_model_and_a_configured_one_are_not_compared(file: Path, *, offline: bool) -> None:
    """Configured models are compared whatever their names; the offline model is not compared with them."""
    save_baseline(file, BOTH, "other models" if offline else OFFLINE, NOW, whole=True)
    with pytest.raises(CannotMeasure, match=r"was measured with .*, not with "):
        load(file, BOTH, offline=offline)
    assert load_unchanged(file, BOTH, offline=offline) is None
    assert load(file, BOTH, offline=not offline).cases == NOW


def test_a_new_baseline_is_compared_with_what_has_the_same_cases(file: Path) -> None:
    """A new baseline is compared with the old one's unchanged suites, or with nothing."""
    changed = Dataset({**HOURS.suites, "billing": [case("one")]})
    assert load_unchanged(file, changed, offline=False) == Comparison("a model", {"four": PASSED})
    assert load_unchanged(file, BOTH, offline=False) == Comparison("a model", NOW)
    assert load_unchanged(file, Dataset({"billing": [case("one")]}), offline=False) is None
    file.write_text("{")
    assert load_unchanged(file, BOTH, offline=False) is None
    file.unlink()
    assert load_unchanged(file, BOTH, offline=False) is None


def test_a_missing_baseline_is_named(tmp_path: Path) -> None:
    """The error says how to make a baseline."""
    file = tmp_path / "none.json"
    with pytest.raises(CannotMeasure) as raised:
        load(file, BOTH)
    assert str(raised.value) == f"{file}: no baseline found; create one with --update-baseline"


CORRUPTED = {
    "empty": b"",
    "half a file": b'{\n  "models": "a model",\n  "suites": {\n    "billing": {"hash": "abc", "ca',
    "other JSON": b"[]",
    "a field too many": b'{"models": "a model", "suites": {}, "note": ""}',
    "a suite without cases": b'{"models": "a model", "suites": {"hours": {"hash": "abc", "cases": {}}}}',
    "a conflict of a merge": b'<<<<<<< HEAD\n{"models": "a model", "suites": {}}\n=======\n',
    "not UTF-8": b'{"models": "mod\xe8le", "suites": {}}',
}


@pytest.mark.parametrize("content", CORRUPTED.values(), ids=CORRUPTED)
def test_a_corrupted_baseline_is_named(file: Path, content: bytes) -> None:
    """A corrupted file is an error, never a baseline in which nothing passed."""
    file.write_bytes(content)
    with pytest.raises(CannotMeasure) as raised:
        load(file, BOTH)
    assert str(raised.value).startswith(f"{file}: is not a valid baseline; restore it, or replace it")


@pytest.mark.parametrize("content", CORRUPTED.values(), ids=CORRUPTED)
def test_a_corrupted_baseline_is_made_anew(file: Path, content: bytes) -> None:
    """Updating replaces a corrupted baseline, as the error advises."""
    file.write_bytes(content)
    save_baseline(file, BOTH, "a model", NOW, whole=True)
    assert load(file, BOTH) == Comparison("a model", NOW)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("", ""),
        (" Yes.\n\n- It\tis. ", "Yes. - It is."),
        ("a\u2028b\x85c\rd", "a b c d"),
        ("x" * 240, "x" * 240),
        ("x" * 241, "x" * 240 + "\u2026"),
        ("\u00e9" * 5000, "\u00e9" * 240 + "\u2026"),
    ],
)
def test_an_answer_is_shortened(answer: str, kept: str) -> None:
    """An answer is saved as one line with its beginning."""
    assert shortened(answer) == kept
