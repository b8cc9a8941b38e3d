"""Problems: how every error leaves the service, as RFC 9457 `application/problem+json`.

One place turns the error tree into answers: the tree itself carries statuses, slugs and titles. A problem
never holds patient data, nor anything from inside an unexpected exception.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cxrserve.api.record import record_of
from cxrserve.errors import (
    Busy,
    ConfigurationError,
    CxrserveError,
    RequestError,
    Unauthorized,
    UnsupportedMediaType,
)

_log: Final = logging.getLogger("cxrserve.api")

MEDIA_TYPE: Final = "application/problem+json"
# nginx's number for it; nobody is left to read the answer, only the log shows it.
CLIENT_GONE: Final = 499


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="What kind of problem; a page of this service that describes it.")
    title: str = Field(description="The kind in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was wrong this time, and what to do. No patient data.")
    instance: str = Field(description="This request: urn:uuid: and the X-Request-ID.")
    file: int | None = Field(
        default=None, description="Position of the file at fault in a study, counted from 0."
    )


class FileRefused(Exception):
    """One file of a study was refused, and so the study: `position` says which, `cause` why."""

    def __init__(self, position: int, cause: CxrserveError) -> None:
        super().__init__(position)
        self.position = position
        self.cause = cause


def catalogue() -> dict[str, tuple[int, str, str]]:
    """Every problem this service answers with, by slug: status, title, meaning."""
    tree: list[type[CxrserveError]] = [CxrserveError, *_below(CxrserveError)]
    known = {
        each.slug: (each.http_status, each.title, (each.__doc__ or "").split("\n")[0])
        for each in tree
        if not issubclass(each, ConfigurationError) and "slug" in vars(each)
    }
    known["internal-error"] = (
        500,
        CxrserveError.title,
        "A fault of ours; the log holds it under the request's id.",
    )
    for status, meaning in (
        (404, "There is nothing at this path."),
        (405, "This path takes another method."),
    ):
        known[_slug(status)] = (status, http.HTTPStatus(status).phrase, meaning)
    return known


def _below(error: type[CxrserveError]) -> Iterator[type[CxrserveError]]:
    for child in error.__subclasses__():
        yield child
        yield from _below(child)


def _slug(status: int) -> str:
    return http.HTTPStatus(status).phrase.lower().replace(" ", "-")


def install(app: FastAPI) -> None:
    """Let every error of `app` leave as a problem."""
    app.exception_handler(CxrserveError)(_known)
    app.exception_handler(FileRefused)(_of_file)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_of_routing)
    app.exception_handler(ClientDisconnect)(_gone)


def unexpected(scope: MutableMapping[str, Any]) -> Response:
    """The answer to an exception nobody foresaw: nothing of its inside."""
    error = CxrserveError(
        "Something failed that should not. The log of the service holds it under this request's id."
    )
    return _answer(Request(scope), error.slug, of_error(error, record_of(scope).request_id))


async def _known(request: Request, error: CxrserveError) -> Response:
    return _told(request, error)


def _told(request: Request, error: CxrserveError, position: int | None = None) -> Response:
    request_id = record_of(request.scope).request_id
    if isinstance(error, ConfigurationError):  # its detail names folders and files of the server
        _log.error("request=%s %s", request_id, error.detail)
        return unexpected(request.scope)
    headers = dict(error.headers) if isinstance(error, UnsupportedMediaType | Unauthorized) else {}
    if isinstance(error, Busy):
        headers["Retry-After"] = str(error.retry_after_s)  # RFC 9110, 10.2.3
    return _answer(request, error.slug, of_error(error, request_id, position), headers)


async def _of_file(request: Request, error: FileRefused) -> Response:
    return _told(request, error.cause, error.position)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    """A parameter that does not fit its schema; says which and why, and does not repeat its value."""
    faults = "; ".join(
        f"{'.'.join(str(part)[:40] for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:4]
    )
    return _told(request, RequestError(f"{faults}. GET /docs describes every parameter."))


async def _of_routing(request: Request, error: HTTPException) -> Response:
    details = {
        404: "There is nothing at this path. GET /docs lists what there is.",
        405: f"This path does not take {request.method[:10]}; the Allow header says what it takes.",
    }
    slug = _slug(error.status_code)
    problem = _problem(
        slug,
        http.HTTPStatus(error.status_code).phrase,
        error.status_code,
        details.get(error.status_code, "GET /docs describes how to ask."),
        record_of(request.scope).request_id,
    )
    return _answer(request, slug, problem, dict(error.headers or {}))


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    record_of(request.scope).outcome = "client-gone"
    return Response(status_code=CLIENT_GONE)


def of_error(error: CxrserveError, request_id: str, position: int | None = None) -> Problem:
    """`error` as a problem of the request `request_id`; of one file of a study where it has a `position`."""
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


def _answer(
    request: Request, slug: str, problem: Problem, headers: Mapping[str, str] | None = None
) -> Response:
    record_of(request.scope).outcome = slug
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )
