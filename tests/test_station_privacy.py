"""A real station keeps what it writes from other users, and an image is sent without being held in memory."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import httpx

from cxrserve.multipart import related_body
from tests import radiographs
from tests.stations import station

STUDY = "1.2.826.0.1.3680043.10.78"


def test_nothing_in_the_archive_is_for_other_users(tiny_bundle: Path, tmp_path: Path) -> None:
    """Even with a usual umask and a folder that was made by hand."""
    archive = tmp_path / "archive"
    archive.mkdir()
    archive.chmod(0o755)
    before = os.umask(0o022)
    try:
        with station(tiny_bundle, archive, None, film_check="off") as node:
            body = related_body([radiographs.dicom(96, 80, StudyInstanceUID=STUDY)])
            headers = {"Content-Type": body.media_type}
            stored = httpx.post(f"{node.url}/dicom-web/studies", content=body.content, headers=headers)
            assert stored.status_code == 200
            assert (archive / "index.db").is_file()
            modes = {path: path.stat().st_mode & 0o077 for path in (archive, *archive.rglob("*"))}
    finally:
        os.umask(before)
    assert not [str(path) for path, open_ in modes.items() if open_]


def test_slow_readers_of_a_large_image_cost_no_memory(tiny_bundle: Path, tmp_path: Path) -> None:
    with station(tiny_bundle, tmp_path / "archive", None, film_check="off") as node:
        film = radiographs.dicom(4000, 4000, StudyInstanceUID=STUDY, SOPInstanceUID=f"{STUDY}.1")
        assert len(film) > 30_000_000
        body = related_body([film])
        headers = {"Content-Type": body.media_type}
        stored = httpx.post(
            f"{node.url}/dicom-web/studies", content=body.content, headers=headers, timeout=60
        )
        assert stored.status_code == 200
        url = f"{node.url}/studies/{STUDY}/images/{STUDY}.1"
        assert httpx.get(url, timeout=60).content == film
        before = node.memory_bytes
        with contextlib.ExitStack() as peers:
            for _ in range(20):
                peer = peers.enter_context(socket.socket())
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                peer.connect(("127.0.0.1", int(node.url.rpartition(":")[2])))
                path = url.partition(":")[2].partition("/studies")
                peer.sendall(f"GET /studies{path[2]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                assert peer.recv(100).startswith(b"HTTP/1.1 200 ")
            assert node.memory_bytes - before < 5 * len(film), "twenty readers, and not one copy each"
