"""Bytes to text, with an error that names the line."""

import codecs
import re

from graph.retrieval.sources import UnreadableError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode(content: bytes) -> str:
    """Decode UTF-8, or UTF-16 that begins with a byte order mark, with line feeds as the only line ends.

    Raises UnreadableError for anything else, and for NUL characters.
    """
    encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        name = encoding.upper().removesuffix("-SIG")
        raise UnreadableError(f"not valid {name}: save the file as UTF-8", line) from error
    return checked(text)


def checked(text: str) -> str:
    """Return the text with line feeds as its only line ends; raises UnreadableError if it has NUL characters."""
    text = re.sub(r"\r\n?", "\n", text) if "\r" in text else text
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UnreadableError("has NUL characters: save the file as text in UTF-8", line)
    return text
