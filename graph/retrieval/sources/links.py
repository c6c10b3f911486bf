"""Links of an article: where they lead in public, or their text alone."""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from posixpath import normpath
from urllib.parse import unquote, urlsplit

from graph.retrieval.sources.html_markdown import link_target
from graph.retrieval.sources.inline import LINK

_CODE_OR_LINK = re.compile(rf"(?<!`)(?P<ticks>`{{1,9}}+)[^`]*(?P=ticks)(?!`)|{LINK.pattern}")
_FENCE = re.compile(r"[ \t>]*(?:[-*+][ \t]+|\d+[.)][ \t]+)*(`{3,}|~{3,})")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(?:md|markdown|mdx|html?|rst|txt|pdf|docx)$", re.IGNORECASE)
_INDEX = re.compile(r"(?:^|/)(?:_?index|readme)$", re.IGNORECASE)

Resolve = Callable[[str], str | None]
"""Returns where a link leads in public; None if it has no public address."""


def with_links(text: str, resolve: Resolve) -> str:
    """Return Markdown whose links lead where `resolve` says; the others are their text."""

    def resolved(link: re.Match[str]) -> str:
        if link["ticks"]:
            return link[0]
        target = resolve(link[3].strip().removeprefix("<").removesuffix(">"))
        label = with_links(link[2], resolve) if "](" in link[2] else link[2]
        return f"[{label}]({link_target(target)})" if target and label.strip() else label

    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and mark[1].startswith(fence) and not line[mark.end() :].strip() else fence
        elif mark:
            fence = mark[1]
        elif "](" in line:
            line = _CODE_OR_LINK.sub(resolved, line)
        lines.append(line)
    return "\n".join(lines)


def page_key(path: str) -> str:
    """Return what files, and links to them, are compared by: without suffix, index, and capital letters."""
    key = _SUFFIX.sub("", path.strip("/"))
    return _INDEX.sub("", key).strip("/").lower()


class Addresses:
    """Where the articles of a tree are in public, by the ways that links name them."""

    def __init__(self, pattern: str | None) -> None:
        self._url: dict[str, str | None] = {}
        self._by_name: dict[str, list[str]] = {}
        parts = urlsplit(pattern) if pattern else None
        self._origin = f"{parts.scheme}://{parts.netloc}" if parts and parts.netloc else None
        self._prefix = parts.path.partition("{")[0].strip("/").lower() if parts else ""

    def add(self, path: str, url: str | None) -> None:
        """Take note of an article; further ways to name it come after its path."""
        for key in dict.fromkeys((page_key(path), _without_numbers(page_key(path)))):
            self._url.setdefault(key, url)
            self._by_name.setdefault(key.rpartition("/")[2], []).append(key)

    def lead_as(self, other: "Addresses") -> bool:
        """Return whether every link leads where it does by these."""
        return self.__dict__ == other.__dict__

    def resolve(self, target: str, path: str, own: str | None) -> str | None:
        """Return where a link in the file `path`, whose public address is `own`, leads."""
        if target.startswith("//"):
            return f"https:{target}"
        scheme = _SCHEME.match(target)
        if scheme:
            return target if scheme[1].lower() in ("http", "https", "mailto", "tel") else None
        place = re.split(r"[?#]", target, maxsplit=1)[0]
        rest = target[len(place) :]
        if not place:
            return f"{own}{rest}" if own and rest.startswith("#") else None
        for key in self._keys(unquote(place), path):
            if key in self._url:
                url = self._url[key]
                return f"{url}{rest}" if url else None
        return f"{self._origin}{target}" if self._origin and target.startswith("/") else None

    def is_dead(self, target: str, path: str) -> bool:
        """Return whether a link in the file `path` should lead to an article, and leads to none."""
        place = re.split(r"[?#]", target)[0]
        if not place or place.startswith("/") or _SCHEME.match(target):
            return False
        suffix = PurePosixPath(place).suffix.lower()
        is_page = not suffix or bool(_SUFFIX.search(place))
        return is_page and not any(key in self._url for key in self._keys(unquote(place), path))

    def _keys(self, place: str, path: str) -> Iterator[str]:
        """Yield what a link may mean: from the page's folder, from the page as a folder, from any root, by name."""
        place = re.sub(r"^(?:@site|@|~)/", "/", place)
        folder, _, name = path.rpartition("/")
        if place.startswith("/"):
            key = page_key(normpath(place))
            yield from (f"{root}/{key}".strip("/") for root in _ancestors(folder.lower()))
            if self._prefix and f"{key}/".startswith(f"{self._prefix}/"):
                yield key[len(self._prefix) :].strip("/")
            return
        for base in (folder, f"{folder}/{_SUFFIX.sub('', name)}", *_ancestors(folder)):
            yield page_key(normpath(f"{base}/{place}").removeprefix("/"))
        named = self._by_name.get(page_key(place).rpartition("/")[2].replace(" ", "-"), ())
        named = named or self._by_name.get(page_key(place), ())
        if "/" not in place.strip("/") and len(named) == 1:
            yield named[0]


def _ancestors(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
    yield ""


def _without_numbers(key: str) -> str:
    """Return a key without the numbers that order files, which sites leave out of addresses."""
    return re.sub(r"(^|/)\d+[-_.]+(?=[^/])", r"\1", key)
