"""The company's articles, read from Markdown files."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from graph.errors import KnowledgeError
from graph.state import CATEGORIES, Category

COMPANY_FILE = "company.yaml"

_FRONT_MATTER = re.compile(r"---\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Article:
    """One article of the help centre."""

    id: str
    title: str
    category: Category
    text: str
    """The body, Markdown."""


@dataclass(frozen=True, slots=True)
class Library:
    """The contents of the knowledge folder."""

    company: str
    """The company's name."""
    contacts: Mapping[Category, str]
    """How a customer can reach a person, for each category."""
    articles: tuple[Article, ...]

    def version(self, embedding_model: str) -> str:
        """Return a hash of the articles, contacts and the embedding model's name: twelve hexadecimal digits."""
        content = json.dumps([asdict(self), embedding_model], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def load_library(folder: Path) -> Library:
    """Read company.yaml and every `*.md` in `folder`; raises KnowledgeError naming the file and line."""
    paths = sorted(path for path in folder.glob("*.md") if not path.name.startswith("."))
    if not paths:
        raise KnowledgeError(f"SUPPORT_KNOWLEDGE: no articles (*.md) in the folder {str(folder)!r}")
    articles: dict[str, Article] = {}
    for path in paths:
        article, id_line = _load_article(path)
        if article.id in articles:
            raise KnowledgeError(f"{path}:{id_line}: the id {article.id!r} is already used by another article")
        articles[article.id] = article
    company, contacts = _load_company(folder / COMPANY_FILE)
    return Library(company, contacts, tuple(articles.values()))


def _load_article(path: Path) -> tuple[Article, int]:
    """Return the article, and the line number of its id."""
    source = _read(path)
    match = _FRONT_MATTER.match(source)
    if match is None:
        raise KnowledgeError(f"{path}:1: must begin with front matter between two lines of ---")
    fields = _fields(path, match[1], first_line=2, names=("id", "title", "category"))
    article_id, id_line = fields["id"]
    if not _ID.fullmatch(article_id):
        raise KnowledgeError(f"{path}:{id_line}: id: must be lower-case words joined by hyphens")
    category, category_line = fields["category"]
    if category not in CATEGORIES:
        raise KnowledgeError(f"{path}:{category_line}: category: must be one of {', '.join(CATEGORIES)}")
    text = source[match.end() :].strip()
    if not text:
        line = source[: match.end()].count("\n") + 1
        raise KnowledgeError(f"{path}:{line}: an article needs text after its front matter")
    return Article(article_id, fields["title"][0], category, text), id_line


def _load_company(path: Path) -> tuple[str, dict[Category, str]]:
    names = ("name", *(f"contacts.{category}" for category in CATEGORIES))
    fields = _fields(path, _read(path), first_line=1, names=names)
    return fields["name"][0], {category: fields[f"contacts.{category}"][0] for category in CATEGORIES}


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KnowledgeError(f"{path}: can't be read ({error.strerror})") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise KnowledgeError(f"{path}:{line}: not valid UTF-8") from error
    if "\0" in text:
        raise KnowledgeError(f"{path}:{_line(text, text.index(chr(0)), 1)}: must not contain NUL characters")
    return text


def _line(source: str, position: int, first_line: int) -> int:
    # YAML also counts U+0085, U+2028 and U+2029 as line ends, but editors do not.
    return first_line + source.count("\n", 0, position)


def _fields(path: Path, source: str, first_line: int, names: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return exactly the fields `names` of a YAML mapping, each with its line; nested fields are named a.b."""
    try:
        node = yaml.compose(source, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        position = mark.index if mark else getattr(error, "position", 0)
        raise KnowledgeError(f"{path}:{_line(source, position, first_line)}: not valid YAML") from error
    if not isinstance(node, yaml.MappingNode):
        raise KnowledgeError(f"{path}:{first_line}: must be lines of `name: text`")
    fields: dict[str, tuple[str, int]] = {}
    for name, value, position in _scalars(node, ""):
        line = _line(source, position, first_line)
        if value is None:
            raise KnowledgeError(f"{path}:{line}: {name}: must be text")
        if name not in names or name in fields:
            trouble = "appears twice" if name in fields else f"must be one of {', '.join(names)}"
            raise KnowledgeError(f"{path}:{line}: {name}: {trouble}")
        fields[name] = value, line
    for name in names:
        if name not in fields:
            raise KnowledgeError(f"{path}:{first_line}: {name} is missing")
    return fields


def _scalars(mapping: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, str | None, int]]:
    """Yield each field's name, its text (None if it has none) and its position."""
    pairs: list[tuple[yaml.Node, yaml.Node]] = mapping.value
    for key, value in pairs:
        name, position = f"{prefix}{key.value}", key.start_mark.index
        if isinstance(value, yaml.MappingNode) and not prefix:  # one level only: an alias could recurse forever
            yield from _scalars(value, f"{name}.")
        elif isinstance(value, yaml.ScalarNode) and str(value.value).strip():
            yield name, str(value.value), position
        else:
            yield name, None, position
