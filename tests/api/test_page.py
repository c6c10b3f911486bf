"""GET /: the chat page as it is served; tests/browser shows what it does."""

import gzip
import hashlib
import re
from pathlib import Path

import httpx

from api.auth import digest, new_key
from conftest import REPOSITORY, Serve

STATIC = REPOSITORY / "api/static"
VENDOR = STATIC / "vendor"
MOST = 60_000
"""Bytes, compressed, of the page and all that it loads."""


def loaded(page: str) -> set[str]:
    """Return the files that the page loads, also those that its scripts import."""
    waiting = re.findall(r'(?:src|href)="static/([^"]+)"', page)
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name.endswith(".js"):
            imports = re.findall(r'^import .*?"\./([^"]+)";', (STATIC / name).read_text(), re.MULTILINE)
            waiting += [str(Path(name).parent / one) for one in imports]
    return found


async def test_the_page_is_open_and_bears_the_companys_name(serve: Serve) -> None:
    """It and its files need no key; everything else does."""
    async with serve(SUPPORT_API_KEYS=f"shop:{digest(new_key()).hex()}") as url, httpx.AsyncClient() as client:
        page = await client.get(f"{url}/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "<h1>Acme &amp; Sons</h1>" in page.text
        assert "{{" not in page.text
        names = loaded(page.text)
        assert {"page.css", "main.js", "texts.js", "vendor/marked.esm.js", "vendor/purify.min.js"} <= names
        for name in names:
            file = await client.get(f"{url}/static/{name}")
            assert (file.status_code, file.content) == (200, (STATIC / name).read_bytes()), name
        assert (await client.get(f"{url}/sessions/s-1")).status_code == 401


async def test_the_page_may_load_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    """Its policy has no exception, and its addresses are relative, so that it works under any prefix."""
    page = await client.get("/")
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r'(?:src|href|action)="(?:/|\w+:)', page.text)
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page.text)


async def test_a_browser_asks_whether_the_page_has_changed(client: httpx.AsyncClient) -> None:
    """What it has already is not sent again, and what is sent is compressed."""
    for path in ("/", "/static/main.js"):
        page = await client.get(path)
        assert (page.headers["cache-control"], page.headers["vary"]) == ("no-cache", "Accept-Encoding")
        assert page.headers["content-encoding"] == "gzip"
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == page.content
        same = await client.get(path, headers={"If-None-Match": page.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")


async def test_only_the_pages_files_are_served(client: httpx.AsyncClient) -> None:
    """Nothing else of the package is."""
    for name in ("nothing.js", "index.html", "vendor/SOURCES", "../app.py", "%2e%2e/app.py", "vendor"):
        assert (await client.get(f"/static/{name}")).status_code == 404, name


async def test_the_page_is_small(client: httpx.AsyncClient) -> None:
    """It and all that it loads have less than 60 kB when compressed."""
    page = await client.get("/")
    contents = [page.content, *((STATIC / name).read_bytes() for name in loaded(page.text))]
    assert sum(len(gzip.compress(content)) for content in contents) < MOST


def test_each_file_of_ours_is_loaded() -> None:
    """No script or style lies there that neither the page, the inbox nor, with embed.js, a website uses."""
    pages = [(STATIC / name).read_text() for name in ("index.html", "inbox.html")]
    kept = {str(file.relative_to(STATIC)) for file in STATIC.rglob("*") if file.suffix in (".js", ".css", ".svg")}
    assert kept == {"embed.js"}.union(*map(loaded, pages))


def test_each_language_has_every_text() -> None:
    """With the same values to fill in; the scripts name no text that there is not."""
    text = (STATIC / "texts.js").read_text()
    languages = {
        name: dict(re.findall(r'^    (\w+): "(.*)",$', block, re.MULTILINE))
        for name, block in re.findall(r"^  (\w\w): \{\n(.*?)^  \},$", text, re.MULTILINE | re.DOTALL)
    }
    assert languages.keys() == {"en", "de", "fr", "es"}
    english = languages["en"]
    assert len(english) > 50
    for name, texts in languages.items():
        assert texts.keys() == english.keys(), name
        for key, words in texts.items():
            assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", english[key])), (name, key)
    scripts = "".join(file.read_text() for file in STATIC.glob("*.js") if file.name != "texts.js")
    page = (STATIC / "index.html").read_text()
    named = {*re.findall(r'\btext\("(\w+)"', scripts), *re.findall(r'data-(?:text|label|placeholder)="(\w+)"', page)}
    assert named <= english.keys()
    assert english.keys() <= named | set(re.findall(r'"(\w+)"', scripts)), "a text that nothing shows"


def test_the_libraries_are_those_that_were_vendored() -> None:
    """Each has its licence beside it; .github/scripts/vendored.sh compares them with what npm publishes."""
    kept = {name: digest for digest, name, _, _ in map(str.split, (VENDOR / "SOURCES").read_text().splitlines())}
    assert kept.keys() == {file.name for file in VENDOR.iterdir()} - {"SOURCES"}
    for name, told in kept.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == told, name
        assert f"{name.partition('.')[0]}.LICENSE" in kept


async def test_a_slash_too_many_leads_to_the_page(serve: Serve) -> None:
    """By an address that no Host header gets into, and without a key."""
    variables = {"SUPPORT_API_KEYS": f"shop:{digest(new_key()).hex()}", "SUPPORT_TRUSTED_PROXIES": "127.0.0.1"}
    async with serve(**variables) as url, httpx.AsyncClient() as client:
        for path in ("/inbox", "/docs"):
            for prefix in ("", "/support"):
                headers = {"Host": "elsewhere.example", "X-Forwarded-Prefix": prefix}
                found = await client.get(f"{url}{path}/", headers=headers)
                assert (found.status_code, found.headers["location"]) == (308, f"..{path}"), prefix
            assert (await client.get(f"{url}{path}/", follow_redirects=True)).url.path == path
        assert (await client.get(f"{url}/inbox/x")).status_code == 401
