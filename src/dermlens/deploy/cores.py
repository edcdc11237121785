"""How many cores this process may use: those it is bound to, as far as a container's quota goes.

Python counts the cores of the machine, or those that the process may run on; a quota of CPU time, which is
how containers are limited, it does not see. As many threads as the machine has cores then wait for each
other.

Source: Linux, Documentation/admin-guide/cgroup-v2 (cpu.max) and scheduler/sched-bwc (version 1).
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """At least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def cpu_quota(root: Path = CGROUPS, own: Path = OWN) -> float | None:
    """Cores' worth of CPU time that this process's control groups may use together; none without a limit.

    Args:
        root: where the control groups are mounted.
        own: the file that says which of them this process is in.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return None
    quotas = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        for group in (Path(path), *Path(path).parents):
            inside = str(group).lstrip("/")
            if controllers == "":
                quotas.append(_quota(root / inside / "cpu.max"))
            elif "cpu" in controllers.split(","):
                quotas += [_quota_v1(root / name / inside) for name in (controllers, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(file: Path) -> float | None:
    """Of version 2: `max 100000`, or microseconds in a period of them."""
    try:
        quota, period = file.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(group: Path) -> float | None:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        return quota / int((group / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
