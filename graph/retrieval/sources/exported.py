"""JSON that another product exports: where it has what an article needs is known, guessed, or told by company.yaml."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from graph.errors import KnowledgeError
from graph.retrieval.company import Company
from graph.retrieval.sources import Change, Document, LeftOut, UnreadableError
from graph.retrieval.sources.entries import Entry, compare, document_of, text_of
from graph.retrieval.sources.front_matter import texts
from graph.retrieval.sources.json_files import read_json
from graph.retrieval.sources.languages import language_of_code

Item = Mapping[str, Any]

FIELDS: Mapping[str, tuple[str, ...]] = {
    "articles": (),
    "id": ("id", "_id", "uuid", "slug", "key"),
    "title": ("title", "name", "question", "subject"),
    "text": ("body_html", "body", "html", "content", "text", "answer", "description", "markdown"),
    "url": ("html_url", "url", "public_url", "permalink", "link"),
    "language": ("locale", "language", "lang", "default_locale"),
    "tags": ("tags", "label_names", "labels", "keywords"),
    "category": ("category", "categories", "category_id"),
    "section": ("section", "collection", "section_id", "parent_id"),
    "group": ("group",),
    "folder": ("folder", "folder_id"),
}
"""What company.yaml may name under `fields`, by dotted paths, and where it usually is, the likeliest first."""

_LABELS = ("tags", "category", "section", "group", "folder")
_PUBLISHED = 2  # Freshdesk's status
_FOR_ALL = 1  # Freshdesk's visibility of a folder
_LOOKED_AT = 50  # articles, before a file is said to have none


class Exported:
    """The articles of a JSON file."""

    def __init__(self, path: Path, company: Company) -> None:
        self._path = path
        self._company = company
        self._fields = company.fields

    def changes(self, known: Mapping[str, str]) -> Iterator[Change]:
        """Yield what differs from the known revisions; raises KnowledgeError for a file that has no articles."""
        return compare(self._found(), known)

    def _found(self) -> Iterator[Document | LeftOut]:
        try:
            articles = self._articles(read_json(self._path))
        except UnreadableError as error:
            where = f"{self._path}:{error.line}" if error.line else str(self._path)
            raise KnowledgeError(f"{where}: {error.reason}") from error
        self._check(articles[:_LOOKED_AT])
        for number, article in enumerate(articles, 1):
            where = f"{self._path}: article {number}"
            if not isinstance(article, dict):
                yield LeftOut(where, "is not a JSON object", is_fault=True)
                continue
            for entry in self._entries(where, cast("Item", article)):
                yield document_of(entry, self._company)

    def _articles(self, content: object) -> list[Any]:
        """Return the list of articles: at its path, or the first list of objects at the top or one level below."""
        path = self._fields.get("articles")
        found = content
        if path:
            found = at(content, path)
        elif isinstance(content, dict):
            item = cast("Item", content)
            inner = [value for each in item.values() if isinstance(each, dict) for value in cast("Item", each).values()]
            lists = [cast("list[Any]", value) for value in (*item.values(), *inner) if isinstance(value, list)]
            found = next((values for values in lists if values and isinstance(values[0], dict)), None)
        if isinstance(found, list) and found:
            return cast("list[Any]", found)
        told = f"no list of articles{f' at {path!r}' if path else ''}: name where it is as `articles`"
        names = _names(cast("object", content))
        raise KnowledgeError(f"{self._path}: {told} under `fields` in company.yaml{names}")

    def _check(self, articles: Sequence[Any]) -> None:
        """Raise KnowledgeError if none has what every article needs."""
        items = [cast("Item", article) for article in articles if isinstance(article, dict)]
        for name in ("id", "title", "text"):
            if not any(self._value(item, name) for item in items):
                told = f"no article has {name!r}{f' at {self._fields[name]!r}' if name in self._fields else ''}"
                first = _names(items[0] if items else None)
                raise KnowledgeError(f"{self._path}: {told}: name where it is under `fields` in company.yaml{first}")

    def _value(self, item: Item, name: str) -> object:
        """Return a field's value, by company.yaml or where it usually is."""
        paths = (self._fields[name],) if name in self._fields else FIELDS[name]
        return next((value for path in paths if (value := at(item, path)) not in (None, "", [])), None)

    def _entries(self, where: str, item: Item) -> Iterator[Entry]:
        """Yield an article, and its translations as Intercom has them."""
        labels = {name: texts(self._value(item, name)) for name in _LABELS}
        if isinstance(item.get("hierarchy"), list):  # Freshdesk's
            named = at(item, "hierarchy.data.name")
            labels["folder"] = (*labels["folder"], *texts(named))
        article_id = str(self._value(item, "id") or "")
        language = self._value(item, "language")
        yield self._entry(where, article_id, item, {**item, **_facts(item)}, language, labels)
        translations: Any = item.get("translated_content")
        for locale, content in cast("Item", translations).items() if isinstance(translations, dict) else ():
            if isinstance(content, dict) and locale != language:
                content_id = f"{article_id}-{locale}"
                of_it = cast("Item", content)
                yield self._entry(f"{where} ({locale})", content_id, of_it, {**item, **of_it}, locale, labels)

    def _entry(
        self,
        where: str,
        article_id: str,
        item: Item,
        fields: Item,
        language: object,
        labels: Mapping[str, tuple[str, ...]],
    ) -> Entry:
        title = " ".join(str(self._value(item, "title") or "").split())
        url = self._value(item, "url")
        base = url if isinstance(url, str) and url.startswith("http") else ""
        body = self._value(item, "text")
        text, fault = text_of(body if isinstance(body, str) else "", title, base)
        spoken = language_of_code(str(language or ""))
        return Entry(where, article_id, title, text, fields, base or None, spoken, labels, fault=fault)


def at(value: object, path: str) -> object:
    """Return what is at a dotted path; of a list, what is there in each of its objects."""
    if isinstance(value, list):
        found = (at(each, path) for each in cast("list[object]", value))
        return [each for each in found if each is not None] or None
    if not isinstance(value, dict):
        return None
    item = cast("Item", value)
    if path in item:
        return item[path]
    name, dot, rest = path.partition(".")
    return at(item.get(name), rest) if dot else None


def _facts(item: Item) -> dict[str, object]:
    """Return what Freshdesk says by numbers, and Intercom by the kind of an article."""
    facts: dict[str, object] = {}
    if item.get("type") == "internal_article":
        facts["internal"] = True
    if "folder_id" in item and isinstance(item.get("status"), int):
        facts["draft"] = item["status"] != _PUBLISHED
    if isinstance(item.get("folder_visibility"), int):
        facts["internal"] = item["folder_visibility"] != _FOR_ALL
    return facts


def _names(content: object) -> str:
    """Return the names in an object, for a message."""
    names = [str(name)[:40] for name in cast("Item", content)] if isinstance(content, dict) else []
    return f"; there are {', '.join(names[:20])}" if names else ""
