"""The viewer's files, the bundle's report, and POST /display."""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.api import viewer
from cxrserve.imaging.display_header import DisplayedImage, DisplayHeader
from cxrserve.imaging.radiograph import ImageAbout
from tests import radiographs
from tests.api import raw
from tests.api.conftest import check_problem
from tests.bundles import write_tiny_bundle
from tests.conftest import Serve

FOLDER = Path(str(files("cxrserve") / "viewer"))


def test_the_page_and_all_its_parts_come_from_here(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    parts = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*")}
    parts.remove("js/types.d.ts")
    assert client.get("/viewer/js/types.d.ts").status_code == 404  # for the type checker; no page loads it
    assert {"js/main.js", "css/base.css", "model.html"} <= parts
    for part in parts:
        response = client.get(f"/viewer/{part}")
        assert response.status_code == 200, part
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        found = set(re.findall(r"https?://[\w.]+", response.text))
        assert found <= {"http://www.w3.org"}, part  # the name of SVG's elements, never asked for


def test_pages_hold_no_script_and_no_style_of_their_own() -> None:
    for page in FOLDER.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text), page.name


def test_a_part_that_did_not_change_is_not_sent_again(client: httpx.Client) -> None:
    first = client.get("/viewer/js/main.js")
    again = client.get("/viewer/js/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


@pytest.mark.parametrize("path", ["nothing.js", "../errors.py", "%2e%2e/errors.py", "js/../../cli.py", "js"])
def test_nothing_but_the_parts_can_be_asked_for(client: httpx.Client, path: str) -> None:
    check_problem(client.get(f"/viewer/{path}"), 404, "not-found")


def test_a_bundle_without_a_report_has_none(client: httpx.Client) -> None:
    assert client.get("/model").json()["report"] is None
    check_problem(client.get("/viewer/report"), 404, "not-found")
    check_problem(client.get("/model/report"), 404, "not-found")


def test_the_bundles_report_may_show_and_do_nothing_else(serve: Serve, tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle", sizes=(64,))
    (bundle / "report.html").write_text("<style>b { color: red }</style><b>figures</b>")
    (bundle / "report.json").write_text('{"bundle": "tiny"}')
    with serve(bundle=bundle) as running:
        where = httpx.get(f"{running.url}/model").json()["report"]
        report = httpx.get(running.url + where)
        figures = httpx.get(running.url + "/v1/model/report")
    assert report.text.endswith("<b>figures</b>")
    assert figures.json() == {"bundle": "tiny"}
    policy = report.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert policy.endswith("sandbox")
    assert "script-src" not in policy


def _displayed(response: httpx.Response) -> tuple[dict[str, Any], bytes]:
    assert response.status_code == 200, response.text
    (length,) = struct.unpack_from("<I", response.content)
    assert (length + 4) % 8 == 0
    header: dict[str, Any] = json.loads(response.content[4 : 4 + length])
    return header, response.content[4 + length :]


def test_display_gives_the_stored_values_at_full_depth(client: httpx.Client, chest_dicom: bytes) -> None:
    header, payload = _displayed(client.post("/display", content=chest_dicom))
    assert header["sample"] == "uint16"
    assert header["patient"]["name"] == "Nobody"
    count = radiographs.ROWS * radiographs.COLUMNS
    values_HW = np.frombuffer(payload, "<u2", count).reshape(radiographs.ROWS, radiographs.COLUMNS)
    np.testing.assert_array_equal(values_HW, radiographs.pixels().astype("<u2") << 4)
    assert len(payload) == 2 * count + len(header["tables"]) * (header["highest"] - header["lowest"] + 1)


def test_display_takes_a_form_and_refuses_as_predict_does(client: httpx.Client, chest_jpeg: bytes) -> None:
    header, payload = _displayed(client.post("/display", files={"file": ("a", chest_jpeg)}))
    assert (header["sample"], header["about"]["format"]) == ("uint8", "jpeg")
    assert payload
    for body in (b"", b"no image", chest_jpeg[:2000], radiographs.dicom(BodyPartExamined="KNEE")):
        shown, judged = client.post("/display", content=body), client.post("/predict", content=body)
        assert (shown.status_code, shown.json()["detail"]) == (judged.status_code, judged.json()["detail"])


def test_a_reader_that_does_not_read_holds_its_place_for_a_while(serve: Serve, chest_jpeg: bytes) -> None:
    film = radiographs.dicom(2500, 2500)
    head = raw.head(f"Content-Length: {len(film)}", "Content-Type: application/dicom", path="/display")
    with serve(max_waiting=0, upload_timeout_s=4) as running, raw.connected(running.port) as slow:
        slow.sendall(head + film)
        assert slow.recv(12).endswith(b"200"), "then it reads no more"
        url = f"{running.url}/predict?heatmaps=none"
        assert httpx.post(url, content=chest_jpeg).status_code == 503
        until = time.monotonic() + 20
        while httpx.post(url, content=chest_jpeg).status_code == 503:
            assert time.monotonic() < until, "the place is lost"
            time.sleep(0.1)


def test_a_far_browser_gets_it_packed_where_that_pays() -> None:
    about = ImageAbout(format="png", rows=512, columns=1024, photometric_interpretation="RGB", bits_stored=8)
    header = DisplayHeader(about=about, sample="uint8", offset=0, lowest=0, highest=0, white_is_low=False)
    even, noise = bytes(512 * 1024), np.random.default_rng(0).bytes(512 * 1024)
    packed, coding = viewer._frame(DisplayedImage(header=header, payload=even), compress=True)
    assert coding == "gzip"
    assert gzip.decompress(b"".join(packed)).endswith(even)
    for payload, compress in ((noise, True), (even, False)):
        plain, coding = viewer._frame(DisplayedImage(header=header, payload=payload), compress=compress)
        assert coding == ""
        assert bytes(plain[-1]) == payload


def test_the_viewers_colours_are_those_of_the_services_own_pictures() -> None:
    script = (FOLDER / "js" / "colours.js").read_text()
    said = bytes.fromhex("".join(re.findall(r'"([0-9a-f]+)"', script)))
    ramp = np.arange(256, dtype=np.uint8)[None]
    drawn = cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[0, :, ::-1]
    np.testing.assert_array_equal(np.frombuffer(said, np.uint8).reshape(256, 3), drawn)


def _raw(report: dict[str, Any], shape_hw: tuple[int, int]) -> NDArray[np.float64]:
    """The raw values of a heatmap in the answer, at a size of its own."""
    grey_hw = cv2.imdecode(np.frombuffer(base64.b64decode(report["png"]), np.uint8), cv2.IMREAD_UNCHANGED)
    values_hw = report["scale"] * (np.asarray(grey_hw, np.float64) / 255) ** 2
    return np.asarray(cv2.resize(values_hw, shape_hw[::-1], interpolation=cv2.INTER_AREA))


def test_the_scales_parts_make_up_the_heatmap(client: httpx.Client, chest_jpeg: bytes) -> None:
    plain = client.post("/predict", params={"heatmaps": "all"}, content=chest_jpeg).json()
    assert all(scale["heatmap"] is None for each in plain["findings"] for scale in each["scales"])
    asked = {"heatmaps": "all", "scales": "maps"}
    answer = client.post("/predict", params=asked, content=chest_jpeg).json()
    shape_hw = (64, 53)
    for finding in answer["findings"]:
        parts = [scale["heatmap"] for scale in finding["scales"]]
        assert {part["scale"] for part in parts} == {finding["heatmap"]["scale"]}
        total_hw = sum(_raw(part, shape_hw) for part in parts)
        # Each part is clipped at 0 for itself, so together they lie at or above the ensemble's.
        short_hw = _raw(finding["heatmap"], shape_hw) - total_hw
        assert short_hw.max() < 0.05 * max(0.1, finding["heatmap"]["max"])
    assert client.post("/predict", params={"scales": "some"}, content=chest_jpeg).status_code == 400
