"""Markdown from HTML: headings, paragraphs, lists, tables and code; nothing of the page's design."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from graph.retrieval.sources.html_tree import BLOCKS, Element
from graph.retrieval.sources.tables import pipe_table, spread

_DROPPED = frozenset({
    "area", "audio", "base", "button", "canvas", "col", "colgroup", "datalist", "dialog", "embed", "head", "iframe",
    "input", "link", "map", "meta", "nav", "noframes", "noscript", "object", "option", "param", "rp", "script",
    "select", "source", "style", "svg", "template", "textarea", "title", "track", "video",
})  # fmt: skip
_MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*"}
_LINE_START = re.compile(r"^(#{1,6}(?= )|>|[-+*](?= )|`{3,}|~{3,}|\||:{3,})", re.MULTILINE)
_LANGUAGE = re.compile(r"\b(?:lang(?:uage)?|highlight-source|brush:)[-\s]+([\w+#-]+)")


def markdown_of(nodes: Iterable[Element | str]) -> str:
    """Return the Markdown of nodes of a page, blocks separated by blank lines."""
    return "\n\n".join(_blocks(list(nodes)))


def plain_of(nodes: Iterable[Element | str]) -> str:
    """Return the text of nodes on one line, with links and emphasis as in Markdown."""
    return _cell(Element("td", children=list(nodes)))


def _blocks(nodes: Sequence[Element | str]) -> list[str]:
    """Return blocks of Markdown; text and inline elements between block elements make a paragraph."""
    blocks: list[str] = []
    for is_block, group in groupby(nodes, _is_block):
        if is_block:
            for element in group:
                blocks += _block(element) if isinstance(element, Element) else []
        elif text := _paragraph(group):
            blocks.append(text)
    return blocks


def _is_block(node: Element | str) -> bool:
    if isinstance(node, str) or node.name in _DROPPED:
        return False
    return node.name in BLOCKS or node.holds_blocks


def _paragraph(nodes: Iterable[Element | str]) -> str:
    nodes = list(nodes)
    text = _inline(nodes)
    if not text.strip() or not _has_words(nodes):
        return ""
    return _LINE_START.sub(r"\\\1", "\n".join(line.strip() for line in text.strip().split("\n")))


def _has_words(nodes: Iterable[Element | str]) -> bool:
    """Tell text from images that stand alone: those are illustrations, whose description answers nothing."""
    return any((node if isinstance(node, str) else node.text).strip() for node in nodes) or any(
        element.name == "img" and ancestor.name == "a"
        for ancestor in nodes
        if isinstance(ancestor, Element)
        for element in ancestor.elements()
    )


def _block(element: Element) -> list[str]:
    name = element.name
    if name in _DROPPED or is_hidden(element):
        return []
    if re.fullmatch("h[1-6]", name):
        text = heading_text(element)
        return [f"{'#' * int(name[1])} {text}"] if text else []
    if name in ("ul", "ol", "menu", "dir"):
        return _list(element)
    if name == "pre":
        return _code(element)
    if name == "table":
        return _table(element)
    if name == "blockquote":
        return _prefixed(_blocks(element.children), "> ", "> ")
    if name in ("summary", "dt", "legend", "caption"):
        text = plain_of(element.children).strip("*")
        return [f"**{text}**"] if text else []
    return _blocks(element.children)


def heading_text(element: Element) -> str:
    """Return a heading's text; that of a button too, since a click on it opens what stands below."""
    for each in element.elements():
        if each.name == "button":
            each.name = "span"
    return plain_of(element.children)


def _prefixed(blocks: Sequence[str], first: str, rest: str) -> list[str]:
    """Return the blocks as one, whose lines have a prefix; a list follows its lead-in without a blank line."""
    if not blocks:
        return []
    text = blocks[0]
    for block in blocks[1:]:
        text += ("\n" if re.match(r"- |1\. ", block) else "\n\n") + block
    return ["\n".join(f"{rest if number else first}{line}".rstrip() for number, line in enumerate(text.split("\n")))]


def _list(element: Element) -> list[str]:
    start = element.attributes.get("start", "")
    number = int(start) if re.fullmatch(r"\d{1,9}", start) else 1
    items: list[str] = []
    for child in element.children:
        if isinstance(child, str) and not child.strip():
            continue
        nodes = child.children if isinstance(child, Element) and child.name == "li" else [child]
        if isinstance(child, Element) and is_hidden(child):
            continue
        marker = f"{number}. " if element.name == "ol" else "- "
        if item := _prefixed(_blocks(nodes), marker, " " * len(marker)):
            items += item
            number += 1
    is_loose = any("\n\n" in item for item in items)
    return ["\n\n".join(items)] if is_loose else (["\n".join(items)] if items else [])


def _code(element: Element) -> list[str]:
    lines = _code_text(element).strip("\n")
    if not lines.strip():
        return []
    classes = " ".join(each.attributes.get("class", "") for each in element.elements())
    language = _LANGUAGE.search(classes)
    longest = max((len(run) for run in re.findall("`{3,}", lines)), default=2)
    fence = "`" * (longest + 1)
    return [f"{fence}{language[1] if language else element.attributes.get('lang', '')}\n{lines}\n{fence}"]


def _code_text(element: Element) -> str:
    for each in element.elements():
        if each.name == "br":
            each.children.append("\n")
    return element.text


def _table(element: Element) -> list[str]:
    """Return a pipe table; a table that lays out a page, or has one column, as the blocks in it."""
    rows = _rows(element)
    cells = [cell for row in rows for cell in row]
    caption = [
        block
        for each in element.children
        if isinstance(each, Element) and each.name == "caption"
        for block in _block(each)
    ]
    if all(len(row) <= 1 for row in rows) or any(cell.first("table", "pre") for cell in cells):
        return caption + [block for cell in cells for block in _blocks(cell.children)]
    texts = [[(_cell(cell), *_spans(cell)) for cell in row] for row in rows]
    table = pipe_table(spread(texts), has_heading=any(cell.name == "th" for cell in rows[0]))
    return [*caption, table] if table else caption


def _rows(table: Element) -> list[list[Element]]:
    """Return the cells of each row of this table, without those of tables within."""
    rows: list[list[Element]] = []
    waiting: list[Element | str] = list(reversed(table.children))
    while waiting:
        node = waiting.pop()
        if isinstance(node, str) or node.name == "table" or is_hidden(node):
            continue
        if node.name == "tr":
            rows.append([cell for cell in node.children if isinstance(cell, Element) and cell.name in ("td", "th")])
        else:
            waiting.extend(reversed(node.children))
    return [row for row in rows if row]


def _cell(cell: Element) -> str:
    blocks = [" ".join(line.strip() for line in block.split("\n")) for block in _blocks(_flat(cell))]
    return " ".join(re.sub(r"^(?:[-*] |\\(?=[^\w\s]))", "", block) for block in blocks)


def _flat(cell: Element) -> list[Element | str]:
    """Return a cell's children, each item of its lists as a part that ends with a semicolon."""
    for each in list(cell.elements()):
        if each.name in ("ul", "ol"):
            items = [child for child in each.children if isinstance(child, Element)]
            each.name = "div"
            for item in items:
                item.name = "div"
                if item is not items[-1]:
                    item.children.append(";")
    return cell.children


def _spans(cell: Element) -> tuple[int, int]:
    def span(name: str) -> int:
        value = cell.attributes.get(name, "")
        return max(1, int(value)) if re.fullmatch(r"\d{1,2}", value) else 1

    return span("colspan"), span("rowspan")


def is_hidden(element: Element) -> bool:
    """Say whether nobody sees an element: not so a tab's panel, which is hidden until its tab is chosen."""
    attributes = element.attributes
    if attributes.get("role") == "tabpanel":
        return False
    style = attributes.get("style", "").replace(" ", "").lower()
    is_hidden_text = attributes.get("hidden", "until-found").lower() != "until-found"
    is_ornament = attributes.get("aria-hidden") == "true" and element.name not in BLOCKS
    return is_hidden_text or "display:none" in style or "visibility:hidden" in style or is_ornament


def _inline(nodes: Iterable[Element | str]) -> str:
    """Return text with Markdown's inline marks; a line feed stands for a line break that the page has."""
    text = "".join(re.sub(r"\s+", " ", node) if isinstance(node, str) else _inline_element(node) for node in nodes)
    return re.sub(" *\n *", "\n", re.sub(" {2,}", " ", text))


def _inline_element(element: Element) -> str:
    name = element.name
    if name in _DROPPED or is_hidden(element):
        return ""
    if name == "br":
        return "\n"
    if name == "img":
        return image_text(element.attributes.get("alt", ""))
    if name in ("code", "tt") or "literal" in element.attributes.get("class", "").split():
        return _code_span(element)
    text = _inline(element.children)
    if name == "a":
        return _link(text, element.attributes.get("href", "").strip())
    if name in _MARKS:
        return _marked(text, _MARKS[name])
    return f" {text} " if name in BLOCKS else text


def _marked(text: str, mark: str) -> str:
    inner = text.strip()
    if not inner or "\n" in inner or inner.startswith(mark):
        return text
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return f"{before}{mark}{inner}{mark}{after}"


def _code_span(element: Element) -> str:
    text = re.sub(r"\s+", " ", _code_text(element)).strip()
    if not text:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _link(text: str, target: str) -> str:
    label = re.sub(r"\s+", " ", text).strip()
    if not label or not target or re.match(r"(?:#|javascript:|data:)", target, re.IGNORECASE):
        return text
    lead, tail = (" " if text[0].isspace() else ""), (" " if text[-1].isspace() else "")
    return f"{lead}[{label}]({link_target(target)}){tail}"


def link_target(target: str) -> str:
    """Return an address as Markdown has it between round brackets."""
    target = re.sub(r"\s", "%20", target.strip())
    return f"<{target}>" if "(" in target or ")" in target else target


def image_text(description: str) -> str:
    """Return what an image within a sentence says: its description, unless that is a file's name."""
    text = re.sub(r"\s+", " ", description).strip()
    is_name = re.fullmatch(
        r"\S*\.(?:png|jpe?g|gif|svg|webp|avif|bmp|ico)|(?:image|img|screenshot|icon|logo)?[\s\d_-]*",
        text,
        re.IGNORECASE,
    )
    return "" if is_name else text
