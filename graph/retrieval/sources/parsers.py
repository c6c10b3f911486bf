"""Which parser reads a file, by its suffix; a parser is imported when its first file is read."""

import functools
import logging
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from graph.errors import kind_and_place
from graph.retrieval.sources import Page, Parser, UnreadableError, limits

MAX_BYTES = 5 * 1024 * 1024
"""Text files larger than this are not read."""

NEEDS_EXTRA = (
    "needs the extra 'sources', which is not installed: `uv sync --extra sources`, or for an image "
    "`docker build --build-arg EXTRAS=sources`"
)
"""What is said of a kind whose library is missing."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file that articles come as."""

    parser: str
    """Where its parser is: `module:function`."""
    max_bytes: int = MAX_BYTES
    """Larger files are not read."""
    includes: bool = False
    """Whether its parser also takes a function that finds the files that a page includes."""


_DEFECT = "our reader fails on this file, which is a defect of ours: report it with the file and the log"
_HERE = "graph.retrieval.sources"
_MARKDOWN = Kind(f"{_HERE}.markdown:from_markdown", includes=True)
_HTML = Kind(f"{_HERE}.html_pages:from_html")

KINDS: dict[str, Kind] = {
    ".md": _MARKDOWN,
    ".markdown": _MARKDOWN,
    ".mdx": Kind(f"{_HERE}.markdown:from_mdx", includes=True),
    ".html": _HTML,
    ".htm": _HTML,
    ".rst": Kind(f"{_HERE}.rst:from_rst", includes=True),
    ".txt": Kind(f"{_HERE}.plain_text:from_text"),
    ".pdf": Kind(f"{_HERE}.pdf:from_pdf", limits.FILE),
    ".docx": Kind(f"{_HERE}.docx:from_docx", limits.FILE),
    ".csv": Kind(f"{_HERE}.csv:from_csv", limits.FILE),
}
"""The kinds by suffix, in lower case."""

_log = logging.getLogger(__name__)


def parser_for(suffix: str) -> Parser:
    """Return the parser of a suffix of KINDS; raises UnreadableError if it needs a library that is not installed."""
    try:
        return cast("Parser", _netted(pkgutil.resolve_name(KINDS[suffix].parser)))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("graph"):
            raise
        raise UnreadableError(f"a {suffix} file {NEEDS_EXTRA}") from error


def _netted(parser: Callable[..., list[Page]]) -> Callable[..., list[Page]]:
    """Return a parser whose defects cost the file that it reads, and not the files after it."""

    @functools.wraps(parser)
    def parse(*args: object) -> list[Page]:
        try:
            return parser(*args)
        except UnreadableError:
            raise
        except Exception as error:
            _log.error("a defect of %s: %s", parser.__name__, kind_and_place(error))
            raise UnreadableError(_DEFECT) from error

    return parse


def parse_file(suffix: str, content: bytes, find: Callable[[str], str | None]) -> list[Page]:
    """Return the pages of a file; `find` returns the text of a file that it includes. Raises UnreadableError."""
    parser = parser_for(suffix)
    if KINDS[suffix].includes:
        return cast("Callable[[bytes, Callable[[str], str | None]], list[Page]]", parser)(content, find)
    return parser(content)
