"""Bad files, a service that goes away, two people at once, names made of markup, a token, foreign hosts."""

from __future__ import annotations

import os
import signal
import socket

from playwright.sync_api import expect

from tests.browser.conftest import NewVisit, Visit, dicom_file, jpeg_file
from tests.conftest import MakeSettings, Serve
from tests.servers import running

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def test_a_bad_file_gets_a_sentence_and_the_others_stay(visit: Visit) -> None:
    visit.read(jpeg_file())
    visit.open({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no radiograph"})
    page = visit.page
    page.get_by_role("button", name="notes.txt").first.click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Not a DICOM, JPEG or PNG file")
    expect(alert).to_contain_text("Send one of these three.")
    alert.get_by_role("button", name="Close this image").click()
    expect(page.locator(".finding")).to_have_count(14)


def test_nothing_is_lost_when_the_service_restarts(new_visit: NewVisit, make_settings: MakeSettings) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = make_settings(port=port, decode_workers=2, shutdown_timeout_s=1)
    with running(settings) as first:
        visit = new_visit(first.url)
        visit.read(jpeg_file("before.jpg"))
        for pid in first.server.service.pipeline.worker_pids():
            os.kill(pid, signal.SIGSTOP)  # whatever comes now is under way when the service ends
        visit.open(jpeg_file("during.jpg"))
        page = visit.page
        page.get_by_role("button", name="during.jpg").first.click()
        expect(page.locator("#findings")).to_contain_text("Analysing the image")
    expect(page.locator("#connection")).to_contain_text("Your files stay")
    visit.open(jpeg_file("after.jpg"))
    page.get_by_role("button", name="before.jpg").first.click()
    expect(page.locator(".finding")).to_have_count(14)
    with running(settings):
        page.locator("#connection").get_by_role("button", name="Try now").click()
        for name in ("during.jpg", "after.jpg"):
            page.get_by_role("button", name=name).first.click()
            expect(page.locator(".finding")).to_have_count(14)
        expect(page.locator("#connection")).to_be_hidden()
        page.goto("about:blank")


def test_two_people_look_at_once(new_visit: NewVisit) -> None:
    visits = [new_visit(), new_visit()]
    for number, visit in enumerate(visits):
        visit.open(dicom_file(f"{number}.dcm", PatientName=f"Person^{number}"))
    for number, visit in enumerate(visits):
        expect(visit.page.locator(".finding")).to_have_count(14)
        expect(visit.page.locator(".corner.nw").first).to_contain_text(f"Person, {number}")


def test_names_made_of_markup_are_shown_as_text(visit: Visit) -> None:
    visit.read(dicom_file(f"{MARKUP}.dcm", PatientName=MARKUP, PatientID="<b>7</b>", StudyDescription=MARKUP))
    page = visit.page
    corner = page.locator(".corner.nw").first
    expect(corner).to_contain_text("<img src=x onerror=alert(1)>")
    expect(corner).to_contain_text("<b>7</b>")
    expect(page.locator("#radiographs")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("body img, body b:not(.bar b), body script").count() == 0


def test_the_page_may_load_and_run_nothing_but_its_own(visit: Visit) -> None:
    page = visit.page
    refused = page.evaluate(
        """async () => {
          const seen = [];
          document.addEventListener('securitypolicyviolation', event => seen.push(event.effectiveDirective));
          await fetch('https://example.com/').catch(() => {});
          const image = new Image();
          image.src = 'https://example.com/a.png';
          const style = document.createElement('style');
          style.textContent = 'body { display: none }';
          document.head.append(style);
          try { document.body.innerHTML = '<p>markup</p>'; } catch { seen.push('innerHTML'); }
          await new Promise(done => setTimeout(done, 300));
          return seen;
        }"""
    )
    assert {"connect-src", "img-src", "style-src-elem", "innerHTML"} <= set(refused)
    assert page.evaluate("() => getComputedStyle(document.body).display") != "none"
    page.goto("about:blank")
    visit.faults.clear()  # what was tried on purpose
    visit.hosts.discard("https://example.com")


def test_a_token_is_asked_for_once_and_kept_for_the_tab(new_visit: NewVisit, serve: Serve) -> None:
    with serve(token="open-sesame-open-sesame", decode_workers=2) as guarded:
        visit = new_visit(guarded.url)
        page = visit.page
        page.get_by_role("textbox", name="Token").fill("wrong")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("textbox", name="Token")).to_have_value("")
        page.get_by_role("textbox", name="Token").fill("open-sesame-open-sesame")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("#token")).to_be_hidden()
        visit.read(jpeg_file())
        page.reload()
        visit.read(jpeg_file())
        expect(page.locator("#token")).to_be_hidden()
        page.goto("about:blank")
