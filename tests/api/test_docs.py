"""The OpenAPI document and the page that shows it with Swagger UI, from this server alone."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi.openapi.models import OpenAPI

from cxrserve.api import docs, openapi
from cxrserve.api.app import create_app
from cxrserve.api.problems import MEDIA_TYPE, Problem
from cxrserve.api.upload import RAW_TYPES
from cxrserve.findings import NAMES
from tests.api.examples import answers
from tests.conftest import MakeSettings
from tests.servers import Running

FOLDER = Path(str(docs._SWAGGER_UI))
ANSWERS = {"/predict": "Answer", "/predict/study": "StudyAnswer", "/triage": "TriageAnswer"}


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
        "/model/report",
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
        gone = {"410"} if path == "/predict" else set()
        assert set(responses) == gone | {
            *("200", "400", "406", "408", "413", "415", "422", "500", "503", "504")
        }
        for status, response in responses.items():
            if status != "200":
                assert list(response["content"]) == ["application/problem+json"]
        assert "Retry-After" in responses["503"]["headers"]
        assert "application/json" in responses["200"]["content"]


def test_every_answer_of_a_prediction_has_a_whole_example(
    document: dict[str, Any], server: Running, chest_jpeg: bytes
) -> None:
    live = answers(server.url, [chest_jpeg, chest_jpeg])
    for path, name in openapi._EXAMPLE_OF.items():
        example = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"][
            "example"
        ]
        fields, wanted = fields_of(example), fields_of(live[name])
        assert fields == wanted, f"{name}: python -m tests.api.examples writes it again"
        schema = {"$ref": f"#/components/schemas/{ANSWERS[path]}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(example)
        assert "png" not in fields, "too long to read"


def fields_of(answer: Any) -> set[str]:
    """The names of all fields of an answer but those of the times, which differ with what was done."""
    if isinstance(answer, list):
        return set().union(*map(fields_of, answer))
    if not isinstance(answer, dict):
        return set()
    inner = {key: value for key, value in answer.items() if key not in ("timing_ms", "warnings", "checked")}
    return set(answer) | fields_of(list(inner.values()))


def test_every_error_response_has_examples_that_are_problems(document: dict[str, Any]) -> None:
    seen = set()
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                for slug, example in (
                    response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {}).items()
                ):
                    problem = Problem.model_validate(example["value"])
                    assert (problem.type, str(problem.status)) == (f"/problems/{slug}", status)
                    seen.add(slug)
    assert {"overloaded", "too-large", "unsupported-media-type"} <= seen


def test_every_tag_is_described(document: dict[str, Any]) -> None:
    used = {tag for path in document["paths"].values() for each in path.values() for tag in each["tags"]}
    assert {tag["name"] for tag in document["tags"]} == used


def test_the_page_loads_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert " style=" not in page.text
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"/docs/docs.js", "/docs/docs.css", "/docs/swagger-ui-bundle.js", "/openapi.json"} <= set(parts)
    for part in parts:
        assert part.startswith("/")
        assert not part.startswith("//")
        assert client.get(part).status_code == 200
    for part in ("/docs/docs.js", "/docs/docs.css"):
        assert "//" not in client.get(part).text.replace("// ", "")
    assert client.get("/docs/README.md").status_code == 404


def test_swagger_ui_is_the_published_one() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"^\| (\S+) \| ([0-9a-f]{64}) \|$", text, re.MULTILINE))
    assert set(named) == {"swagger-ui-bundle.js", "swagger-ui.css"}
    for name, digest in named.items():
        assert sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert "Apache License" in (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "SmartBear" in (FOLDER / "NOTICE").read_text(encoding="utf-8")
    assert not re.search(r"\bGPL", (FOLDER / "LICENSE-3RD-PARTY.txt").read_text(encoding="utf-8"))


def test_other_answers_may_load_nothing_at_all(client: httpx.Client) -> None:
    for path in ("/healthz", "/nothing", "/problems/overloaded"):
        assert client.get(path).headers["content-security-policy"].startswith("default-src 'none'; frame-")
