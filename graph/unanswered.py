"""The mark of a reply to which the passages hold no answer: the model sends it, and customers never see it."""

import re

MARK = "<unanswered>"
"""What such a reply begins with. It is a tag, because those are taken out of whatever a prompt quotes."""

_NAME = MARK.strip("<>")
_WRAPPERS = r"""*_~`"'\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb\\"""  # bold, code, quotes, and Markdown's escape
_SPACE = r"[ \t]{0,2}"
_MOST_HELD = 64  # characters, more than any mark has

# `>` may be missing, and case, slashes and spaces may differ.
_MARK = re.compile(rf"([{_WRAPPERS}]{{0,3}})<{_SPACE}/?{_SPACE}{_NAME}\b(?:{_SPACE}/?{_SPACE}\\?>)?", re.IGNORECASE)
_BEGUN = re.compile(  # a mark, up to any of its characters but the last
    rf"[{_WRAPPERS}]{{0,3}}(?:<{_SPACE}/?{_SPACE}"
    + "".join(f"(?:{letter}" for letter in _NAME)
    + rf"(?:{_SPACE}/?{_SPACE}\\?)"
    + ")?" * len(_NAME)
    + r")?\Z",
    re.IGNORECASE,
)
_CUT = re.compile(rf"<{_SPACE}/?{_SPACE}{_NAME[:2]}", re.IGNORECASE)  # in a reply that ends with a part of a mark
_MAY_BEGIN = re.compile(rf"[<{_WRAPPERS}]")


class MarkFilter:
    """Passes a reply on without the marks in it, and holds back any text that may turn out to be one.

    A mark counts wherever it stands, in any case, in bold, quotes or code, and also where the reply's end cuts it.
    """

    def __init__(self) -> None:
        self.found = False
        """Whether there was a mark."""
        self._held = ""
        self._closing = 0  # wrappers that the mark's own may be followed by
        self._has_shown = False

    def feed(self, text: str) -> str:
        """Return the text that may be shown so far."""
        if not (self._held or self.found) and not _MAY_BEGIN.search(text):
            self._has_shown = self._has_shown or bool(text)
            return text  # by far the most pieces
        self._held += text
        tail = len(self._held) - _MOST_HELD
        begun = _BEGUN.search(self._held, max(tail, 0))
        cut = begun.start() if begun else len(self._held)
        ready, self._held = self._held[:cut], self._held[cut:]
        return self._without_marks(ready)

    def end(self) -> str:
        """Return the text that is still held back."""
        rest, self._held = self._held, ""
        if cut := _CUT.search(rest):
            self.found = True
            rest = rest[: cut.start()].rstrip("*_~`\"'\\")
        return self._without_marks(rest)

    def _without_marks(self, text: str) -> str:
        shown: list[str] = []
        start = 0
        for mark in _MARK.finditer(text):
            shown.append(self._shown(text[start : mark.start()]))
            self.found, self._closing, start = True, len(mark[1]), mark.end()
        shown.append(self._shown(text[start:]))
        return "".join(shown)

    def _shown(self, text: str) -> str:
        """Return a text without what closes the quotes or the like around a mark, and the space after a first one."""
        while self._closing and text and re.match(f"[{_WRAPPERS}]", text):
            text, self._closing = text[1:], self._closing - 1
        if text:
            self._closing = 0
        if self.found and not self._has_shown:
            text = text.lstrip()
        self._has_shown = self._has_shown or bool(text)
        return text
