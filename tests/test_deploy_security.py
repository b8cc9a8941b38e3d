"""The hardening of the manifests: exposure by systemd's own measure, and Kubernetes' security settings."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"


def _manifest(kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "cxrserve.yaml").read_text())
    found: dict[str, Any] = next(each for each in documents if each["kind"] == kind)
    return found


def test_the_exposure_of_the_unit_is_low(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed")
    unit = (DEPLOY / "systemd" / "cxrserve.service").read_text()
    path = tmp_path / "cxrserve.service"
    path.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", unit, flags=re.MULTILINE))
    done = subprocess.run(
        [program, "security", "--offline=true", "--no-pager", path],
        capture_output=True,
        text=True,
        check=True,
    )
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level is not None
    assert float(level[1]) <= 2.0


def test_the_unit_lets_decode_workers_close_themselves_in() -> None:
    """A filter without these calls would silently leave them without a sandbox."""
    unit = (DEPLOY / "systemd" / "cxrserve.service").read_text()
    allowed = re.search(r"^SystemCallFilter=(@system-service .+)$", unit, re.MULTILINE)
    assert allowed is not None
    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= {*allowed[1].split()}


def test_the_pod_has_no_rights() -> None:
    pod = _manifest("StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsGroup"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "ephemeral-storage" in container["resources"]["limits"]


def test_a_busy_pod_is_not_killed() -> None:
    (container,) = _manifest("StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["failureThreshold"] >= 6


def test_the_network_policy_covers_exactly_the_pod_and_its_ports() -> None:
    stateful, policy = _manifest("StatefulSet")["spec"], _manifest("NetworkPolicy")["spec"]
    assert (
        policy["podSelector"] == stateful["selector"] == _manifest("PodDisruptionBudget")["spec"]["selector"]
    )
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    ports = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    (container,) = stateful["template"]["spec"]["containers"]
    assert ports == {port["containerPort"] for port in container["ports"]}


def test_nothing_promises_a_scrape_that_is_refused() -> None:
    """`/metrics` wants a token, which annotations cannot give."""
    assert "prometheus.io/scrape" not in (DEPLOY / "kubernetes" / "cxrserve.yaml").read_text()
