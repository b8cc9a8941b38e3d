"""A client for the shared server, and what every problem must look like."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.servers import Running


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    """An HTTP client of the shared server."""
    with httpx.Client(base_url=server.url, timeout=60) as made:
        yield made


def check_problem(response: httpx.Response, status: int, slug: str) -> str:
    """Assert that `response` is the problem `slug` (RFC 9457), complete; its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) - {"file"} == {"type", "title", "status", "detail", "instance"}
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["instance"] == f"urn:uuid:{uuid.UUID(response.headers['x-request-id'])}"
    assert problem["title"]
    if status == 503:
        assert int(response.headers["retry-after"]) >= 1
    detail: str = problem["detail"]
    assert len(detail) > 20
    return detail
