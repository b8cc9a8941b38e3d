"""The viewer measured in Chromium: first picture, first answer, frames a second.

`python -m tests.benchmarks.viewer`

A phantom of 2500 × 3056 pixels, as 8-bit JPEG and as 12-bit DICOM, is chosen in a page of 1440 × 900; times
run in the page, from the choice to the frame after the picture was painted. Frames: the window, then the
place of the picture, change with every frame for two seconds, heatmap on; fit to the view and one to one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from playwright.sync_api import Page, expect, sync_playwright

from cxrserve.settings import Settings
from tests import radiographs
from tests.servers import running
from training.phantom import make_phantom

COLUMNS, ROWS = 2500, 3056
_WATCH: Final = """() => {
  window.times = {};
  const view = document.querySelector('.view'), list = document.getElementById('findings');
  const input = document.getElementById('file-input');
  input.addEventListener('change', () => { times.start = performance.now(); }, true);
  new MutationObserver(() => {
    if (view.dataset.painted && !times.picture)
      requestAnimationFrame(() => setTimeout(() => { times.picture = performance.now() - times.start; }));
  }).observe(view, { attributes: true });
  new MutationObserver(() => {
    if (list.querySelector('.finding')) times.answer ??= performance.now() - times.start;
  }).observe(list, { childList: true });
}"""
_FRAMES: Final = """async what => {
  const { views } = await import('/viewer/js/main.js');
  const before = views[0].frames, start = performance.now();
  for (let step = 0; performance.now() - start < 2000; step++) {
    if (what === 'window') views[0].dragWindow(0.002 * Math.sin(step / 5), 0.004 * Math.cos(step / 5));
    else views[0].pan(9 * Math.cos(step / 9), 7 * Math.sin(step / 9));
    await new Promise(done => requestAnimationFrame(() => setTimeout(done))); // as a pointer's events come
  }
  return 1000 * (views[0].frames - before) / (performance.now() - start);
}"""


def _files(folder: Path) -> dict[str, Path]:
    grey_HW = (make_phantom(2).radiograph.pixels_HW >> 4).astype(np.uint8)
    large_HW = cv2.resize(grey_HW, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    jpeg, dicom = folder / "phantom.jpg", folder / "phantom.dcm"
    cv2.imwrite(str(jpeg), large_HW, [cv2.IMWRITE_JPEG_QUALITY, 95])
    dataset = radiographs.dataset(rows=64, columns=64, Rows=ROWS, Columns=COLUMNS)
    dataset.PixelData = (large_HW.astype("<u2") << 4).tobytes()
    dataset.save_as(dicom, enforce_file_format=True)
    return {"jpeg": jpeg, "dicom": dicom}


def opened(
    page: Page,
    url: str,
    file: Path,
    before: Callable[[], None] = lambda: None,
    patience_ms: float = 60_000,
) -> dict[str, float]:
    """Open `file` in a new viewer; milliseconds to the first picture and to the answer.

    Args:
        before: called when the page is there, before the file is chosen.
    """
    page.goto(url)
    expect(page.get_by_role("heading", name="Drop a chest radiograph here")).to_be_visible()
    page.wait_for_timeout(300)
    page.evaluate(_WATCH)
    before()
    page.set_input_files("#file-input", file)
    expect(page.locator(".finding")).to_have_count(14, timeout=patience_ms)
    expect(page.locator(".view[data-painted]").first).to_be_visible(timeout=patience_ms)
    page.wait_for_timeout(200)
    times: dict[str, float] = page.evaluate("() => times")
    return times


def _frames(page: Page) -> dict[str, float]:
    page.locator(".finding").first.click()
    page.wait_for_timeout(500)
    found = {}
    for zoom, key in (("fit", "f"), ("one to one", "z")):
        page.keyboard.press(key)
        for what in ("window", "pan"):
            found[f"{what}, {zoom}"] = round(page.evaluate(_FRAMES, what), 1)
    return found


def measure(bundle: Path, runs: int) -> dict[str, Any]:
    """Medians over `runs`, and the frame rates of one more."""
    result: dict[str, Any] = {"load_before": os.getloadavg()[0], "runs": runs}
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Settings(bundle=bundle, port=0, log_level="warning")) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        for kind, file in _files(Path(folder)).items():
            times = [opened(page, server.url, file) for _ in range(runs)]
            result[kind] = {
                f"{what}_ms": round(statistics.median(each[what] for each in times))
                for what in ("picture", "answer")
            }
            result[kind]["frames_per_second"] = _frames(page)
        result["chromium"] = browser.version
        browser.close()
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.bundle, arguments.runs), indent=1))


if __name__ == "__main__":
    main()
