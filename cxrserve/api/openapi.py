"""Additions to FastAPI's OpenAPI document: request bodies and problems, which it cannot infer."""

from __future__ import annotations

import http
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from cxrserve.api.access import OPEN_PATHS
from cxrserve.api.problems import MEDIA_TYPE, Problem, catalogue
from cxrserve.findings import NAMES
from cxrserve.multipart import FIELD

_BINARY: Final = {"type": "string", "format": "binary"}
_PROBLEM: Final = "#/components/schemas/Problem"
_BEARER: Final = "bearer"
_LICENCE: Final = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
# The models with a field `finding`: always one of the 14 names.
_WITH_FINDING: Final = ("FindingReport", "StudyFinding", "DecisionReport", "Label")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for its `responses`."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    problems_of_status = [
        f"{title} (`{slug}`)" for slug, (code, title, _) in catalogue().items() if code == status
    ]
    response: dict[str, Any] = {
        "description": "; ".join(problems_of_status) or http.HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}}},
    }
    if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        response["headers"] = {
            "Retry-After": {
                "description": "Seconds to wait before the next try.",
                "schema": {"type": "integer"},
                "required": True,
            }
        }
    return response


def body(raw_types: tuple[str, ...], *, several: bool) -> dict[str, Any]:
    """The request body of a prediction: a form, or the bytes of a file of one of `raw_types`."""
    file = {"type": "array", "items": _BINARY, "minItems": 2} if several else _BINARY
    form = {"type": "object", "properties": {FIELD: file}, "required": [FIELD], "additionalProperties": False}
    content = {
        "multipart/form-data": {"schema": form},
        **{media_type: {"schema": _BINARY} for media_type in raw_types},
    }
    return {"requestBody": {"required": True, "content": content}}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The request body of a route that receives its JSON itself, within limits."""
    schema = model.model_json_schema()
    schema = _inlined(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with its definitions in the place of the references to them."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def operation_id(route: APIRoute) -> str:
    """The name of the route's function, which generated clients call it by."""
    return route.name


def document(app: FastAPI, summary: str, *, guarded: bool) -> Callable[[], dict[str, Any]]:
    """A function for `app.openapi`: FastAPI's document with the Problem schema, built once.

    Args:
        guarded: True where requests need the bearer token.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                summary=summary,
                routes=app.routes,
                license_info=_LICENCE,
            )
            schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            _remove_validation_errors(schema)
            _name_findings(schema)
            if guarded:
                _require_token(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    return openapi


def _remove_validation_errors(document: dict[str, Any]) -> None:
    """Remove FastAPI's own 422, which is never sent: an invalid request gets a problem with 400."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _name_findings(document: dict[str, Any]) -> None:
    """Make the findings an enumeration, so that generated clients know their names."""
    schemas = document["components"]["schemas"]
    schemas["FindingName"] = {"type": "string", "title": "FindingName", "enum": list(NAMES)}
    for model in _WITH_FINDING:
        if model in schemas:
            schemas[model]["properties"]["finding"] = {"$ref": "#/components/schemas/FindingName"}


def _require_token(document: dict[str, Any]) -> None:
    """Declare the bearer token, and the response to a request without it."""
    document["components"]["securitySchemes"] = {_BEARER: {"type": "http", "scheme": "bearer"}}
    document["security"] = [{_BEARER: []}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path in OPEN_PATHS:
                operation["security"] = []
            else:
                operation["responses"].setdefault("401", _problem(http.HTTPStatus.UNAUTHORIZED))
