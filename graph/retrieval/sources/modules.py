"""The JavaScript of MDX: imports, exports, and which components are files of Markdown."""

import re

MAX_STATEMENT = 20_000
"""Characters of an `export`; of a longer one only what comes before a blank line goes."""

_IMPORT = re.compile(
    r"^import[ \t]+(?:type[ \t]+)?(?:(?P<names>[\w$*{},\s]{1,400}?)\s+from\s+)?[\"'](?P<path>[^\"'\n]+)[\"'];?[ \t]*$",
    re.MULTILINE,
)
_EXPORT = re.compile(r"^export[ \t]+(?:default|const|let|var|async|function|class|type|interface|\{|\*)", re.MULTILINE)
_MARKDOWN = re.compile(r"\.(?:mdx?|markdown)$", re.IGNORECASE)


def has_modules(text: str) -> bool:
    """Say whether a text without code is MDX, by its imports."""
    return bool(_IMPORT.search(text))


def without_modules(text: str) -> tuple[str, dict[str, str]]:
    """Return the text without imports and exports, and the files of Markdown by the name they are imported under."""
    files = {
        match["names"].strip(): match["path"]
        for match in _IMPORT.finditer(text)
        if match["names"] and _MARKDOWN.search(match["path"])
    }
    text = _IMPORT.sub("", text)
    kept: list[str] = []
    position = 0
    for export in _EXPORT.finditer(text):
        if export.start() < position:
            continue
        kept.append(text[position : export.start()])
        end = _end_of(text, export.start())
        if end is None:  # brackets that nothing closes: no code, or all of it
            end = text.find("\n\n", export.start())
            kept.append("" if end < 0 else _EXPORT.sub("", text[end:]))
            return "".join(kept), files
        position = end
    kept.append(text[position:])
    return "".join(kept), files


def _end_of(text: str, start: int) -> int | None:
    """Return where a statement ends: at the end of the line in which its brackets are closed; None if they are not."""
    depth = 0
    for match in re.compile(r"[\[({]|[\])}]|\n").finditer(text, start, start + MAX_STATEMENT):
        if match[0] != "\n":
            depth += 1 if match[0] in "[({" else -1
        elif depth <= 0:
            return match.start()
    return len(text) if depth <= 0 and len(text) < start + MAX_STATEMENT else None
