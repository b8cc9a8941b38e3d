"""Labels of readers in the viewer: agree, disagree, correct, withdraw; kept with who and when."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from cxrserve.api.app import create_app
from cxrserve.api.server import Server
from cxrserve.archive.archive import Archive
from cxrserve.findings import NAMES
from cxrserve.pipeline.pipeline import Pipeline
from tests.browser.conftest import NewVisit
from tests.browser.test_access import AXE, violations
from tests.browser.test_worklist import TYPE, film
from tests.conftest import MakeSettings
from tests.servers import running_server
from tests.stations import Station, station
from tests.waiting import until

PRESENT, ABSENT = NAMES[0], NAMES[1]  # by the tiny bundle
TOKENS = {"dr-a": "dr-a-0123456789abcdef", "student": "student-0123456789abc"}
SCOPES = {"dr-a": '["read", "predict", "label"]', "student": '["read", "predict"]'}


@pytest.fixture(scope="module")
def archived(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station with an archive and nothing behind it."""
    folder = tmp_path_factory.mktemp("labels")
    with station(
        tiny_bundle, folder / "archive", {"quiet_time_s": 0.2, "rules": [{"name": "all"}]}
    ) as running:
        yield running


def send(url: str, name: str, token: str = "") -> str:
    """Store a study of one image. Its Study Instance UID."""
    study, body = film(name)
    headers = {"Content-Type": TYPE} | ({"Authorization": f"Bearer {token}"} if token else {})
    sent = httpx.post(f"{url}/dicom-web/studies", content=body, headers=headers, timeout=60)
    assert sent.status_code == 200, sent.text
    return study


def labelled(url: str, study: str, token: str = "") -> list[tuple[str, str, str]]:
    """Finding, label and verdict of every label that the archive holds."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    history = httpx.get(f"{url}/studies/{study}/labels", headers=headers, timeout=60).json()["history"]
    return [(each["finding"], each["label"], each["verdict"]) for each in history]


def decided(url: str, study: str, token: str = "") -> None:
    """Wait until the service has decided on the study."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    until(lambda: httpx.get(f"{url}/studies/{study}/labels", headers=headers, timeout=60).json()["decisions"])


def show(page: Page, finding: str) -> None:
    page.locator(f'[data-finding="{finding}"]').click()
    expect(page.locator("#labels")).to_contain_text(finding)


def test_a_reader_agrees_disagrees_corrects_and_withdraws(new_visit: NewVisit, archived: Station) -> None:
    study = send(archived.url, "Read^Me")
    decided(archived.url, study)
    page = new_visit(archived.url, f"/?study={study}").page
    show(page, PRESENT)
    panel, said = page.locator("#labels"), page.locator("#label-current")
    expect(panel).to_contain_text("the service says present")
    expect(said).to_have_text("Not labelled yet.")
    page.get_by_role("button", name="Agree: present", exact=True).click()
    expect(said).to_contain_text("Present, by a reader without a name")
    expect(said).to_contain_text("agrees with the service, which said present")
    expect(page.locator("#announcer")).to_have_text(f"{PRESENT}: present, kept")
    show(page, ABSENT)
    page.get_by_role("button", name="Disagree: present", exact=True).click()
    expect(said).to_contain_text("disagrees with the service, which said absent")
    page.get_by_role("button", name="Unsure").click()
    expect(page.get_by_role("button", name="Unsure")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#label-history summary")).to_have_text("All 2 labels of this finding")
    page.get_by_role("button", name="Withdraw").click()
    expect(said).to_have_text("Not labelled yet.")
    expected = [
        (PRESENT, "present", "agrees"),
        (ABSENT, "present", "disagrees"),
        (ABSENT, "unsure", None),
        (ABSENT, "withdrawn", None),
    ]
    assert labelled(archived.url, study) == expected
    page.reload()
    show(page, PRESENT)
    expect(page.get_by_role("button", name="Agree: present", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )


def test_a_label_is_given_by_keyboard_and_the_focus_stays(new_visit: NewVisit, archived: Station) -> None:
    study = send(archived.url, "Keys^Only")
    decided(archived.url, study)
    page = new_visit(archived.url, f"/?study={study}&finding={PRESENT}").page
    expect(page.locator("#label-present")).to_be_visible()
    page.keyboard.press("g")
    expect(page.locator("#label-present")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#label-absent")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#label-absent")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#label-absent")).to_be_focused()
    assert labelled(archived.url, study) == [(PRESENT, "absent", "disagrees")]


@pytest.mark.parametrize("options", [{}, {"color_scheme": "light"}, {"forced_colors": "active"}])
def test_axe_finds_nothing_and_the_choice_can_be_seen(
    new_visit: NewVisit, archived: Station, options: dict[str, str]
) -> None:
    study = send(archived.url, "Axe^Here")
    decided(archived.url, study)
    visit = new_visit(archived.url, f"/?study={study}&finding={PRESENT}", bypass_csp=True, **options)
    page = visit.page
    page.get_by_role("button", name="Disagree: absent").click()
    page.get_by_role("button", name="Unsure").click()
    page.locator("#label-history summary").click()
    chosen, other = (
        page.locator(f"#label-{value}").evaluate("node => getComputedStyle(node).backgroundColor")
        for value in ("unsure", "present")
    )
    assert chosen != other
    if "forced_colors" in options:
        return  # axe takes the page's own colours for those of the user
    page.add_script_tag(path=AXE)
    page.wait_for_timeout(300)  # colours glide
    assert violations(visit) == []


def test_who_labels_stands_there_and_without_the_scope_the_page_says_so(
    new_visit: NewVisit, make_settings: MakeSettings, tmp_path: Path
) -> None:
    clients = tmp_path / "clients.toml"
    clients.write_text(
        "".join(
            f'[{name}]\nsha256 = "{sha256(token.encode()).hexdigest()}"\nscopes = {SCOPES[name]}\n'
            for name, token in TOKENS.items()
        )
        + f'[modality]\nsha256 = "{sha256(b"modality-0123456789abcdef").hexdigest()}"\nscopes = ["store"]\n'
    )
    rules = tmp_path / "rules.yaml"
    rules.write_text("quiet_time_s: 0.2\nrules: [{name: all}]\n")
    settings = make_settings(
        archive=tmp_path / "archive", rules=rules, clients=clients, archive_min_free_bytes=1
    )
    with (
        Pipeline(settings) as pipeline,
        Archive.open(settings, pipeline, {}) as archive,
        running_server(Server(create_app(settings, pipeline, archive), settings)) as running,
    ):
        study = send(running.url, "Who^Said", token="modality-0123456789abcdef")
        decided(running.url, study, TOKENS["dr-a"])
        for name, token in TOKENS.items():
            page = new_visit(running.url, f"/?study={study}&finding={PRESENT}").page
            page.locator("#token-field").fill(token)
            page.keyboard.press("Enter")
            if name == "dr-a":
                page.get_by_role("button", name="Disagree: absent").click()
                expect(page.locator("#label-current")).to_contain_text("Absent, by dr-a")
            else:
                page.get_by_role("button", name="Agree: present", exact=True).click()
                expect(page.locator("#labels").get_by_role("alert")).to_contain_text("label")
                expect(page.locator("#label-current")).to_contain_text("Absent, by dr-a")
        assert labelled(running.url, study, TOKENS["dr-a"]) == [(PRESENT, "absent", "disagrees")]
