"""What clients send."""

import secrets
from collections.abc import Iterable
from urllib.parse import quote

from bench.load import Request, Script

TURNS = 5
"""Turns of a conversation, so that each round has the same mix of histories."""

QUESTION = "I was charged twice, can I have my money back?"
ASK = Request("POST", "/ask", {"question": QUESTION})
STREAM = Request("GET", f"/stream?question={quote(QUESTION)}")
KEPT = Request("GET", "/kept")


def repeat(request: Request, times: int) -> Script:
    """Return a script of one request."""
    return lambda _round, _client: [request] * times


def talk(path: str, turns: int) -> Script:
    """Return a script of conversations of TURNS turns, new ones in each round."""
    prefix = secrets.token_hex(4)

    def script(number: int, client: int) -> Iterable[Request]:
        return (say(f"{prefix}.{number}.{client}.{turn // TURNS}", path) for turn in range(turns))

    return script


def say(session: str, path: str = "/chat") -> Request:
    """Return one turn of a conversation."""
    return Request("POST", path, {"message": QUESTION, "session_id": session})
