"""The Kubernetes manifests: valid by Kubernetes' own schemas, hardened, and scaled by metrics that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import kubernetes_validate
import pytest
import yaml
from prometheus_client import generate_latest

from cxrserve.archive.storage.tables import JobKind
from cxrserve.archive.views.metrics import ArchiveMetrics
from cxrserve.metrics import Metrics
from cxrserve.settings import Settings

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "kubernetes"
DOCUMENTS = [
    pytest.param(document, id=f"{path.stem} {document['kind']} {document['metadata']['name']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
PODS = [each for each in DOCUMENTS if each.values[0]["kind"] in ("Deployment", "StatefulSet")]  # type: ignore[index]


def _of(file: str, kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((FOLDER / file).read_text(encoding="utf-8"))
    document: dict[str, Any] = next(each for each in documents if each["kind"] == kind)
    return document


@pytest.mark.parametrize("document", DOCUMENTS)
def test_valid(document: dict[str, Any]) -> None:
    if document["apiVersion"].startswith("keda.sh/"):  # its schema belongs to KEDA, and is in no package
        assert {"scaleTargetRef", "triggers"} <= document["spec"].keys()
        return
    kubernetes_validate.validate(document, "1.30", strict=True)


def test_the_schemas_reject_what_is_wrong() -> None:
    document = _of("predict.yaml", "Deployment")
    document["spec"]["replicas"] = "two"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.30", strict=True)


@pytest.mark.parametrize("document", PODS)
def test_pods_are_hardened_and_have_time_to_stop(document: dict[str, Any]) -> None:
    pod = document["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
    assert pod["terminationGracePeriodSeconds"] >= Settings().shutdown_timeout_s + 5


@pytest.mark.parametrize("document", PODS)
def test_a_network_policy_covers_every_pod(document: dict[str, Any]) -> None:
    labels = document["spec"]["template"]["metadata"]["labels"]
    policies = [
        each.values[0]["spec"]["podSelector"]["matchLabels"]  # type: ignore[index]
        for each in DOCUMENTS
        if each.values[0]["kind"] == "NetworkPolicy"  # type: ignore[index]
    ]
    assert labels in policies


def test_the_metrics_that_scale_exist() -> None:
    named = {
        name
        for path in FOLDER.glob("*.yaml")
        for name in re.findall(r"\bcxrserve_[a-z_]+_seconds\b", path.read_text(encoding="utf-8"))
    }
    assert named == {"cxrserve_expected_wait_seconds", "cxrserve_archive_oldest_job_seconds"}
    assert "# TYPE cxrserve_expected_wait_seconds gauge" in generate_latest(Metrics().registry).decode()
    source = Path(str(ArchiveMetrics.__module__).replace(".", "/") + ".py")
    assert '"cxrserve_archive_oldest_job_seconds"' in (FOLDER.parents[1] / source).read_text(encoding="utf-8")
    query = _of("workers.yaml", "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    kind = re.search(r'kind="(\w+)"', query)
    assert kind is not None
    assert kind[1] in get_args(JobKind)


def test_the_ingress_lets_through_what_the_service_admits_and_passes_refusals_on() -> None:
    annotations = _of("predict.yaml", "Ingress")["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io/"
    size = annotations[f"{prefix}proxy-body-size"]
    assert int(size.removesuffix("m")) * 2**20 >= Settings().max_upload_bytes
    assert {"http_503", "non_idempotent"} <= set(annotations[f"{prefix}proxy-next-upstream"].split())


def test_autoscalers_name_what_is_there() -> None:
    workloads = {(each.values[0]["kind"], each.values[0]["metadata"]["name"]) for each in PODS}  # type: ignore[index]
    for each in DOCUMENTS:
        document: Any = each.values[0]
        if document["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            target = document["spec"]["scaleTargetRef"]
            assert (target.get("kind", "Deployment"), target["name"]) in workloads
