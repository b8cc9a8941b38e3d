"""The viewer behind a slow network, in Chromium: bytes sent, first picture, full answer of a 9.4 MB DICOM.

`python -m tests.benchmarks.viewer_network`

A phantom of 2166 × 2170 pixels, as 12-bit DICOM without compression, is chosen in a page. Chromium shapes its
network: 4 Mbit/s up, 16 Mbit/s down, 40 ms. Times run in the page, from the choice. Service and page share
one machine; so nothing but the shaping is slow, and no body is packed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from playwright.sync_api import Browser, Request, sync_playwright

from cxrserve.settings import Settings
from tests import radiographs
from tests.benchmarks.viewer import opened
from tests.servers import running
from training.phantom import make_phantom

COLUMNS, ROWS = 2166, 2170
_LATENCY_MS: Final = 40
_PATIENCE_MS: Final = 240_000


def _file(folder: Path) -> Path:
    grey_HW = (make_phantom(2).radiograph.pixels_HW >> 4).astype(np.uint8)
    large_HW = cv2.resize(grey_HW, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    dataset = radiographs.dataset(rows=64, columns=64, Rows=ROWS, Columns=COLUMNS)
    dataset.PixelData = (large_HW.astype("<u2") << 4).tobytes()
    dataset.save_as(folder / "phantom.dcm", enforce_file_format=True)
    return folder / "phantom.dcm"


def _visit(browser: Browser, url: str, file: Path, up_mbit: float, down_mbit: float) -> dict[str, float]:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    sent: list[Request] = []
    page.on("requestfinished", lambda request: sent.append(request))

    def shape() -> None:
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "latency": _LATENCY_MS,
                "uploadThroughput": up_mbit * 1e6 / 8,
                "downloadThroughput": down_mbit * 1e6 / 8,
            },
        )

    times = opened(page, url, file, before=shape, patience_ms=_PATIENCE_MS)
    posts = [request.all_headers() for request in sent if request.method == "POST"]
    page.close()
    return {**times, "sent": sum(int(headers.get("content-length", "0")) for headers in posts)}


def measure(bundle: Path, runs: int, up_mbit: float, down_mbit: float) -> dict[str, Any]:
    """Medians over `runs`."""
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Settings(bundle=bundle, port=0, log_level="warning")) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        file = _file(Path(folder))
        visits = [_visit(browser, server.url, file, up_mbit, down_mbit) for _ in range(runs)]
        result = {
            "file_bytes": file.stat().st_size,
            "sent_bytes": statistics.median(each["sent"] for each in visits),
            **{
                f"{what}_s": round(statistics.median(each[what] for each in visits) / 1000, 1)
                for what in ("picture", "answer")
            },
            "up_mbit": up_mbit,
            "down_mbit": down_mbit,
            "runs": runs,
            "load_before": load,
            "chromium": browser.version,
        }
        browser.close()
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--up", type=float, default=4, help="Mbit/s")
    parser.add_argument("--down", type=float, default=16, help="Mbit/s")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.bundle, arguments.runs, arguments.up, arguments.down), indent=1))


if __name__ == "__main__":
    main()
