"""What a company says of itself and of its help centre, in company.yaml."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import yaml

from graph.errors import KnowledgeError
from graph.state import CATEGORIES

COMPANY_FILE = "company.yaml"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """A desk that questions go to."""

    name: str
    """One lower-case word, which the classifier answers with."""
    contact: str = ""
    """How a customer reaches a person there; empty if there is none."""
    about: str = ""
    """A line that says what goes there; the classifier gets it."""
    examples: tuple[str, ...] = ()
    """Questions that go there."""
    hours: str = ""
    """When somebody is there, as customers are told."""
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Which articles are its own: patterns (`*`, `?`) by the names of Document.labels."""


@dataclass(frozen=True, slots=True)
class Company:
    """A company's name, desks, and how its help centre is to be read."""

    name: str
    desks: tuple[Desk, ...]
    """One to twelve; what the classifier does not name goes to the first."""
    url: str | None = None
    """The pattern of an article's public address, such as `https://help.example.com/{path}`."""
    language: str | None = None
    """The help centre's default language, ISO 639-1."""
    leave_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Articles that are not for customers: patterns by the name of a front matter field, `title` or `path`."""
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """Where a JSON export of another product has what an article needs: `articles`, `id`, `title`, `text` …"""


UNNAMED: Final = Company("the company", (Desk("general"),))
"""The company without a company.yaml."""


def company_of(setting: Path | None, folder: Path | None) -> Company:
    """Read the company.yaml that SUPPORT_COMPANY names, else that of a folder of articles; raises KnowledgeError.

    If neither is there, the company has one desk and no contact, and the log says so.
    """
    if setting is not None:
        return load_company(setting)
    file = folder / COMPANY_FILE if folder else None
    if file and file.exists():
        return load_company(file)
    where = f"no {file}" if file else f"no {COMPANY_FILE}, and SUPPORT_COMPANY names none"
    _log.warning("%s: there is one desk without a contact, so customers are told of no address", where)
    return UNNAMED


def load_company(path: Path) -> Company:
    """Read a company.yaml; raises KnowledgeError naming it."""
    try:
        found: Any = yaml.safe_load(path.read_text("utf-8-sig"))
    except OSError as error:
        raise KnowledgeError(f"{path}: can't be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise KnowledgeError(f"{path}: not valid YAML in UTF-8") from error
    fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    contacts = cast("dict[str, str]", fields.get("contacts") or {})
    if not fields.get("name") or set(contacts) != set(CATEGORIES):
        raise KnowledgeError(f"{path}: needs a name, and contacts for {', '.join(CATEGORIES)}")
    return Company(str(fields["name"]), tuple(Desk(name, str(contacts[name])) for name in CATEGORIES))
