"""What an answer says: pieces of the model's replies, shown as they come, without what no customer may see."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from graph.canary import CanaryFilter
from graph.errors import ModelUnavailable
from graph.models import tokens
from graph.models.calls import ToolCall, ToolCalls
from graph.models.chat import Reply
from graph.unanswered import MarkFilter

LONGEST = 1_000_000
"""Maximum characters of an answer; a longer one means that the model's server is broken."""


@dataclass(frozen=True, slots=True)
class Said:
    """One reply of the model."""

    text: str
    """As it was shown."""
    used: int
    """Tokens, as reported by the model's server."""
    is_complete: bool
    """Whether the model had nothing more to say."""
    is_answered: bool
    """Whether it has no mark of an unanswered question."""
    calls: list[ToolCall]
    """What it asks for."""


class Saying:
    """Shows replies, one after another, as one answer."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._emit = show
        self._shown: list[str] = []
        self._length = 0
        self._canary_filter = CanaryFilter()  # after the filter of marks, so that no mark can hide a canary from it

    @property
    def text(self) -> str:
        """All that was shown."""
        return "".join(self._shown)

    def show(self, text: str) -> None:
        """Show a text of our own, or one that has been filtered."""
        if text:
            self._shown.append(text)
            self._emit(text)

    async def say(self, replies: AsyncGenerator[Reply]) -> Said:
        """Show a reply as it comes, and return it; raises ModelError and AnswerWithheld."""
        characters, mark_filter, calls = _Characters(), MarkFilter(), ToolCalls()
        begun = len(self._shown)
        used = 0
        is_complete = False
        reason: str | None = None

        def pass_on(text: str) -> None:
            if text and self._is_after_another(begun, text):
                self.show("\n\n")
            self.show(self._canary_filter.feed(text))

        async with aclosing(replies) as pieces:
            async for piece in pieces:
                used = max(used, tokens(piece))  # some servers report a running total
                is_complete = is_complete or piece.is_whole
                reason = reason or piece.finish_reason
                pass_on(mark_filter.feed(characters.feed(piece.text)))
                calls.add(piece.calls)
                self._length += len(piece.text)
                if self._length > LONGEST:
                    raise ModelUnavailable("the answer is too long")
        pass_on(mark_filter.feed(characters.end()) + mark_filter.end())
        self.show(self._canary_filter.end())
        said = "".join(self._shown[begun:])
        return Said(said, used, is_complete, not mark_filter.found, calls.whole(reason))

    def _is_after_another(self, begun: int, text: str) -> bool:
        """Whether a text is a reply's first, and there was another reply before, which does not end with a space."""
        is_first = len(self._shown) == begun > 0
        return is_first and not (text[0].isspace() or self._shown[-1][-1].isspace())


class _Characters:
    """Joins a surrogate pair that the server split between two pieces, and replaces a lone surrogate."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Return the whole characters so far."""
        if text.isascii() and not self._held:
            return text
        text = self._held + text
        self._held = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return _utf8(text.removesuffix(self._held))

    def end(self) -> str:
        """Return what is still held back."""
        return _utf8(self._held)


def _utf8(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
