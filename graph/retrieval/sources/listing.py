"""Which pages a site has, and which of them it lets us read: robots.txt, sitemaps, lists of addresses."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from protego import Protego
from yarl import URL

from graph.errors import KnowledgeError
from graph.retrieval.sources import LeftOut, UnreadableError, limits
from graph.retrieval.sources.fetching import PRODUCT, ElsewhereError, Fetcher, GoneError, public, shown
from graph.retrieval.sources.sitemap import read_sitemap


async def read_robots(fetcher: Fetcher) -> Protego:
    """Return the rules of robots.txt, and take its delay between requests; raises KnowledgeError."""
    address = fetcher.origin.with_path("/robots.txt")
    try:
        content = (await fetcher.get(address, limits.ROBOTS)).content or b""
    except ElsewhereError as error:
        raise KnowledgeError(f"{shown(address)}: {error.reason}: name that site instead") from error
    except GoneError:
        content = b""  # RFC 9309: nothing is forbidden
    except UnreadableError as error:
        raise KnowledgeError(f"{shown(address)}: {error.reason}") from error
    robots = Protego.parse(content.decode("utf-8", "replace"))
    delay = robots.crawl_delay(PRODUCT) or 0.0
    if rate := robots.request_rate(PRODUCT):
        delay = max(delay, rate.seconds / max(rate.requests, 1))
    if delay > limits.WAIT_SECONDS:
        most = limits.WAIT_SECONDS
        raise KnowledgeError(f"{shown(address)}: asks for {delay:.0f} seconds between requests, more than {most}")
    fetcher.delay = delay
    return robots


@dataclass(slots=True)
class Listing:
    """The addresses of a site's pages."""

    fetcher: Fetcher
    pages: list[URL] = field(default_factory=list[URL])
    left_out: list[LeftOut] = field(default_factory=list[LeftOut])
    is_whole: bool = True
    """False if a part could not be read, in which there may be further pages."""

    def add(self, addresses: Iterable[str], where: str) -> None:
        """Add pages; those of another site are left out."""
        self.pages += self._own(addresses, where)

    async def add_sitemaps(self, address: URL, robots: Protego) -> None:
        """Add what a sitemap or a list names, and further sitemaps; raises KnowledgeError if it can't be read."""
        waiting = _first(self.fetcher, address, robots)
        seen = set(waiting)
        for url in waiting:  # it grows
            try:
                sitemap = read_sitemap((await self.fetcher.get(url, limits.SITEMAP)).content or b"")
            except UnreadableError as error:
                if url == waiting[0]:
                    raise KnowledgeError(f"{shown(url)}: {error.reason}") from error
                self._miss(shown(url), error.reason)
                continue
            self.add(sitemap.pages, shown(url))
            further = [found for found in self._own(sitemap.sitemaps, shown(url)) if found not in seen]
            if len(seen) + len(further) > limits.SITEMAPS:
                further = further[: limits.SITEMAPS - len(seen)]
                self._miss(shown(url), f"the site has more than {limits.SITEMAPS} sitemaps")
            seen.update(further)
            waiting += further

    def _own(self, addresses: Iterable[str], where: str) -> list[URL]:
        """Return the addresses that are of the site, and take note of how many are not."""
        urls = [own(self.fetcher, address) for address in addresses]
        if foreign := urls.count(None):
            reason = f"names {foreign:,} addresses that are not of {self.fetcher.origin}, which alone is read"
            self.left_out.append(LeftOut(where, reason, is_fault=True))
        return list(dict.fromkeys(url for url in urls if url))

    def _miss(self, where: str, reason: str) -> None:
        self.left_out.append(LeftOut(where, reason, is_fault=True))
        self.is_whole = False


def own(fetcher: Fetcher, address: str) -> URL | None:
    """Return an address of the site; None for any other."""
    try:
        url = URL(address)
        return public(url) if fetcher.is_own(url) else None
    except ValueError:
        return None


def _first(fetcher: Fetcher, address: URL, robots: Protego) -> list[URL]:
    """Return the sitemap that is the address, else those of robots.txt, else the usual one."""
    if address.path not in ("", "/") or address.query_string:
        return [public(address)]
    named = [url for named in robots.sitemaps if (url := own(fetcher, named))]
    return list(dict.fromkeys(named))[: limits.SITEMAPS] or [fetcher.origin.with_path("/sitemap.xml")]
