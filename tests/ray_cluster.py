"""A real Ray cluster: a head without cores and further raylets, with a folder of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_ROOT = Path(__file__).resolve().parents[1]
_STORE_BYTES = 80_000_000


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """A cluster that runs.

    Attributes:
        address: of its head.
        nodes: the raylets that can read.
    """

    address: str
    nodes: list[Any]
    folder: str
    cluster: Any

    def kill_node(self, number: int) -> None:
        """Kill a raylet, as a machine that loses its power."""
        self.cluster.remove_node(self.nodes[number], allow_graceful=False)

    def processes(self, *names: str) -> list[psutil.Process]:
        """Processes of this cluster whose command line has one of `names`."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ours = process.environ().get("RAY_TMPDIR") == self.folder
                if ours and any(name in " ".join(process.cmdline()) for name in names):
                    found.append(process)
        return found


@contextmanager
def ray_cluster(nodes: int, cores: int) -> Iterator[RayCluster]:
    """Run a head and `nodes` raylets that say they have `cores` each, while the block lasts."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray-")  # in no longer path: sockets lie below it
    ours = {
        "RAY_TMPDIR": folder,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "PYTHONPATH": str(_ROOT),
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    cluster = None
    try:
        usual = {"object_store_memory": _STORE_BYTES, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **usual})
        added = [cluster.add_node(num_cpus=cores, object_store_memory=_STORE_BYTES) for _ in range(nodes)]
        yield RayCluster(address=cluster.address, nodes=added, folder=folder, cluster=cluster)
    finally:
        if cluster is not None:
            cluster.shutdown()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)
