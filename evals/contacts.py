"""The desks' contacts as they must be, so that a wrong one in company.yaml is noticed."""

from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from evals.cases import Text
from evals.errors import CannotMeasure
from graph.retrieval.company import Company

_contacts = TypeAdapter(dict[Text, Text])


def check_contacts(file: Path, company: Company) -> None:
    """Compare company.yaml with the right contact of each desk, if there is such a file; raises CannotMeasure."""
    if not file.exists():
        return
    try:
        contacts = _contacts.validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError, ValueError, RecursionError, OSError):
        raise CannotMeasure(f"{file}: must be lines of `desk: contact`") from None
    with_contact = {desk.name for desk in company.desks if desk.contact}
    if odd := sorted(contacts.keys() ^ with_contact):
        raise CannotMeasure(
            f"{file}: it and company.yaml differ in which desks have a contact: {', '.join(odd)}; name the same in both"
        )
    for desk in company.desks:
        if desk.contact and desk.contact != contacts[desk.name]:
            both = f"{contacts[desk.name]}, {desk.contact}"
            raise CannotMeasure(
                f"{file}: it and company.yaml differ in the contact of {desk.name} ({both}); correct the wrong one"
            )
