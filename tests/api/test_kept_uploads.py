"""Files that are sent for display and analysed without being sent again."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from cxrserve.api.kept_uploads import KeptUploads
from cxrserve.api.request_log import RequestRecord, start_record
from cxrserve.api.transfers import Memory, Transfers
from cxrserve.errors import Overloaded, UploadGone
from tests.api.conftest import check_problem
from tests.servers import Running
from tests.waiting import until

NOBODY = "nobody-knows-this-name"


def displayed(client: httpx.Client, film: bytes) -> str:
    """The name of a film that was sent for display."""
    response = client.post("/display", params={"keep": True}, content=film)
    assert response.status_code == 200
    return response.headers["x-upload"]


def test_a_film_is_analysed_by_its_name(client: httpx.Client, chest_dicom: bytes) -> None:
    sent = client.post("/predict", content=chest_dicom).json()
    named = client.post("/predict", params={"upload": displayed(client, chest_dicom)})
    assert named.status_code == 200
    for part in ("findings", "image", "model", "warnings"):
        assert named.json()[part] == sent[part]


def test_a_name_is_good_for_one_request(client: httpx.Client, chest_jpeg: bytes, server: Running) -> None:
    name = displayed(client, chest_jpeg)
    assert client.post("/predict", params={"upload": name}).status_code == 200
    check_problem(client.post("/predict", params={"upload": name}), 410, "upload-gone")
    check_problem(client.post("/predict", params={"upload": NOBODY}), 410, "upload-gone")
    assert len(server.server.service.kept) == 0


def test_nothing_is_held_unless_asked_for(client: httpx.Client, chest_jpeg: bytes, server: Running) -> None:
    assert "x-upload" not in client.post("/display", content=chest_jpeg).headers
    check_problem(client.post("/display", params={"keep": True}, content=b"no"), 415, "unsupported-format")
    assert len(server.server.service.kept) == 0


def test_a_name_beside_a_body_is_refused(client: httpx.Client, chest_jpeg: bytes) -> None:
    named = {"upload": NOBODY}
    check_problem(client.post("/predict", params=named, content=chest_jpeg), 400, "bad-request")
    chunks = client.post("/predict", params=named, content=iter([chest_jpeg]))
    check_problem(chunks, 400, "bad-request")
    check_problem(client.post("/predict/study", params=named), 400, "bad-request")


def record(address: str = "192.0.2.1", client: str = "") -> RequestRecord:
    """The record of a request from an address, by a client."""
    scope: dict[str, Any] = {"type": "http", "client": (address, 1), "headers": [], "state": {}}
    made = start_record(scope)
    made.address, made.client = address, client
    return made


def test_a_film_is_its_senders_alone() -> None:
    async def run() -> None:
        kept = KeptUploads(Memory(100))
        name = kept.keep(record(client="ward"), b"film")
        assert name is not None
        for other in (record(client="lab"), record("192.0.2.2", "ward"), record()):
            with pytest.raises(UploadGone):
                kept.take(other, name)
        assert kept.take(record(client="ward"), name) == b"film"

    asyncio.run(run())


def test_it_is_not_held_for_ever() -> None:
    memory = Memory(100)
    kept = KeptUploads(memory, lifetime_s=0.02)

    async def keep() -> str | None:
        return kept.keep(record(), b"film")

    async def held() -> int:
        return len(kept)

    with asyncio.Runner() as runner:
        name = runner.run(keep())
        assert name is not None
        assert memory.used_bytes == 4
        until(lambda: runner.run(held()) == 0)
    assert memory.used_bytes == 0
    with pytest.raises(UploadGone, match=r"at most 0\.02 s"):
        kept.take(record(), name)


def test_it_gives_way_to_every_other_body() -> None:
    async def run() -> None:
        memory = Memory(100)
        kept = KeptUploads(memory)
        uploads = Transfers(memory, limit=4, setting="a setting")
        oldest, newest = (kept.keep(record(f"192.0.2.{n}"), b"." * 40) for n in (1, 2))
        with uploads.begin("192.0.2.3") as transfer:
            transfer.hold(50)
            assert memory.used_bytes == 90
            with pytest.raises(UploadGone):
                kept.take(record("192.0.2.1"), oldest or "")
            transfer.hold(100)
            assert len(kept) == 0
            assert kept.keep(record(), b"film") is None
            with pytest.raises(Overloaded):
                uploads.begin("192.0.2.4").hold(1)
        assert newest is not None
        assert memory.used_bytes == 0

    asyncio.run(run())
