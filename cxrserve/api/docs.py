"""Routes of the API's page: `/docs` shows the OpenAPI document with Swagger UI and sends requests."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from cxrserve.api.compression import compressed, wants_gzip

router = APIRouter()

_PAGES: Final = files("cxrserve.api") / "pages"
_SWAGGER_UI: Final = files("cxrserve.api") / "swagger_ui"
# No other file can be requested. Those of Swagger UI may be missing: README.md in its folder.
_PARTS: Final[dict[str, tuple[Traversable, str]]] = {
    "docs.html": (_PAGES, "text/html"),
    "docs.js": (_PAGES, "text/javascript"),
    "docs.css": (_PAGES, "text/css"),
    "swagger-ui-bundle.js": (_SWAGGER_UI, "text/javascript"),
    "swagger-ui.css": (_SWAGGER_UI, "text/css"),
}
# The page loads everything from this service and sends nothing to another host. Swagger UI's style sheet
# holds its icons as data; it shows the picture of an answer as a blob.
_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_LEVEL: Final = 9  # packed once


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """A page that shows the OpenAPI document and sends requests."""
    return _part(request, "docs.html")


@router.get("/docs/{name}", include_in_schema=False)
async def docs_part(request: Request, name: str) -> Response:
    """A script or style sheet of the page."""
    return _part(request, name)


def _part(request: Request, name: str) -> Response:
    if name not in _PARTS:
        raise HTTPException(404)
    try:
        content, headers = _encoded(name, packed=wants_gzip(request))
    except FileNotFoundError:
        raise HTTPException(404) from None
    return Response(
        content,
        media_type=_PARTS[name][1],
        headers={**headers, "Content-Security-Policy": _PAGE_POLICY},
    )


@cache
def _encoded(name: str, *, packed: bool) -> tuple[bytes, dict[str, str]]:
    folder, _ = _PARTS[name]
    return compressed((folder / name).read_bytes(), wanted=packed, level=_LEVEL)
