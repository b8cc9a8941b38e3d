"""Number of cores this process may use, by CPU affinity and the container's quota."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

_ROOT: Final = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Cores to compute on: of the affinity mask, and no more than the CPU quota of any cgroup around us.

    A quota between two numbers is rounded: a thread too many is throttled a little, one too few is lost.

    Args:
        root: where proc/ and sys/ are.
    """
    quotas = [max(1, round(quota)) for quota in _quotas(root)]
    return min([_affinity(), *quotas])


def usual_decoders(root: Path = _ROOT) -> int:
    """Processes that keep the engines in images: two, or half the cores where a GPU computes.

    A CPU's engine reads one image in the time in which a core decodes ten. A large GPU reads hundreds a
    second, and a core decodes about fifteen.

    Args:
        root: where proc/ and sys/ are.
    """
    gpu = (root / "proc/driver/nvidia/version").exists()
    return max(2, usable_cores(root) // 2) if gpu else 2


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _quotas(root: Path) -> Iterator[float]:
    """The quota, in cores, of every cgroup this process is in; none where there is no limit."""
    for hierarchy, inside in _memberships(root):
        # Within a container the path is often that of the host, which cannot be seen: then the mount itself
        # is our group. So every folder from the path up to the mount is looked at, where it exists.
        for group in (inside, *inside.parents):
            with suppress(OSError, ValueError, ZeroDivisionError):
                yield _quota(hierarchy / str(group).lstrip("/"))


def _memberships(root: Path) -> Iterator[tuple[Path, PurePosixPath]]:
    """Mount point and own path of the hierarchies that limit the CPU (cgroups(7))."""
    mounts = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for row in lines:
        _, controllers, path = [*row.split(":", 2), "", ""][:3]
        if not controllers:  # version 2
            yield mounts, PurePosixPath(path or "/")
        elif "cpu" in controllers.split(","):
            yield mounts / controllers, PurePosixPath(path or "/")
            yield mounts / "cpu", PurePosixPath(path or "/")


def _quota(group: Path) -> float:
    """Cores by `cpu.max` (version 2) or `cpu.cfs_quota_us` (version 1).

    Raises:
        OSError, ValueError: no such file, or no limit.
    """
    if (group / "cpu.max").exists():
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    else:
        quota = (group / "cpu.cfs_quota_us").read_text(encoding="ascii")
        period = (group / "cpu.cfs_period_us").read_text(encoding="ascii")
    cores = int(quota) / int(period)  # "max" is no number: no limit
    if cores <= 0:
        raise ValueError(f"a quota of {quota.strip()} is no limit")
    return cores
