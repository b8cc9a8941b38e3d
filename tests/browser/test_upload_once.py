"""Each film is sent once, and again only where the service does not hold it any more."""

from __future__ import annotations

from playwright.sync_api import Request, Route, expect

from tests.browser.conftest import Visit, dicom_file, jpeg_file
from tests.servers import Running


def sent_bytes(requests: list[Request], path: str) -> list[int]:
    """The sizes of the bodies that were posted to a path."""
    bodies = [request for request in requests if request.method == "POST" and f"{path}?" in request.url]
    return [int(request.all_headers().get("content-length", "0")) for request in bodies]


def test_a_film_is_sent_once(visit: Visit, viewed: Running) -> None:
    requests: list[Request] = []
    visit.page.on("requestfinished", lambda request: requests.append(request))
    film = dicom_file()
    visit.read(film, jpeg_file())
    expect(visit.page.locator(".radiograph .sub", has_text="operating point")).to_have_count(2)
    assert len(film["buffer"]) in sent_bytes(requests, "/display")
    assert sent_bytes(requests, "/predict") == [0, 0]
    assert len(viewed.server.service.kept) == 0


def test_it_is_sent_again_where_it_is_not_held_any_more(visit: Visit, viewed: Running) -> None:
    requests: list[Request] = []
    visit.page.on("requestfinished", lambda request: requests.append(request))

    def forget(route: Route) -> None:
        viewed.server.service.kept.close()
        route.continue_()

    visit.page.route("**/predict?*upload=*", forget)
    visit.read(dicom_file())
    predictions = [request for request in requests if "/predict?" in request.url]
    statuses = [(response := request.response()) and response.status for request in predictions]
    assert statuses == [410, 200]
    assert ["upload=" in request.url for request in predictions] == [True, False]
