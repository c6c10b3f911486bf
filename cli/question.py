"""Shared by `ask` and `chat`: validates a question and prints the answer's events."""

import re
import shutil
import sys
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from graph.errors import RUN_ERRORS, SettingsError

if TYPE_CHECKING:
    from graph.events import Event, Source


_WIDE = re.compile(r"[\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff00-\uff60]")  # may break after each character
_PIECES = re.compile(rf"\s+|{_WIDE.pattern}|(?:(?!{_WIDE.pattern})\S)+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # an answer must not send escape sequences to the terminal


def checked(question: str) -> str:
    """Return the trimmed question; raises SettingsError if it is invalid."""
    from pydantic import TypeAdapter, ValidationError

    from graph.state import Question

    try:
        return TypeAdapter[str](Question).validate_python(question)
    except ValidationError as error:
        message = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise SettingsError(f"question: {message}") from None


class AnswerWriter:
    """Prints an answer while it is written; in a terminal, no line breaks in the middle of a word."""

    def __init__(self) -> None:
        self._column = 0
        self._space = ""  # before the next word
        self._word = ""  # what there is of a word that may go on

    def write(self, event: "Event") -> None:
        """Print a token, or at the end what is known of the answer; raises RunError if the run failed."""
        from graph.events import Done, Failed, Token

        if isinstance(event, Token):
            self._say(_CONTROLS.sub("", event.text))
        elif isinstance(event, Failed):
            self._end_word()
            raise RUN_ERRORS[event.error]
        elif isinstance(event, Done):
            self._end_word()
            lines = [f"category  {event.category}", *([] if event.answered else ["answered  no"])]
            lines += [f"source    {_shown(source)}" for source in event.sources]
            if handoff := event.handoff:
                by = f"; a reply is expected by {handoff.expected_reply}" if handoff.expected_reply else ""
                lines.append(f"handed    over to a person ({handoff.reason}){by}")
            if event.action:
                lines.append(f"action    {event.action.status}: {event.action.summary}")
                lines += ["          Shall I do it? (yes or no)"] if event.action.status == "proposed" else []
            print_dim("\n\n" + "\n".join(lines))

    def _say(self, text: str) -> None:
        if not sys.stdout.isatty():
            sys.stdout.write(text)
        else:
            *pieces, last = _PIECES.findall(self._word + text) or [""]
            self._word = ""
            for piece in pieces:
                self._put(piece)
            if last.isspace() or _WIDE.match(last):
                self._put(last)
            else:
                self._word = last
        sys.stdout.flush()

    def _put(self, piece: str) -> None:
        if piece.isspace():
            before, line_break, space = piece.rpartition("\n")
            if line_break:
                sys.stdout.write(f"{before}\n")
                self._column, self._space = 0, ""
            self._space += space
            return
        length, width = cell_len(piece), shutil.get_terminal_size().columns
        if self._column and self._column + len(self._space) + length > width:
            self._space, self._column = "\n", -1
        sys.stdout.write(self._space + piece)
        self._column += len(self._space) + length
        self._space = ""

    def _end_word(self) -> None:
        if self._word:
            self._put(self._word)
            self._word = ""


def _shown(source: "Source") -> str:
    name = " > ".join(filter(None, (source.title, source.section)))
    return "  ".join(filter(None, (source.id, name, source.url)))


def print_dim(text: str) -> None:
    """Print what is not the answer; in a terminal, no line breaks in the middle of a word."""
    console = Console(highlight=False)
    console.print(Text(text, style="dim"), soft_wrap=not console.is_terminal)
