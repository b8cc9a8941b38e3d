"""Cores: what a container may use, told by its own files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cxrserve.cores import usable_cores, usual_decoders
from cxrserve.settings import Settings

PLENTY = frozenset(range(64))


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: PLENTY)


def _files(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "190000 100000\n"}, 2),
        # A limit on a slice around the service's own group, as systemd and Kubernetes set them.
        (
            {
                "proc/self/cgroup": "0::/kubepods/pod1/main\n",
                "sys/fs/cgroup/kubepods/pod1/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/kubepods/pod1/main/cpu.max": "max 100000\n",
            },
            3,
        ),
        # The host's path, which cannot be seen from within.
        ({"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        # Version 1, by both names of its mount.
        (
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/docker/abc\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "500000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            5,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
        ({"proc/self/cgroup": "nonsense\n\n::::\n", "sys/fs/cgroup/cpu.max": "what is this"}, 64),
    ],
)
def test_a_quota_counts(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert usable_cores(_files(tmp_path, files)) == cores


def test_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5})
    root = _files(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"})
    assert usable_cores(root) == 2


def test_the_engine_takes_them_all() -> None:
    assert Settings().threads == usable_cores()


def test_a_gpu_is_fed_by_half_the_cores(tmp_path: Path) -> None:
    assert usual_decoders(tmp_path) == 2
    _files(tmp_path, {"proc/driver/nvidia/version": "580.65.06"})
    assert usual_decoders(tmp_path) == 32
    _files(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000"})
    assert usual_decoders(tmp_path) == 2
