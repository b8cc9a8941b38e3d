"""The OpenAPI document: what FastAPI cannot see for itself, as bodies are read and problems sent by hand."""

from __future__ import annotations

import http
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cxrserve.api.multipart import FIELD
from cxrserve.api.problems import MEDIA_TYPE, Problem, catalogue

_BINARY: Final = {"type": "string", "format": "binary"}
_PROBLEM: Final = "#/components/schemas/Problem"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer with besides success."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    kinds = [f"{title} (`{slug}`)" for slug, (found, title, _) in catalogue().items() if found == status]
    described: dict[str, Any] = {
        "description": "; ".join(kinds) or http.HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}}},
    }
    if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        described["headers"] = {
            "Retry-After": {
                "description": "Seconds to wait.",
                "schema": {"type": "integer"},
                "required": True,
            }
        }
    return described


def body(raw_types: tuple[str, ...], *, several: bool) -> dict[str, Any]:
    """The request body of a prediction: a form, or where `raw_types` are given the bare bytes."""
    file = {"type": "array", "items": _BINARY, "minItems": 2} if several else _BINARY
    form = {"type": "object", "properties": {FIELD: file}, "required": [FIELD], "additionalProperties": False}
    content = {"multipart/form-data": {"schema": form}, **{each: {"schema": _BINARY} for each in raw_types}}
    return {"requestBody": {"required": True, "content": content}}


def document(app: FastAPI, summary: str) -> Callable[[], dict[str, Any]]:
    """What `app.openapi` is to be: FastAPI's document with the Problem schema in it, made once."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=summary, routes=app.routes)
            made["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            _forget_validation_errors(made)
            app.openapi_schema = made
        return app.openapi_schema

    return openapi


def _forget_validation_errors(made: dict[str, Any]) -> None:
    """Take out FastAPI's own 422, which this service never sends: such a request gets a problem with 400."""
    for operations in made["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for schema in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(schema, None)
