"""Additions to FastAPI's OpenAPI document: request bodies and problems, which it cannot infer."""

from __future__ import annotations

import http
import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
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
_INSTANCE: Final = "urn:uuid:0b7d1c1e-6a55-4a0e-9d0f-5a1f3d7f2c11"
_LICENCE: Final = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
# The folder of real answers of the demo bundle about a drawn phantom; `tests/api/examples.py` writes them.
_EXAMPLES: Final = files("cxrserve.api") / "examples"
_EXAMPLE_OF: Final = {
    "/predict": "predict.json",
    "/predict/study": "predict_study.json",
    "/triage": "triage.json",
}
_TAGS: Final = {
    "predict": "One radiograph, or several of one study, in; probabilities and heatmaps, or decisions, out.",
    "viewer": "Radiographs as a screen shows them.",
    "studies": "The archive of a station: received studies, their results, and readers' labels.",
    "DICOMweb": "Storing images over HTTP: STOW-RS.",
    "about": "The service and the model that it serves.",
}
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
        "content": {MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}, **_problem_examples(status)}},
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


def _problem_examples(status: int) -> dict[str, Any]:
    """An example of each problem with this status; the detail says what such a problem is."""
    examples = {
        slug: {
            "value": Problem(
                type=f"/problems/{slug}", title=title, status=status, detail=meaning, instance=_INSTANCE
            ).model_dump(exclude_none=True)
        }
        for slug, (code, title, meaning) in catalogue().items()
        if code == status
    }
    return {"examples": examples} if examples else {}


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
            _write_numbers_as_enumerations(schema)
            _add_examples(schema)
            schema["tags"] = [
                {"name": name, "description": text}
                for name, text in _TAGS.items()
                if name in _tags_of(schema)
            ]
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


def _write_numbers_as_enumerations(schema: Any) -> None:
    """Write constant numbers as enumerations of one; openapi-python-client makes broken code of constants."""
    if isinstance(schema, list):
        for item in schema:
            _write_numbers_as_enumerations(item)
    elif isinstance(schema, dict):
        if schema.get("type") in ("integer", "number") and "const" in schema:
            schema["enum"] = [schema.pop("const")]
        for value in schema.values():
            _write_numbers_as_enumerations(value)


def _add_examples(document: dict[str, Any]) -> None:
    """Give the predictions' JSON answers an example."""
    for path, name in _EXAMPLE_OF.items():
        document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["example"] = (
            _example(name)
        )


@cache
def _example(name: str) -> Any:
    return json.loads((_EXAMPLES / name).read_text(encoding="utf-8"))


def _tags_of(document: dict[str, Any]) -> set[str]:
    return {
        tag
        for operations in document["paths"].values()
        for operation in operations.values()
        for tag in operation.get("tags", ())
    }


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
