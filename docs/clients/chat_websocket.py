# /// script
# requires-python = ">=3.11"
# dependencies = ["websockets"]
# ///
"""A conversation over WS /chat with the subprotocol support.v1. Each line of the input is a message.

AGENT_KEY=sa_… uv run docs/clients/chat_websocket.py ws://localhost:8000
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

PATIENCE = 90.0
"""Seconds after which a message is given up."""

PASSING = ("rate-limited", "session-busy", "shutting-down", "interrupted", "model-unavailable", "memory-unavailable")
"""Types of errors that may be over when the message is sent again."""


class NoAnswerError(Exception):
    """There is no answer; the message says why."""


class LaterError(NoAnswerError):
    """There is none now; the message can be sent again, because a turn that failed leaves nothing behind."""

    def __init__(self, why: str, seconds: float = 0) -> None:
        super().__init__(why)
        self.seconds = seconds


class Conversation(ExitStack):
    """A conversation over one connection, or over several if one is lost."""

    def __init__(self, url: str, key: str | None) -> None:
        super().__init__()
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session_id = ""
        self._socket: ClientConnection | None = None

    def ask(self, message: str) -> Iterator[str]:
        """Yield the answer's tokens as they come; raises NoAnswerError.

        A lost connection cancels the answer. It begins anew with the next connection, after a line that says why.
        """
        wait, deadline = 0.5, time.monotonic() + PATIENCE
        while True:
            try:
                yield from self._answer(message)
            except LaterError as later:
                wait = later.seconds or wait
                if time.monotonic() + wait > deadline:
                    raise
                yield f" ({later})\n"
            else:
                return
            time.sleep(wait)
            wait = min(wait * 2, 10.0)

    def _answer(self, message: str) -> Iterator[str]:
        try:
            self._socket = self._socket or self._connected()
            self._socket.send(json.dumps({"message": message}))
            for frame in self._socket:
                event = json.loads(frame)
                match event["event"]:
                    case "run":
                        self._session_id = event["data"]["session_id"]
                    case "token":
                        yield event["data"]["text"]
                    case "done":
                        return
                    case "error":
                        error = LaterError if event["data"]["type"] in PASSING else NoAnswerError
                        raise error(event["data"]["detail"])
                    case _:
                        pass  # the category, the sources, an action, or what a person of the team writes
        except (OSError, WebSocketException):
            pass
        self.close()
        self._socket = None
        raise LaterError("The connection was lost.")

    def _connected(self) -> ClientConnection:
        query = f"?session_id={self._session_id}" if self._session_id else ""
        protocols = [Subprotocol("support.v1")]
        url = f"{self._url}/chat{query}"
        try:
            return self.enter_context(connect(url, subprotocols=protocols, additional_headers=self._headers))
        except InvalidStatus as refused:
            why = f"The service refused the connection with {refused.response.status_code}."
            if seconds := refused.response.headers.get("Retry-After"):
                raise LaterError(why, float(seconds)) from None
            raise NoAnswerError(why) from None


def main() -> None:
    """Answer each line of the input."""
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8000"
    with Conversation(url, os.environ.get("AGENT_KEY")) as conversation:
        for line in sys.stdin:
            try:
                for token in conversation.ask(line.strip()):
                    print(token, end="", flush=True)
                print()
            except NoAnswerError as error:
                print(error, file=sys.stderr)


if __name__ == "__main__":
    main()
