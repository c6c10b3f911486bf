"""reStructuredText, as Docutils reads it; what only Sphinx knows passes its text on."""

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, ClassVar, cast

from docutils import core, nodes
from docutils.parsers.rst import Directive, directives, roles
from docutils.parsers.rst.languages import en

from graph.retrieval.sources import Page, UnreadableError
from graph.retrieval.sources.decoding import decode
from graph.retrieval.sources.html_pages import from_html

Find = Callable[[str], str | None]

MAX_INCLUDED = 100
"""Files that one article includes."""

_SETTINGS: dict[str, Any] = {
    "_disable_config": True,
    "doctitle_xform": False,
    "embed_stylesheet": False,
    "file_insertion_enabled": False,
    "halt_level": 5,
    "initial_header_level": 1,
    "line_length_limit": 1_000_000,
    "math_output": "LaTeX",
    "raw_enabled": False,
    "report_level": 5,
    "smart_quotes": False,
    "strip_comments": True,
    "stylesheet_path": None,
    "syntax_highlight": "none",
    "warning_stream": False,
}
"""Nothing is read but the text that is given, and nothing is printed."""

_INCLUDE = re.compile(r"^([ \t]*)\.\.[ \t]+include::[ \t]+(\S+)[ \t]*(?:\n\1[ \t]+:[^\n]*)*$", re.MULTILINE)
_DIRECTIVE = re.compile(r"^[ \t]*\.\.[ \t]+(?:\|[^|\n]+\|[ \t]+)?([\w:.+-]+?)::(?:[ \t]|$)", re.MULTILINE)
_ROLE = re.compile(r":([\w:.+-]+):`|`:([\w:.+-]+):")
_SUBSTITUTION = re.compile(r"\|[^|\s](?:[^|\n]*[^|\s])?\|_{0,2}")
_UNSEEN = frozenset({
    "toctree", "contents", "index", "highlight", "currentmodule", "meta", "sectnum", "youtube", "video",
})  # fmt: skip
_CODE = frozenset({"code", "code-block", "sourcecode", "prompt"})


class _AnyOption(dict[str, Any]):
    """Takes whatever option a directive is given."""

    def __missing__(self, _: str) -> Callable[[str], str]:
        return directives.unchanged

    def __bool__(self) -> bool:
        return True


class _PassedOn(Directive):
    """A directive that Docutils does not know: its argument is a title, and its content stays."""

    optional_arguments: ClassVar[int] = 1
    final_argument_whitespace: ClassVar[bool] = True
    option_spec: ClassVar[Any] = _AnyOption()
    has_content: ClassVar[bool] = True

    def run(self) -> list[Any]:
        """Return the nodes of the content, below the title."""
        container = nodes.container()
        title, _, rest = (self.arguments or [""])[0].partition("\n")
        if title:
            container += nodes.paragraph("", "", nodes.strong("", title))
        if rest:
            container += nodes.paragraph("", "", *self.state.inline_text(rest, self.lineno)[0])
        self.state.nested_parse(self.content, self.content_offset, container)
        return [container]


class _Code(_PassedOn):
    """Code, with whatever options Sphinx knows."""

    def run(self) -> list[Any]:
        """Return the code."""
        code = "\n".join(self.content)
        return [nodes.literal_block(code, code, classes=[f"language-{argument}" for argument in self.arguments])]


class _Unseen(_PassedOn):
    """A directive that shows nothing of the article's own."""

    def run(self) -> list[Any]:
        """Return nothing."""
        return []


def _passed_on(
    _: str, __: str, text: str, ___: int, ____: object, options: Mapping[str, Any] | None = None, content: object = None
) -> tuple[list[Any], list[Any]]:
    """Return the text of a role that Docutils does not know, without the target in angle brackets."""
    del options, content
    shown = re.sub(r"\s*(?<!^)<[^<>]*>$", "", text.replace("\0", "\\")).lstrip("!~")
    return [nodes.inline("", shown)], []


def from_rst(content: bytes, find: Find | None = None) -> list[Page]:
    """Return the page; its fields are those above or below the title. Raises UnreadableError."""
    source = _with_included(decode(content), find or (lambda _: None))
    _learn(source)
    try:
        docutils = cast("Any", core)  # its stubs leave out what these return
        tree: nodes.document = docutils.publish_doctree(source, settings_overrides=_SETTINGS)
        fields = _fields(tree)
        _drop_undefined(tree)
        page: bytes = docutils.publish_from_doctree(tree, writer="html5", settings_overrides=_SETTINGS)
    except RecursionError as error:
        raise UnreadableError("is nested too deep: move inner lists or quotations out") from error
    [read] = from_html(page)
    title = str(fields.get("title") or read.title or "")
    return [Page(read.text, title or None, fields)]


def _drop_undefined(tree: nodes.document) -> None:
    """Drop `|names|` that the text does not define: those of a site's settings mostly are icons."""
    for each in list(tree.findall(nodes.problematic)):
        if _SUBSTITUTION.fullmatch(each.astext()):
            each.parent.remove(each)


def _with_included(source: str, find: Find) -> str:
    count = 0

    def included(directive: re.Match[str]) -> str:
        nonlocal count
        count += 1
        text = find(directive[2]) if count <= MAX_INCLUDED else ""
        return "\n".join(f"{directive[1]}{line}" for line in (text or "").split("\n"))

    return _INCLUDE.sub(included, source)


def _learn(source: str) -> None:
    """Make Docutils know the names that it would refuse: all of Sphinx's and its extensions' pass their text on."""
    for name in set(_DIRECTIVE.findall(source)):
        if name in _UNSEEN or name in _CODE:
            directives.register_directive(name, _Unseen if name in _UNSEEN else _Code)
        elif name not in en.directives:
            directives.register_directive(name, _PassedOn)
    for name in {found for pair in _ROLE.findall(source) for found in pair if found}:
        if name not in en.roles:
            roles.register_local_role(name, _passed_on)


def _fields(tree: nodes.document) -> dict[str, object]:
    """Take the fields above or below the title from the document, and return them."""
    fields: dict[str, object] = {}
    holders = (tree, *islice(tree.findall(nodes.section), 1))
    for info in [
        each for holder in holders for each in holder.children if isinstance(each, nodes.docinfo | nodes.field_list)
    ]:
        for each in info.children:
            if isinstance(each, nodes.field):
                fields[each.children[0].astext().strip()] = each.children[1].astext().strip()
            else:
                fields[type(each).__name__] = each.astext().strip()
        info.parent.remove(info)
    return fields
