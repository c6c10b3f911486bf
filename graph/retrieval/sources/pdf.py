"""PDF files: the text of their pages as one article, with headings where letters are bigger than the rest.

PDFium reads them, as in Chromium. A PDF knows neither paragraphs nor headings, so both are told by distances and sizes.
Lines that return on most pages, such as page numbers, are left out.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as pdfium

from graph.retrieval.sources import Page, UnreadableError, limits

_LOCK = threading.Lock()  # PDFium works for one thread at a time
_WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD
_HEADING = 1.15  # times the usual size of letters
_LONGEST_HEADING = 150
_DEEPEST = 4  # levels of headings
_EDGE = 2  # lines at the top and bottom of a page that may be running titles
_GAP = 0.7  # of a line's height, between two paragraphs
_LINE_ENDS = (10, 13)
_SPACE = 32
_MEASURED = 4  # letters of a line whose size is looked at
_HYPHEN = "\x02"  # PDFium's mark for a word that is divided at the end of a line
_BULLET = re.compile(r"[•◦▪‣●○■\u2013*·-]\s+")
_NUMBER = re.compile(r"\d+[.)]\s+")
_NO_TITLE = re.compile(r"untitled|microsoft \w+ - |.*\.(docx?|pdf|indd|odt)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    size: float
    """The height of its letters in points, to the half."""
    top: float
    bottom: float


def from_pdf(content: bytes) -> list[Page]:
    """Return a PDF as one page; raises UnreadableError, also for scans and for encrypted files."""
    with _LOCK:
        try:
            document = pypdfium2.PdfDocument(content)
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) == _WRONG_PASSWORD:
                raise UnreadableError("is encrypted: save it without a password") from error
            raise UnreadableError("not a PDF file, or damaged") from error
        try:
            return [_page(document)]
        except pypdfium2.PdfiumError as error:
            raise UnreadableError("is a damaged PDF file") from error
        finally:
            document.close()


def _page(document: pypdfium2.PdfDocument) -> Page:
    if len(document) > limits.PDF_PAGES:
        raise UnreadableError(f"has {len(document):,} pages: split it into files of at most {limits.PDF_PAGES:,}")
    end = time.monotonic() + limits.PDF_SECONDS
    pages: list[list[_Line]] = []
    for index in range(len(document)):
        _check_time(end)
        pages.append(list(_lines(document, index, end)))
    if not any(pages):
        raise UnreadableError("has no text, only images: make the text readable by OCR, for example with ocrmypdf")
    usual = _usual_size(line for page in pages for line in page)
    blocks = list(_blocks(_without_running_titles(pages, usual), usual))
    title = None
    if blocks and blocks[0].startswith("# "):
        title = blocks.pop(0).removeprefix("# ")
    named = str(document.get_metadata_dict().get("Title") or "").strip()
    if named and not title and not _NO_TITLE.match(named):
        title = named
    text = re.sub(r"^(- .*)\n\n(?=- )", r"\1\n", "\n\n".join(blocks), flags=re.MULTILINE)
    return Page(text, title)


def _lines(document: pypdfium2.PdfDocument, index: int, end: float) -> Iterator[_Line]:
    unicode, box_of = pdfium.FPDFText_GetUnicode, pdfium.FPDFText_GetLooseCharBox
    page = document[index]
    try:
        text_page = page.get_textpage()
        raw, box = text_page.raw, pdfium.FS_RECTF()
        text: list[int] = []
        sizes: list[tuple[float, float, float]] = []
        for at in range(text_page.count_chars()):
            letter = unicode(raw, at)
            if letter in _LINE_ENDS:
                _check_time(end)
                if line := _line(text, sizes):
                    yield line
                text, sizes = [], []
                continue
            text.append(letter)
            if letter > _SPACE and len(sizes) < _MEASURED and box_of(raw, at, box):
                sizes.append((box.top - box.bottom, box.top, box.bottom))
        if line := _line(text, sizes):
            yield line
    finally:
        page.close()


def _check_time(end: float) -> None:
    if time.monotonic() > end:
        raise UnreadableError(f"takes more than {limits.PDF_SECONDS} seconds to read: split it")


def _line(letters: Sequence[int], sizes: Sequence[tuple[float, float, float]]) -> _Line | None:
    # Beyond the basic plane PDFium gives two halves of a letter.
    units = b"".join(chr(letter).encode("utf-16-le", "surrogatepass") for letter in letters if 0 < letter <= 0x10FFFF)
    text = units.decode("utf-16-le", "replace").replace("\ufffe", _HYPHEN).replace("\N{SOFT HYPHEN}", "")
    text = re.sub(r"[^\S\n]+", " ", text).strip()
    if not text or not sizes:
        return None
    size, top, bottom = max(sizes, key=lambda found: found[0])
    return _Line(text, round(size * 2) / 2, top, bottom)


def _without_running_titles(pages: Sequence[Sequence[_Line]], usual: float) -> list[_Line]:
    """Return all lines but those that most pages begin or end with, whatever number is in them; headings stay."""

    def edge(page: Sequence[_Line]) -> list[_Line]:
        return [line for line in (*page[:_EDGE], *page[-_EDGE:]) if line.size <= usual * _HEADING]

    counts = Counter(kind for page in pages for kind in {_kind(line) for line in edge(page)})
    running = {kind for kind, count in counts.items() if count > max(2, len(pages) / 2)}
    return [line for page in pages for line in page if not (_kind(line) in running and line in edge(page))]


def _kind(line: _Line) -> str:
    return re.sub(r"\d+", "#", line.text)


def _usual_size(lines: Iterable[_Line]) -> float:
    letters: Counter[float] = Counter()
    for line in lines:
        letters[line.size] += len(line.text)
    return letters.most_common(1)[0][0]


def _blocks(lines: Sequence[_Line], usual: float) -> Iterator[str]:
    """Yield headings, paragraphs and lists."""
    bigger = sorted({line.size for line in lines if line.size > usual * _HEADING}, reverse=True)
    levels = {size: min(level, _DEEPEST) for level, size in enumerate(bigger, 1)}
    last: _Line | None = None
    block = ""
    level = 0
    for line in lines:
        of = levels.get(line.size, 0) if len(line.text) <= _LONGEST_HEADING else 0
        if last and not (of == level and _goes_on(last, line)):
            yield _finished(block, level)
            block = ""
        block = _joined(block, line.text)
        last, level = line, of
    if block:
        yield _finished(block, level)


def _goes_on(last: _Line, line: _Line) -> bool:
    """Whether a line is of the same paragraph: close below the last one, or after a sentence that a page cuts."""
    if _BULLET.match(line.text) or _NUMBER.match(line.text):
        return False
    gap = last.bottom - line.top
    is_close = -line.size < gap < _GAP * line.size
    return is_close or (line.top > last.top and last.text[-1] not in ".!?:")


def _joined(block: str, text: str) -> str:
    if block.endswith(_HYPHEN):
        return block.removesuffix(_HYPHEN) + text
    return f"{block} {text}" if block else text


def _finished(block: str, level: int) -> str:
    block = block.replace(_HYPHEN, "-" if block.endswith(_HYPHEN) else "")
    if level:
        return f"{'#' * level} {block}"
    return _BULLET.sub("- ", block, count=1) if _BULLET.match(block) else block
