"""Error handlers: every error becomes an RFC 9457 problem, `application/problem+json`.

The error classes define statuses, slugs and titles. A problem never contains patient data, nor any text of
an unexpected exception.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cxrserve.api.request_log import record_of
from cxrserve.errors import (
    Busy,
    ConfigurationError,
    CxrserveError,
    RequestError,
    Unauthorized,
    UnsupportedMediaType,
)
from cxrserve.schema import Frozen

_log: Final = logging.getLogger("cxrserve.api")

MEDIA_TYPE: Final = "application/problem+json"
# nginx's code for a client that disconnected; only the log shows it.
CLIENT_GONE: Final = 499


class Problem(Frozen):
    """RFC 9457 problem details."""

    type: str = Field(description="The kind of problem: a page of this service that describes it.")
    title: str = Field(description="A short title, the same for every problem of this kind.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was wrong with this request, and what to do. No patient data.")
    instance: str = Field(description="The request: urn:uuid: and its X-Request-ID.")
    file: int | None = Field(
        default=None, description="Position of the refused file in a study, counted from 0."
    )


class FileRefused(Exception):
    """The study is refused because of one file: its `position` and the `cause`."""

    def __init__(self, position: int, cause: CxrserveError) -> None:
        super().__init__(position)
        self.position = position
        self.cause = cause


def catalogue() -> dict[str, tuple[int, str, str]]:
    """All problems of this service, by slug: status, title, meaning."""
    tree: list[type[CxrserveError]] = [CxrserveError, *_below(CxrserveError)]
    problems = {
        error.slug: (error.http_status, error.title, (error.__doc__ or "").split("\n")[0])
        for error in tree
        if not issubclass(error, ConfigurationError) and "slug" in vars(error)
    }
    problems["internal-error"] = (
        500,
        CxrserveError.title,
        "An error of the service; its log shows the cause under the request's id.",
    )
    for status, meaning in (
        (404, "There is nothing at this path."),
        (405, "This path does not support the method."),
    ):
        problems[_slug(status)] = (status, http.HTTPStatus(status).phrase, meaning)
    return problems


def _below(error: type[CxrserveError]) -> Iterator[type[CxrserveError]]:
    for child in error.__subclasses__():
        yield child
        yield from _below(child)


def _slug(status: int) -> str:
    return http.HTTPStatus(status).phrase.lower().replace(" ", "-")


def install(app: FastAPI) -> None:
    """Add the error handlers to `app`."""
    app.exception_handler(CxrserveError)(_on_error)
    app.exception_handler(FileRefused)(_on_refused_file)
    app.exception_handler(RequestValidationError)(_on_invalid_parameter)
    app.exception_handler(HTTPException)(_on_routing_error)
    app.exception_handler(ClientDisconnect)(_on_disconnect)


def unexpected(scope: MutableMapping[str, Any]) -> Response:
    """The response to an unexpected exception; it says nothing about the exception."""
    error = CxrserveError(
        "An unexpected error occurred. The log of the service shows it under this request's id."
    )
    return _problem_response(Request(scope), error.slug, problem_of(error, record_of(scope).request_id))


async def _on_error(request: Request, error: CxrserveError) -> Response:
    return _response(request, error)


def _response(request: Request, error: CxrserveError, position: int | None = None) -> Response:
    request_id = record_of(request.scope).request_id
    if isinstance(error, ConfigurationError):  # its detail names folders and files of the server
        _log.error("request=%s %s", request_id, error.detail)
        return unexpected(request.scope)
    headers = dict(error.headers) if isinstance(error, UnsupportedMediaType | Unauthorized) else {}
    if isinstance(error, Busy):
        headers["Retry-After"] = str(error.retry_after_s)  # RFC 9110, 10.2.3
    return _problem_response(request, error.slug, problem_of(error, request_id, position), headers)


async def _on_refused_file(request: Request, error: FileRefused) -> Response:
    return _response(request, error.cause, error.position)


async def _on_invalid_parameter(request: Request, error: RequestValidationError) -> Response:
    """Name the invalid parameters and the reasons, without their values."""
    reasons = "; ".join(
        f"{'.'.join(str(part)[:40] for part in item['loc'])}: {item['msg']}" for item in error.errors()[:4]
    )
    return _response(request, RequestError(f"{reasons}. GET /docs describes every parameter."))


async def _on_routing_error(request: Request, error: HTTPException) -> Response:
    details = {
        404: "There is nothing at this path. GET /docs lists all paths.",
        405: f"This path does not support {request.method[:10]}; the Allow header lists its methods.",
    }
    slug = _slug(error.status_code)
    problem = _problem(
        slug,
        http.HTTPStatus(error.status_code).phrase,
        error.status_code,
        details.get(error.status_code, "GET /docs describes the API."),
        record_of(request.scope).request_id,
    )
    return _problem_response(request, slug, problem, dict(error.headers or {}))


async def _on_disconnect(request: Request, error: ClientDisconnect) -> Response:
    record_of(request.scope).outcome = "client-gone"
    return Response(status_code=CLIENT_GONE)


def problem_of(error: CxrserveError, request_id: str, position: int | None = None) -> Problem:
    """The problem that reports `error` for a request, and for one file of a study if `position` is given."""
    detail = error.detail if position is None else f"file {position} (counted from 0): {error.detail}"
    return _problem(error.slug, error.title, error.http_status, detail, request_id, position)


def _problem(
    slug: str, title: str, status: int, detail: str, request_id: str, position: int | None = None
) -> Problem:
    return Problem(
        type=f"/problems/{slug}",
        title=title,
        status=status,
        detail=detail,
        instance=f"urn:uuid:{request_id}",
        file=position,
    )


def _problem_response(
    request: Request, slug: str, problem: Problem, headers: Mapping[str, str] | None = None
) -> Response:
    record_of(request.scope).outcome = slug
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )
