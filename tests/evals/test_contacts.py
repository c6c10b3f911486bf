"""The contacts and desks that an evaluation expects."""

from pathlib import Path

import pytest

from conftest import REPOSITORY
from evals.cases import Dataset
from evals.contacts import check_contacts
from evals.errors import CannotMeasure
from evals.evaluators import evaluators, judge
from graph.retrieval.company import Company, Desk, load_company
from harness.scoring import case, outcome

COMPANY = Company("Acme", (Desk("general"), Desk("billing", "wrong@acme.example", hours="9:30 to 17:45")))


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "contacts.yaml"
    file.write_text(text)
    return file


def test_a_wrong_address_in_company_yaml_fails(tmp_path: Path) -> None:
    """The file and company.yaml are compared; without a file company.yaml is right."""
    with pytest.raises(CannotMeasure, match=r"the contact of billing \(right@acme\.example, wrong@acme\.example\)"):
        check_contacts(written(tmp_path, "billing: right@acme.example\n"), COMPANY)
    check_contacts(written(tmp_path, "billing: wrong@acme.example\n"), COMPANY)
    check_contacts(tmp_path / "none.yaml", COMPANY)


def test_a_refusal_names_its_desks_contact() -> None:
    """Hours of the desk are no invented figures."""
    refuses = case(refuses=True, must=[], must_not=["unsaid"])
    answer = outcome("I can't answer that between 9:30 and 17:45. Write to wrong@acme.example.", category="billing")
    assert all(score.passed for score in judge(refuses, answer, evaluators(COMPANY)))
    other = outcome("I can't answer that. Write to us.", category="billing")
    failed = [score.reason for score in judge(refuses, other, evaluators(COMPANY)) if not score.passed]
    assert failed == ["does not name wrong@acme.example"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("general: a@acme.example\nbilling: b@acme.example\n", "differ in which desks have a contact: general"),
        ("- billing\n", "must be lines of `desk: contact`"),
        ("billing: [", "must be lines of `desk: contact`"),
    ],
)
def test_contacts_of_other_desks_measure_nothing(tmp_path: Path, text: str, said: str) -> None:
    """The file and company.yaml name the same desks."""
    with pytest.raises(CannotMeasure, match=said):
        check_contacts(written(tmp_path, text), COMPANY)


def test_the_samples_contacts_are_those_of_its_company() -> None:
    """So that the committed evaluation can be right."""
    check_contacts(REPOSITORY / "evals/contacts.yaml", load_company(REPOSITORY / "knowledge/company.yaml"))


def test_a_case_of_a_desk_that_does_not_exist_measures_nothing() -> None:
    """It is named with its suite."""
    dataset = Dataset({"refunds": [case(category="billing"), case(id="two", category="sales")]})
    Dataset({"refunds": [case(category="billing"), case()]}).require_desks(("general", "billing"))
    with pytest.raises(CannotMeasure, match=r"refunds\.yaml: case 'two' has the category 'sales'.* general, billing"):
        dataset.require_desks(("general", "billing"))
