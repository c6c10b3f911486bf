"""What a company says of itself and of its help centre, in company.yaml."""

import logging
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from os.path import expanduser
from pathlib import Path
from typing import Final, TypeVar

import yaml

from graph.errors import KnowledgeError
from graph.retrieval.company_file import line_of, read_yaml
from graph.retrieval.opening import (
    DAYS,
    KEYS,
    REPLY,
    Opening,
    Span,
    days_in,
    holiday_in,
    reply_in,
    spans_in,
    week_of,
    zone_in,
)

COMPANY_FILE = "company.yaml"
MOST_DESKS = 12
LABELS: Final = ("folder", "tags", "category", "section", "group")
"""What rules map to desks: the names of Document.labels."""
FIELDS: Final = ("articles", "id", "title", "text", "url", "language", *LABELS)
"""What `fields` may name."""

_MOST_PROBLEMS = 20  # that are named
_LONGEST = 500  # characters of a text
_LONGEST_NAME = 30  # characters of a desk's name: what a classifier says in a few tokens
_PATTERN = re.compile(r"(?=.*\{(?:path|slug|id)\})(?:[^{}]|\{(?:path|slug|id|language)\})+")
_LANGUAGE = re.compile(r"[a-z]{2}")
_NEW_FORM = 'give each desk its own, as in "desks: {billing: {contact: billing@company.example}}"'

_A = TypeVar("_A")
_T = TypeVar("_T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """A desk that questions go to."""

    name: str
    """One word, which the classifier answers with: letters and digits, joined by hyphens."""
    contact: str = ""
    """How a customer reaches a person there; empty if there is none."""
    about: str = ""
    """A line that says what goes there; the classifier gets it."""
    examples: tuple[str, ...] = ()
    """Questions that go there."""
    hours: str = ""
    """When somebody is there, as customers are told."""
    opening: Opening | None = None
    """When somebody is there, as a program reckons; None if the file does not say."""
    hand_over: tuple[str, ...] = ()
    """Phrases of customers for which a person takes over."""
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
    about: str = ""
    """What the company is, such as `a software company`; the classifier gets it in place of the name."""

    @property
    def names(self) -> tuple[str, ...]:
        """The desks' names, the first desk's first."""
        return tuple(desk.name for desk in self.desks)

    @property
    def contacts(self) -> tuple[str, ...]:
        """The desks' contacts, without those that have none."""
        return tuple(desk.contact for desk in self.desks if desk.contact)

    @property
    def first_last(self) -> tuple[Desk, ...]:
        """The desks, with the first, where everything else goes, at the end."""
        return (*self.desks[1:], self.desks[0])

    def desk(self, name: str) -> Desk:
        """Return the desk of this name, or the first if there is none."""
        return next((desk for desk in self.desks if desk.name == name), self.desks[0])


UNNAMED: Final = Company("the company", (Desk("general"),))
"""The company without a company.yaml."""


def company_of(setting: Path | None, folder: Path | None) -> Company:
    """Read the company.yaml that SUPPORT_COMPANY names, else that of a folder of articles; raises KnowledgeError.

    If neither is there, the company has one desk and no contact, and the log says so.
    """
    if setting is not None:
        return load_company(Path(expanduser(setting)))  # noqa: PTH111 - without a home it stays as it is
    file = folder / COMPANY_FILE if folder else None
    if file and not file.exists() and (short := file.with_suffix(".yml")).exists():
        file = short
    if file and file.exists():
        return load_company(file)
    where = f"no {file}" if file else f"no {COMPANY_FILE}, and SUPPORT_COMPANY names none"
    _log.warning(
        "%s: there is one desk without a contact, so customers are told of no address; write one with "
        "`support-agent knowledge init`",
        where,
    )
    return UNNAMED


def load_company(path: Path) -> Company:
    """Read a company.yaml; raises KnowledgeError, which says of each problem where it is and what would be right."""
    source, node = read_yaml(path)
    reading = _Reading(path, source)
    company = reading.company(node)
    if company is None or reading.problems:
        raise KnowledgeError("\n".join(reading.told()))
    return company


def plain(text: str) -> str:
    """Return a text without case and accents, so that names can be compared."""
    letters = (each for each in unicodedata.normalize("NFKD", text.casefold()) if not _is_mark(each))
    return "".join(letters).casefold()


class _Reading:
    """Reads the nodes of one file, and notes what is wrong with them."""

    _KEYS = ("name", "about", "desks", "url", "language", "leave_out", "fields")
    _DESK_KEYS = ("contact", "about", "examples", "hours", "opening", "hand_over", "rules")

    def __init__(self, path: Path, source: str) -> None:
        self.problems: list[tuple[int, str]] = []
        self._path = path
        self._source = source

    def told(self) -> list[str]:
        """Return a line for each problem."""
        some = [f"{self._path}:{line}: {what}" for line, what in sorted(self.problems)[:_MOST_PROBLEMS]]
        more = len(self.problems) - len(some)
        return [*some, f"{self._path}: and {more} more"] if more else some

    def company(self, node: yaml.Node | None) -> Company | None:
        """Return what the file says; None if it is not a mapping, or lacks a name."""
        if not isinstance(node, yaml.MappingNode):
            self.problems.append((1, "must be lines of `name: value`, and say at least the company's `name`"))
            return None
        found = self._mapping(node, "", self._KEYS)
        name = self._text(found.get("name"), "name")
        if not name and "name" not in found:
            self.problems.append((1, "name is missing: the company's name, as customers know it"))
        url = self._text(found.get("url"), "url") or None
        if url and not re.match(r"https?://\S+$", url):
            self._complain(found["url"], "url: must begin with https:// and have no spaces")
        elif url and not _PATTERN.fullmatch(url):
            self._complain(found["url"], "url: must have {path}, {slug} or {id}, and no other braces but {language}")
        language = self._text(found.get("language"), "language") or None
        if language and not _LANGUAGE.fullmatch(language):
            self._complain(found["language"], "language: must be two lower-case letters of ISO 639-1, such as en or de")
        leave_out = {key: self._texts(value, f"leave_out.{key}") for key, value in self._pairs(found, "leave_out")}
        fields = {key: self._text(value, f"fields.{key}") for key, value in self._pairs(found, "fields", FIELDS)}
        about = self._text(found.get("about"), "about")
        return Company(name, self._desks(found.get("desks")), url, language, leave_out, fields, about)

    def _desks(self, node: yaml.Node | None) -> tuple[Desk, ...]:
        if node is None:
            return UNNAMED.desks
        if not isinstance(node, yaml.MappingNode) or not node.value:
            self._complain(node, "desks: must be lines of `name:`, each with the desk's contact and about below it")
            return ()
        known: dict[str, str] = {}
        desks: list[Desk] = []
        for key, name, value in self._items(node, "desks"):
            name = unicodedata.normalize("NFC", name)
            if not _is_word(name) or plain(name) == "none":
                self._complain(
                    key,
                    f"desks.{name}: must be one word of letters and digits, joined by hyphens, of at most "
                    f"{_LONGEST_NAME} characters, and not none",
                )
            elif (other := known.setdefault(plain(name), name)) != name:
                self._complain(key, f"desks.{name}: can't be told from {other}: without case and accents they are one")
            desks.append(self._desk(name, value))
        if len(desks) > MOST_DESKS:
            self._complain(node, f"desks: are {len(desks)}; must be at most {MOST_DESKS}")
        return tuple(desks)

    def _desk(self, name: str, node: yaml.Node) -> Desk:
        if _is_empty(node):
            return Desk(name)
        where = f"desks.{name}"
        found = self._mapping(node, f"{where}.", self._DESK_KEYS)
        rules = {key: self._texts(value, f"{where}.rules.{key}") for key, value in self._rules(found, where)}
        if "folder" in rules:  # which has what is below it, however that is written
            rules["folder"] = tuple(re.sub(r"^(?:\./)+|(?:/\*+)+/?$", "", folder) for folder in rules["folder"])
        return Desk(
            name,
            contact=self._text(found.get("contact"), f"{where}.contact"),
            about=self._text(found.get("about"), f"{where}.about"),
            examples=self._texts(found.get("examples"), f"{where}.examples"),
            hours=self._text(found.get("hours"), f"{where}.hours"),
            opening=self._opening(found.get("opening"), f"{where}.opening"),
            hand_over=self._texts(found.get("hand_over"), f"{where}.hand_over"),
            rules=rules,
        )

    def _opening(self, node: yaml.Node | None, where: str) -> Opening | None:
        if node is None or _is_empty(node):
            return None
        known = len(self.problems)
        found = self._mapping(node, f"{where}.", KEYS)
        for key in ("zone", "days"):
            if key not in found:
                self._complain(node, f"{where}.{key}: is missing")
        spans: dict[int, tuple[Span, ...]] = {}
        for name, value in self._mapping(found["days"], f"{where}.days.", None).items() if "days" in found else ():
            times = self._parsed(value, f"{where}.days.{name}", spans_in, self._texts(value, f"{where}.days.{name}"))
            days = self._parsed(value, f"{where}.days.{name}", days_in, name) or ()
            if twice := [DAYS[day] for day in days if day in spans]:
                self._complain(
                    value, f"{where}.days.{name}: {twice[0]} has times already; give it all of them in one line"
                )
            spans |= dict.fromkeys(days, times or ())
        one = {key: self._text(found[key], f"{where}.{key}") for key in ("zone", "reply") if key in found}
        zone = self._parsed(found["zone"], f"{where}.zone", zone_in, one["zone"]) if "zone" in one else None
        reply = self._parsed(found["reply"], f"{where}.reply", reply_in, one["reply"]) if "reply" in one else None
        off = self._texts(found.get("holidays"), f"{where}.holidays")
        closed = [self._parsed(found["holidays"], f"{where}.holidays", holiday_in, each) or "" for each in off]
        if zone is None or len(self.problems) > known:
            return None
        return Opening(zone, week_of(spans), tuple(closed), reply or REPLY)

    def _parsed(self, node: yaml.Node, name: str, parse: Callable[[_A], _T], value: _A) -> _T | None:
        """Return what `parse` makes of a value; what it raises is a problem."""
        try:
            return parse(value)
        except ValueError as error:
            self._complain(node, f"{name}: {error}")
            return None

    def _rules(self, found: Mapping[str, yaml.Node], where: str) -> Iterator[tuple[str, yaml.Node]]:
        node = found.get("rules")
        if node is not None and not _is_empty(node):
            yield from self._mapping(node, f"{where}.rules.", LABELS).items()

    def _pairs(
        self, found: Mapping[str, yaml.Node], name: str, known: Collection[str] | None = None
    ) -> Iterator[tuple[str, yaml.Node]]:
        node = found.get(name)
        if node is not None and not _is_empty(node):
            yield from self._mapping(node, f"{name}.", known).items()

    def _mapping(self, node: yaml.Node, prefix: str, known: Collection[str] | None) -> dict[str, yaml.Node]:
        """Return the values of a mapping by their keys, without those that are unknown."""
        if not isinstance(node, yaml.MappingNode):
            self._complain(node, f"{prefix.rstrip('.')}: must be lines of `name: value`")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, name, value in self._items(node, prefix.rstrip(".")):
            if known is None or name in known:
                found[name] = value
            elif not prefix and name == "contacts":
                self._complain(key, f"contacts: {_NEW_FORM}")
            else:
                close = get_close_matches(name, known, 1)
                guess = f" (did you mean {close[0]}?)" if close else ""
                self._complain(key, f"{prefix}{name}: is unknown{guess}; must be one of {', '.join(known)}")
        return found

    def _items(self, node: yaml.MappingNode, where: str) -> Iterator[tuple[yaml.Node, str, yaml.Node]]:
        """Yield each key, its text and its value; a key that is no text, or is there already, is a problem."""
        seen: set[str] = set()
        pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
        for key, value in pairs:
            name = str(key.value).strip() if isinstance(key, yaml.ScalarNode) else ""
            if not name or len(name) > _LONGEST:
                self._complain(key, f"{where or COMPANY_FILE}: has a key that is no short text")
            elif name in seen:
                self._complain(key, f"{f'{where}.' if where else ''}{name}: appears twice")
            else:
                seen.add(name)
                yield key, name, value

    def _text(self, node: yaml.Node | None, name: str) -> str:
        """Return a text in one line; "" if there is none."""
        if node is None or _is_empty(node):
            if name == "name" and node is not None:
                self._complain(node, "name: must be the company's name, as customers know it")
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self._complain(node, f"{name}: must be text; put it in quotation marks if it has a colon or brackets")
            return ""
        text = " ".join(str(node.value).split())
        if len(text) > _LONGEST:
            self._complain(node, f"{name}: has {len(text):,} characters; must have at most {_LONGEST}")
        return text

    def _texts(self, node: yaml.Node | None, name: str) -> tuple[str, ...]:
        """Return the texts of a list, or a text alone."""
        several = isinstance(node, yaml.SequenceNode)
        nodes: list[yaml.Node | None] = node.value if isinstance(node, yaml.SequenceNode) else [node]
        texts = [self._text(one, f"{name}[{place}]" if several else name) for place, one in enumerate(nodes, 1)]
        return tuple(dict.fromkeys(filter(None, texts)))

    def _complain(self, node: yaml.Node, what: str) -> None:
        self.problems.append((line_of(self._source, node.start_mark.index), what))


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and (node.tag == "tag:yaml.org,2002:null" or not str(node.value).strip())


def _is_word(name: str) -> bool:
    parts = name.split("-")
    return len(name) <= _LONGEST_NAME and all(
        part and all(each.isalnum() or _is_mark(each) for each in part) for part in parts
    )


def _is_mark(character: str) -> bool:
    """Return whether it is an accent, or another sign that belongs to the letter before it."""
    return unicodedata.category(character).startswith("M")
