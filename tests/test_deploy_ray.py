"""The files for Ray clusters: pods valid by Kubernetes' schemas, commands and settings that exist."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from cxrserve.cli.main import app
from cxrserve.settings import unknown_variables

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "ray"
CLUSTER_KEYS = {"RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}


def documents(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / file).read_text(encoding="utf-8")))


def clusters() -> list[Any]:
    """The Ray cluster of each manifest."""
    return [
        pytest.param(document["spec"][CLUSTER_KEYS[document["kind"]]], id=document["kind"])
        for file in ("rayjob.yaml", "rayservice.yaml")
        for document in documents(file)
        if document["kind"] in CLUSTER_KEYS
    ]


def templates(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod templates of its head and its workers."""
    return [cluster["headGroupSpec"]["template"], *(each["template"] for each in cluster["workerGroupSpecs"])]


@pytest.mark.parametrize("cluster", clusters())
def test_the_pods_are_valid_and_hardened(cluster: dict[str, Any]) -> None:
    for template in templates(cluster):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, **template}
        kubernetes_validate.validate(pod, "1.30", strict=True)
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["spec"]["volumes"]}
        assert not unknown_variables({each["name"]: "" for each in container.get("env", [])})


@pytest.mark.parametrize("cluster", clusters())
def test_the_cluster_asks_for_a_token_and_its_head_reads_nothing(cluster: dict[str, Any]) -> None:
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    pins = (FOLDER.parent / "constraints.txt").read_text(encoding="utf-8")
    assert f"\nray=={cluster['rayVersion']}\n" in pins


def test_the_network_policy_is_valid() -> None:
    (policy,) = [each for each in documents("rayjob.yaml") if each["kind"] == "NetworkPolicy"]
    kubernetes_validate.validate(policy, "1.30", strict=True)


def test_the_job_runs_a_command_that_exists() -> None:
    (job,) = [each for each in documents("rayjob.yaml") if each["kind"] == "RayJob"]
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:2] == ["cxrserve", "predict"]
    said = CliRunner().invoke(app, ["predict", "--help"]).output
    for option in (word for word in words if word.startswith("--")):
        assert option in said


def test_the_service_names_its_application() -> None:
    (service,) = documents("rayservice.yaml")
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    module, _, name = application["import_path"].partition(":")
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert name in assigned
    assert {each["name"] for each in application["deployments"]} <= classes
    compile(tree, module, "exec")


def test_the_slurm_script_is_sound_shell_and_calls_commands_that_exist() -> None:
    script = FOLDER / "slurm.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    said = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "symmetric-run", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for option in re.findall(r"symmetric-run (--.*?) -- ", text.replace("\\\n", "")):
        for word in re.findall(r"--[a-z-]+", option):
            assert word in said.stdout


def test_no_extra_brings_ray_serve() -> None:
    """It brings a package under the GPL; the files here say so to those who install it."""
    pyproject = (FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.search(r'"ray\[[^\]]*serve', pyproject)
    for name in ("serve_app.py", "rayservice.yaml", "Dockerfile"):
        assert "GPL" in (FOLDER / name).read_text(encoding="utf-8")
