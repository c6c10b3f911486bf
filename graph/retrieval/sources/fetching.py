"""Requests to one web site: to its host alone, one at a time, as it asks for, and within limits whatever it answers.

An operator names the host, so its address may be private. Nothing that the site says leads to another one.
"""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp_socks import ProxyError
from protego import Protego
from yarl import URL

from graph import __version__
from graph.connection import connection_trouble, connector, proxy_for
from graph.retrieval.sources import UnreadableError, limits
from graph.retrieval.sources.unpacking import gunzip, megabytes

PRODUCT = "support-agent"
"""The name by which robots.txt can mean us."""
_AGAIN = (429, 503)
_REDIRECTS = (301, 302, 303, 307, 308)


class UnfetchedError(UnreadableError):
    """A page that the site does not give this time."""


class GoneError(UnreadableError):
    """There is no such page, or not for us."""

    is_fault = True


class ForbiddenError(GoneError):
    """robots.txt does not let us read it."""

    is_fault = False


class ElsewhereError(GoneError):
    """It is at another site now."""


class SiteEndedError(UnfetchedError):
    """The site is not asked for anything more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a site answered."""

    url: URL
    """Where it was found, after redirects within the site."""
    headers: Mapping[str, str]
    """By names in lower case."""
    content: bytes | None
    """None if it is what we know (304)."""


class Fetcher:
    """Asks one site."""

    def __init__(self, session: aiohttp.ClientSession, origin: URL) -> None:
        self.origin = origin
        """Scheme, host and port."""
        self.delay = 0.0
        """Seconds between two requests."""
        self._session = session
        self._end = time.monotonic() + limits.SITE_SECONDS
        self._next = 0.0
        self._failures = 0

    def is_own(self, url: URL) -> bool:
        """Whether an address is of the site."""
        return url.absolute and url.scheme in ("http", "https") and url.origin() == self.origin

    async def get(
        self, url: URL, limit: int, known: Mapping[str, str] | None = None, robots: Protego | None = None
    ) -> Reply:
        """Return what is at an address of the site, in at most `limit` bytes.

        `known` are the headers of a conditional request. Raises UnreadableError: GoneError or UnfetchedError, or for
        content that can't be unpacked.
        """
        for _ in range(limits.REDIRECTS + 1):
            if robots and not robots.can_fetch(str(url), PRODUCT):
                raise ForbiddenError("robots.txt does not allow to read it")
            reply = await self._patiently(url, limit, known or {})
            if isinstance(reply, Reply):
                return reply
            url = reply
        raise UnfetchedError(f"redirects more than {limits.REDIRECTS} times")

    async def _patiently(self, url: URL, limit: int, known: Mapping[str, str]) -> Reply | URL:
        for _ in range(limits.RETRIES):
            reply = await self._once(url, limit, known)
            if isinstance(reply, Reply | URL):
                return reply
            if reply > limits.WAIT_SECONDS:
                raise SiteEndedError(f"asks to come back in {reply:.0f} seconds, more than {limits.WAIT_SECONDS}")
            self._next = time.monotonic() + reply
        raise SiteEndedError(f"is too busy, also at the {limits.RETRIES}th time")

    async def _once(self, url: URL, limit: int, known: Mapping[str, str]) -> Reply | URL | float:
        """Return the reply, where it redirects to, or the seconds after which to ask again."""
        await self._turn()
        try:
            async with asyncio.timeout(limits.REQUEST_SECONDS):
                async with self._session.get(url, headers=known, allow_redirects=False) as response:
                    reply = await self._read(response, url, limit, known)
        except TimeoutError as error:
            raise self._failed(f"takes more than {limits.REQUEST_SECONDS} seconds") from error
        except (aiohttp.ClientError, ProxyError, OSError, ValueError) as error:
            trouble = connection_trouble(error, "the address", "SSL_CERT_FILE")
            raise self._failed(f"the server {trouble[0]}: {trouble[1]}" if trouble else "no valid answer") from error
        finally:
            self._next = time.monotonic() + self.delay
        self._failures = 0
        return reply

    async def _turn(self) -> None:
        """Wait until the next request may be sent."""
        now = time.monotonic()
        if max(now, self._next) > self._end:
            raise SiteEndedError(f"the site takes more than {limits.SITE_SECONDS} seconds to read")
        await asyncio.sleep(max(0.0, self._next - now))

    def _failed(self, reason: str) -> UnfetchedError:
        self._failures += 1
        return (SiteEndedError if self._failures >= limits.FAILURES else UnfetchedError)(reason)

    async def _read(
        self, response: aiohttp.ClientResponse, url: URL, limit: int, known: Mapping[str, str]
    ) -> Reply | URL | float:
        status = response.status
        if status in _REDIRECTS:
            return self._redirect(response, url)
        if status in _AGAIN:
            return _retry_after(response.headers.get("Retry-After"))
        if status == 304 and known:
            return Reply(url, {}, None)
        if status in (401, 403, 404, 410):
            raise GoneError(f"the server answers with status {status}")
        if status != 200:
            raise UnfetchedError(f"the server answers with status {status}")
        headers = {name.lower(): ", ".join(response.headers.getall(name)) for name in response.headers}
        return Reply(url, headers, await _whole(response, limit))

    def _redirect(self, response: aiohttp.ClientResponse, url: URL) -> URL:
        try:
            target = url.join(URL(response.headers.get("Location", "")))
            is_own = self.is_own(target)
        except ValueError as error:
            raise UnfetchedError("redirects to an invalid address") from error
        if not is_own:
            raise ElsewhereError(f"redirects to another site, {shown(target.with_path('/'))}")
        return public(target)


@asynccontextmanager
async def open_fetcher(address: URL) -> AsyncGenerator[Fetcher]:
    """Open a connection to the site of an address, whose user and password it gets with every request."""
    origin = address.origin()
    proxy = proxy_for(str(origin))
    socks = proxy if proxy and proxy.startswith("socks") else None
    headers = {"User-Agent": f"{PRODUCT}/{__version__}", "Accept-Encoding": "gzip"}
    if address.user or address.password:
        named = f"{address.user or ''}:{address.password or ''}".encode()
        headers["Authorization"] = f"Basic {b64encode(named).decode()}"
    async with aiohttp.ClientSession(
        connector=connector(socks, secure=any(url.startswith("https:") for url in (str(origin), proxy or "")), limit=1),
        auto_decompress=False,  # its decoders unpack any amount
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        proxy=None if socks else proxy,
        timeout=aiohttp.ClientTimeout(),  # Fetcher limits the time of a whole request
    ) as session:
        yield Fetcher(session, origin)


def public(url: URL) -> URL:
    """Return an address without user, password and fragment."""
    return url.with_user(None).with_fragment(None)


def shown(url: URL) -> str:
    """Return an address for messages, without user, password and query."""
    return str(public(url).with_query(None))


async def _whole(response: aiohttp.ClientResponse, limit: int) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise UnfetchedError(f"the server packs its answer in a way that was not asked for, {encoding[:20]!r}")
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > limit:
            raise UnfetchedError(f"is longer than {megabytes(limit)}")
    return gunzip(bytes(content), limit) if "gzip" in encoding else bytes(content)


def _retry_after(value: str | None) -> float:
    """Return the seconds that a Retry-After header asks for, in either of its forms."""
    if value is None:
        return 1.0
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return 1.0
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
