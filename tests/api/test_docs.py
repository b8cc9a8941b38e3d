"""The OpenAPI document and the page that shows it, which needs nobody else's server."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI

from cxrserve.api.app import create_app
from cxrserve.api.upload import RAW_TYPES
from cxrserve.findings import NAMES
from tests.conftest import MakeSettings


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_the_document_is_whole(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)
    references = re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document))
    assert {"Answer", "StudyAnswer", "Problem", "FindingReport"} <= set(references)
    assert set(references) <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in str(document)
    assert set(document["paths"]) == {
        "/predict",
        "/predict/study",
        "/display",
        "/triage",
        "/watch",
        "/healthz",
        "/readyz",
        "/metrics",
        "/model",
        "/problems/{slug}",
    }


def test_generated_clients_get_names_findings_and_the_licence(document: dict[str, Any]) -> None:
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert {"predict", "predict_study", "triage", "model"} <= set(names)
    schemas = document["components"]["schemas"]
    assert schemas["FindingName"]["enum"] == list(NAMES)
    for model in ("FindingReport", "StudyFinding", "DecisionReport"):
        assert schemas[model]["properties"]["finding"]["$ref"] == "#/components/schemas/FindingName"
    assert document["info"]["license"]["identifier"] == "Apache-2.0"
    assert "security" not in document


def test_a_guarded_service_declares_its_token(make_settings: MakeSettings) -> None:
    document = create_app(make_settings(token="open-sesame-open-sesame")).openapi()
    OpenAPI.model_validate(document)
    assert document["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    assert document["security"] == [{"bearer": []}]
    assert "401" in document["paths"]["/predict"]["post"]["responses"]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert "401" not in document["paths"]["/healthz"]["get"]["responses"]


def test_both_forms_of_a_request_stand_in_it(document: dict[str, Any]) -> None:
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", *RAW_TYPES}
    assert content["multipart/form-data"]["schema"]["required"] == ["file"]
    found = {each["name"]: each["schema"] for each in document["paths"]["/predict"]["post"]["parameters"]}
    assert found["heatmaps"]["default"] == "positive"
    assert found["priority"]["default"] == "routine"
    assert found["priority"]["enum"] == ["stat", "routine"]


def test_every_problem_stands_in_it(document: dict[str, Any]) -> None:
    for path in ("/predict", "/predict/study"):
        responses = document["paths"][path]["post"]["responses"]
        assert set(responses) == {"200", "400", "406", "408", "413", "415", "422", "500", "503", "504"}
        for status, response in responses.items():
            if status != "200":
                assert list(response["content"]) == ["application/problem+json"]
        assert "Retry-After" in responses["503"]["headers"]
        assert "application/json" in responses["200"]["content"]


def test_the_page_loads_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert " style=" not in page.text
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"/docs/docs.js", "/docs/docs.css", "/openapi.json"} <= set(parts)
    for part in parts:
        assert part.startswith(("/", "data:"))
        assert not part.startswith("//")
    for part in ("/docs/docs.js", "/docs/docs.css"):
        response = client.get(part)
        assert response.status_code == 200
        assert "http:" not in response.text.replace('"http://www.w3.org', "")
        assert "https:" not in response.text


def test_other_answers_may_load_nothing_at_all(client: httpx.Client) -> None:
    for path in ("/healthz", "/nothing", "/problems/overloaded"):
        assert client.get(path).headers["content-security-policy"].startswith("default-src 'none'; frame-")
