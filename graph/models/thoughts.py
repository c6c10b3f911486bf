"""Thoughts: what a model writes before its answer, and nobody may see.

Servers send them in fields of their own (`reasoning_content`, `reasoning`), which are not read, as parts of the content
whose type is not `text`, or in tags within the text. docs/models.md says which server does what.
"""

import re
from typing import Any, cast

from graph.errors import ModelUnavailable

_ENDS = {f"<{name}>": f"</{name}>" for name in ("think", "thinking", "thought", "reasoning")} | {"[think]": "[/think]"}
_TAGS = (*_ENDS, *_ENDS.values())
_TAG = re.compile("|".join(map(re.escape, _TAGS)), re.IGNORECASE)
_PATTERNS = {tag: re.compile(re.escape(tag), re.IGNORECASE) for tag in _ENDS.values()} | {"": _TAG}
_LONGEST_TAG = max(map(len, _TAGS))


class ThoughtFilter:
    """Passes a reply's text on without the thoughts in it; the text may be cut into pieces anywhere.

    With `begins_inside` the reply begins with a thought: some servers send only the tag that ends it. If that tag does
    not come, the reply had no thought.
    """

    def __init__(self, *, begins_inside: bool = False) -> None:
        self.began_inside = False
        """Whether a tag has ended a thought that no tag had begun."""
        self._awaited: list[str] | None = [] if begins_inside else None  # the text so far, until that tag comes
        self._held = ""  # what may be the start of a tag
        self._end = ""  # the tag that ends the current thought
        self._shown = False
        self._after_thought = False
        self.is_idle = False
        """Whether a text without `<` and `[` passes as it is, as by far the most pieces do."""

    def feed(self, text: str) -> str:
        """Return the text that is no thought; raises ModelUnavailable if what it returned before was one."""
        text = self._held + text
        plain: list[str] = []
        while tag := _PATTERNS[self._end].search(text):
            if self._end:
                self._end = ""
            elif end := _ENDS.get(tag[0].lower()):
                plain.append(text[: tag.start()])
                self._end = end
            else:
                plain.clear()
                self._forget()
            self._after_thought = True
            text = text[tag.end() :]
        cut = len(text) - _start_of_tag(text)
        self._held = text[cut:]
        if not self._end:
            plain.append(text[:cut])
        passed = self._passed("".join(plain))
        self.is_idle = self._shown and not (self._held or self._end)
        return passed

    def end(self) -> str:
        """Return what is still held back; an unfinished thought is not."""
        rest = "" if self._end else self._held
        rest, self._awaited = "".join(self._awaited or ()) + rest, None
        self._held = ""
        return rest

    @property
    def is_unfinished(self) -> bool:
        """Whether the text so far ends within a thought."""
        return bool(self._end)

    def _forget(self) -> None:
        self.began_inside = True
        self._awaited = None
        if self._shown:
            raise ModelUnavailable("a thought without a beginning")

    def _passed(self, text: str) -> str:
        if self._awaited is not None:
            self._awaited.append(text)
            return ""
        if self._after_thought and not self._shown:  # the empty line after a thought does not begin the answer
            text = text.lstrip()
        self._shown = self._shown or bool(text.strip())
        return text


def text_of(content: object) -> str:
    """Return the text of a message's content: of its parts those that are text."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    parts = [cast("dict[str, Any]", part) for part in cast("list[object]", content) if isinstance(part, dict)]
    return "".join(str(part.get("text") or "") for part in parts if part.get("type") in ("text", "output_text"))


def _start_of_tag(text: str) -> int:
    """Return how many characters at the end of a text may be the start of a tag."""
    at = max(text.rfind("<"), text.rfind("["))
    if at < 0 or len(text) - at >= _LONGEST_TAG:
        return 0
    start = text[at:].lower()
    return len(start) if any(tag.startswith(start) for tag in _TAGS) else 0
