"""Plain text files."""

import re

from graph.retrieval.sources import Page
from graph.retrieval.sources.decoding import decode


def from_text(content: bytes) -> list[Page]:
    """Return the text, whose first line is the title if a blank line or a rule follows it; raises UnreadableError."""
    text = decode(content).strip("\n")
    heading = re.match(r"(?!\s)(.{1,120})\n(?:[=\-*~#]{3,}[ \t]*\n)?[ \t]*\n", text)
    if heading and not heading[1].endswith((".", ":", ";", ",")):
        return [Page(text[heading.end() :].strip("\n"), heading[1].strip("# ").strip())]
    return [Page(text)]
