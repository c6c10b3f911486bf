"""The committed cases, and the errors for invalid ones."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import REPOSITORY
from evals.cases import Dataset, load_dataset, schema
from evals.errors import CannotMeasure
from evals.evaluators import _LANGUAGES
from graph.desk_prompt import DeskPrompt
from graph.retrieval.articles import read_library
from graph.retrieval.company import load_company
from graph.settings import AgentSettings
from harness.programs import tool

DATASETS = REPOSITORY / "evals/datasets"
SCHEMA = REPOSITORY / "evals/case.schema.json"
SIZES = {
    **dict.fromkeys(("billing", "technical", "general"), 70),
    **dict.fromkeys(("out_of_scope", "multi_turn", "adversarial", "handing_over", "tool_use"), 30),
}

CASE = """\
- id: first
  intent: refund
  split: tune
  history: ["Hello there"]
  question: "Can I have my money back?"
  category: billing
  articles: [refund-policy]
  must: ["30 days", ["owner", "billing admin"]]
  must_not: ["14 days"]
"""
SECOND = """\
- id: second
  intent: hours
  split: held_out
  question: "When are you open?"
  must: ["9:00"]
"""
NAMELESS = """\
- intent: hours
  split: held_out
  question: "When are you open?"
  must: ["9:00"]
"""
BAD_CASES = {
    "unknown field": (f"{SECOND}  colour: red\n", "case 'second': colour: Extra inputs"),
    "misspelt field": (SECOND.replace("must:", "musts:"), "case 'second': musts: Extra inputs"),
    "no id": (NAMELESS, "case 2: id: Field required"),
    "an id that is no name": (SECOND.replace("second", "Second case"), "case 'Second case': id"),
    "says nothing": (
        SECOND.replace('  must: ["9:00"]\n', ""),
        "case 'second': has no expectations",
    ),
    "says no more than an empty list": (SECOND.replace('["9:00"]', "[]"), "case 'second': has no expectations"),
    "no alternative": (SECOND.replace('["9:00"]', "[[]]"), "case 'second': must.0"),
    "an empty fact": (SECOND.replace("9:00", ""), "case 'second': must.0"),
    "a fact that YAML takes for a number": (SECOND.replace('"9:00"', "42"), "case 'second': must.0"),
    "bad category": (
        f"{SECOND}  category: ''\n",
        "case 'second': category: String should match pattern",
    ),
    "bad split": (SECOND.replace("held_out", "test"), "case 'second': split: Input should be 'tune' or 'held_out'"),
    "bad language": (f"{SECOND}  language: english\n", "case 'second': language"),
    "blank question": (SECOND.replace("When are you open?", " "), "case 'second': question"),
    "blank history": (f'{SECOND}  history: ["Hi", " "]\n', "case 'second': history.1"),
    "no mapping": ("- second\n", "case 2: Input should be a valid dictionary"),
}
BAD_FILES = {
    "empty": (b"", "Input should be a valid list"),
    "comments alone": (b"# to do\n", "Input should be a valid list"),
    "no case": (b"[]\n", "List should have at least 1 item"),
    "no list": (b"id: first\n", "Input should be a valid list"),
    "broken YAML": (f"{CASE}- id: second\n  question: Refund: how?\n".encode(), "is not valid YAML in line 11"),
    "a quote that does not end": (f'{CASE}- id: "second\n'.encode(), "is not valid YAML in line 11"),
    "not UTF-8": (CASE.replace("money", "Geld zur\u00fcck").encode("latin-1"), "is not valid YAML"),
    "a control character": (CASE.replace("money", "mo\x07ney").encode(), "is not valid YAML"),
}
CHANGES = {
    "id": ("id: first", "id: the-first"),
    "intent": ("intent: refund", "intent: refunds"),
    "split": ("split: tune", "split: held_out"),
    "history": ("Hello there", "Hello, there"),
    "question": ("my money", "our money"),
    "category": ("category: billing", "category: general"),
    "article": ("[refund-policy]", "[refund-rules]"),
    "fact": ("30 days", "31 days"),
    "alternative": ('"owner", "billing admin"', '"owner", "billing admins"'),
    "one alternative less": ('["owner", "billing admin"]', '"owner"'),
    "forbidden fact": ("14 days", "15 days"),
    "refusal": ("  must_not", "  refuses: true\n  must_not"),
    "language": ("  must_not", "  language: de\n  must_not"),
    "safety": ("  must_not", "  safety: true\n  must_not"),
    "one case more": ('"14 days"]\n', f'"14 days"]\n{SECOND}'),
}
SAME = {
    "comments": CASE.replace("- id", "# What it costs.\n\n- id").replace("tune", "tune  # for now"),
    "key order": "- must_not: [14 days]\n" + CASE.replace("- id", "  id").replace('  must_not: ["14 days"]\n', ""),
    "quotes": CASE.replace('"', "'"),
    "lines": CASE.replace("have my money", "have\n    my money"),
    "defaults": f"{CASE}  refuses: false\n  language: en\n  safety: false\n",
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write suites into a folder of their own; keywords are the suites' names."""

    def write(**suites: str | bytes) -> Path:
        folder = tmp_path / "datasets"
        folder.mkdir(exist_ok=True)
        for name, text in suites.items():
            (folder / f"{name}.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return folder

    return write


@pytest.fixture(scope="module")
def committed() -> Dataset:
    return load_dataset(DATASETS)


@pytest.mark.parametrize(("suite", "size"), SIZES.items())
def test_each_suite_is_as_large_as_its_rate_needs(committed: Dataset, suite: str, size: int) -> None:
    """Each desk has 70 cases, and each rarer kind of question has 30."""
    assert len(committed.suites[suite]) == size


def test_there_are_at_least_300_cases(committed: Dataset) -> None:
    """There are at least 300 cases with unique ids."""
    assert len(committed.cases) == len(committed.suite_of) >= 300


@pytest.mark.parametrize("suite", sorted(file.stem for file in DATASETS.glob("*.yaml")))
def test_a_third_of_each_suite_is_held_out(committed: Dataset, suite: str) -> None:
    """A third is held out, to detect a prompt that is overfitted to the others."""
    cases = committed.suites[suite]
    assert abs(sum(case.split == "held_out" for case in cases) - len(cases) / 3) <= 1


def test_no_question_stands_in_the_prompt(committed: Dataset) -> None:
    """No case is one of the classifier's few-shot examples."""
    examples = DeskPrompt(load_company(REPOSITORY / "knowledge/company.yaml")).examples
    known = {re.sub(r"\W+", " ", question.casefold()).strip() for question, _ in examples}
    asked = [(case.id, said) for case in committed.cases for said in (*case.history, case.question)]
    assert not [name for name, said in asked if re.sub(r"\W+", " ", said.casefold()).strip() in known]


def test_every_article_that_is_named_exists(committed: Dataset) -> None:
    """Every article that a case needs exists."""
    known = {
        article.id for article in read_library(AgentSettings(SUPPORT_KNOWLEDGE=str(REPOSITORY / "knowledge"))).articles
    }
    needed = [(case.id, [one] if isinstance(one, str) else one) for case in committed.cases for one in case.articles]
    assert not [(name, several) for name, several in needed if not known.issuperset(several)]


def test_only_multi_turn_cases_have_a_history(committed: Dataset) -> None:
    """All multi-turn cases have a history, and no others do but some of the tools'."""
    tools = {case.id for case in committed.suites["tool_use"]}
    with_history = {case.id for case in committed.cases if case.history} - tools
    assert with_history == {case.id for case in committed.suites["multi_turn"]}


def test_every_case_out_of_scope_refuses(committed: Dataset) -> None:
    """Every out-of-scope case expects a refusal."""
    assert [case.id for case in committed.suites["out_of_scope"] if not case.refuses] == []


def test_every_language_can_be_told(committed: Dataset) -> None:
    """The language evaluator can detect the language of every case."""
    assert {case.language for case in committed.cases} <= set(_LANGUAGES)


def test_the_committed_schema_is_the_models() -> None:
    """After a change of a case's fields this, in one line, writes it anew.

    uv run python -c "import json; from evals.cases import schema; print(json.dumps(schema(), indent=2))"
    > evals/case.schema.json
    """
    assert SCHEMA.read_text(encoding="utf-8") == json.dumps(schema(), indent=2) + "\n"


def check(*files: Path) -> subprocess.CompletedProcess[str]:
    return tool("check-jsonschema", "--schemafile", SCHEMA, *files)


def test_the_committed_suites_fit_the_schema() -> None:
    """An independent JSON Schema validator accepts all committed suites."""
    done = check(*sorted(DATASETS.glob("*.yaml")))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "where"),
    [
        ("split: held_out", "split: held-out", "$[1].split"),
        ("must:", "musts:", "'musts' was unexpected"),
        ("  intent: hours\n", "", "'intent' is a required property"),
    ],
)
def test_the_schema_rejects_a_mistake(write: Write, right: str, wrong: str, where: str) -> None:
    """The validator names the case with the mistake."""
    done = check(write(hours=CASE + SECOND.replace(right, wrong)) / "hours.yaml")
    assert done.returncode == 1
    assert where in done.stdout
    assert "hours.yaml::$[1]" in done.stdout


@pytest.mark.parametrize(("text", "says"), BAD_CASES.values(), ids=BAD_CASES)
def test_a_bad_case_is_named(write: Write, text: str, says: str) -> None:
    """The error has the file and the id, or the position of a case without one."""
    folder = write(alpha=CASE.replace("first", "other"), billing=CASE + text)
    with pytest.raises(CannotMeasure) as raised:
        load_dataset(folder)
    assert str(raised.value).startswith(f"billing.yaml: {says}")


@pytest.mark.parametrize(("content", "says"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_named(write: Write, content: bytes, says: str) -> None:
    """The error has the line where the YAML becomes invalid."""
    folder = write(alpha=CASE.replace("first", "other"), billing=content)
    with pytest.raises(CannotMeasure) as raised:
        load_dataset(folder)
    assert str(raised.value).startswith(f"billing.yaml: {says}")


@pytest.mark.parametrize("name", ["datasets", "nowhere"])
def test_a_folder_without_cases_is_named(write: Write, name: str) -> None:
    """An empty folder and a missing one are errors."""
    folder = write().with_name(name)
    with pytest.raises(CannotMeasure, match=re.escape(f"{folder}: no cases found")):
        load_dataset(folder)


def test_an_unknown_suite_is_named_with_those_that_there_are(write: Write) -> None:
    """The error lists the known suites."""
    folder = write(billing=CASE, hours=SECOND)
    with pytest.raises(CannotMeasure, match=r"--suite bilings: .* the suites are billing, hours$"):
        load_dataset(folder, "bilings")


@pytest.mark.parametrize("suites", [{"billing": CASE + CASE}, {"billing": CASE, "hours": SECOND + CASE}])
def test_an_id_that_is_there_twice_is_named(write: Write, suites: dict[str, str]) -> None:
    """A duplicate id is an error, within a file and across files."""
    folder = write(**suites)
    with pytest.raises(CannotMeasure, match=re.escape(f"{folder}: the id 'first' is used twice")):
        load_dataset(folder)


def test_one_suite_is_read_alone(write: Write) -> None:
    """A single suite has the same hash as among the others, whose mistakes do not matter."""
    whole = load_dataset(write(billing=CASE, hours=SECOND))
    alone = load_dataset(write(billing="broken: ["), "hours")
    assert [case.id for case in alone.cases] == ["second"]
    assert alone.suite_of == {"second": "hours"}
    assert alone.hashes == {"hours": whole.hashes["hours"]}
    assert alone.hash != whole.hash


def test_a_suite_is_read_in_the_order_of_its_file(write: Write) -> None:
    """Cases keep the file's order, get defaults, and lose white space around the question."""
    dataset = load_dataset(write(mixed=SECOND.replace("open?", "open? ") + CASE))
    assert [case.id for case in dataset.cases] == ["second", "first"]
    hours = dataset.cases[0]
    assert hours.question == "When are you open?"
    assert (hours.history, hours.category, hours.refuses, hours.language) == ([], None, False, "en")


@pytest.mark.parametrize(("word", "other"), CHANGES.values(), ids=CHANGES)
def test_a_hash_changes_with_any_word(write: Write, word: str, other: str) -> None:
    """A changed word changes the suite's and the dataset's hash, but no other suite's."""
    before = load_dataset(write(billing=CASE, hours=SECOND.replace("second", "third")))
    after = load_dataset(write(billing=CASE.replace(word, other)))
    assert after.hashes["billing"] != before.hashes["billing"]
    assert after.hash != before.hash
    assert after.hashes["hours"] == before.hashes["hours"]


def test_a_hash_changes_with_the_suites_name(write: Write) -> None:
    """Moving a case to another suite changes the hashes."""
    before = load_dataset(write(billing=CASE))
    (write() / "billing.yaml").unlink()
    after = load_dataset(write(refunds=CASE))
    assert after.hash != before.hash
    assert after.hashes["refunds"] == before.hashes["billing"]


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_a_hash_does_not_change_with_how_it_is_written(write: Write, text: str) -> None:
    """Comments, key order, quotes and line breaks do not change a hash."""
    before = load_dataset(write(billing=CASE))
    after = load_dataset(write(billing=text))
    assert text != CASE
    assert (after.hashes, after.hash) == (before.hashes, before.hash)
    assert re.fullmatch("[0-9a-f]{12}", after.hash)
