"""Sitemaps (sitemaps.org) and lists of addresses: which pages a site has."""

import re
from dataclasses import dataclass, field

from graph.retrieval.sources import UnreadableError, limits
from graph.retrieval.sources.unpacking import gunzip
from graph.retrieval.sources.xml import Elements, check_xml

_GZIP = b"\x1f\x8b"
_LONGEST = 2_048  # characters of an address, by the protocol


@dataclass(slots=True)
class Sitemap:
    """What a sitemap, an index of sitemaps or a list names, as it is written there."""

    pages: list[str] = field(default_factory=list[str])
    sitemaps: list[str] = field(default_factory=list[str])


def read_sitemap(content: bytes) -> Sitemap:
    """Read XML or a text with an address a line, also gzipped; raises UnreadableError."""
    if content.startswith(_GZIP):
        content = gunzip(content, limits.SITEMAP)
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        reader = _Reader()
        check_xml(content, reader)
        if reader.root not in ("urlset", "sitemapindex"):
            raise _unusable()
        return reader.found
    return Sitemap(_listed(content))


def _listed(content: bytes) -> list[str]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unusable() from error
    lines = [line.strip() for line in text.splitlines()]
    addresses = [line for line in lines if line and not line.startswith("#")]
    if not all(re.match(r"https?://", address) for address in addresses):
        raise _unusable()
    return addresses


def _unusable() -> UnreadableError:
    return UnreadableError("neither a sitemap (sitemap.xml) nor a text with one http(s) address a line")


class _Reader(Elements):
    def __init__(self) -> None:
        super().__init__()
        self.found = Sitemap()
        self.root = ""
        self._path: list[str] = []
        self._text = ""

    def startElement(self, name: str, attrs: object) -> None:  # noqa: N802  SAX calls it so
        super().startElement(name, attrs)
        name = name.rpartition(":")[2]
        self.root = self.root or name
        self._path.append(name)
        self._text = ""

    def characters(self, content: str) -> None:
        if self._path[-2:] in (["url", "loc"], ["sitemap", "loc"]) and len(self._text) <= _LONGEST:
            self._text += content

    def endElement(self, name: str) -> None:  # noqa: N802  SAX calls it so
        super().endElement(name)
        path = self._path[-2:]
        self._path.pop()
        address = self._text.strip()
        if not address or len(address) > _LONGEST or len(self.found.pages) > limits.SITE_PAGES * 2:
            return
        if path == ["url", "loc"]:
            self.found.pages.append(address)
        elif path == ["sitemap", "loc"]:
            self.found.sitemaps.append(address)
        self._text = ""
