"""The files in deploy/ fit the code: settings, ports, rules, metrics and files that they name exist."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from cxrserve.archive.rules_file import load_rules
from cxrserve.cli.main import app
from cxrserve.settings import Settings
from tests.servers import Running

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
PORTS = {"8000", "11112"}
NAMES = {f"CXRSERVE_{name.upper()}" for name in Settings.model_fields}
YAML = sorted(path for path in DEPLOY.rglob("*.y*ml") if path.is_file())


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_is_yaml(path: Path) -> None:
    assert all(isinstance(each, dict) for each in yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("path", [path for path in DEPLOY.rglob("*") if path.is_file()], ids=lambda p: p.name)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    assert set(re.findall(r"\bCXRSERVE_[A-Z][A-Z0-9_]*[A-Z0-9]\b", path.read_text())) <= NAMES


def test_the_settings_of_compose_are_valid() -> None:
    environment = compose()["services"]["cxrserve"]["environment"]
    values = {name.removeprefix("CXRSERVE_").lower(): value for name, value in environment.items()}
    assert Settings.model_validate(values).archive == Path("/archive")


def test_compose_starts_all_five_and_every_file_is_there() -> None:
    services = compose()["services"]
    assert set(services) == {"cxrserve", "orthanc", "postgres", "prometheus", "grafana"}
    volumes = set(compose()["volumes"])
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            made_by_the_user = source == "./secrets/token"
            assert source in volumes or made_by_the_user or (DEPLOY / source).exists(), source
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "nothing is open to the network by default"


def test_ports_are_the_ones_that_are_listened_on() -> None:
    assert {str(Settings().port), str(Settings().dicom_port)} == PORTS
    ports = {each.rpartition(":")[2] for each in compose()["services"]["cxrserve"]["ports"]}
    assert ports == PORTS
    dockerfile = (DEPLOY.parent / "Dockerfile").read_text()
    exposed = re.search(r"^EXPOSE (.+)$", dockerfile, re.MULTILINE)
    assert exposed is not None
    assert set(exposed[1].split()) == PORTS
    manifest = yaml.safe_load_all((DEPLOY / "kubernetes" / "cxrserve.yaml").read_text())
    stateful = next(each for each in manifest if each["kind"] == "StatefulSet")
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    assert {str(each["containerPort"]) for each in container["ports"]} == PORTS


def test_all_have_the_time_that_a_stop_takes() -> None:
    """Requests, associations, a commitment's report and the work have their times one after the other."""
    settings = Settings()
    takes_s = 3 * settings.shutdown_timeout_s + 2 * settings.dicom_accept_timeout_s
    service = configparser.ConfigParser(strict=False)
    service.read(DEPLOY / "systemd" / "cxrserve.service")
    manifest = yaml.safe_load_all((DEPLOY / "kubernetes" / "cxrserve.yaml").read_text())
    stateful = next(each for each in manifest if each["kind"] == "StatefulSet")
    allowed = (
        service["Service"]["TimeoutStopSec"],
        compose()["services"]["cxrserve"]["stop_grace_period"].removesuffix("s"),
        stateful["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
    )
    assert all(int(each) >= takes_s + 20 for each in allowed), allowed


@pytest.mark.parametrize("name", ["rules.example.yaml", "rules.compose.yaml"])
def test_rules_are_sound(name: str) -> None:
    assert load_rules(DEPLOY / name).rules


def test_rules_of_compose_and_orthanc_know_each_other() -> None:
    rules = load_rules(DEPLOY / "rules.compose.yaml")
    orthanc = json.loads((DEPLOY / "orthanc" / "orthanc.json").read_text())
    peer = rules.destinations["orthanc"]
    assert peer.protocol == "dimse"
    assert (peer.ae_title, peer.port) == (orthanc["DicomAet"], orthanc["DicomPort"])
    assert peer.host in compose()["services"]
    title, host, port = orthanc["DicomModalities"]["cxrserve"]
    assert (title, str(port)) == (Settings().dicom_ae_title, "11112")
    assert host in compose()["services"]
    assert "SendToModality(instanceId, 'cxrserve')" in (DEPLOY / "orthanc" / "route.lua").read_text()


def test_what_orthanc_could_not_send_is_fetched() -> None:
    (server,) = load_rules(DEPLOY / "rules.compose.yaml").servers.values()
    assert server.every_s is not None


def test_pods_share_one_archive() -> None:
    manifest = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "cxrserve.yaml").read_text()))
    stateful = next(each for each in manifest if each["kind"] == "StatefulSet")
    claims = {each["metadata"]["name"] for each in manifest if each["kind"] == "PersistentVolumeClaim"}
    volumes = {each["name"]: each for each in stateful["spec"]["template"]["spec"]["volumes"]}
    assert volumes["archive"]["persistentVolumeClaim"]["claimName"] in claims
    assert "volumeClaimTemplates" not in stateful["spec"]  # these make one for each pod


def test_commands_exist() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(DEPLOY / "systemd" / "cxrserve.service")
    for command in (
        shlex.split(unit["Service"]["ExecStart"])[1:],
        compose()["services"]["cxrserve"]["command"],
    ):
        assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0


# In each case 90 minutes of one series, a value a minute, and the alert that a person should hear of.
SERIES = {
    "CxrserveDown": 'up{job="cxrserve", instance="a"}',
    "CxrserveNotReady": 'cxrserve_build_info{instance="a"}',
    "CxrserveDatabaseAway": 'cxrserve_archive_database_up{instance="a"}',
    "CxrserveDiskNearlyFull": 'cxrserve_archive_free_bytes{instance="a"}',
    "CxrserveDeadLetters": 'cxrserve_archive_jobs{kind="delivery", state="dead", instance="a"}',
    "CxrserveWorkWaits": 'cxrserve_archive_oldest_job_seconds{kind="study", instance="a"}',
    "CxrserveQuarantine": 'cxrserve_archive_quarantined{instance="a"}',
    "CxrserveDrift": 'cxrserve_watch_alarm{instance="a"}',
    "CxrserveRefusals": 'cxrserve_film_check_total{seen="turned", act="refused", instance="a"}',
    "CxrserveDecodersEnd": 'cxrserve_decode_workers_restarted_total{instance="a"}',
}
GOOD = {
    "CxrserveDown": "1x90",
    "CxrserveNotReady": "1x90",
    "CxrserveDatabaseAway": "1x90",
    "CxrserveDiskNearlyFull": "30000000000x90",
    "CxrserveDeadLetters": "0x90",
    "CxrserveWorkWaits": "600x90",
    "CxrserveQuarantine": "3x90",
    "CxrserveDrift": "0x90",
    "CxrserveRefusals": "0x80 1+1x10",
    "CxrserveDecodersEnd": "0+1x90",
}
BAD = {
    "CxrserveDown": "1x80 0x10",
    "CxrserveNotReady": "1x60 stale _x30",
    "CxrserveDatabaseAway": "1x80 0x10",
    "CxrserveDiskNearlyFull": "30000000000x80 19000000000x10",
    "CxrserveDeadLetters": "0x80 1x10",
    "CxrserveWorkWaits": "0x20 0+60x70",
    "CxrserveQuarantine": "3x80 4x10",
    "CxrserveDrift": "0x70 1x20",
    "CxrserveRefusals": "0x60 0+1x30",
    "CxrserveDecodersEnd": "0x40 0+6x50",
}


def test_alerts_ring_when_they_should_and_not_else(tmp_path: Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("prometheus is not installed; see tests/debian-packages.txt")
    alerts = DEPLOY / "prometheus" / "alerts.yml"
    (group,) = yaml.safe_load(alerts.read_text())["groups"]
    assert {rule["alert"] for rule in group["rules"]} == SERIES.keys() == GOOD.keys() == BAD.keys()
    cases: list[dict[str, Any]] = []
    for ringing in (*SERIES, None):
        values = {name: (BAD if name == ringing else GOOD)[name] for name in SERIES}
        expected = [] if ringing is None else [{"labels": f'{{alertname="{ringing}"}}', "value": 1}]
        cases.append(
            {
                "interval": "1m",
                "input_series": [{"series": SERIES[name], "values": each} for name, each in values.items()],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "90m",
                        "exp_samples": expected,
                    }
                ],
            }
        )
    (tmp_path / "cases.yml").write_text(
        yaml.safe_dump({"rule_files": [str(alerts)], "evaluation_interval": "1m", "tests": cases})
    )
    done = subprocess.run(
        [program, "test", "rules", tmp_path / "cases.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_built_engines_have_a_place_that_the_service_may_write_to() -> None:
    dockerfile = (DEPLOY.parent / "Dockerfile").read_text()
    (folder,) = re.findall(r"XDG_CACHE_HOME=(\S+)", dockerfile)
    assert re.search(rf"install .*--owner cxrserve .* {folder}$", dockerfile, re.MULTILINE)
    manifest = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "cxrserve.yaml").read_text()))
    pod = manifest[0]["spec"]["template"]["spec"]
    mounts = {each["mountPath"]: each["name"] for each in pod["containers"][0]["volumeMounts"]}
    assert mounts[folder] in {volume["name"] for volume in pod["volumes"]}
    unit = (DEPLOY / "systemd" / "cxrserve.service").read_text()
    assert "Environment=XDG_CACHE_HOME=/var/cache/cxrserve\n" in unit
    assert "CacheDirectory=cxrserve\n" in unit


def test_systemd_shows_the_gpu_where_asked() -> None:
    drop_in = configparser.ConfigParser(interpolation=None)
    drop_in.optionxform = str  # type: ignore[assignment,method-assign]
    drop_in.read(DEPLOY / "systemd" / "cxrserve.service.d" / "gpu.conf")
    assert drop_in["Service"]["PrivateDevices"] == "false"
    assert drop_in["Service"]["DeviceAllow"] == "char-nvidia* rw"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed")
    unit = (DEPLOY / "systemd" / "cxrserve.service").read_text()
    command = re.search(r"^ExecStart=(\S+)", unit, re.MULTILINE)
    assert command is not None
    # The program and the user are the administrator's to make.
    (tmp_path / "cxrserve.service").write_text(unit.replace(command[1], sys.executable))
    done = subprocess.run(
        [program, "verify", "--man=no", tmp_path / "cxrserve.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_panels_of_the_dashboard_lie_side_by_side() -> None:
    panels = json.loads((DEPLOY / "grafana" / "dashboards" / "cxrserve.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24  # Grafana's columns
        taken |= cells


def test_prometheus_asks_where_metrics_are(server: Running) -> None:
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = configuration["scrape_configs"]
    assert httpx.get(server.url + job["metrics_path"]).status_code == 200
    (target,) = job["static_configs"][0]["targets"]
    assert target == "cxrserve:8000"
