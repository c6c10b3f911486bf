"""Admonitions, tabs and other containers in Markdown: their marks go, title and text stay."""

import re

_COLONS = re.compile(r"^(?P<prefix>[ \t>]*):{3,}[ \t]*(?P<rest>[^\n]*)$", re.MULTILINE)
_ALERT = re.compile(r"^(?P<prefix>[ \t]*>[ \t>]*)\[!\w[\w-]*\][+-]?[ \t]*(?P<title>[^\n]*)(?:\n|\Z)", re.MULTILINE)
_INDENTED = re.compile(
    r"[ \t]*(?:(?:!!!|\?\?\?\+?)[ \t]+(?P<kind>[\w-][^\"\n]*)?|===[!+]*[ \t]+)(?P<title>\"[^\"\n]*\")?[ \t]*"
)
_SLASHES = re.compile(
    r"^[ \t]*/{3,}(?:[ \t]+(?P<kind>[\w-]+)(?:[ \t]*\|[ \t]*(?P<title>[^\n]+))?)?[ \t]*$", re.MULTILINE
)
_LEAF = re.compile(r"^([ \t]*)::[a-z][\w-]*(?:\[(?P<label>[^\]\n]*)\])?(?:\{[^}\n]*\})?[ \t]*$", re.MULTILINE)
_INLINE = re.compile(r":(?<![\w:]:)[a-z][\w-]{0,40}\[(?P<label>[^\[\]\n]{0,400})\](?:\{[^}\n]*\})?")
_CONTENTS = re.compile(
    r"^[ \t]*(?:\[TOC\]|\[\[_?toc_?\]\]|\{:\s*toc[^}\n]*\}|[*-][ \t]+TOC[ \t]*\n[ \t]*\{:\s*toc[^}\n]*\})[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)


def without_containers(text: str) -> str:
    """Return the text without the marks of containers; a title that the author wrote becomes a paragraph in bold."""
    # Most texts have none of these: to look for a few characters costs less than to match a pattern.
    text = _CONTENTS.sub("", text) if "toc" in text.lower() else text
    text = _without_indented(text)
    text = _COLONS.sub(_colons, text) if ":::" in text else text
    if "[!" in text:
        text = _ALERT.sub(lambda alert: alert["title"] and f"{_titled(alert['prefix'], alert['title'])}\n", text)
    text = _SLASHES.sub(lambda mark: _titled("", mark["title"] or ""), text) if "///" in text else text
    text = _LEAF.sub(lambda leaf: leaf["label"] or "", text) if "::" in text else text
    return _INLINE.sub(lambda directive: directive["label"], text)


def _titled(prefix: str, title: str) -> str:
    title = title.strip().strip("*").strip()
    quote = prefix.rstrip()
    return f"{prefix}**{title}**\n{quote}" if title else quote


def _colons(mark: re.Match[str]) -> str:
    rest = mark["rest"].strip()
    attribute = re.search(r"\{[^{}]*?\b(?:title|label)=[\"']([^\"']+)[\"'][^{}]*\}", rest)
    rest = re.sub(r"\{[^{}]*\}", "", rest)
    bracketed = re.match(r"[\w-]*\s*\[(.*)\]", rest)
    _, _, words = rest.partition(" ")
    title = attribute[1] if attribute else bracketed[1] if bracketed else words
    return _titled(mark["prefix"], re.sub(r":{3,}$", "", title))


def _without_indented(text: str) -> str:
    """Take the indentation from the text of MkDocs' admonitions and tabs, which would make it code."""
    if not any(mark in text for mark in ("!!!", "???", "===")):
        return text
    lines: list[str] = []
    inside: list[int] = []  # the indentation of each container that is open
    for line in text.split("\n"):
        width = len(line) - len(line.lstrip())
        while inside and line.strip() and width < inside[-1] + 4:
            inside.pop()
        shown = line[4 * len(inside) :] if line.strip() else ""
        mark = _INDENTED.fullmatch(line)
        if mark and (mark["title"] or mark["kind"]):
            inside.append(width)
            lines += ["", _titled(shown[: len(shown) - len(shown.lstrip())], (mark["title"] or "").strip('"')), ""]
        else:
            lines.append(shown)
    return "\n".join(lines)
