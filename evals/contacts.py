"""The desks' contacts as they must be, so that a wrong one in company.yaml is noticed."""

from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from evals.cases import Text
from evals.errors import CannotMeasure
from graph.retrieval.company import Company

_contacts = TypeAdapter(dict[Text, Text])


def load_contacts(file: Path, company: Company) -> Mapping[str, str] | None:
    """Read the right contact of each desk; None without the file. Raises CannotMeasure if it names other desks."""
    if not file.exists():
        return None
    try:
        contacts = _contacts.validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError, ValueError, RecursionError, OSError):
        raise CannotMeasure(f"{file}: must be lines of `desk: contact`") from None
    with_contact = {desk.name for desk in company.desks if desk.contact}
    if odd := sorted(contacts.keys() ^ with_contact):
        raise CannotMeasure(
            f"{file}: it and company.yaml differ in which desks have a contact: {', '.join(odd)}; name the same in both"
        )
    return contacts
