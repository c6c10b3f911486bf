"""What stands within Markdown's lines: images, attribute lists, wikilinks, references, footnotes and entities."""

import re
from collections.abc import Callable

from graph.retrieval.sources.html_markdown import image_text, link_target
from graph.retrieval.sources.shelf import Shelf

_BRACKETED = r"\[((?:[^\[\]]|\[[^\[\]]*\])*+)\]"
_ADDRESS = r"<[^<>\n]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()]*)*"
_TITLE = r"\"[^\"\n]*\"|'[^'\n]*'|\([^()\n]*\)"
_TARGET = rf"\(\s*({_ADDRESS})(?:\s+(?:{_TITLE}|=\d*x\d*))?\s*\)"
IMAGE = re.compile(rf"!{_BRACKETED}(?:{_TARGET}|\[[^\[\]\n]*\])")
LINK = re.compile(rf"(?<!!){_BRACKETED}{_TARGET}")
_LINKED_IMAGE = re.compile(rf"\[\s*{IMAGE.pattern}\s*\]{_TARGET}")

_ATTRIBUTES = re.compile(
    r"(?<![{%$])\{:?[ \t]*"
    r"(?:(?:[#.]{1,2}[\w:.-]+|:?[\w:-]+=(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s}\"']+)|:?toc|no_toc)[ \t]*)++\}(?!\})"
)
_WIKILINK = re.compile(r"(!?)\[\[([^\[\]|#\n]*)(#[^\[\]|\n]*)?(?:\|([^\[\]\n]*))?\]\]")
_DEFINITION = re.compile(
    rf"^ {{0,3}}\[(?!\^)([^\[\]\n]+)\]:[ \t]*\n?[ \t]*<?([^\s<>]+)>?(?:[ \t]+(?:{_TITLE}))?[ \t]*$",
    re.MULTILINE,
)
_REFERENCE = re.compile(rf"(!?){_BRACKETED}(?:\[([^\[\]\n]*)\])?(?![(:])")
_FOOTNOTE = re.compile(r"^[ \t]*\[\^[^\[\]\s]{1,99}\]:[ \t]*|\[\^[^\[\]\s]{1,99}\]", re.MULTILINE)
_ICON = re.compile(r":(?:material|fontawesome|octicons|simple|lucide|fas|fab|far)-[\w-]+:")
_HIGHLIGHT = re.compile(r"(?<![=\w])==(?=[^\s=])([^=\n]*[^\s=])==(?![=\w])")
_REVIEW = re.compile(r"\{>>[^{}]*<<\}|\{--[^{}]*--\}|\{~~[^{}~]*~>|~~\}|\{(?:\+\+|==)|(?:\+\+|==)\}")
_KEYS = re.compile(r"(?<![\w+])\+\+([a-z0-9\"][a-z0-9+\".-]{0,40}?)\+\+(?![\w+])")
_ABBREVIATION = re.compile(r"^\*\[[^\[\]\n]+\]:[^\n]*$", re.MULTILINE)
_IMAGE_FILE = re.compile(r"\.(?:png|jpe?g|gif|svg|webp|avif|bmp|ico)(?:[?#].*)?$", re.IGNORECASE)

Embed = Callable[[str], str]
"""Returns the clean text of a file that a page embeds, or an empty text."""


def without_attributes(text: str) -> str:
    """Return the text without lists of attributes, such as a heading's `{#anchor}`."""
    return _ATTRIBUTES.sub("", text) if "{" in text else text


def with_plain_lines(text: str, shelf: Shelf, embed: Embed) -> str:
    """Return the text with links as `[text](target)`, and without images, footnotes' marks, icons and entities."""
    text = _REVIEW.sub("", text) if re.search(r"\{(?:>>|--|~~|\+\+|==)", text) else text
    text = _ABBREVIATION.sub("", text) if "*[" in text else text
    text = _KEYS.sub(lambda keys: keys[1].replace('"', ""), text) if "++" in text else text
    text = _WIKILINK.sub(lambda link: _wikilink(link, embed), text) if "[[" in text else text
    text = _FOOTNOTE.sub("", text) if "[^" in text else text
    text = _with_references(text, shelf)
    if "![" in text:
        text = IMAGE.sub(lambda image: " ".join(image[0].split()), text)
        text = "\n".join(_without_images(line) if "![" in line else line for line in text.split("\n"))
    text = _ICON.sub("", text)
    text = _HIGHLIGHT.sub(r"\1", text) if "==" in text else text
    text = re.sub(r"\[(?<!!\[)\s*\]\([^()\s]*\)", "", text)
    return Shelf.unescaped(text).replace("\xa0", " ").replace("\u200b", "")


def _wikilink(link: re.Match[str], embed: Embed) -> str:
    page, section, alias = link[2].strip(), (link[3] or "").lstrip("#").strip(), link[4]
    if link[1]:
        return "" if _IMAGE_FILE.search(page) else embed(page)
    shown = (alias or ": ".join(filter(None, (page, section)))).strip()
    return f"[{shown}]({link_target(page)})" if page else shown


def _with_references(text: str, shelf: Shelf) -> str:
    """Write links whose target stands elsewhere in the text with their target."""
    targets = {_key(shelf.restored(name)): target for name, target in _DEFINITION.findall(text)} if "]:" in text else {}

    def with_target(link: re.Match[str]) -> str:
        target = targets.get(_key(shelf.restored(link[3] or link[2])))
        if target is None:
            return link[2] if link[3] == "" else link[0]
        return f"{link[1]}[{link[2]}]({link_target(target)})"

    return _REFERENCE.sub(with_target, _DEFINITION.sub("", text)) if targets or "][]" in text else text


def _key(name: str) -> str:
    return " ".join(name.lower().split())


def _without_images(line: str) -> str:
    """Return a line whose images are what they say; those that stand alone illustrate, and say nothing."""
    line = _LINKED_IMAGE.sub(_linked_image, line)
    rest = IMAGE.sub("", line)
    if not re.search(r"\w", re.sub(r"^[ \t>]*(?:[-*+]|\d+[.)])?", "", rest)):
        return rest.rstrip() if rest.strip(" \t>*-+|&nbsp;") else ""
    return IMAGE.sub(lambda image: image_text(image[1]), line)


def _linked_image(link: re.Match[str]) -> str:
    text, target = image_text(link[1]), link[3] or ""
    return "" if not text or _IMAGE_FILE.search(target) else f"[{text}]({target})"
