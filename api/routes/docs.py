"""GET /docs: the OpenAPI description as a page, with a form to try each route."""

from functools import cache
from importlib.resources import files
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html

router = APIRouter(include_in_schema=False)

_Asset = Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"]
_TYPES: dict[_Asset, str] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


@router.head("/docs")
@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return the page; its addresses are relative, so it works behind any prefix."""
    return get_swagger_ui_html(
        title=request.app.title,
        openapi_url="openapi.json",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon-32x32.png",
        swagger_ui_parameters={"validatorUrl": None},  # a service on the internet, which would be sent the description
    )


@router.head("/docs/{name}")
@router.get("/docs/{name}")
async def asset(name: _Asset) -> Response:
    """Return a file of Swagger UI."""
    return Response(_read(name), media_type=_TYPES[name], headers={"Cache-Control": "max-age=86400"})


@cache
def _read(name: str) -> bytes:
    return files("fastapi_swagger.resources").joinpath(name).read_bytes()
