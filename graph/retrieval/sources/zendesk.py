"""Zendesk: pages of the Help Center API as files, in a folder or one alone.

https://developer.zendesk.com/api-reference/help_center/help-center-api/articles/ describes `articles.json`. Pages of
sections, categories and translations beside it give names and other languages; they may be in the same file.
"""

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

_KINDS = ("articles", "sections", "categories", "translations")
_DEEPEST = 10  # sections in sections


class Zendesk:
    """Pages of the Help Center API."""

    def __init__(self, path: Path, company: Company) -> None:
        self._path = path
        self._company = company

    def changes(self, known: Mapping[str, str]) -> Iterator[Change]:
        """Yield what differs from the known revisions."""
        return compare(self._found(), known)

    def _found(self) -> Iterator[Document | LeftOut]:
        items: dict[str, list[tuple[str, Item]]] = {kind: [] for kind in _KINDS}
        for path in _files(self._path):
            try:
                page = read_json(path)
            except UnreadableError as error:
                where = f"{path}:{error.line}" if error.line else str(path)
                if path == self._path:
                    raise KnowledgeError(f"{where}: {error.reason}") from error
                yield LeftOut(where, error.reason, is_fault=True)
                continue
            for kind in _KINDS if isinstance(page, dict) else ():
                items[kind] += _items(path, kind, cast("Item", page).get(kind))
        articles = [(where, article) for where, article in items["articles"]]
        names = _Names(items["sections"], items["categories"])
        for where, article in articles:
            for entry in _entries(where, article, names):
                yield document_of(entry, self._company)
        by_id = {str(article.get("id")): article for _, article in articles}
        for where, translation in items["translations"]:
            article = by_id.get(str(translation.get("source_id")))
            if article is None:
                yield LeftOut(where, "its article is not in the export, so nobody knows who may read it", is_fault=True)
            elif entry := _translated(where, article, translation, names):
                yield document_of(entry, self._company)


def is_zendesk(path: Path) -> bool:
    """Whether a file is a page of articles, or a folder has one: `articles-2.json`, `de/articles.json`."""
    if path.is_dir():
        return any(
            is_zendesk(file)
            for pattern in ("articles*.json", "*/articles*.json")
            for file in sorted(path.glob(pattern))
        )
    try:
        page = read_json(path)
    except UnreadableError:
        return path.name.startswith("articles")  # whose reader says what is wrong with it
    articles: Any = cast("Item", page).get("articles") if isinstance(page, dict) else None
    return isinstance(articles, list) and all(
        isinstance(article, dict) and "body" in article for article in cast("list[Any]", articles[:1])
    )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(
        file for kind in _KINDS for pattern in (f"{kind}*.json", f"*/{kind}*.json") for file in path.glob(pattern)
    )


def _items(path: Path, kind: str, values: object) -> Iterator[tuple[str, Item]]:
    for number, value in enumerate(cast("list[Any]", values) if isinstance(values, list) else ()):
        item: Item = cast("Item", value) if isinstance(value, dict) else {}
        yield f"{path}: {kind} {item.get('id', f'number {number + 1}')}", item


class _Names:
    """The names of sections and categories by their ids."""

    def __init__(self, sections: Sequence[tuple[str, Item]], categories: Sequence[tuple[str, Item]]) -> None:
        self._sections = {str(section.get("id")): section for _, section in sections}
        self._categories = {str(category.get("id")): category for _, category in categories}

    def labels(self, article: Item) -> dict[str, tuple[str, ...]]:
        """Return an article's labels; ids stand where the export has no names."""
        names: list[str] = []
        category: Any = None
        section: Any = article.get("section_id")
        for _ in range(_DEEPEST):
            if section is None:
                break
            found = self._sections.get(str(section), {})
            names.append(str(found.get("name") or section))
            category = found.get("category_id") or category
            section = found.get("parent_section_id")
        name = self._categories.get(str(category), {}).get("name") or category
        return {
            "tags": texts(article.get("label_names")),
            "section": tuple(names),
            "category": (str(name),) if name else (),
        }


def _entries(where: str, article: Item, names: _Names) -> Iterator[Entry]:
    """Yield an article, and the translations that came with it."""
    locale, source = article.get("locale"), article.get("source_locale")
    number = str(article.get("id") or "")
    yield _entry(where, number if locale == source or not source else f"{number}-{locale}", article, article, names)
    translations: Any = article.get("translations")
    for translation in cast("list[Any]", translations) if isinstance(translations, list) else ():
        if isinstance(translation, dict) and (entry := _translated(where, article, cast("Item", translation), names)):
            yield entry


def _translated(where: str, article: Item, translation: Item, names: _Names) -> Entry | None:
    """Return an article in another language; None if it is the article's own."""
    locale = translation.get("locale")
    if locale == article.get("locale"):
        return None
    number = str(article.get("id"))
    article_id = number if locale == article.get("source_locale") else f"{number}-{locale}"
    return _entry(f"{where} ({locale})", article_id, translation, article, names)


def _entry(where: str, article_id: str, content: Item, article: Item, names: _Names) -> Entry:
    title = str(content.get("title") or content.get("name") or "").strip()
    url = content.get("html_url")
    base = url if isinstance(url, str) else ""
    text, fault = text_of(str(content.get("body") or ""), title, base, is_html=True)
    return Entry(
        where,
        article_id,
        title,
        text,
        {**article, "draft": article.get("draft") or content.get("draft"), "hidden": content.get("hidden")},
        base or None,
        language_of_code(str(content.get("locale") or "")),
        names.labels(article),
        fault=fault,
    )
