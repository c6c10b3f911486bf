"""What `ask` and `chat` print."""

import asyncio
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest

from cli.question import AnswerWriter
from conftest import REPOSITORY
from graph.events import Done, Source, Token
from graph.state import Action
from harness.commands import COMMAND
from harness.scripted_model import ScriptedModel, tokens

WIDTH = 30
ANSWER = "Every payment is refunded in full, see https://company.example/a/very/long/address.\n\n  - one\n  - two"


class Terminal(io.StringIO):
    """A terminal whose output can be read."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def written(monkeypatch: pytest.MonkeyPatch, text: str, pieces: int, output: io.StringIO) -> str:
    """Print a text in pieces of so many characters."""
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    writer = AnswerWriter()
    for start in range(0, len(text), pieces):
        writer.write(Token(text[start : start + pieces]))
    writer.write(Done("r-1", text, "general", (Source("a", "A"),), 1))
    return re.split(r"\s*(?:\x1b\[2m\s*)*category", output.getvalue())[0]


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_a_terminal_shows_whole_words(monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    """However the tokens cut them; only a word that is longer than a line is broken, by the terminal."""
    assert written(monkeypatch, ANSWER, pieces, Terminal()).splitlines() == [
        "Every payment is refunded in",
        "full, see",
        "https://company.example/a/very/long/address.",
        "",
        "  - one",
        "  - two",
    ]


def test_text_without_spaces_is_shown_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chinese may break after each character, so none of it waits for a space; each is two columns wide."""
    text = "\u6240\u6709\u4ed8\u6b3e" * 5
    monkeypatch.setattr("sys.stdout", output := Terminal())
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    AnswerWriter().write(Token(text))
    assert output.getvalue().splitlines() == [text[:15], text[15:]]


def test_a_pipe_gets_the_answer_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line break is added where no terminal shows it."""
    assert written(monkeypatch, ANSWER, 7, io.StringIO()) == ANSWER


async def test_ask_in_a_narrow_terminal_breaks_no_word(model: ScriptedModel, articles: Path) -> None:
    """Neither in the answer nor in the list of sources."""
    words = ["Refunds", "are", "returned", "within", "five", "days", "of", "the", "payment", "in", "every", "country"]
    model.script("answer", tokens([piece for word in words for piece in (word[:3], f"{word[3:]} ")]))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    variables = {**os.environ, "OPENAI_BASE_URL": model.url, "SUPPORT_KNOWLEDGE": str(articles), "TERM": "xterm"}
    for name in ("COLUMNS", "LINES"):
        variables.pop(name, None)
    process = await asyncio.create_subprocess_exec(
        COMMAND, "ask", "Refund?", cwd=REPOSITORY, env=variables, stdout=theirs, stderr=subprocess.DEVNULL
    )
    os.close(theirs)
    assert await process.wait() == 0
    said = os.read(ours, 65536).decode()
    os.close(ours)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", said).split("\r\n")
    assert max(map(len, lines)) <= WIDTH
    assert " ".join(lines).split()[: len(words)] == words


@pytest.mark.parametrize(("status", "asks"), [("proposed", True), ("done", False)])
def test_an_action_is_shown_and_asked_for(monkeypatch: pytest.MonkeyPatch, status: Any, *, asks: bool) -> None:
    """A proposal asks for a yes or a no; what has become of it is only said."""
    output = io.StringIO()
    monkeypatch.setattr("sys.stdout", output)
    action = Action("a-1", "cancel_call", "Cancel the call b-1.", {"booking": "b-1"}, "2026-12-01T09:00:00Z", status)
    AnswerWriter().write(Done("r-1", "All right.", "general", (), 1, action=action))
    assert f"action    {status}: Cancel the call b-1." in output.getvalue()
    assert ("Shall I do it? (yes or no)" in output.getvalue()) == asks
