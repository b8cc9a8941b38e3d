"""A real Chromium before the real service. What a page logs, throws or asks of other hosts fails the test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Dialog,
    Error,
    FilePayload,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests import radiographs
from tests.conftest import Serve
from tests.servers import Running

CHROMIUM = shutil.which("chromium")
_PATIENCE_MS = 30_000
# A refusal is an answer like others; Chromium writes it to its console all the same.
_LOGGED_ANYWAY = "Failed to load resource"

expect.set_options(timeout=_PATIENCE_MS)


@pytest.fixture(scope="session")
def viewed(serve: Serve) -> Iterator[Running]:
    """A server for the pages of these tests."""
    with serve(max_waiting=32, decode_workers=2) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium without a screen. While it runs, Playwright's event loop runs in this thread."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


class Visit:
    """A browser window on the viewer, and what went wrong in it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        self.hosts: set[str] = set()
        self.page.set_default_timeout(_PATIENCE_MS)
        self.page.on("pageerror", self._threw)
        self.page.on("console", lambda message: self._logged(message.type, message.text))
        self.page.on("request", self._asked)
        self.page.on("dialog", self._spoke)

    def _threw(self, error: Error) -> None:
        self.faults.append(str(error))

    def _spoke(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":  # the page asks before its open images are thrown away
            dialog.accept()
            return
        self.faults.append("a dialog")
        dialog.dismiss()

    def _logged(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not text.startswith(_LOGGED_ANYWAY):
            self.faults.append(text)

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data"):
            self.hosts.add(f"{parts.scheme}://{parts.netloc}")

    def open(self, *files: FilePayload | Path) -> None:
        """Choose files, as the button does."""
        self.page.set_input_files("#file-input", list(files))  # type: ignore[arg-type]

    def read(self, *files: FilePayload | Path) -> None:
        """Choose files and wait for picture and findings of the active view."""
        self.open(*files)
        expect(self.page.locator(".view[data-painted]").first).to_be_visible()
        expect(self.page.locator(".finding")).to_have_count(14)

    def finding(self, name: str) -> None:
        """Pick a finding by mouse."""
        self.page.locator(f'[data-finding="{name}"]').click()

    def pixels(self, view: int = 0) -> list[int]:
        """Grey and colour of a coarse grid of places of a view: RGB, one after another."""
        self.settle()
        found: list[int] = (
            self.page.locator(".view canvas")
            .nth(view)
            .evaluate(
                """canvas => {
              const copy = new OffscreenCanvas(canvas.width, canvas.height);
              const context = copy.getContext('2d', { willReadFrequently: true });
              context.drawImage(canvas, 0, 0);
              const { data } = context.getImageData(0, 0, canvas.width, canvas.height), out = [];
              const at = share => Math.floor(share * canvas.width / 16);
              for (let y = 1; y < 16; y++) for (let x = 1; x < 16; x++) {
                const place = 4 * (Math.floor(y * canvas.height / 16) * canvas.width + at(x));
                out.push(...data.slice(place, place + 3));
              }
              return out;
            }"""
            )
        )
        return found

    def settle(self) -> None:
        """Wait until what was asked for has been painted."""
        self.page.evaluate(
            """() => new Promise(done => {
              setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 60);
            })"""
        )


NewVisit = Callable[..., Visit]


@pytest.fixture
def new_visit(browser: Browser, viewed: Running) -> Iterator[NewVisit]:
    """A factory of windows, each with storage of its own; none may have failed when the test ends."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def make(url: str | None = None, path: str = "/", **options: Any) -> Visit:
        usual: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"}
        contexts.append(browser.new_context(**{**usual, **options}))
        visits.append(Visit(contexts[-1], url or viewed.url))
        visits[-1].page.goto(visits[-1].url + path)
        return visits[-1]

    yield make
    for context in contexts:
        context.close()
    for visit in visits:
        assert not visit.faults
        assert visit.hosts <= {visit.url}, "asked another host"


@pytest.fixture
def visit(new_visit: NewVisit) -> Visit:
    """One window on the viewer."""
    return new_visit()


def dicom_file(name: str = "chest.dcm", **elements: Any) -> FilePayload:
    """A 12-bit radiograph as Playwright wants its files; with its sides unless `elements` say else."""
    usual: dict[str, Any] = {"PatientOrientation": ["L", "F"], "WindowCenter": 2048, "WindowWidth": 4096}
    return {
        "name": name,
        "mimeType": "application/dicom",
        "buffer": radiographs.dicom(**{**usual, **elements}),
    }


def jpeg_file(name: str = "chest.jpg") -> FilePayload:
    """A radiograph as JPEG."""
    return {"name": name, "mimeType": "image/jpeg", "buffer": radiographs.jpeg()}
