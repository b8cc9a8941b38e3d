"""An image of the archive is displayed and predicted by its UIDs, for clients that may do both."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.uid import generate_uid

from tests import radiographs
from tests.stations import Station, station

TOKENS = {name: f"{name}-0123456789abcdef" for name in ("read", "predict", "both", "store")}
SCOPES = {"read": ["read"], "predict": ["predict"], "both": ["read", "predict"], "store": ["store"]}
STUDY, IMAGE = generate_uid(), generate_uid()
FILM = radiographs.dicom(
    StudyInstanceUID=STUDY, SOPInstanceUID=IMAGE, PatientOrientation=["L", "F"], PatientID="p1"
)


@pytest.fixture(scope="module")
def stored(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station that holds one image."""
    folder = tmp_path_factory.mktemp("archived")
    clients = folder / "clients.toml"
    clients.write_text(
        "".join(
            f'[{name}]\nsha256 = "{sha256(token.encode()).hexdigest()}"\nscopes = {SCOPES[name]!r}\n'
            for name, token in TOKENS.items()
        )
    )
    with station(tiny_bundle, folder / "archive", {"rules": [{"name": "all"}]}, clients=clients) as running:
        head = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + FILM + b"\r\n--b--\r\n"
        sent = ask(running, "store", "POST", "/dicom-web/studies", content=body, headers=head)
        assert sent.status_code == 200, sent.text
        yield running


def ask(running: Station, client: str, method: str, path: str, **more: Any) -> httpx.Response:
    """One request of a client."""
    headers = {**more.pop("headers", {}), "Authorization": f"Bearer {TOKENS[client]}"}
    return httpx.request(method, f"{running.url}{path}", headers=headers, timeout=60, **more)


def path_of(what: str, image: str = IMAGE) -> str:
    """The path of an image."""
    return f"/studies/{STUDY}/images/{image}/{what}"


def test_the_picture_is_that_of_the_file(stored: Station) -> None:
    shown = ask(stored, "read", "GET", path_of("display"))
    assert shown.status_code == 200
    assert shown.content == ask(stored, "both", "POST", "/display", content=FILM).content
    assert "X-Upload" not in shown.headers


def test_the_answer_is_that_of_the_file(stored: Station) -> None:
    query = "?heatmaps=all&scales=maps"
    request = str(uuid.uuid4())
    by_uid = ask(stored, "both", "POST", path_of("predict") + query, headers={"X-Request-ID": request})
    assert by_uid.status_code == 200, by_uid.text
    stored.said(rf"request={request} .*file=1/1 .*sha256={sha256(FILM).hexdigest()} .*model=\w{{64}}", 10)
    by_file = ask(stored, "both", "POST", f"/predict{query}", content=FILM)
    first, second = by_uid.json(), by_file.json()
    assert first["findings"] == second["findings"]
    assert first["image"] == second["image"]
    assert ask(stored, "both", "POST", path_of("predict") + "?upload=x").status_code == 400
    picture = ask(stored, "both", "POST", path_of("predict"), headers={"Accept": "image/png"})
    assert picture.content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("client", "method", "what", "missing"),
    [
        ("predict", "GET", "display", "read"),
        ("store", "GET", "display", "read"),
        ("predict", "POST", "predict", "read"),
        ("read", "POST", "predict", "predict"),
    ],
)
def test_each_needs_its_scopes(stored: Station, client: str, method: str, what: str, missing: str) -> None:
    refused = ask(stored, client, method, path_of(what))
    assert refused.status_code == 403
    assert f"they need the scope {missing} " in refused.json()["detail"]


def test_an_unknown_image_is_404_and_needs_no_memory(stored: Station) -> None:
    for method, what in (("GET", "display"), ("POST", "predict")):
        assert ask(stored, "both", method, path_of(what, "1.2.3")).status_code == 404
