"""A company.yaml to begin with, from what a help centre holds; a person corrects it."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path, PurePosixPath

import yaml

from graph.retrieval.company import MOST_DESKS, Company, Desk, plain
from graph.retrieval.desks import spread
from graph.retrieval.sources import Document

_LABELS = ("category", "section", "group", "folder", "tags")  # the first that divides the articles well is taken
_LEAST_SHARE = 0.02  # of the articles, for a desk of its own
_MOST_EXAMPLES = 84
_LONGEST_ABOUT = 200  # characters
_LONGEST_NAME = 30
_LONGEST_CONFIG = 100_000  # bytes
_EVERYTHING_ELSE = ("general", "faq", "faqs", "other", "misc", "miscellaneous", "allgemein", "allgemeines", "sonstiges")
_CONFIGS = (  # of site generators, with where they have the site's name
    ("docusaurus.config.*", r"""^\s*title:\s*(['"`])(.+?)\1"""),
    (".vitepress/config.*", r"""\btitle:\s*(['"`])(.+?)\1"""),
    ("astro.config.*", r"""\btitle:\s*(['"`])(.+?)\1"""),
    ("mkdocs.y*ml", r"""^(site_name):\s*(.+?)\s*$"""),
    ("_config.y*ml", r"""^(title):\s*(.+?)\s*$"""),
    ("hugo.y*ml", r"""^(title):\s*(.+?)\s*$"""),
    ("hugo.toml", r"""^title\s*=\s*(['"])(.+?)\1"""),
    ("config.toml", r"""^title\s*=\s*(['"])(.+?)\1"""),
)


def suggest(documents: Sequence[Document], name: str) -> Company:
    """Return a company with one to twelve desks, by the label that divides the documents best."""
    label, parts = _division(documents)
    placed = {document.id for some in parts.values() for document in some}
    others = [document for document in documents if document.id not in placed]
    first = next((value for value in parts if plain(_word(value)) in _EVERYTHING_ELSE), None)
    desks = [_first(parts.pop(first, []) if first else [], others, label, first)]
    room = _MOST_EXAMPLES // (len(parts) + 1)
    desks += [_desk(_word(value), some, {label: (value,)}, room) for value, some in parts.items()]
    return Company(name, tuple(desks), language=_language(documents))


def name_of(folder: Path) -> str:
    """Return the name in a site generator's settings, in the folder or two above it; else the folder's own."""
    folder = folder.resolve()
    for place in (folder, *folder.parents[:2]):
        for pattern, title in _CONFIGS:
            for file in sorted(place.glob(pattern)):
                if found := re.search(title, _beginning(file), re.MULTILINE):
                    return " ".join(found[2].strip("'\" ").split())
    return folder.name.replace("-", " ").replace("_", " ").title()


def as_yaml(company: Company) -> str:
    """Return the text of a company.yaml, with what to do about it."""
    lines = [
        "# Written by `support-agent knowledge init` from the articles. Correct it: above all the contacts, and",
        "# what each desk is about. `support-agent knowledge check` says what it makes of the articles.",
        f"name: {_scalar(company.name)}",
        "# about: a software company   # what the company is; the classifier is told",
        "# url: https://help.example.com/{path}   # where customers read an article",
        *([f"language: {company.language}"] if company.language else []),
        "",
        "desks: # what belongs to no other goes to the first",
    ]
    for desk in company.desks:
        lines += [
            f"  {desk.name}:",
            "    contact: # how customers reach a person there: an address, or a telephone number",
            f"    about: {_scalar(desk.about)}",
        ]
        lines += ["    rules:"] if desk.rules else []
        for label, patterns in desk.rules.items():
            lines += [f"      {label}:", *(f"        - {_scalar(pattern)}" for pattern in patterns)]
        lines += ["    examples: # replace them with questions in customers' words"] if desk.examples else []
        lines += [f"      - {_scalar(example)}" for example in desk.examples]
    return "\n".join(lines) + "\n"


def _division(documents: Sequence[Document]) -> tuple[str, dict[str, list[Document]]]:
    """Return the label, and the documents by its values: those that are frequent enough, eleven at most."""
    for label in _LABELS:
        parts: defaultdict[str, list[Document]] = defaultdict(list)
        for document, value in _values(documents, label):
            parts[value].append(document)
        parts = _without_same_words(parts)
        least = max(1, _LEAST_SHARE * len(documents))
        frequent = sorted(parts, key=lambda value: -len(parts[value]))
        kept = [value for value in frequent if len(parts[value]) >= least and _word(value)][: MOST_DESKS - 1]
        if len(kept) > 1 and 2 * sum(len(parts[value]) for value in kept) >= len(documents):
            return label, {value: parts[value] for value in kept}
    return "folder", {}


def _without_same_words(parts: Mapping[str, list[Document]]) -> "defaultdict[str, list[Document]]":
    """Keep one of several values that would be the same desk's name, the largest."""
    kept: dict[str, str] = {}
    for value in sorted(parts, key=lambda value: -len(parts[value])):
        kept.setdefault(plain(_word(value)), value)
    return defaultdict(list, {value: parts[value] for value in kept.values()})


def _values(documents: Sequence[Document], label: str) -> Iterator[tuple[Document, str]]:
    """Yield each document with its first value of a label; of a folder, its part below what all have in common."""
    found = [(document, document.labels.get(label, ())) for document in documents]
    if label != "folder":
        yield from ((document, values[0]) for document, values in found if values)
        return
    paths = [(document, PurePosixPath(values[0]).parts) for document, values in found if values]
    common = len(list(takewhile(lambda parts: len(set(parts)) == 1, zip(*(parts for _, parts in paths), strict=False))))
    yield from ((document, "/".join(parts[: common + 1])) for document, parts in paths if len(parts) > common)


def _word(value: str) -> str:
    """Return a desk's name from a label's value."""
    last = unicodedata.normalize("NFC", value.rpartition("/")[2].casefold())
    words = [word for word in re.findall(r"[^\W_]+", last) if not word.isdigit()]
    name = ""
    for word in words:
        longer = f"{name}-{word}" if name else word
        if len(longer) > _LONGEST_NAME:
            break
        name = longer
    return name if plain(name) != "none" else ""


def _first(own: Sequence[Document], others: Sequence[Document], label: str, value: str | None) -> Desk:
    rules = {label: (value,)} if value else {}
    titles = [_short(document) for document in spread([*own, *others], 7)]
    about = f"everything else, such as {_titles(titles)}" if titles else "everything else"
    return Desk(_word(value) if value else "general", about=about, examples=tuple(titles), rules=rules)


def _desk(name: str, documents: Sequence[Document], rules: Mapping[str, tuple[str, ...]], room: int) -> Desk:
    titles = [_short(document) for document in documents]
    about = _titles(spread(titles, 8))
    return Desk(name, about=about, examples=tuple(dict.fromkeys(spread(titles, room))), rules=rules)


def _short(document: Document) -> str:
    return " ".join(document.title.split())[:_LONGEST_ABOUT]


def _titles(titles: Sequence[str]) -> str:
    """Return titles in one line that is not too long."""
    line = ""
    for title in dict.fromkeys(titles):
        longer = f"{line}; {title}" if line else title
        if len(longer) > _LONGEST_ABOUT and line:
            break
        line = longer
    return line[:_LONGEST_ABOUT]


def _language(documents: Sequence[Document]) -> str | None:
    counted = Counter(document.language for document in documents if document.language).most_common(1)
    return counted[0][0] if counted and 2 * counted[0][1] > len(documents) else None


def _beginning(file: Path) -> str:
    with suppress(OSError), file.open("rb") as opened:
        return opened.read(_LONGEST_CONFIG).decode("utf-8", "replace")
    return ""


def _scalar(text: str) -> str:
    """Return a text in one line as YAML has it, in quotation marks where it needs them."""
    dumped = yaml.safe_dump(" ".join(text.split()), allow_unicode=True, width=10_000)
    return dumped.removesuffix("\n").removesuffix("\n...").removesuffix("...").strip()
