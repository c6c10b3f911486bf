"""Code, and what else no clean-up may touch, set aside while the rest of a text is cleaned."""

import html
import re

OPEN = "\ue000"
"""Begins what stands for what is set aside."""
_CLOSE = "\ue001"
_REFERENCE = re.compile(r"&#(?:x0*e00[01]|0*5734[45])(?![0-9a-f]);?", re.IGNORECASE)
_TOKEN = re.compile(f"{OPEN}([ib])(\\d{{1,9}}){_CLOSE}")
_PREFIX = re.compile(r"(?:[ \t]*(?:>|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t])))*[ \t]*")


class Shelf:
    """What is set aside; in the text two private use characters with a number stand for it.

    What is put on it has gone through cleared(), or comes from what has: so no text can name what lies on it.
    """

    def __init__(self) -> None:
        self._items: list[str] = []

    @staticmethod
    def cleared(text: str) -> str:
        """Return a source without the two characters that the shelf uses itself, also as HTML writes them."""
        text = text.replace(OPEN, "\ufffd").replace(_CLOSE, "\ufffd")
        return _REFERENCE.sub("\ufffd", text) if "&#" in text else text

    @staticmethod
    def unescaped(text: str) -> str:
        """Return a text with HTML's character references as what they stand for, but for the shelf's characters."""
        return html.unescape(_REFERENCE.sub("\ufffd", text))

    def put(self, text: str) -> str:
        """Set aside a part of a line; returns what stands for it."""
        return self._add(text, "i")

    def put_block(self, text: str) -> str:
        """Set aside whole lines, without the indentation of their first; returns what stands for them."""
        return self._add(text, "b")

    def put_fence(self, code: str, language: str = "") -> str:
        """Set aside code as a fenced block."""
        longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
        fence = "`" * (longest + 1)
        return self.put_block(f"{fence}{language}\n{code.strip(chr(10))}\n{fence}")

    def _add(self, text: str, kind: str) -> str:
        self._items.append(text)
        return f"{OPEN}{kind}{len(self._items) - 1}{_CLOSE}"

    def restored(self, text: str) -> str:
        """Return a text with everything back in its place, blocks indented or quoted as where they stand."""
        if OPEN not in text:
            return text
        return "\n".join(part for line in text.split("\n") for part in self._lines(line))

    def _lines(self, line: str) -> list[str]:
        lines = [""]
        position = 0
        for token in _TOKEN.finditer(line):
            lines[-1] += line[position : token.start()]
            position = token.end()
            item = self.restored(self._items[int(token[2])])
            if token[1] == "i":
                # In a table's row a pipe would begin the next cell.
                lines[-1] += re.sub(r"(?<!\\)\|", r"\\|", item) if line.lstrip().startswith("|") else item
                continue
            prefix = _continued(_PREFIX.match(line))
            if lines[-1].strip(" \t>*+-.)0123456789"):  # a block begins on a line of its own
                lines.append(prefix)
            first, *rest = item.split("\n")
            lines[-1] += first
            lines += [*(f"{prefix}{each}".rstrip() for each in rest), prefix]
        lines[-1] += line[position:].lstrip() if len(lines) > 1 else line[position:]
        return lines if len(lines) == 1 or lines[-1].strip(" \t>") else lines[:-1]


def _continued(prefix: re.Match[str] | None) -> str:
    """Return what further lines of a list's item, or of a quotation, begin with."""
    return re.sub(r"[^>\s]", " ", prefix[0]) if prefix else ""
