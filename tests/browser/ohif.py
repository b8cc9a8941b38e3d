"""OHIF's own build behind one address with a PACS: its files, and DICOMweb handed on to Orthanc."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from tests.orthanc import Orthanc

_PATIENCE_S = 60.0


class _Handler(SimpleHTTPRequestHandler):
    """Serves the build, its configuration, and what the PACS answers."""

    def __init__(self, *args: object, pacs: Orthanc, config: str, **kwargs: object) -> None:
        self._pacs = pacs
        self._config = config
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/dicom-web/"):
            headers = {"Accept": self.headers.get("Accept", "*/*")}
            answer = httpx.get(self._pacs.url + self.path, headers=headers, timeout=_PATIENCE_S)
            self._answer(answer.status_code, answer.headers.get("Content-Type", ""), answer.content)
        elif path == "/app-config.js":
            self._answer(200, "text/javascript", self._config.encode())
        else:
            if not Path(self.translate_path(path)).is_file():  # a page of the single-page application
                self.path = "/index.html"
            super().do_GET()

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""


def _config(url: str, more: str) -> str:
    """OHIF's configuration: one DICOMweb source, behind the same address."""
    root = f"{url}/dicom-web"
    source = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "dicomweb",
        "configuration": {
            "friendlyName": "PACS",
            "name": "PACS",
            "qidoRoot": root,
            "wadoRoot": root,
            "wadoUriRoot": root,
            "imageRendering": "wadors",
            "thumbnailRendering": "wadors",
            "omitQuotationForMultipartRequest": True,
        },
    }
    return (
        f"window.config = {{routerBasename: '/', extensions: [], modes: [], showStudyList: true, "
        f"defaultDataSourceName: 'dicomweb', dataSources: [{json.dumps(source)}], "
        f"customizationService: {{}}}};\n{more}"
    )


@contextmanager
def ohif(build: Path, pacs: Orthanc, more: str = "") -> Iterator[str]:
    """Serve OHIF while the block lasts; its address.

    Args:
        build: folder `dist` of the package `@ohif/app`.
        more: JavaScript to append to its configuration.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    server.RequestHandlerClass = partial(_Handler, directory=str(build), pacs=pacs, config=_config(url, more))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_PATIENCE_S)
