"""The services of the compose file work together, run without containers: Orthanc, PostgreSQL, cxrserve.

The settings, rules and routes are those in deploy/; only hosts, ports and folders are this machine's.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from pydicom import dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)

from tests import dcmtk
from tests.orthanc import Orthanc, free_port, orthanc
from tests.pacs.conftest import new_chest
from tests.postgres import fresh_database
from tests.stations import Station, station

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
TOKEN = "a-token-of-thirty-two-characters"
RESULTS = {
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
}


Asking = Callable[..., Any]  # what of Prometheus' API, and its query


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What runs."""

    pacs: Orthanc
    node: Station


@pytest.fixture(scope="module")
def whole(
    tiny_bundle: Path, postgres_cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Whole]:
    """The Orthanc and the station of the compose file."""
    folder = tmp_path_factory.mktemp("compose")
    orthanc_http, orthanc_dicom, http, dicom = (free_port() for _ in range(4))
    of_orthanc = json.loads((DEPLOY / "orthanc" / "orthanc.json").read_text())
    of_orthanc["DicomModalities"]["cxrserve"][1:] = ["127.0.0.1", dicom]
    web = of_orthanc["DicomWeb"]["Servers"]["cxrserve"]
    web["Url"] = web["Url"].replace("cxrserve:8000", f"127.0.0.1:{http}")
    (folder / "orthanc-of-compose.json").write_text(json.dumps(of_orthanc))
    rules = yaml.safe_load((DEPLOY / "rules.compose.yaml").read_text()) | {"quiet_time_s": 0.2}
    rules["destinations"]["orthanc"] |= {"host": "127.0.0.1", "port": orthanc_dicom}
    rules["servers"]["orthanc"]["url"] = f"http://127.0.0.1:{orthanc_http}/dicom-web"
    environment = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["cxrserve"]["environment"]
    settings = {name.removeprefix("CXRSERVE_").lower(): value for name, value in environment.items()}
    for name in ("archive", "rules"):
        del settings[name]
    settings |= {"host": "127.0.0.1", "port": http, "dicom_port": dicom, "token": TOKEN}
    with (
        orthanc(
            folder / "orthanc",
            port=orthanc_http,
            dicom_port=orthanc_dicom,
            lua=[DEPLOY / "orthanc" / Path(name).name for name in of_orthanc["LuaScripts"]],
            file=folder / "orthanc-of-compose.json",
            environment={"CXRSERVE_TOKEN": TOKEN},
            ExecuteLuaEnabled=True,
        ) as pacs,
        station(
            tiny_bundle,
            folder / "archive",
            rules,
            **settings | {"database_url": fresh_database(postgres_cluster)},
        ) as node,
    ):
        yield Whole(pacs=pacs, node=node)


def test_the_token_is_known_on_both_sides(whole: Whole, tmp_path: Path) -> None:
    file = new_chest(tmp_path / "chest.dcm")
    study = str(dcmread(file).StudyInstanceUID)
    assert "Success" in dcmtk.storescu(whole.pacs.dicom_port, file, ae="ORTHANC")
    (identifier, *_) = whole.pacs.wait_for_study(study, 1)
    sent = httpx.post(
        f"{whole.pacs.dicom_web}/servers/cxrserve/stow", json={"Resources": [identifier]}, timeout=30
    )
    assert sent.status_code == 200, sent.text
    assert httpx.get(f"{whole.node.url}/studies").status_code == 401


def test_what_was_not_routed_is_fetched(whole: Whole, tmp_path: Path) -> None:
    file = new_chest(tmp_path / "capture.dcm", SOPClassUID=SecondaryCaptureImageStorage)
    study = str(dcmread(file).StudyInstanceUID)
    assert "Success" in dcmtk.storescu(whole.pacs.dicom_port, file, ae="ORTHANC")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    fetched = httpx.post(f"{whole.node.url}/studies/{study}", headers=headers, timeout=30)
    assert fetched.json() == {"objects": 1}
    whole.pacs.wait_for_study(study, 4)


@pytest.fixture(scope="module")
def asked(whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """A Prometheus with our configuration and alerts that asks the station."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed; see tests/debian-packages.txt")
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = configuration["scrape_configs"]
    (folder / "token").write_text(TOKEN)
    job["authorization"]["credentials_file"] = str(folder / "token")
    job["static_configs"] = [{"targets": [whole.node.url.removeprefix("http://")]}]
    configuration["global"]["scrape_interval"] = configuration["global"]["evaluation_interval"] = "1s"
    configuration["rule_files"] = [
        str(DEPLOY / "prometheus" / Path(each).name) for each in configuration["rule_files"]
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": address,
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, *(f"--{name}={value}" for name, value in options.items())],
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def ask(what: str, **query: str) -> Any:
        until = time.monotonic() + 30
        while True:
            try:
                answer = httpx.get(f"http://{address}/api/v1/{what}", params=query, timeout=30)
                assert answer.status_code != 400, answer.text
                answer.raise_for_status()
                return answer.json()["data"]
            except (httpx.TransportError, httpx.HTTPStatusError):
                over = process.poll() is not None or time.monotonic() > until
                assert not over, (folder / "log").read_text()[-2000:]
                time.sleep(0.1)

    try:
        yield ask
    finally:
        process.terminate()
        process.wait(30)


def test_prometheus_finds_every_metric_that_dashboard_and_alerts_name(whole: Whole, asked: Asking) -> None:
    until = time.monotonic() + 30
    while [target["health"] for target in asked("targets")["activeTargets"]] != ["up"]:
        assert time.monotonic() < until, asked("targets")
        time.sleep(0.2)
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "cxrserve.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = [rule for group in asked("rules")["groups"] for rule in group["rules"]]
    assert len(alerts) >= 7
    queries += [rule["query"] for rule in alerts]
    for each in queries:
        asked("query", query=each)  # a query that is none is refused with 400
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.get(f"{whole.node.url}/metrics").status_code == 401
    said = httpx.get(f"{whole.node.url}/metrics", headers=headers).text
    exposed = set(re.findall(r"^# TYPE (\S+)", said, re.MULTILINE))
    names = {name for each in queries for name in re.findall(r"\bcxrserve_\w+", each)}
    assert "cxrserve_archive_jobs" in names
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in names} <= exposed
    assert not [rule["name"] for rule in alerts if rule["state"] == "firing"]


@pytest.mark.parametrize(("script", "protocol"), [("route.lua", "dimse"), ("route-dicomweb.lua", "stow")])
def test_a_radiograph_in_orthanc_gets_its_results(
    whole: Whole, script: str, protocol: str, tmp_path: Path
) -> None:
    """By the script of the configuration, and by the other one, which takes its place."""
    lua = (DEPLOY / "orthanc" / script).read_bytes()
    httpx.post(f"{whole.pacs.url}/tools/execute-script", content=lua, timeout=30).raise_for_status()
    seen = len(whole.node.lines)
    file = new_chest(tmp_path / "chest.dcm")
    dataset = dcmread(file)
    assert "Success" in dcmtk.storescu(whole.pacs.dicom_port, file, ae="ORTHANC")
    found = whole.pacs.wait_for_study(str(dataset.StudyInstanceUID), 4)
    kinds = [whole.pacs.get(f"/instances/{each}/simplified-tags")["SOPClassUID"] for each in found]
    assert sorted(kinds) == sorted([dataset.SOPClassUID, *RESULTS])
    (received,) = [line for line in whole.node.lines[seen:] if "received=" in line]
    assert f"outcome=kept reason=- protocol={protocol}" in received
