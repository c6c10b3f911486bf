"""What an action will do, in words for the customer: made of the tool's name and arguments, never by a model.

So the customer confirms what is really done, whatever the answer says.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

_LONGEST = 1000  # characters of a text that is shown
_SPACE = re.compile(r"\s+")

Arguments = Mapping[str, Any]


def summary_of(tool: str, arguments: Arguments) -> str:
    """Return a sentence for the tools of our own servers, and for others their name and arguments."""
    try:
        return _SENTENCES[tool](arguments)
    except (KeyError, LookupError, OSError, TypeError, ValueError):  # another's tool of that name, or an unknown zone
        return _plain(tool, arguments)


def _plain(tool: str, arguments: Arguments) -> str:
    told = ", ".join(f"{_text(name)}: {_value(value)}" for name, value in arguments.items())
    return f"{_text(tool)} ({told})." if told else f"{_text(tool)}."


def _book(arguments: Arguments) -> str:
    about = f", about {_quoted(arguments['topic'])}" if arguments.get("topic") else ""
    return f"Book a call on {_when(arguments)}{about}."


def _move(arguments: Arguments) -> str:
    return f"Move the call {_text(arguments['booking'])} to {_when(arguments)}."


def _cancel(arguments: Arguments) -> str:
    return f"Cancel the call {_text(arguments['booking'])}."


def _email(arguments: Arguments) -> str:
    what = f"{_quoted(arguments['subject'])}: {_quoted(arguments['body'])}"
    return f"Send an e-mail to our support team, with the subject {what}."


_SENTENCES: Mapping[str, Callable[[Arguments], str]] = {
    "book_call": _book,
    "move_call": _move,
    "cancel_call": _cancel,
    "send_email": _email,
}


def _when(arguments: Arguments) -> str:
    """Return the slot's time in the customer's zone, such as `Tuesday, 1 December 2026 at 10:00 (Europe/Berlin)`."""
    zone = str(arguments["time_zone"])
    start = datetime.fromisoformat(str(arguments["slot"]))
    if start.tzinfo is None:
        raise ValueError("the slot has no offset")
    local = start.astimezone(ZoneInfo(zone))
    return f"{local:%A}, {local.day} {local:%B %Y} at {local:%H:%M} ({zone})"


def _quoted(value: object) -> str:
    return f"\u201c{_text(value)}\u201d"


def _value(value: object) -> str:
    return _quoted(value) if isinstance(value, str) else _text(value)


def _text(value: object) -> str:
    """Return a value as one line that can't look like another: without control, format and unassigned characters."""
    line = _SPACE.sub(" ", str(value)).strip()
    line = "".join(each for each in line if unicodedata.category(each)[0] != "C")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} \u2026 ({len(line)} characters)"
