"""What an action will do, in words for the customer: made of the tool's name and arguments, never by a model.

So the customer confirms what is really done, whatever the answer says. The sentences are in summaries.toml.
"""

import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from graph.actions.booked import Call
from graph.actions.dates import moment_in
from graph.actions.tools import Tool

_FILE = Path(__file__).with_name("summaries.toml")
_LONGEST = 1000  # characters of a text that is shown
_SPACE = re.compile(r"\s+")

Arguments = Mapping[str, Any]


def summary_of(tool: Tool, arguments: Arguments, language: str, call: Call | None = None) -> str:
    """Return a sentence for the tools of our own servers, and for others their name and arguments.

    `call` is the one that is moved or cancelled.
    """
    describe = next((each for name, each in _SENTENCES.items() if tool.is_called(name)), None)
    try:
        if describe:
            return describe(arguments, language, call)
    except (KeyError, LookupError, OSError, TypeError, ValueError):  # another's tool of that name, or an unknown zone
        pass
    return _plain(tool.name, arguments)


def _plain(tool: str, arguments: Arguments) -> str:
    told = ", ".join(f"{_text(name)}: {_value(value)}" for name, value in arguments.items())
    return f"{_text(tool)} ({told})." if told else f"{_text(tool)}."


def _book(arguments: Arguments, language: str, _call: Call | None) -> str:
    when = _when(arguments, language)
    if not arguments.get("topic"):
        return _file()[language]["book"].format(when=when)
    return _file()[language]["book_about"].format(when=when, topic=_quoted(arguments["topic"], language))


def _move(arguments: Arguments, language: str, call: Call | None) -> str:
    return _file()[language]["move"].format(before=_before(call, language), when=_when(arguments, language))


def _cancel(_arguments: Arguments, language: str, call: Call | None) -> str:
    return _file()[language]["cancel"].format(before=_before(call, language))


def _email(arguments: Arguments, language: str, _call: Call | None) -> str:
    subject, body = (_quoted(arguments[name], language) for name in ("subject", "body"))
    return _file()[language]["email"].format(subject=subject, body=body)


_SENTENCES: Mapping[str, Callable[[Arguments, str, Call | None], str]] = {
    "book_call": _book,
    "move_call": _move,
    "cancel_call": _cancel,
    "send_email": _email,
}


def _when(arguments: Arguments, language: str) -> str:
    """Return the slot's time in the customer's zone."""
    start = datetime.fromisoformat(str(arguments["slot"]))
    if start.tzinfo is None:
        raise ValueError("the slot has no offset")
    return moment_in(language, start, str(arguments["time_zone"]))


def _before(call: Call | None, language: str) -> str:
    if call is None:
        raise LookupError("it is not known which call it is")
    return moment_in(language, call.begins, call.time_zone)


def _quoted(value: object, language: str) -> str:
    return _file()[language]["quotes"].format(text=_text(value))


def _value(value: object) -> str:
    return _quoted(value, "en") if isinstance(value, str) else _text(value)


def _text(value: object) -> str:
    """Return a value as one line that can't look like another: without control, format and unassigned characters."""
    line = _SPACE.sub(" ", str(value)).strip()
    line = "".join(each for each in line if unicodedata.category(each)[0] != "C")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} \u2026 ({len(line)} characters)"


@cache
def _file() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
