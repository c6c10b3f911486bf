"""GET / and /inbox: the chat page, the team's page, and the files that they load."""

import gzip
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from importlib.resources import files
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from api.deps import AgentDep
from api.etags import is_among, tag_of

router = APIRouter(include_in_schema=False)

FOLDER = "static"
"""The folder of the page's files, and the path under which they are served."""

# Scripts are files of ours, and only DOMPurify may turn text into HTML; nothing comes from another origin.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types dompurify"
)
_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SMALLEST = 1_000  # bytes that are worth compressing

_Tags = Annotated[str, Header()]
_Encodings = Annotated[str, Header()]


@router.head("/")
@router.get("/")
async def page(agent: AgentDep, if_none_match: _Tags = "", accept_encoding: _Encodings = "") -> Response:
    """Return the page under the company's name; its addresses are relative, so it works behind any prefix."""
    content, tag = _page(agent.knowledge.company.name)
    policy = {"Content-Security-Policy": _POLICY}
    return _response(content, "text/html", tag, if_none_match, accept_encoding, policy)


@router.head("/inbox")
@router.get("/inbox")
async def inbox(if_none_match: _Tags = "", accept_encoding: _Encodings = "") -> Response:
    """Return the team's page, which asks for a key where one is needed."""
    content, tag = _file("inbox.html")
    policy = {"Content-Security-Policy": _POLICY}
    return _response(content, "text/html", tag, if_none_match, accept_encoding, policy)


@router.head("/docs/")
@router.get("/docs/")
@router.head("/inbox/")
@router.get("/inbox/")
async def without_slash(request: Request) -> RedirectResponse:
    """Lead to the page itself, which its relative addresses start from, by a relative address, without any Host."""
    return RedirectResponse(f"../{PurePath(request.url.path).name}", 308)


@router.head(f"/{FOLDER}/{{name:path}}")
@router.get(f"/{FOLDER}/{{name:path}}")
async def asset(name: str, if_none_match: _Tags = "", accept_encoding: _Encodings = "") -> Response:
    """Return a file of the page."""
    if name not in _names():
        raise HTTPException(404)
    content, tag = _file(name)
    return _response(content, _TYPES[PurePath(name).suffix], tag, if_none_match, accept_encoding)


def _response(
    content: bytes, kind: str, tag: str, tags: str, encodings: str, more: Mapping[str, str] | None = None
) -> Response:
    # Asked for each time: a page of one version never runs with the script of another.
    headers = {"Cache-Control": "no-cache", "ETag": tag, "Vary": "Accept-Encoding", **(more or {})}
    if is_among(tag, tags):
        return Response(status_code=304, headers=headers)
    if len(content) >= _SMALLEST and "gzip" in encodings:
        return Response(_compressed(content), media_type=kind, headers={**headers, "Content-Encoding": "gzip"})
    return Response(content, media_type=kind, headers=headers)


@lru_cache(maxsize=4)  # the name may change while the service runs
def _page(company: str) -> tuple[bytes, str]:
    text = files("api").joinpath(FOLDER, "index.html").read_text("utf-8")
    content = text.replace("{{company}}", escape(company)).encode()
    return content, tag_of(content)


@lru_cache
def _names() -> frozenset[str]:
    folder = files("api").joinpath(FOLDER)
    nested = (f"{part.name}/{file.name}" for part in folder.iterdir() if part.is_dir() for file in part.iterdir())
    names = (*(file.name for file in folder.iterdir() if file.is_file()), *nested)
    return frozenset(name for name in names if PurePath(name).suffix in _TYPES and not name.endswith(".html"))


@lru_cache
def _file(name: str) -> tuple[bytes, str]:
    content = files("api").joinpath(FOLDER, name).read_bytes()
    return content, tag_of(content)


@lru_cache(maxsize=64)
def _compressed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
