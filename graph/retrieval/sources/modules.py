"""The JavaScript of MDX: imports, exports, and which components are files of Markdown."""

import re

MAX_STATEMENT = 20_000
"""Characters of an `export`; a longer one ends where its line does."""

_IMPORT = re.compile(
    r"^import[ \t]+(?:type[ \t]+)?(?:(?P<names>[\w$*{},\s]{1,2000}?)\s+from\s+)?[\"'](?P<path>[^\"'\n]+)[\"'];?[ \t]*$",
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
        if export.start() >= position:
            kept.append(text[position : export.start()])
            position = _end_of(text, export.start())
    kept.append(text[position:])
    return "".join(kept), files


def _end_of(text: str, start: int) -> int:
    """Return where a statement ends: at the end of the line in which its brackets are closed."""
    depth = 0
    for match in re.compile(r"[\[({]|[\])}]|\n").finditer(text, start, start + MAX_STATEMENT):
        if match[0] == "\n":
            if depth <= 0:
                return match.start()
        else:
            depth += 1 if match[0] in "[({" else -1
    line_end = text.find("\n", start)
    return line_end if line_end >= 0 else len(text)
