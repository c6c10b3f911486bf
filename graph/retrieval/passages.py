"""Articles cut into passages: what is embedded, found, and quoted in the answer prompt."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, takewhile
from math import ceil

from markdown_it import MarkdownIt
from markdown_it.token import Token

from graph.retrieval.articles import Article

MOST = 1500
"""Characters of a passage, about 250 words, which embedding models read whole. Wide ones (Japanese) count three."""

CUT = 1
"""Increase it when articles are cut in another way, so that indexes in Postgres are built anew."""

_LEAD_IN = 400  # characters of the longest paragraph that is repeated before each part of its list
BETWEEN = " > "
"""Between the headings of a path."""

_WIDE = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff00-\uff60]")
_SENTENCE_END = re.compile(r"""(?<=[.!?…])["'”’)\]]*\s+|(?<=[。！？])["'”’」』）]*\s*|\n+""")  # noqa: RUF001 - Chinese
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r"\s*(`{3,}(?!.*`)|~{3,})")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"[*`\\]")

# Only the blocks of a text and their lines are needed, not what is in a line.
_markdown = MarkdownIt("commonmark").enable("table").disable(["inline", "reference"])


@dataclass(frozen=True, slots=True)
class ArticlePassage:
    """A part of an article that an embedding model reads whole."""

    article: Article
    number: int
    """Its place in the article: 0, 1, …"""
    section: str
    """The headings above it, joined by " > "; empty before the first heading."""
    text: str
    """Markdown; headings that it does not begin with are in it."""

    @property
    def embedded(self) -> str:
        """The text that is embedded: title, section and text."""
        heading = BETWEEN.join(filter(None, (self.article.title, self.section)))
        return f"{heading}\n\n{self.text}"

    @property
    def counted(self) -> str:
        """The text whose words are counted: the title twice, since it says what the article is about."""
        return f"{self.article.title}\n{self.embedded}"

    @property
    def hash(self) -> str:
        """A name of the text that is embedded: 32 hexadecimal digits."""
        return hash_of(self.embedded)


def passages_of(articles: Iterable[Article]) -> list[ArticlePassage]:
    """Cut articles at their headings into passages, in order; a short article is one passage.

    Short sections are together in one. One of more than MOST characters is cut between paragraphs or sentences. Each
    part of a list has the sentence before the list, each part of a table has its header, and code is cut only if it is
    longer than a passage.
    """
    return [passage for article in articles for passage in _cut(article)]


def hash_of(text: str) -> str:
    """Return the name of a text that is embedded: 32 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def size_of(text: str) -> int:
    """Return the characters of a text, wide ones three times, since a model reads about as many tokens of them."""
    return len(text) if text.isascii() else len(text) + 2 * len(_WIDE.findall(text))


def _cut(article: Article) -> Iterator[ArticlePassage]:
    if size_of(article.text) <= MOST:
        yield ArticlePassage(article, 0, "", article.text)
        return
    for number, parts in enumerate(_gathered(_parts(article))):
        text = "".join(_under(path, text, before) for (path, text), before in zip(parts, [None, *parts], strict=False))
        yield ArticlePassage(article, number, BETWEEN.join(_common([path for path, _ in parts])), text)


_Path = tuple[str, ...]
_Part = tuple[_Path, str]
"""A text, and the headings above it."""


def _parts(article: Article) -> Iterator[_Part]:
    for path, text in _sections(re.sub(r"\r\n?", "\n", article.text)):
        if size_of(text) <= MOST:
            yield path, text
        else:
            for run in _runs([piece for block in _blocks(text) for piece in _pieces(block)], MOST, "\n\n"):
                yield path, run


def _gathered(parts: Iterable[_Part]) -> Iterator[list[_Part]]:
    """Yield neighbours together that are not longer than a passage: alone, a few words mean too little."""
    gathered: list[_Part] = []
    length = 0
    for path, text in parts:
        size = size_of(text) + size_of(path[-1] if path else "") + 8
        if gathered and length + size > MOST:
            yield gathered
            gathered, length = [], 0
        gathered.append((path, text))
        length += size
    if gathered:
        yield gathered


def _under(path: _Path, text: str, before: _Part | None) -> str:
    """Return a text as it goes on after the one before: under its heading, if that is another."""
    if before is None:
        return text
    heading = f"\n\n## {path[-1]}" if path and path != before[0] else ""
    return f"{heading}\n\n{text}"


def _common(paths: Sequence[_Path]) -> _Path:
    """Return the headings above all of them; those of the first where there is none."""
    shared = [names[0] for names in takewhile(lambda names: len(set(names)) == 1, zip(*paths, strict=False))]
    return tuple(shared) or paths[0]


@dataclass(frozen=True, slots=True)
class _Block:
    """A paragraph, list, table, code …: a top-level part of a Markdown text."""

    kind: str
    """The name of its token, such as `paragraph_open`."""
    text: str
    parts: tuple[str, ...] = ()
    """A list's items, a table's rows: what it may be cut between."""
    lead: str = ""
    """What each part needs before it: the sentence before a list, a table's header."""

    @property
    def whole(self) -> str:
        return f"{self.lead}{self.text}"


def _sections(text: str) -> Iterator[_Part]:
    """Yield the text under each heading that has any."""
    path: list[tuple[int, str]] = []
    section: list[str] = []
    fence = ""  # what closes the code that the line is in
    for line in [*text.split("\n"), "# "]:  # one more heading, which ends the last section
        if fence:
            fence = "" if line.strip().startswith(fence) and not line.strip(f"{fence[0]} \t") else fence
        elif match := _FENCE.match(line):
            fence = match[1]
        elif match := _HEADING.match(line):
            if whole := "\n".join(section).strip("\n").rstrip():
                yield tuple(title for _, title in path if title), whole
            section.clear()
            path = [heading for heading in path if heading[0] < len(match[1])]
            path.append((len(match[1]), _plain(match[2] or "")))
            continue
        section.append(line)
    if section:  # code without an end
        yield tuple(title for _, title in path if title), "\n".join(section[:-1]).strip("\n").rstrip()


def _blocks(text: str) -> Iterator[_Block]:
    """Yield what a section is made of; a list or table has the sentence that leads to it."""
    lines = text.split("\n")
    tokens = _markdown.parse(text)
    held: _Block | None = None  # a paragraph that may lead to a list
    for at, token in enumerate(tokens):
        if token.level or token.nesting < 0 or token.map is None:
            continue
        block = _block(token, tokens, at, lines)
        if held and block.kind in _LED and _leads(held.text):
            block, held = _Block(block.kind, block.text, block.parts, f"{held.text}\n\n{block.lead}"), None
        if held:
            yield held
        held = block if block.kind == "paragraph_open" else None
        if not held:
            yield block
    if held:
        yield held


_LED = frozenset({"bullet_list_open", "ordered_list_open", "table_open", "fence"})
_PARTS = {"bullet_list_open": "list_item_open", "ordered_list_open": "list_item_open", "table_open": "tr_open"}


def _leads(text: str) -> bool:
    return text.rstrip("*_ ").endswith((":", "：")) and len(text) <= _LEAD_IN  # noqa: RUF001 - Chinese


def _block(token: Token, tokens: Sequence[Token], at: int, lines: Sequence[str]) -> _Block:
    first, end = token.map or (0, 0)
    text = _joined(lines[first:end])
    if token.type not in _PARTS:
        return _Block(token.type, text)
    is_table = token.type == "table_open"
    deeper = 2 if is_table else 1
    inside = takewhile(lambda one: one.level > 0, islice(tokens, at + 1, None))
    starts = [part.map[0] for part in inside if part.type == _PARTS[token.type] and part.level == deeper and part.map]
    head = 2 if is_table else 0  # the header, and the line under it
    starts = [start for start in starts if start >= first + head]
    parts = tuple(_joined(lines[one:other]) for one, other in pairwise([*starts, end]))  # none of a table without rows
    lead = "".join(f"{line}\n" for line in lines[first : first + head])
    return _Block(token.type, _joined(lines[first + head : end]), parts, lead)


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines).rstrip()


def _plain(heading: str) -> str:
    """Return a heading without Markdown."""
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1", heading)).split())


def _pieces(block: _Block) -> Iterator[str]:
    """Yield a block whole, or its parts if it is longer than a passage."""
    if size_of(block.whole) <= MOST:
        yield block.whole
    elif block.kind == "fence":
        yield from _code(block)
    elif block.parts and size_of(block.lead) < MOST / 2:
        room = MOST - size_of(block.lead)
        for parts in _runs([piece for part in block.parts for piece in _text(part, room)], room, "\n"):
            yield f"{block.lead}{parts}"
    else:
        yield from _text(block.whole, MOST)


def _code(block: _Block) -> Iterator[str]:
    """Yield code that is longer than a passage: runs of its lines, each between fences of its own."""
    opening, *lines = block.text.split("\n")
    fence = match[1] if (match := _FENCE.match(opening)) else "```"
    if lines and lines[-1].strip() == fence:
        lines.pop()
    if len(opening) > _LEAD_IN:
        opening = fence
    if block.lead:
        yield block.lead.strip()
    room = MOST - len(opening) - len(fence) - 2
    whole = [piece for line in lines for piece in _hard(line, room)]
    for run in _runs(whole, room, "\n"):
        yield f"{opening}\n{run}\n{fence}"


def _text(text: str, most: int) -> Iterator[str]:
    """Yield a text in parts of at most `most` characters, cut between sentences, else between words or characters."""
    if size_of(text) <= most:
        yield text
        return
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    sentences = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    yield from _runs([piece for sentence in sentences for piece in _hard(sentence, most)], most, "")


def _hard(text: str, most: int) -> Iterator[str]:
    """Yield a text in parts of at most `most` characters, cut between words where there are any."""
    longest = most if text.isascii() else most // 3
    start = 0
    while size_of(text[start : start + most + 1]) > most:
        space = text.rfind(" ", start + longest // 2, start + longest)
        end = space + 1 if space > 0 else start + longest
        yield text[start:end]
        start = end
    yield text[start:]


def _runs(parts: Sequence[str], most: int, between: str) -> Iterator[str]:
    """Yield parts joined to runs of at most `most` characters, of about equal length."""
    sizes = [size_of(part) + len(between) for part in parts]
    total = sum(sizes)
    enough = total / ceil(total / (0.9 * most)) if total else 0
    run: list[str] = []
    length = 0
    for part, size in zip(parts, sizes, strict=True):
        if run and (length + size > most + len(between) or length >= enough):
            yield between.join(run).strip("\n").rstrip()
            run, length = [], 0
        run.append(part)
        length += size
    if run:
        yield between.join(run).strip("\n").rstrip()
