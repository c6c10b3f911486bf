"""A web site on a loopback port, which says what a test tells it to."""

import ssl
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme


@dataclass
class Answer:
    """What is at a path."""

    body: bytes | str = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    etag: str = ""
    modified: str = ""
    delay: float = 0.0
    """Seconds between its pieces."""
    pieces: int = 1
    """How often the body is sent."""


class WebSite:
    """Answers by path, and keeps what was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer | list[Answer]] = {}
        """By path; of a list each answer is given once, the last one from then on."""
        self.asked: list[str] = []
        """Paths, in order."""
        self.headers: list[Mapping[str, str]] = []
        """The headers of each request."""
        self.times: list[float] = []
        self.most_at_once = 0
        self.now = 0

    def page(
        self, path: str, title: str, text: str = "Some text.", *, head: str = "", etag: str = "", modified: str = ""
    ) -> None:
        """Put an HTML page at a path."""
        page = f"<html lang=en><head>{head}</head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>"
        self.answers[path] = Answer(
            page, headers={"Content-Type": "text/html; charset=utf-8"}, etag=etag, modified=modified
        )

    def sitemap(self, *paths: str, at: str = "/sitemap.xml") -> None:
        """Put a sitemap of these paths, or whole addresses, at a path."""
        self.answers[at] = Answer(urlset([path if "://" in path else self.url + path for path in paths]))


def urlset(addresses: list[str], kind: str = "url") -> str:
    """Return a sitemap, or an index (`sitemap`)."""
    root = {"url": "urlset", "sitemap": "sitemapindex"}[kind]
    entries = "".join(f"<{kind}><loc>{address}</loc></{kind}>" for address in addresses)
    return f'<?xml version="1.0"?><{root} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{root}>'


def _handler(site: WebSite) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            site.asked.append(self.path)
            site.headers.append({name.lower(): value for name, value in self.headers.items()})
            site.times.append(time.monotonic())
            site.now += 1
            site.most_at_once = max(site.most_at_once, site.now)
            try:
                with suppress(ConnectionError):
                    self._answer()
            finally:
                site.now -= 1

        def _answer(self) -> None:
            found = site.answers.get(self.path, Answer(status=404))
            if isinstance(found, list):
                found = found.pop(0) if len(found) > 1 else found[0]
            body = found.body.encode() if isinstance(found.body, str) else found.body
            is_known = (found.etag and self.headers.get("If-None-Match") == found.etag) or (
                found.modified and self.headers.get("If-Modified-Since") == found.modified
            )
            self.send_response(304 if is_known else found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            if found.etag:
                self.send_header("ETag", found.etag)
            if found.modified:
                self.send_header("Last-Modified", found.modified)
            if not is_known:
                self.send_header("Content-Length", str(len(body) * found.pieces))
            self.end_headers()
            for _ in range(0 if is_known else found.pieces):
                time.sleep(found.delay)
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class calls it so
            pass

    return Handler


@contextmanager
def web_site(certificate: trustme.LeafCert | None = None) -> Generator[WebSite]:
    """Serve a site until the end of the block, with a certificate by https."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site = WebSite(f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = _handler(site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
