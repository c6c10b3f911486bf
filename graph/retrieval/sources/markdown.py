"""Markdown and MDX, as files and site generators have them, to clean Markdown."""

import re
from collections.abc import Callable, Mapping

from graph.retrieval.sources import Page, UnreadableError
from graph.retrieval.sources.code import set_code_aside, shown_code
from graph.retrieval.sources.components import without_tags
from graph.retrieval.sources.containers import without_containers
from graph.retrieval.sources.decoding import decode
from graph.retrieval.sources.front_matter import split_front_matter, text_field
from graph.retrieval.sources.inline import with_plain_lines, without_attributes
from graph.retrieval.sources.modules import has_modules, without_modules
from graph.retrieval.sources.myst import has_myst, without_marks_of_myst
from graph.retrieval.sources.outline import set_indented_code_aside, split_title, with_plain_outline
from graph.retrieval.sources.shelf import Shelf
from graph.retrieval.sources.templates import without_templates

MAX_INCLUDED = 100
"""Files that one article includes, also through each other."""
MAX_INCLUDE_DEPTH = 5
"""Files that include each other."""

TITLES = ("title", "seo.title", "seo_title", "meta.title", "hero.name", "linkTitle", "sidebar_label")
"""Fields of the front matter that hold a title, the best first."""

_SNIPPET = re.compile(r"^([ \t]*)-{1,9}8<-{1,9}[ \t]{1,9}[\"']([^\"'\n]+)[\"'][ \t]*$", re.MULTILINE)
"""A file that MkDocs puts in; a part of one has a colon, and is left out."""

_NO_STARS = re.compile(r"(?<=[^\s*\d])\*{4}(?![\d*])|(?<![\d*])\*{4}(?=[^\s*\d])")
"""Marks of emphasis on nothing, but not the stars of a number that is hidden."""

Find = Callable[[str], str | None]
"""Returns the source of a file that a page includes, by the address that it is included by; None if there is none."""


def from_markdown(content: bytes, find: Find | None = None) -> list[Page]:
    """Return the page; its fields are the front matter. Raises UnreadableError."""
    return [_page(content, find, is_mdx=False)]


def from_mdx(content: bytes, find: Find | None = None) -> list[Page]:
    """Return the page, in whose text `{…}` is code; its fields are the front matter. Raises UnreadableError."""
    return [_page(content, find, is_mdx=True)]


def _page(content: bytes, find: Find | None, *, is_mdx: bool) -> Page:
    fields, source = split_front_matter(Shelf.cleared(decode(content)))
    heading, rest, text = _Cleaner(fields, find or (lambda _: None), is_mdx=is_mdx).cleaned(source)
    given = text_field(fields, *TITLES)
    if given is None:
        return Page(rest, heading, fields)
    title = plain_title(given)
    return Page(rest if heading and heading.lower() == title.lower() else text, title, fields)


def plain_title(title: str) -> str:
    """Return a title without marks of Markdown, HTML and templates."""
    shelf = Shelf()
    text = without_templates(set_code_aside(Shelf.cleared(title), shelf, _no_file), {}, shelf, _no_tag)
    text = with_plain_lines(without_tags(text, {}, _no_tag, is_mdx=False), shelf, _no_file)
    text = re.sub(r"\[([^\[\]]*)\]\([^()]*\)", r"\1", text)
    text = shelf.restored(re.sub(r"\*\*|__|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)", "", text)).replace("`", "")
    return " ".join(text.split()) or " ".join(title.split())


def _no_tag(_: str, __: Mapping[str, str]) -> str:
    return ""


def _no_file(_: str) -> str:
    return ""


class _Cleaner:
    """Cleans the text of one page, and of what it includes."""

    def __init__(self, fields: Mapping[str, object], find: Find, *, is_mdx: bool) -> None:
        self._fields = fields
        self._find = find
        self._is_mdx = is_mdx
        self._shelf = Shelf()
        self._modules: dict[str, str] = {}
        self._left = MAX_INCLUDED
        self._depth = 0

    def cleaned(self, source: str) -> tuple[str | None, str, str]:
        """Return the first heading as a title, the clean text without it, and the clean text."""
        text = with_plain_outline(self._marked(source))
        heading, rest = split_title(text)  # before code is back, whose comments look like headings
        title = plain_title(self._shelf.restored(heading)) if heading else None
        return title, self._shelf.restored(rest), self._shelf.restored(text)

    def _marked(self, source: str) -> str:
        """Return clean Markdown in which the shelf's marks stand for code."""
        text = set_code_aside(source, self._shelf, self._file)
        text = without_marks_of_myst(text) if has_myst(source) else text
        self._is_mdx = self._is_mdx or has_modules(text)
        text = without_containers(text)
        if self._is_mdx:
            text, modules = without_modules(text)
            self._modules |= modules
        else:
            text = set_indented_code_aside(text, self._shelf)
        text = self._with_code_imports(without_attributes(text))
        text = _SNIPPET.sub(lambda line: line[1] + ("" if ":" in line[2] else self._file(line[2])), text)
        text = without_templates(text, self._fields, self._shelf, self._partial)
        text = without_tags(text, self._fields, self._component, is_mdx=self._is_mdx)
        text = with_plain_lines(text, self._shelf, self._file)
        return _NO_STARS.sub("", text) if "****" in source else text.replace("****", "")  # an image was between them

    def _with_code_imports(self, text: str) -> str:
        """Put the files in that VitePress shows as code (`<<< @/snippets/a.js`)."""

        def code(line: re.Match[str]) -> str:
            target = re.sub(r"[#{\[].*$", "", line[2]).strip()
            source = self._source(target)
            language = target.rpartition(".")[2]
            return line[1] + (self._shelf.put_fence(shown_code(source), language) if source else "")

        return re.sub(r"^([ \t]*)<<<[ \t]+(\S[^\n]*)$", code, text, flags=re.MULTILINE)

    def _file(self, target: str) -> str:
        """Return the clean text of a file, or of the lines of it, that the page includes."""
        lines = re.search(r"\{(\d{0,6}),?(\d{0,6})\}$", target)
        source = self._source(re.sub(r"[#{].*$", "", target).strip())
        if source and lines:
            first, last = int(lines[1] or 0), int(lines[2]) if lines[2] else None
            source = "\n".join(source.split("\n")[max(first - 1, 0) : last])
        return self._included(source or "")

    def _partial(self, target: str, parameters: Mapping[str, str]) -> str:
        """Return the clean text of a file that Liquid, Hugo or Markdoc includes with parameters."""
        source = self._source(target) or ""
        for name, value in parameters.items():
            source = re.sub(
                rf"\{{\{{-?\s*include\.{re.escape(name)}\b[^{{}}]*\}}\}}", lambda _, value=value: value, source
            )
        return self._included(source)

    def _component(self, name: str, attributes: Mapping[str, str]) -> str:
        """Return the clean text of a component that is a Markdown file."""
        target = self._modules.get(name) or (attributes.get("file", "") if name in ("Snippet", "Include") else "")
        return self._included(self._source(target) or "") if target else ""

    def _source(self, target: str) -> str | None:
        if self._left <= 0:
            raise UnreadableError(f"includes more than {MAX_INCLUDED} files")
        self._left -= 1
        found = self._find(target)
        return None if found is None else Shelf.cleared(found)

    def _included(self, source: str) -> str:
        if not source:
            return ""
        if self._depth >= MAX_INCLUDE_DEPTH:
            raise UnreadableError(f"includes files that include each other more than {MAX_INCLUDE_DEPTH} deep")
        self._depth += 1
        try:
            text = with_plain_outline(self._marked(split_front_matter(source)[1]))
            return self._shelf.put_block(text) if "\n" in text else self._shelf.put(text)
        finally:
            self._depth -= 1
