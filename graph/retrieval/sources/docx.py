"""DOCX files: as HTML by mammoth, which knows Word's styles, and from there like any HTML.

Images are never read. Comments, deleted text and hidden text are not for customers.
"""

import io
import re
import zipfile
from collections.abc import Collection, Iterator
from typing import Any
from xml.etree import ElementTree as ET

import mammoth

from graph.retrieval.sources import Page, UnreadableError, limits
from graph.retrieval.sources.html_pages import from_html
from graph.retrieval.sources.unpacking import Unpacking
from graph.retrieval.sources.xml import Elements, check_xml

_COMPOUND = b"\xd0\xcf\x11\xe0"  # of encrypted files, and of Word before 2007
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name^='toc '] => !"  # the latter are a table of contents
_PARTS = re.compile(r"\[Content_Types\]\.xml|_rels/\.rels|.+/_rels/.+\.rels|.+/[^/]+\.xml")


def from_docx(content: bytes) -> list[Page]:
    """Return a DOCX file as one page; raises UnreadableError."""
    if content.startswith(_COMPOUND):
        raise UnreadableError("is encrypted, or of Word before 2007: save it as .docx without a password")
    checked = _checked(content)
    try:
        found: Any = mammoth.convert_to_html(checked, convert_image=_no_image, style_map=_STYLES)
    except Exception as error:  # what it raises for a damaged file is any error at all
        raise UnreadableError("not a DOCX file, or damaged: open it in Word and save it again") from error
    # What leads back from a note is no text.
    return from_html(re.sub(r'<a href="#[^"<>]*note-ref-[^"<>]*">↑</a>', "", str(found.value)).encode())


def _no_image(_: object) -> list[object]:
    return []


def _checked(content: bytes) -> io.BytesIO:
    """Return an archive with the file's XML alone, which is neither too long nor has a DTD."""
    checked = io.BytesIO()
    parts: dict[str, bytes] = {}
    with zipfile.ZipFile(checked, "w") as archive:
        for name, part in Unpacking(limits.DOCX_UNPACKED, limits.DOCX_UNPACKED).files(io.BytesIO(content), _is_part):
            if isinstance(part, UnreadableError):
                raise part
            check_xml(part, Elements(limits.DOCX_ELEMENTS))
            parts[name] = part
        styles = {style for name, part in parts.items() if name.endswith("/styles.xml") for style in _hiding(part)}
        for name, part in parts.items():
            has_hidden = b"vanish" in part or (styles and name.endswith(("/document.xml", "notes.xml")))
            archive.writestr(name, _without_hidden(part, styles) if has_hidden else part)
    checked.seek(0)
    return checked


def _hiding(part: bytes) -> Iterator[str]:
    """Yield the ids of the styles whose text Word hides."""
    if b"vanish" in part:
        for style in ET.fromstring(part).iter(f"{_W}style"):  # noqa: S314  check_xml has read it
            if _is_hidden(style):
                yield style.get(f"{_W}styleId", "")


def _without_hidden(part: bytes, styles: Collection[str]) -> bytes:
    """Return XML without the runs that Word hides, themselves or by a style, which mammoth would show."""
    root = ET.fromstring(part)  # noqa: S314  check_xml has read it
    for parent in list(root.iter()):
        own = parent.find(f"{_W}pPr/{_W}pStyle")
        is_hidden_whole = own is not None and own.get(f"{_W}val") in styles
        for run in list(parent.iter(f"{_W}r") if is_hidden_whole else parent.findall(f"{_W}r")):
            style = run.find(f"{_W}rPr/{_W}rStyle")
            is_styled = style is not None and style.get(f"{_W}val") in styles
            if is_hidden_whole:
                run.clear()
            elif is_styled or _is_hidden(run):
                parent.remove(run)
    return ET.tostring(root, "utf-8", xml_declaration=True)


def _is_hidden(element: ET.Element) -> bool:
    """Say whether a run's or style's own properties hide its text."""
    hidden = element.find(f"{_W}rPr/{_W}vanish")
    return hidden is not None and hidden.get(f"{_W}val") not in ("0", "false", "off")


def _is_part(name: str) -> bool:
    return _PARTS.fullmatch(name) is not None
