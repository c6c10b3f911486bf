"""Events as server-sent events, in the plain form: the answer's text, then `[DONE]`.

`data: <text>` a token … · `data: [DONE]`, or `event: error` with a problem.
"""

import re
from collections.abc import AsyncIterator

from fastapi.sse import ServerSentEvent

from support_agent.api.errors import problem_of
from support_agent.graph.events import Done, Event, Failed, Token

DONE = "[DONE]"
_INSIDE_DONE = re.compile(r"(?<=\[DO)(?=NE\])")


async def plain(events: AsyncIterator[Event], instance: str) -> AsyncIterator[ServerSentEvent]:
    """Render a run's events for a client that only wants text.

    Joined, the data is the answer, except that server-sent events end lines with LF alone: CR and CRLF
    arrive as LF. A token that holds the end marker is cut inside it, so that no answer can forge the end.
    """
    held = ""  # a CR whose LF may be in the next token
    async for event in events:
        if isinstance(event, Token):
            text = held + event.text
            held = "\r" if text.endswith("\r") else ""
            for piece in _INSIDE_DONE.split(text.removesuffix("\r")):
                if piece:
                    yield ServerSentEvent(raw_data=piece)
        elif isinstance(event, Done | Failed):
            if held:
                yield ServerSentEvent(raw_data="\n")
            if isinstance(event, Done):
                yield ServerSentEvent(raw_data=DONE)
            else:
                yield ServerSentEvent(event="error", data=problem_of(event.error, instance))
