# /// script
# requires-python = ">=3.11"
# dependencies = ["httpx", "httpx-sse"]
# ///
"""A conversation over POST /chat/stream. Each line of the input is a message.

AGENT_KEY=sa_… uv run docs/clients/chat_httpx_sse.py http://localhost:8000
"""

import os
import sys
import time
import uuid
from collections.abc import Iterator

import httpx
from httpx_sse import ServerSentEvent, connect_sse

PATIENCE = 60.0
"""Seconds without an event after which a message is given up."""

SILENCE = 40.0
"""Seconds without a byte after which a connection is lost: the service sends a comment every 15 seconds."""


class NoAnswerError(Exception):
    """There is no answer; the message says why."""


class LaterError(Exception):
    """The request is refused for now; try again in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Conversation:
    """A conversation, whose answers survive lost connections and spent rate limits."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._session_id: str | None = None

    def ask(self, message: str) -> Iterator[str]:
        """Yield the answer's tokens as they come; raises NoAnswerError."""
        key, run, last = uuid.uuid4().hex, "", ""
        wait, deadline = 0.25, time.monotonic() + PATIENCE
        while True:
            try:
                for event in self._events(message, key, run, last):
                    wait, deadline = 0.25, time.monotonic() + PATIENCE
                    last = event.id or last
                    match event.event:
                        case "run":
                            run, self._session_id = event.json()["run_id"], event.json()["session_id"]
                        case "token":
                            yield event.json()["text"]
                        case "done":
                            return
                        case "error" if event.id:
                            raise NoAnswerError(event.json()["detail"])
                        case _:
                            pass  # the category, the sources, an action, a hand-over, an error of this stream alone
                # A stream that ended with neither `done` nor an error of the run was cut: read on where it was.
            except httpx.TransportError:
                pass  # the same
            except LaterError as later:
                wait = later.seconds
            if time.monotonic() + wait > deadline:
                raise NoAnswerError("The service can't be reached, or has no time.")
            time.sleep(wait)
            wait = min(wait * 2, 5.0)

    def _events(self, message: str, key: str, run: str, last: str) -> Iterator[ServerSentEvent]:
        """Send the message, or read on in the run that has begun."""
        if run:
            stream = connect_sse(self._http, "GET", f"/runs/{run}/stream", headers={"Last-Event-ID": last})
        else:
            # If the answer to this request is lost, the same key gets the same run.
            body = {"message": message} | ({"session_id": self._session_id} if self._session_id else {})
            stream = connect_sse(self._http, "POST", "/chat/stream", json=body, headers={"Idempotency-Key": key})
        with stream as source:
            check(source.response)
            yield from source.iter_sse()


def check(response: httpx.Response) -> None:
    """Raise LaterError or NoAnswerError if there is no stream."""
    if response.is_success:
        return
    response.read()
    is_problem = response.headers.get("Content-Type") == "application/problem+json"
    problem = response.json() if is_problem else {"type": "", "detail": f"The service answered {response.status_code}."}
    if response.status_code in (429, 502, 503, 504) and "Retry-After" in response.headers:
        raise LaterError(float(response.headers["Retry-After"]))
    if problem["type"] == "session-busy":
        raise LaterError(1.0)  # the previous message is still being answered
    raise NoAnswerError(problem["detail"])


def main() -> None:
    """Answer each line of the input."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000"
    key = os.environ.get("AGENT_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(10, read=SILENCE)) as http:
        conversation = Conversation(http)
        for line in sys.stdin:
            try:
                for token in conversation.ask(line.strip()):
                    print(token, end="", flush=True)
                print()
            except NoAnswerError as error:
                print(error, file=sys.stderr)


if __name__ == "__main__":
    main()
