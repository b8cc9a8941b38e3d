"""STOW-RS has one deadline for the whole body, however many parts it trickles in with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml

from tests.api.test_studies import serving
from tests.conftest import MakeSettings

CONTENT_TYPE = 'multipart/related; type="application/dicom"; boundary=b'


def trickle() -> Iterator[bytes]:
    """A part now and then, for longer than a request may take."""
    for _ in range(30):
        yield b"--b\r\nContent-Type: application/dicom\r\n\r\nno DICOM\r\n"
        time.sleep(0.3)
    yield b"--b--\r\n"


def test_a_body_of_many_parts_has_one_deadline(make_settings: MakeSettings, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"rules": [{"name": "all"}]}))
    with serving(make_settings, tmp_path, upload_timeout_s=1) as (url, _):
        started = time.monotonic()
        answer = httpx.post(
            f"{url}/dicom-web/studies", content=trickle(), headers={"Content-Type": CONTENT_TYPE}, timeout=60
        )
        assert answer.status_code == 408
        assert time.monotonic() - started < 5
