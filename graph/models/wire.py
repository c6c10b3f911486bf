"""The connection to the model's server: OpenAI's HTTP API over one pooled session.

It raises the OpenAI client's exceptions, which LangChain and our callers know, and keeps what that client does about
proxies, certificates, statuses and error bodies. It differs in the cost of a call, and in three limits: on the length
of an event, on that of a body, and on the time between two events. docs/benchmarks.md has the figures.
"""

import asyncio
import json
import os
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import aiohttp
import httpx2
import openai
import orjson
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from yarl import URL

from graph.address import DEFAULT_URL, Address, is_azure
from graph.connection import check_authorities, connector, proxy_for
from graph.models.sse import EventReader

LONGEST_EVENT = 1_000_000
"""Maximum bytes of one event of a stream."""
LONGEST_BODY = 64_000_000
"""Maximum bytes of a whole reply."""
_LONGEST_HEADER = 65_536  # bytes; by default 8,190, which gateways pass with cookies and policies
_MOST_HEADERS = 1_000  # by default 128, which gateways pass that repeat those of the server behind them
_LONGEST_ERROR = 1_000_000  # bytes of an error's body that are read; some servers repeat the request in it
_BLANK = b" \t\r\n\xef\xbb\xbf"  # before a reply: white space, or a byte order mark
_DRAIN = 0.1  # seconds to wait for the end of a body, so that its connection can be used again
_LONG_NUMBER = re.compile(rb"[0-9]{19}")  # orjson makes a float of an integer that is longer than 64 bits
_STATUS_ERRORS: Mapping[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}

Json = dict[str, Any]


class WebPage(ValueError):
    """The reply is a page for people, so the address is not that of an API."""


class Wire:
    """Sends requests to the model's server.

    Every method raises openai.APIStatusError for a status from 300 on, openai.APITimeoutError, and
    openai.APIConnectionError; a reply that is not what was asked for raises ValueError, and one that holds an error,
    whatever its status, raises openai.APIError.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        address: Address,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> None:
        self._session = session
        self._address = address
        self._headers = headers
        self._timeout = timeout
        self._patience = timeout.sock_read or 0.0

    def patient(self, patience: float) -> "Wire":
        """Return the same connections, with another patience."""
        connect = self._timeout.sock_connect
        timeout = aiohttp.ClientTimeout(connect=patience, sock_connect=connect, sock_read=patience)
        return Wire(self._session, self._address, self._headers, timeout)

    def path(self, model: str, path: str) -> str:
        """Return where a model is asked."""
        return self._address.path(model, path)

    async def post(self, path: str, body: bytes) -> Json:
        """Send JSON, and return the JSON object of the reply."""
        async with self._request(path, body) as response:
            content = await _whole(response, LONGEST_BODY)
            _check_start(content.lstrip(_BLANK))
            return _checked(_json_object(content))

    async def stream(self, path: str, body: bytes, done: Json | None = None) -> AsyncGenerator[Json]:
        """Send JSON, and yield the JSON object of each server-sent event, up to `[DONE]` or the end of the body.

        For `[DONE]` it yields `done`, if given. The server gets `patience` seconds for each event. One that answers
        with a whole completion gives one event.
        """
        loop = asyncio.get_running_loop()
        async with self._request(path, body) as response:
            del body
            reader = EventReader(LONGEST_EVENT)
            content = response.content
            until = loop.time() + self._patience
            is_json = None
            while True:
                async with asyncio.timeout_at(until):
                    piece = await content.readany()
                if not piece:
                    return
                if is_json is None and (start := piece.lstrip(_BLANK)):
                    _check_start(start)
                    is_json = start.startswith(b"{")
                    if is_json:
                        whole = piece + await _whole(response, LONGEST_BODY - len(piece))
                        yield as_event(_checked(_json_object(whole)))
                        return
                events = reader.feed(piece)
                for event in events:
                    if event.startswith(b"[DONE]"):
                        if done is not None:
                            yield done
                        await _drain(content)
                        return
                    yield _checked(_json_object(event))
                if events:
                    until = loop.time() + self._patience

    @asynccontextmanager
    async def _request(self, path: str, body: bytes) -> AsyncGenerator[aiohttp.ClientResponse]:
        url = self._address.url(path)
        try:
            # Headers of the session itself, the key too, would also be sent to a proxy.
            asked = self._session.post(
                URL(url, encoded=True), data=body, headers=self._headers, allow_redirects=False, timeout=self._timeout
            )
            async with asked as response:
                if response.status >= 300:
                    raise await _status_error(response, httpx2.Request("POST", url))
                del body  # as long as all else that an open stream holds
                yield response
        except (TimeoutError, ProxyTimeoutError) as error:
            raise openai.APITimeoutError(httpx2.Request("POST", url)) from error
        except (aiohttp.ClientError, ssl.SSLError, ProxyConnectionError, ProxyError) as error:
            raise openai.APIConnectionError(request=httpx2.Request("POST", url)) from error


@asynccontextmanager
async def open_wire(base_url: str | None, key: str, *, connect: float, patience: float) -> AsyncGenerator[Wire]:
    """Open the connection pool, closed on exit.

    `connect` is the time-out for connecting and `patience` for each read and for each event of a stream, in seconds.
    Proxies, certificates, the organization and the project come from the environment, as for the OpenAI client.
    """
    base_url = base_url or DEFAULT_URL
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    }
    if is_azure(base_url):
        headers["api-key"] = key
    for name, variable in (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID")):
        if value := os.environ.get(variable):
            headers[name] = value
    proxy = proxy_for(base_url)
    socks = proxy if proxy and proxy.startswith("socks") else None
    secure = any(url.startswith("https:") for url in (base_url, proxy or ""))
    if secure:
        check_authorities()
    timeout = aiohttp.ClientTimeout(connect=patience, sock_connect=connect, sock_read=patience)
    async with aiohttp.ClientSession(
        connector=connector(socks, secure=secure, limit=0),  # the service limits its clients
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
        max_headers=_MOST_HEADERS,
        proxy=None if socks else proxy,
    ) as session:
        yield Wire(session, Address.of(base_url), headers, timeout)


async def _status_error(response: aiohttp.ClientResponse, request: httpx2.Request) -> openai.APIStatusError:
    content = b""
    while len(content) < _LONGEST_ERROR and (piece := await response.content.readany()):
        content += piece
    text = content.decode(errors="replace").lstrip("\ufeff").strip()
    body: Any = text
    with suppress(ValueError, RecursionError):
        body = json.loads(text)
    if isinstance(body, list) and len(cast("list[Any]", body)) == 1:
        body = cast("list[Any]", body)[0]
    found: Json = cast("Json", body) if isinstance(body, dict) else {}
    detail: Any = found.get("error", cast("object", body))
    told: Any = cast("Json", detail).get("message") if isinstance(detail, dict) else None
    message = f"Error code: {response.status}" + (f" - {told}" if told and isinstance(told, str) else "")
    status = response.status
    kind = _STATUS_ERRORS.get(status) or (openai.InternalServerError if status >= 500 else openai.APIStatusError)
    # The content is decoded already.
    headers = [(name, value) for name, value in response.headers.items() if name.lower() != "content-encoding"]
    received = httpx2.Response(status, headers=headers, content=content, request=request)
    return kind(message, response=received, body=cast("object", detail))


async def _whole(response: aiohttp.ClientResponse, longest: int) -> bytes:
    """Return the body; raises ValueError if it is longer than `longest` bytes."""
    pieces: list[bytes] = []
    length = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        length += len(piece)
        if length > longest:
            raise ValueError(f"a reply of more than {longest} bytes")
    return b"".join(pieces)


async def _drain(content: aiohttp.StreamReader) -> None:
    """Read the end of a body, so that its connection can be used again."""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_DRAIN):
            while await content.readany():
                pass


def _check_start(content: bytes) -> None:
    """Raise WebPage if content begins like one; the content type is not always true, of JSON and events neither."""
    if content.startswith(b"<"):
        raise WebPage


def _json_object(content: bytes) -> Json:
    try:
        has_long = b'"usage"' in content and _LONG_NUMBER.search(content)  # no other number of a reply is read
        found = (json if has_long else orjson).loads(content)
    except orjson.JSONDecodeError:  # also for half a surrogate pair, NaN and a byte order mark
        found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("a reply that is no JSON object")  # noqa: TRY004 - rubbish from outside is no bug of ours
    return cast("Json", found)


def as_event(reply: Json) -> Json:
    """Return a whole completion as the one event of a stream; it has ended, whether or not it says so."""
    choices = cast("list[Json]", reply.get("choices") or [])
    ends = [{**choice, "finish_reason": choice.get("finish_reason") or "stop"} for choice in choices]
    return {**reply, "choices": [{**choice, "delta": choice.get("message")} for choice in ends]}


def reported(error: object) -> openai.APIError:
    """Return what a server's report of an error, in a reply that should have been none, raises."""
    body: object = cast("object", error) if isinstance(error, dict) else {"message": str(error)}
    request = httpx2.Request("POST", DEFAULT_URL)
    return openai.APIError("the model's server reported an error in its reply", request, body=body)


def _checked(reply: Json) -> Json:
    error: object = reply.get("error")
    if not error and "choices" not in reply:
        if reply.get("object") == "error":
            error = reply
        elif "data" not in reply:
            error = reply.get("detail")
    if error:
        raise reported(error)
    return reply
