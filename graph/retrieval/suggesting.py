"""A company.yaml to begin with, from what a help centre holds; a person corrects it."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import yaml

from graph.retrieval.company import MOST_DESKS, Company, Desk, plain
from graph.retrieval.desks import spread
from graph.retrieval.sources import Document

_LABELS = ("category", "section", "group", "folder", "tags")  # the first that divides the articles well is taken
_LEAST_SHARE = 0.02  # of the articles, for a desk of its own
_NEARLY_ALL = 0.98  # of the articles
_MOST_EXAMPLES = 84
_LONGEST_ABOUT = 200  # characters
_LONGEST_NAME = 30
_LONGEST_CONFIG = 100_000  # bytes
_ANY = "*"
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


@dataclass(slots=True)
class _Part:
    """Documents whose values of a label would be one desk's name."""

    values: dict[str, None] = field(default_factory=dict[str, None])
    documents: list[Document] = field(default_factory=list[Document])


def suggest(documents: Sequence[Document], name: str) -> Company:
    """Return a company with one to twelve desks, by the label that divides the documents best."""
    label, parts = _division(documents)
    placed = {document.id for part in parts.values() for document in part.documents}
    first = next((word for word in parts if plain(word) in _EVERYTHING_ELSE), None)
    own = parts.pop(first) if first else _Part()
    others = [document for document in documents if document.id not in placed]
    titles = [_short(document) for document in spread([*own.documents, *others], 7)]
    about = f"everything else, such as {_titles(titles)}" if titles else "everything else"
    desks = [Desk(first or "general", about=about, examples=tuple(titles), rules=_rules(label, own))]
    room = _MOST_EXAMPLES // (len(parts) + 1)
    for word, part in parts.items():
        titles = list(dict.fromkeys(map(_short, part.documents)))
        examples = tuple(spread(titles, room))
        desks.append(Desk(word, about=_titles(spread(titles, 8)), examples=examples, rules=_rules(label, part)))
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


def _division(documents: Sequence[Document]) -> tuple[str, dict[str, _Part]]:
    """Return the label, and the documents by desk: those with enough of them, eleven at most, the largest first."""
    least = max(1, _LEAST_SHARE * len(documents))
    for label in _LABELS:
        parts: defaultdict[str, _Part] = defaultdict(_Part)
        words: dict[str, str] = {}
        for document, value in _values(documents, label):
            if word := _word(value):
                part = parts[words.setdefault(plain(word), word)]
                part.values[value] = None
                part.documents.append(document)
        kept = {word: part for word, part in parts.items() if len(part.documents) >= least}
        largest = sorted(kept, key=lambda word: -len(kept[word].documents))[: MOST_DESKS - 1]
        if len(largest) > 1 and 2 * sum(len(parts[word].documents) for word in largest) >= len(documents):
            return label, {word: parts[word] for word in largest}
    return "folder", {}


def _values(documents: Sequence[Document], label: str) -> Iterator[tuple[Document, str]]:
    """Yield each document with its first value of a label; of a folder, as far as it differs from the others'."""
    found = [(document, document.labels.get(label, ())) for document in documents]
    if label != "folder":
        yield from ((document, values[0]) for document, values in found if values)
        return
    # The label has the folder, those above it, and each one's own name: the whole path is the longest.
    wholes = [(document, max(values, key=lambda value: value.count("/"))) for document, values in found if values]
    paths = [(document, _parts(whole, document.language)) for document, whole in wholes]
    common = _common([parts for _, parts in paths])
    for document, parts in paths:
        start = len(common) if parts[: len(common)] == common else 0
        below = next((place for place in range(start, len(parts)) if parts[place] != _ANY), None)
        if below is not None:
            yield document, "/".join(parts[: below + 1])


def _common(paths: Sequence[list[str]]) -> list[str]:
    """Return the folders that nearly all paths begin with: a page or two may lie elsewhere."""
    common: list[str] = []
    while True:
        deeper = Counter(parts[len(common)] for parts in paths if parts[: len(common)] == common != parts)
        name, count = next(iter(deeper.most_common(1)), ("", 0))
        if count < _NEARLY_ALL * len(paths) or not count:
            return common
        common.append(name)


def _parts(folder: str, language: str | None) -> list[str]:
    """Return the parts of a folder's path, with a pattern in place of its language."""
    parts = PurePosixPath(folder).parts
    return [_ANY if language and re.split("[-_]", part.lower())[0] == language else part for part in parts]


def _rules(label: str, part: _Part) -> dict[str, tuple[str, ...]]:
    return {label: tuple(part.values)} if part.values else {}


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
