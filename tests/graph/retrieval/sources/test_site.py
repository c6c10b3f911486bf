"""Web sites, read from a real server."""

import gzip
import time
from collections.abc import Generator
from email.utils import formatdate
from pathlib import Path

import pytest
import trustme

from graph.errors import KnowledgeError
from graph.retrieval.sources import limits
from harness.sourcing import read
from harness.web_site import Answer, WebSite, urlset, web_site


@pytest.fixture
def site() -> Generator[WebSite]:
    """A site of two pages."""
    with web_site() as site:
        site.page("/articles/refunds", "Refunds", "Within 30 days.", etag='"1"')
        site.page("/articles/hours", "Hours", "From 9 to 5.", modified=formatdate(1_700_000_000, usegmt=True))
        site.sitemap("/articles/refunds", "/articles/hours")
        yield site


IDS = {"articles/refunds", "articles/hours"}


@pytest.mark.parametrize("path", ["/sitemap.xml", "", "/"])
def test_a_site_loads_with_its_address_alone(site: WebSite, path: str) -> None:
    """The sitemap's pages are documents with title, text, address, language and folders."""
    found = read(site.url + path)
    assert found.documents.keys() == IDS
    refunds = found.documents["articles/refunds"]
    assert (refunds.title, refunds.text, refunds.language) == ("Refunds", "Within 30 days.", "en")
    assert refunds.url == f"{site.url}/articles/refunds"
    assert refunds.labels == {"folder": ("articles",)}
    assert not found.faults + found.withheld


def test_sitemaps_named_by_robots_are_found(site: WebSite) -> None:
    """A site's own address leads to the sitemaps of its robots.txt, and only to its own."""
    site.answers["/robots.txt"] = Answer(f"Sitemap: {site.url}/map.xml\nSitemap: https://elsewhere.example/map.xml\n")
    site.sitemap("/articles/hours", at="/map.xml")
    assert read(site.url).documents.keys() == {"articles/hours"}


def test_a_second_reading_asks_only_for_what_has_changed(site: WebSite) -> None:
    """ETag and Last-Modified make every page unchanged; a page that is gone is deleted, a changed one comes again."""
    address = f"{site.url}/sitemap.xml"
    first = read(address)
    again = read(address, first.revisions)
    assert again.unchanged == IDS
    assert not again.documents
    site.page("/articles/refunds", "Refunds", "Within 60 days.", etag='"2"')
    site.sitemap("/articles/refunds")
    third = read(address, first.revisions)
    assert (third.documents.keys(), third.deleted) == ({"articles/refunds"}, {"articles/hours"})


def test_pages_without_validators_are_compared_by_their_article(site: WebSite) -> None:
    """What differs in a page outside its article is no change."""
    site.page("/articles/refunds", "Refunds", head="<meta name=nonce content=1>")
    site.sitemap("/articles/refunds")
    first = read(site.url)
    site.page("/articles/refunds", "Refunds", head="<meta name=nonce content=2>")
    assert read(site.url, first.revisions).unchanged == {"articles/refunds"}


def test_a_list_of_addresses_names_the_pages(site: WebSite, tmp_path: object) -> None:
    """A text with an address in each line will do, on the site or as a file."""
    site.answers["/pages.txt"] = Answer(f"# ours\n{site.url}/articles/hours\n\n")
    assert read(f"{site.url}/pages.txt").documents.keys() == {"articles/hours"}


def test_a_list_may_be_a_file(site: WebSite, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The host of the first address is the site; others are named."""
    path = tmp_path_factory.mktemp("list") / "pages.txt"
    path.write_text(f"{site.url}/articles/hours\nhttps://elsewhere.example/page\n")
    found = read(str(path))
    assert found.documents.keys() == {"articles/hours"}
    assert "1 addresses that are not of" in found.fault


def test_an_index_of_gzipped_sitemaps_is_followed_once(site: WebSite) -> None:
    """Sitemaps that name each other end; one that is missing is named, and the others are read."""
    loop = [f"{site.url}/sitemap.xml", f"{site.url}/a.xml.gz", f"{site.url}/missing.xml"]
    site.answers["/sitemap.xml"] = Answer(urlset(loop, "sitemap"))
    site.answers["/a.xml.gz"] = Answer(gzip.compress(urlset([f"{site.url}/articles/hours"]).encode()))
    found = read(f"{site.url}/sitemap.xml")
    assert found.documents.keys() == {"articles/hours"}
    assert "/missing.xml: the server answers with status 404" in found.fault
    assert site.asked.count("/sitemap.xml") == 1


def test_a_sitemap_that_fails_deletes_nothing(site: WebSite) -> None:
    """Pages of a sitemap that can't be read this time stay as they are."""
    site.answers["/sitemap.xml"] = Answer(urlset([f"{site.url}/a.xml"], "sitemap"))
    site.answers["/a.xml"] = Answer(status=500)
    found = read(f"{site.url}/sitemap.xml", {"articles/hours": '["", "", "x"]'})
    assert (found.unchanged, found.deleted) == ({"articles/hours"}, set())


def test_nothing_leads_to_another_site(site: WebSite) -> None:
    """No address in a sitemap, no redirect and no canonical link makes a request to another host, scheme or port."""
    with web_site() as other:
        other.page("/page", "Other")
        site.sitemap(
            f"{other.url}/page", "/moved", "/copy", "/articles/hours", "https://127.0.0.1/page", "ftp://a/", "http://["
        )
        site.answers["/moved"] = Answer(status=302, headers={"Location": f"{other.url}/page"})
        site.page("/copy", "Copy", head=f'<link rel="canonical" href="{other.url}/page">')
        found = read(site.url)
        assert other.asked == []
    assert found.documents.keys() == {"articles/hours"}
    assert len(found.withheld) == 1
    assert "canonical" in found.withheld[0].reason
    assert sorted(fault.reason for fault in found.faults) == [
        f"names 4 addresses that are not of {site.url}, which alone is read",
        f"redirects to another site, {other.url}/",
    ]


def test_a_robots_file_or_sitemap_elsewhere_is_named(site: WebSite) -> None:
    """A site that has moved is an error that names where to."""
    with web_site() as other:
        for path in ("/robots.txt", "/sitemap.xml"):
            site.answers[path] = Answer(status=301, headers={"Location": f"{other.url}{path}"})
            with pytest.raises(KnowledgeError, match=rf"{path}: redirects to another site, {other.url}"):
                read(site.url)
            del site.answers[path]
        assert other.asked == []


def test_redirects_within_the_site_are_followed(site: WebSite) -> None:
    """A page keeps the id of its listed address; one that only leads to another listed page is left out; loops end."""
    site.answers["/old"] = Answer(status=301, headers={"Location": "/new"})
    site.page("/new", "New")
    site.answers["/stub"] = Answer(status=302, headers={"Location": "/articles/hours"})
    site.answers["/loop"] = Answer(status=302, headers={"Location": "/loop"})
    site.page("/refresh", "Moved", head='<meta http-equiv="refresh" content="0; url=/articles/hours">')
    site.sitemap("/old", "/stub", "/loop", "/refresh", "/articles/hours")
    found = read(site.url)
    assert {document.id: document.url for document in found.documents.values()} == {
        "old": f"{site.url}/new",
        "articles/hours": f"{site.url}/articles/hours",
    }
    assert len(found.withheld) == 2
    assert "redirects more than 5 times" in found.fault


def test_robots_rules_are_obeyed(site: WebSite) -> None:
    """What robots.txt forbids us is not asked for, also not by a redirect, and counted; others' rules are not ours."""
    rules = "User-agent: support-agent\nDisallow: /articles/r\nUser-agent: *\nDisallow: /\n"
    site.answers["/robots.txt"] = Answer(rules)
    site.answers["/way"] = Answer(status=302, headers={"Location": "/articles/refunds"})
    site.sitemap("/articles/refunds", "/articles/hours", "/way")
    found = read(site.url)
    assert found.documents.keys() == {"articles/hours"}
    assert [one.reason for one in found.withheld] == ["robots.txt does not allow to read it"] * 2
    assert "/articles/refunds" not in site.asked


def test_noindex_is_obeyed(site: WebSite) -> None:
    """The page's own word and the header's count; a page that gets it later is deleted."""
    site.page("/hidden", "Hidden", head='<meta name="ROBOTS" content="follow, NoIndex">')
    site.page("/none", "None")
    site.answers["/none"].headers = {"X-Robots-Tag": "noindex"}  # pyright: ignore[reportAttributeAccessIssue] - one answer
    site.sitemap("/hidden", "/none")
    found = read(site.url, {"hidden": '["", "", "x"]'})
    assert (len(found.withheld), found.deleted, found.documents) == (2, {"hidden"}, {})


def test_one_request_at_a_time_as_slowly_as_asked(site: WebSite) -> None:
    """The crawl delay lies between requests, all have our name, and none runs beside another."""
    site.answers["/robots.txt"] = Answer("User-agent: *\nCrawl-delay: 0.2\n")
    read(site.url)
    pauses = [later - earlier for earlier, later in zip(site.times[1:], site.times[2:], strict=False)]
    assert min(pauses) > 0.19
    assert site.most_at_once == 1
    assert all(headers["user-agent"].startswith("support-agent/") for headers in site.headers)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(site: WebSite, status: int) -> None:
    """A busy site is asked again when it says, also by a date."""
    page = site.answers["/articles/hours"]
    assert isinstance(page, Answer)
    busy = Answer(status=status, headers={"Retry-After": "0"})
    past = Answer(status=status, headers={"Retry-After": formatdate(time.time() - 5, usegmt=True)})
    site.answers["/articles/hours"] = [busy, past, page]
    assert read(site.url).documents.keys() == IDS


def test_a_site_that_asks_for_too_long_a_wait_is_left_alone(site: WebSite) -> None:
    """The reading ends, says what was not read, and deletes nothing."""
    site.answers["/articles/refunds"] = Answer(status=429, headers={"Retry-After": "86400"})
    found = read(site.url, {"articles/hours": '["", "", "x"]'})
    assert "asks to come back in 86400 seconds" in found.fault
    assert "2 pages are not read" in found.fault
    assert (found.unchanged, found.deleted) == ({"articles/hours"}, set())


def test_a_long_crawl_delay_is_an_error(site: WebSite) -> None:
    """A site that wants hours between requests is not read at all."""
    site.answers["/robots.txt"] = Answer("User-agent: *\nCrawl-delay: 3600\n")
    with pytest.raises(KnowledgeError, match="asks for 3600 seconds between requests"):
        read(site.url)


def test_a_page_that_fails_keeps_its_last_version(site: WebSite) -> None:
    """A status of 500 is a fault, not the end of the page; 404 is."""
    first = read(site.url)
    site.answers["/articles/refunds"] = Answer(status=500)
    del site.answers["/articles/hours"]
    found = read(site.url, first.revisions)
    assert (found.unchanged, found.deleted) == ({"articles/refunds"}, {"articles/hours"})
    assert [fault.reason for fault in found.faults] == [
        f"the server answers with status {status}" for status in (500, 404)
    ]


def test_endless_slow_and_packed_answers_are_bounded(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is named with its limit, whatever its headers say, and the other pages are read."""
    monkeypatch.setattr(limits, "PAGE", 100_000)
    monkeypatch.setattr(limits, "REQUEST_SECONDS", 1)
    site.answers["/long"] = Answer(b"a" * 10_000, pieces=1_000)
    site.answers["/slow"] = Answer(b"a", pieces=1_000, delay=0.1)
    packed = gzip.compress(b"a" * 1_000_000)
    site.answers["/packed"] = Answer(packed, headers={"Content-Encoding": "gzip"})
    site.answers["/odd"] = Answer(b"a", headers={"Content-Encoding": "br"})
    site.answers["/image"] = Answer(b"a", headers={"Content-Type": "image/png"})
    site.sitemap("/long", "/slow", "/packed", "/odd", "/image", "/articles/hours")
    found = read(site.url)
    assert found.documents.keys() == {"articles/hours"}
    assert [fault.reason.partition(",")[0] for fault in found.faults] == [
        "is longer than 100",
        "takes more than 1 seconds",
        "unpacks to more than 100",
        "the server packs its answer in a way that was not asked for",
        "is 'image/png'",
    ]


def test_packed_pages_are_read(site: WebSite) -> None:
    """Gzip is asked for and unpacked."""
    page = site.answers["/articles/hours"]
    assert isinstance(page, Answer)
    assert isinstance(page.body, str)
    page.body = gzip.compress(page.body.encode())
    page.headers = {**page.headers, "Content-Encoding": "gzip"}
    assert read(site.url).documents["articles/hours"].text == "From 9 to 5."


def test_the_number_of_pages_and_sitemaps_is_bounded(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pages are read, and the rest is named by number."""
    monkeypatch.setattr(limits, "SITE_PAGES", 1)
    monkeypatch.setattr(limits, "SITEMAPS", 2)
    maps = [f"{site.url}/{name}.xml" for name in "abc"]
    site.answers["/sitemap.xml"] = Answer(urlset(maps, "sitemap"))
    site.sitemap("/articles/refunds", "/articles/hours", at="/a.xml")
    found = read(site.url)
    assert len(found.documents) == 1
    assert [fault.reason for fault in found.faults] == [
        "the site has more than 2 sitemaps",
        "names 2 pages, of which 1 are read",
    ]
    assert "/b.xml" not in site.asked


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><urlset><url><loc>&b;</loc></url></urlset>', "document type"),
        ("<urlset><url>", "not valid XML"),
        ("<a>" * 300, "more than 200 XML elements"),
        ("<html></html>", "neither a sitemap"),
        ("Welcome to our help centre", "neither a sitemap"),
        (b"\xff\xfe\x00", "neither a sitemap"),
        (gzip.compress(b"<urlset/>", mtime=0)[:-4], "ends in the middle"),
    ],
)
def test_a_sitemap_that_is_none_is_named(site: WebSite, body: bytes | str, reason: str) -> None:
    """Entities, broken XML, deep nesting and web pages are errors with their reason."""
    site.answers["/sitemap.xml"] = Answer(body)
    with pytest.raises(KnowledgeError, match=rf"/sitemap\.xml: .*{reason}"):
        read(f"{site.url}/sitemap.xml")


def test_a_password_is_sent_and_never_told(site: WebSite) -> None:
    """The address's user and password go with each request to the site, and into no document or message."""
    secret = "s3cret"
    address = site.url.replace("//", f"//reader:{secret}@")
    site.answers["/private"] = Answer(status=403)
    site.sitemap("/articles/hours", "/private", address + "/articles/refunds")
    found = read(f"{address}/sitemap.xml")
    assert found.documents.keys() == IDS
    assert {headers["authorization"] for headers in site.headers} == {"Basic cmVhZGVyOnMzY3JldA=="}
    assert secret not in repr(found)
    site.answers["/robots.txt"] = Answer(status=500)
    with pytest.raises(KnowledgeError, match="status 500") as raised:
        read(f"{address}/sitemap.xml")
    assert secret not in str(raised.value)


def test_a_site_that_is_not_there_is_an_error() -> None:
    """The address is named without its password."""
    with web_site() as gone:
        address = gone.url
    with pytest.raises(KnowledgeError, match=rf"{address}/robots\.txt: no valid answer"):
        read(address.replace("//", "//a:b@"))
    with pytest.raises(KnowledgeError, match="not valid"):
        read("http://[")


def test_a_certificate_that_is_not_trusted_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An error says which variable helps; with it the site is read by https."""
    authority = trustme.CA()
    with web_site(authority.issue_cert("127.0.0.1")) as site:
        site.page("/hours", "Hours")
        site.sitemap("/hours")
        with pytest.raises(KnowledgeError, match="authority that is not trusted: set SSL_CERT_FILE"):
            read(site.url)
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        assert read(site.url).documents.keys() == {"hours"}


def test_a_site_that_stops_answering_is_asked_no_more(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some requests in a row without an answer, the rest is left as it is."""
    monkeypatch.setattr(limits, "FAILURES", 3)
    monkeypatch.setattr(limits, "REQUEST_SECONDS", 0.1)
    paths = [f"/slow{number}" for number in range(9)]
    for path in paths:
        site.answers[path] = Answer("a", delay=0.5)
    site.sitemap(*paths)
    found = read(site.url)
    assert len([path for path in site.asked if path.startswith("/slow")]) == 3
    assert found.faults[-1].reason.endswith("7 pages are not read")


def test_the_charset_of_the_server_counts(site: WebSite) -> None:
    """A page that is not UTF-8 is read by the charset in its header."""
    body = "<h1>Grüße</h1><p>Öffnungszeiten".encode("latin-1")
    site.answers["/gruss"] = Answer(body, headers={"Content-Type": "text/html; charset=ISO-8859-1"})
    site.sitemap("/gruss")
    assert read(site.url).documents["gruss"].title == "Grüße"
