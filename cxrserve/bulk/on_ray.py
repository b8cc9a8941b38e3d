"""A bulk run on a Ray cluster: each part is one row of Ray Data, which an actor on some node reads.

Only names travel, never images. Ray starts another actor for one that died, and gives it the part again, as
often as it takes: it also counts a call that a dead node never got. So the readers count the parts that they
begin, and a part that three of them did not survive is not begun again.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before ray is imported: it reports to its makers

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cxrserve.bulk.plan import Plan, part_file
from cxrserve.bulk.progress import Progress
from cxrserve.bulk.reader import PartReader, Tally, Work
from cxrserve.errors import ConfigurationError, CxrserveError
from cxrserve.settings import Settings

_GO_ON: Final = "What is finished stays; the same command goes on from there."
_PATIENCE_S: Final = 10.0  # for the cluster's head to accept a connection
_NAMED: Final = re.compile(r"[\w.]+(Error|Exception|Interrupt)\b.*: ")
_ANSWER: Final = pa.schema(
    {"part": pa.int64(), "images": pa.int64(), "tally": pa.string(), "fault": pa.string()}
)
_MAX_BEGUN: Final = 3  # times that a part is begun, where its reader dies each time
_MAX_LOST: Final = 16  # readers that die before they can read; more mean that none ever will
_LISTING_CPUS: Final = 0.01  # of the tasks that hand out names; each node keeps room for some


class ClusterError(ConfigurationError):
    """The Ray cluster cannot be used, or could not read all parts."""

    slug = "cluster-error"
    title = "The Ray cluster did not read all images"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pool:
    """The readers that fit a cluster: their number, and what each takes of its node."""

    size: int
    cpus: int
    gpus: int


class Cluster:
    """A Ray cluster that this process is connected to."""

    def read(
        self,
        settings: Settings,
        work: Work,
        plan: Plan,
        remaining: Sequence[int],
        progress: Progress,
        *,
        give_up: int,
    ) -> None:
        """Read the parts `remaining` on all nodes.

        Args:
            give_up: number of parts that may fail.

        Raises:
            ClusterError: no reader fits a node, or more parts failed than `give_up`.
        """
        pool = _pool(ray.nodes(), settings)
        context = DataContext.get_current()
        context.enable_progress_bars = False  # ours counts images
        context.issue_detectors_config.detectors = []
        rows = ray.data.read_datasource(
            _Parts(plan, remaining), override_num_blocks=len(remaining), num_cpus=_LISTING_CPUS
        ).map_batches(
            _Reader,
            fn_constructor_args=(_sent(settings, pool), work, _ledger(pool)),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=1, max_size=pool.size, initial_size=pool.size),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
        )
        faults: list[str] = []
        try:
            for row in rows.iter_rows():
                if row["fault"] is not None:
                    faults.append(f"{part_file(row['part'])}: {row['fault']}")
                    if len(faults) > give_up:
                        raise ClusterError(f"{'; '.join(faults)}. {_GO_ON}")
                    continue
                progress.advance(row["images"])
                progress.part_done(Tally.from_json(row["tally"]))
        except ray.exceptions.RayError as error:
            raise ClusterError(f"{_reason(error)}. {_GO_ON}") from error


def connected(address: str) -> Cluster:
    """Connect to the cluster at `address`: `auto` for that of this machine, or HOST:PORT of its head.

    Raises:
        ClusterError: there is none.
    """
    if address.startswith("ray://"):
        raise ClusterError(
            f"--ray {address}: the Ray client (ray://) is not supported. Run the command on a machine of the "
            "cluster with --ray auto, or as a job: ray job submit -- cxrserve predict … --ray auto"
        )
    try:
        if address != "auto":  # ray waits for minutes where nobody listens
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except Exception as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ClusterError(
            f"--ray {address}: no cluster can be reached there: {first_line}. Start one with "
            "`ray start --head`, and name auto or HOST:PORT of its head."
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return Cluster()


def _pool(nodes: Sequence[dict[str, Any]], settings: Settings) -> _Pool:
    """As many readers as fit: one for each GPU, else one for each node, with all its cores but one.

    `CXRSERVE_THREADS` names the cores of a reader instead; then as many as fit are on each node.

    Raises:
        ClusterError: none fits.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU")]
    with_gpu = [each for each in resources if each.get("GPU")] if settings.engine != "openvino" else []
    gpus = 1 if with_gpu else 0
    usable = with_gpu or resources
    shares = [int(each["CPU"] / (each["GPU"] if gpus else 1)) for each in usable]
    cpus = settings.threads if "threads" in settings.model_fields_set else max(min(shares, default=1) - 1, 1)
    size = sum(
        int(min((each["CPU"] - 10 * _LISTING_CPUS) // cpus, each["GPU"] if gpus else each["CPU"]))
        for each in usable
    )
    if size == 0:
        cores = ", ".join(f"{each['CPU']:g}" for each in resources) or "none"
        raise ClusterError(
            f"a reader takes {cpus} cores, and handing out names a little of one more; no node of the "
            f"cluster has so many (cores of its nodes: {cores}). Set CXRSERVE_THREADS to fewer, or add "
            "larger nodes."
        )
    return _Pool(size=size, cpus=cpus, gpus=gpus)


def _sent(settings: Settings, pool: _Pool) -> dict[str, Any]:
    """The settings that were chosen here, for the nodes; what was not chosen is as each node has it."""
    chosen = settings.model_dump(exclude_unset=True)
    chosen = {name: value.resolve() if isinstance(value, Path) else value for name, value in chosen.items()}
    return {
        **chosen,
        "bundle": settings.bundle.resolve(),
        "threads": pool.cpus,
        "decode_workers": chosen.get("decode_workers", max(pool.cpus, 1) if pool.gpus else 2),
    }


class _Parts(Datasource):  # type: ignore[misc]
    """The parts that remain as one row each, with a task of their own."""

    def __init__(self, plan: Plan, remaining: Sequence[int]) -> None:
        super().__init__()
        self._plan: Final = plan
        self._remaining: Final = remaining

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: object, **__: object) -> list[ReadTask]:
        return [_read_task(part, self._plan.names(part)) for part in self._remaining]


def _read_task(part: int, names: list[str]) -> ReadTask:
    about = BlockMetadata(num_rows=1, size_bytes=sum(map(len, names)), input_files=None, exec_stats=None)
    return ReadTask(partial(_row, part, names), about)


def _row(part: int, names: list[str]) -> Iterator[pa.Table]:
    yield pa.table({"part": [part], "names": pa.array([names], pa.list_(pa.string()))})


class _Ledger:
    """Counts what readers begin, so that it is known what they did not survive.

    Args:
        readers: how many may open their engines at once.
    """

    def __init__(self, readers: int) -> None:
        self._readers: Final = readers
        self._opening = 0
        self._begun: Final[Counter[int]] = Counter()

    def opening(self) -> bool:
        """Count a reader that opens its engines; False where too many died of it."""
        self._opening += 1
        return self._opening <= self._readers + _MAX_LOST

    def opened(self) -> None:
        """Count a reader that did not die of it."""
        self._opening -= 1

    def begin(self, part: int) -> int:
        """The number of times that the part was begun before."""
        self._begun[part] += 1
        return self._begun[part] - 1


def _ledger(pool: _Pool) -> ray.actor.ActorHandle:
    """The counter, on this node: it lives as long as the run."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(_Ledger).options(num_cpus=0, scheduling_strategy=here).remote(pool.size)


class _Reader:
    """The actor: reads the parts it is given with one pipeline."""

    def __init__(self, settings: dict[str, Any], work: Work, ledger: ray.actor.ActorHandle) -> None:
        self._ledger: Final = ledger
        self._reader: PartReader | CxrserveError
        try:
            if not ray.get(ledger.opening.remote()):
                raise ClusterError(
                    f"{_MAX_LOST} readers died while they opened the engines. See to the memory of the "
                    "nodes, and try `cxrserve doctor` there."
                )
            self._reader = PartReader(Settings(**settings), work)
        except CxrserveError as error:  # told with the first part: Ray would hide it in a trace
            self._reader = error
        ledger.opened.remote()

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = [
            self._row(part, names)
            for part, names in zip(batch["part"].to_pylist(), batch["names"].to_pylist(), strict=True)
        ]
        return pa.Table.from_pylist(rows, _ANSWER)

    def _row(self, part: int, names: list[str]) -> dict[str, Any]:
        """The outcome of a part; a foreseen fault is a text, because Ray would hide it in a trace."""
        try:
            if isinstance(self._reader, CxrserveError):
                raise self._reader
            if (before := ray.get(self._ledger.begin.remote(part))) >= _MAX_BEGUN:
                raise ClusterError(
                    f"it was begun {before} times, and its reader died each time. Its images are {names[0]} "
                    f"to {names[-1]}. --give-up reads the other parts."
                )
            tally = self._reader.read(part, names).to_json()
        except CxrserveError as error:
            return {"part": part, "images": len(names), "fault": error.detail.rstrip(".")}
        return {"part": part, "images": len(names), "tally": tally}

    def __del__(self) -> None:
        """Ray calls this when it lets an actor go; otherwise the engines' threads keep its process alive."""
        if isinstance(self._reader, PartReader):
            self._reader.close()


def _reason(error: Exception) -> str:
    """The line of Ray's error that names the first one behind it."""
    lines = [line.strip() for line in str(error).splitlines() if _NAMED.match(line)]
    return (lines or [type(error).__name__])[0].rstrip(".")
