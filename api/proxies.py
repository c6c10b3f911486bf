"""What reverse proxies say of the requests that they pass on; only those in SUPPORT_TRUSTED_PROXIES are believed."""

import ipaddress
from collections.abc import Sequence

from starlette.requests import HTTPConnection

from api.settings import Network, origin_of

_NETWORK_BITS = 64  # of an IPv6 address: one customer has a whole /64

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address(connection: HTTPConnection, trusted: Sequence[Network]) -> str:
    """Return the client's address: the right-most one that is not a trusted proxy's; the /64 network for IPv6."""
    client = _client(connection, trusted)
    if isinstance(client, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((client, _NETWORK_BITS), strict=False))
    return str(client)


def stranger_address(connection: HTTPConnection, trusted: Sequence[Network]) -> str | None:
    """Return the client's address; None if it is a trusted proxy's own."""
    client = _client(connection, trusted)
    return None if client and _is_in(client, trusted) else client_address(connection, trusted)


def forwarded(connection: HTTPConnection, header: str, trusted: Sequence[Network]) -> str | None:
    """Return a header that a trusted proxy has added; None if the peer is not one, or has added none."""
    peer = _address(connection.client.host) if connection.client and header in connection.headers else None
    return ",".join(connection.headers.getlist(header)) if peer and _is_in(peer, trusted) else None


def own_origins(connection: HTTPConnection, trusted: Sequence[Network]) -> tuple[str, ...]:
    """Return the origins that a page of this service may have, as the client reaches it."""
    told = forwarded(connection, "x-forwarded-host", trusted)
    host = (told or connection.headers.get("host", "")).partition(",")[0].strip().lower()
    return (origin_of(f"http://{host}"), origin_of(f"https://{host}")) if host else ()


def is_of_own_page(connection: HTTPConnection, trusted: Sequence[Network]) -> bool:
    """Return whether no page but one of this service's own has sent a request.

    SameSite does not tell: a page on another host of the company's domain sends the cookie, too. Over HTTPS browsers
    say whose page it is, else they name its origin if the request may change something.
    """
    if site := connection.headers.get("sec-fetch-site"):
        return site in ("same-origin", "none")
    origin = connection.headers.get("origin")
    return origin is None or origin in own_origins(connection, trusted)


def _client(connection: HTTPConnection, trusted: Sequence[Network]) -> _Address | None:
    client = _address(connection.client.host) if connection.client else None
    hops = ",".join(connection.headers.getlist("x-forwarded-for")).split(",")
    while client and hops and _is_in(client, trusted):
        before = _address(hops.pop())
        if before is None:  # not an address: the trusted proxy before it is the last address we know
            break
        client = before
    return client


def _is_in(address: _Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> _Address | None:
    text = text.strip()
    if text.startswith("["):  # some proxies add the port, IPv6 needs brackets then
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address
