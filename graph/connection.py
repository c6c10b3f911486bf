"""How servers are reached, and why not: proxies, certificates and names, whichever library connects."""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
import httpx2
from aiohttp_socks import ProxyConnector
from python_socks import parse_proxy_url
from requests.utils import get_environ_proxies, select_proxy

from graph.address import UNENCODED, has_bare_password
from graph.errors import SettingsError

_PROXIES = "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"
_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})

HAS_EXPIRED = 10
"""OpenSSL's code for a certificate that has expired."""
IS_FOR_ANOTHER_NAME = frozenset({62, 64})
"""OpenSSL's codes for a certificate of another host."""


def proxy_for(url: str) -> str | None:
    """Return the environment's proxy for a URL, as `requests` picks it; raises SettingsError if it is invalid."""
    proxy = select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if has_bare_password(proxy):
        raise SettingsError(f"{_PROXIES}: {UNENCODED}")
    try:
        parts = urlsplit(proxy)
        is_valid = parts.scheme in _SCHEMES and parts.hostname and (parts.port or parts.scheme.startswith("http"))
    except ValueError:
        is_valid = False
    if not is_valid:
        raise SettingsError(f"{_PROXIES}: must be like http://proxy.example:3128 or socks5://proxy.example:1080")
    return proxy


def connector(socks: str | None, *, secure: bool, limit: int) -> aiohttp.TCPConnector:
    """Return a connection pool; `socks` is the URL of a SOCKS proxy, `limit` that of connections, 0 for none."""
    options: dict[str, Any] = {"limit": limit, "ssl": httpx2.create_ssl_context() if secure else True}
    if socks is None:
        return aiohttp.TCPConnector(**options)
    # `socks5h` says that the proxy looks names up, which it does here anyway.
    kind, host, port, user, password = parse_proxy_url(re.sub("^(socks[45])[ah]:", r"\1:", socks))
    return ProxyConnector(host, port, kind, user or None, password or None, rdns=True, **options)


def connection_trouble(error: BaseException, url_variable: str, authority_variable: str) -> tuple[str, str] | None:
    """Return why a server can't be reached, and what mends it; None if it simply does not answer.

    `authority_variable` names the file of trusted authorities.
    """
    chain = list(causes(error))
    if any(names_no_certificates(cause) for cause in chain):
        return f"can't be trusted, since {authority_variable} names no certificates", f"correct {authority_variable}"
    if distrust := [cause for cause in chain if isinstance(cause, ssl.SSLCertVerificationError)]:
        return _distrust(distrust[-1], url_variable, authority_variable)  # the first may be a library's, without a code
    if any(isinstance(cause, ssl.SSLError) for cause in chain):
        return "speaks no TLS that fits", f"correct {url_variable}, which says https://"
    if any("Proxy" in type(cause).__name__ or _is_of_a_proxy(cause) for cause in chain):  # aiohttp, SOCKS, urllib3
        return "can't be reached through the proxy", f"correct {_PROXIES}, or add the server's host to NO_PROXY"
    if any(isinstance(cause, socket.gaierror) or "Resolution" in type(cause).__name__ for cause in chain):
        return "has a host name without an address", f"correct {url_variable}"
    return None


def names_no_certificates(error: BaseException) -> bool:
    """Whether an error is about a file that should have certificates, but is missing or has none."""
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None  # aiohttp's have none
    is_empty = reason in ("NO_CERTIFICATE_OR_CRL_FOUND", "NO_START_LINE")
    return is_empty or "TLS CA certificate bundle" in str(error)  # requests


def check_authorities() -> None:
    """Raise SettingsError where SSL_CERT_FILE names no certificates; OpenSSL ignores a file that is missing."""
    if file := os.environ.get("SSL_CERT_FILE"):
        try:
            ssl.create_default_context(cafile=file)
        except OSError:
            raise SettingsError("SSL_CERT_FILE: must be a file with certificates, in PEM") from None


def _is_of_a_proxy(error: BaseException) -> bool:
    """Whether a proxy's name has no address, or its scheme is unknown."""
    hosts = {urlsplit(proxy if "://" in proxy else f"//{proxy}").hostname for proxy in getproxies().values()}
    is_unknown = "DNS" in type(error).__name__ and getattr(error, "host", "") in hosts  # aiohttp's
    return is_unknown or "SOCKS" in str(error)


def _distrust(error: ssl.SSLCertVerificationError, url_variable: str, authority_variable: str) -> tuple[str, str]:
    if error.verify_code == HAS_EXPIRED:
        return "has a certificate that has expired", "renew it, or correct this machine's clock"
    if error.verify_code in IS_FOR_ANOTHER_NAME:
        return "has a certificate for another name", f"correct {url_variable}"
    remedy = f"set {authority_variable} to a file with the authority's certificate, in PEM"
    return "has a certificate of an authority that is not trusted", remedy


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and what it came of."""
    while error:
        yield error
        error = error.__cause__ or error.__context__
