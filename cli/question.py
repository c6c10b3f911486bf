"""Shared by `ask` and `chat`: validates a question and prints the answer's events."""

import re
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from graph.errors import RUN_ERRORS, SettingsError

if TYPE_CHECKING:
    from graph.events import Event


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


def write_event(event: "Event") -> None:
    """Print a token, or at the end the category and sources; raises RunError if the run failed."""
    from graph.events import Done, Failed, Token

    if isinstance(event, Token):
        sys.stdout.write(_CONTROLS.sub("", event.text))
        sys.stdout.flush()
    elif isinstance(event, Failed):
        raise RUN_ERRORS[event.error]
    elif isinstance(event, Done):
        lines = [f"category  {event.category}"]
        lines += [f"source    {source.id}  {source.title}" for source in event.sources]
        Console(highlight=False).print(Text("\n\n" + "\n".join(lines), style="dim"), soft_wrap=True)
