#!/usr/bin/env bash
# LangChain completes a streamed tool call that was cut off, and the agent runs it with wrong arguments.
#
# Expected: arguments that break off are not valid JSON. The call is listed in `invalid_tool_calls` and the tool does not
#   run, whether the reply is streamed or not.
# Written down: the docstring of `invalid_tool_calls` in langchain_core's AIMessage: calls with parsing errors. In OpenAI's
#   API the finish reason "length" means that the reply was cut off at the token limit.
# Instead: LangChain parses streamed arguments leniently, even after the last chunk. A refund of 1250 whose arguments
#   break off after `"amount": 1` becomes a valid call for 1, and `create_agent` runs it, although the finish reason of the
#   same message is "length". The same reply, not streamed, runs no tool.
#   Reported: github.com/langchain-ai/langchain/issues/39275.
# Seen on 2026-11-28:
#   whole: the call is invalid, finish reason 'length'; refunds paid: none
#   streamed: the call is valid, finish reason 'length'; refunds paid: [1]
#   langchain 1.5.2, langchain-core 1.8.3, langchain-openai 1.7.4, langgraph 1.2.23, Python 3.11.7
# What we do: `graph/models/calls.py` puts the pieces of a call together without mending them, and a call that was cut off
#   is never run. `Models.answer` in graph/models/__init__.py fails a stream that ends without a finish reason.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    langchain==1.5.2 langchain-core==1.8.3 langchain-openai==1.7.4 langgraph==1.2.23 openai==3.56.0

"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import asyncio
import json
import platform
import sys
from importlib.metadata import version

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

CUT = '{"order": "A-100", "amount": 1'  # of 1250
CALL = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "refund", "arguments": CUT}}


def reply(request):
    """Return the model's message, and why it ends: a call that is cut off, then what an agent says of its result."""
    if request["messages"][-1]["role"] == "tool":
        return {"role": "assistant", "content": "It is done."}, "stop"
    return {"role": "assistant", "content": None, "tool_calls": [CALL]}, "length"


def body(request):
    message, reason = reply(request)
    answer = {"id": "1", "created": 1, "model": "any"}
    if not request.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return "application/json", json.dumps(answer | {"object": "chat.completion", "choices": [choice]})
    chunks = [
        answer | {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        for delta, end in ((message, None), ({}, reason))
    ]
    return "text/event-stream", "".join(f"data: {data}\n\n" for data in (*map(json.dumps, chunks), "[DONE]"))


async def serve(reader, writer):
    headers = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(headers.split("content-length:")[1].split("\r\n")[0])
    kind, text = body(json.loads(await reader.readexactly(length)))
    writer.write(
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
    )
    await writer.drain()
    writer.close()


async def refunds(port, streaming):
    """Return what is paid, how the call is listed, and why the model's message ended."""
    paid = []

    @tool
    def refund(order: str, amount: int) -> str:
        """Refund an amount of an order."""
        paid.append(amount)
        return "refunded"

    model = ChatOpenAI(
        model="any", api_key="none", base_url=f"http://127.0.0.1:{port}/v1", streaming=streaming, max_retries=0
    )
    messages = (await create_agent(model, [refund]).ainvoke({"messages": [("user", "Refund 1250 of A-100.")]}))["messages"]
    call = messages[1]
    listed = "valid" if call.tool_calls else "invalid" if call.invalid_tool_calls else "missing"
    return paid, listed, call.response_metadata["finish_reason"]


async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        return {name: await refunds(port, name == "streamed") for name in ("whole", "streamed")}


seen = asyncio.run(main())
for name, (paid, listed, reason) in seen.items():
    print(f"{name}: the call is {listed}, finish reason {reason!r}; refunds paid: {paid or 'none'}")
names = ("langchain", "langchain-core", "langchain-openai", "langgraph")
print(", ".join(f"{package} {version(package)}" for package in names) + f", Python {platform.python_version()}")
expected = {"whole": ([], "invalid", "length"), "streamed": ([1], "valid", "length")}
sys.exit(0 if seen == expected else "The behaviour has changed.")
PYTHON
