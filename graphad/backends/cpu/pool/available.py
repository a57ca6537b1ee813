"""How many threads this process may use: by the CPUs that it may run on, and by the quotas of its control groups.

A group with a quota of 150 ms in every 100 ms may keep one and a half CPUs busy. With more threads than that, all of
them are stopped in each period once the quota is spent, in the middle of what others wait for. The least quota of the
group of this process and of those around it counts, in whole CPUs.

Control groups of version 1 and 2 may be mounted side by side. ``/proc/self/mountinfo`` says where each is mounted, and
which of its groups lies there; ``/proc/self/cgroup`` names the group of this process in each (the Linux manual,
cgroups(7), and the kernel's Documentation, admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple


def available_threads(root: str = "/") -> int:
    """The smaller of the CPUs that the main thread may run on and the CPUs that the quota is worth; 1 at least.

    Parameters
    ----------
    root
        The folder in which ``proc`` lies, and below which file systems are mounted.
    """
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(os.getpid()))
    else:
        cpus = os.cpu_count() or 1
    quota = cpu_quota(root)
    return max(1, cpus if quota is None else min(cpus, int(quota)))


def cpu_quota(root: str = "/") -> float | None:
    """How many CPUs the control groups of this process grant it; None if they do not limit it.

    A file that is missing, or that says nothing about a quota, limits nothing.
    """
    quotas = [_quota(folder, h.version) for h in _hierarchies(root) for folder in _groups(root, h)]
    return min([q for q in quotas if q is not None], default=None)


class _Hierarchy(NamedTuple):
    """A mounted tree of groups that limits CPU time; ``top`` is the group that lies at ``mount``."""

    version: int
    top: str
    mount: str
    own: str  # the group of this process


def _hierarchies(root: str) -> Iterator[_Hierarchy]:
    own: dict[int, str] = {}
    for line in _lines(root, "/proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            own[2] = path
        elif "cpu" in controllers.split(","):
            own[1] = path
    for line in _lines(root, "/proc/self/mountinfo"):
        mounted, _, kind = line.partition(" - ")
        file_system, _, rest = kind.partition(" ")
        version = {"cgroup2": 2, "cgroup": 1}.get(file_system)
        if version == 1 and "cpu" not in rest.partition(" ")[2].split(","):  # of other controllers
            continue
        if version in own:
            top, mount = map(_unescaped, mounted.split(" ")[3:5])
            yield _Hierarchy(version, top, mount, own[version])


def _groups(root: str, hierarchy: _Hierarchy) -> Iterator[str]:
    """The folders of the own group and of those around it, as far as they are mounted."""
    below = os.path.relpath(hierarchy.own, hierarchy.top)
    outside = below == ".." or below.startswith("../")  # such a group is not to be seen
    parts = [] if outside or below == "." else below.split("/")
    for k in range(len(parts), -1, -1):
        yield _within(root, os.path.join(hierarchy.mount, *parts[:k]))


def _quota(folder: str, version: int) -> float | None:
    names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    words = " ".join([" ".join(_lines(folder, name)) for name in names]).split()
    if len(words) != 2 or not all([word.isdecimal() for word in words]):  # "max", or -1
        return None
    quota, period = map(int, words)
    return quota / period if period else None


def _lines(root: str, path: str) -> list[str]:
    try:
        with open(_within(root, path), encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _within(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


def _unescaped(path: str) -> str:
    """A path that mountinfo has written, with blanks as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
