"""How many threads there are: control groups as trees of files, and the CPUs that the process may run on."""

from __future__ import annotations

import os

import pytest

from graphad.backends.cpu.pool import available
from graphad.backends.cpu.pool.available import available_threads, cpu_quota

V2 = "30 1 0:1 {top} {mount} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 1 0:2 {top} {mount} rw,relatime - cgroup cgroup rw,cpu,cpuacct"
MEMORY = "35 1 0:3 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"


def v2(mount="/sys/fs/cgroup", top="/"):
    return V2.format(mount=mount, top=top)


def v1(mount="/sys/fs/cgroup/cpu,cpuacct", top="/"):
    return V1.format(mount=mount, top=top)


CASES = {
    "nothing mounted": ([], ["0::/a"], {}, None),
    "no limit": ([v2()], ["0::/a"], {"/sys/fs/cgroup/a/cpu.max": "max 100000"}, None),
    "own group": ([v2()], ["0::/a/b"], {"/sys/fs/cgroup/a/b/cpu.max": "250000 100000"}, 2.5),
    "a parent": (
        [v2()],
        ["0::/a/b/c"],
        {"/sys/fs/cgroup/a/cpu.max": "150000 100000", "/sys/fs/cgroup/a/b/c/cpu.max": "400000 100000"},
        1.5,
    ),
    "the group that is mounted": ([v2()], ["0::/"], {"/sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
    "another's group": ([v2()], ["0::/a"], {"/sys/fs/cgroup/b/cpu.max": "50000 100000"}, None),
    "version 1": (
        [MEMORY, v1()],
        ["5:memory:/m", "2:cpu,cpuacct:/a/b", "0::/"],
        {
            "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "300000",
            "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            "/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1",
            "/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000",
        },
        3.0,
    ),
    "both versions": (
        [v1("/sys/fs/cgroup/cpu"), v2("/sys/fs/cgroup/unified")],
        ["1:cpu:/", "0::/a"],
        {
            "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
            "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000",
            "/sys/fs/cgroup/unified/a/cpu.max": "700000 100000",
        },
        4.0,
    ),
    "a container that sees its own group alone": (
        [v1(top="/docker/f00")],
        ["2:cpu,cpuacct:/docker/f00/x"],
        {
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "120000",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
        1.2,
    ),
    "a group outside of what is mounted": (
        [v2(top="/docker/f00")],
        ["0::/elsewhere"],
        {"/sys/fs/cgroup/cpu.max": "600000 100000"},
        6.0,
    ),
    "a mount with a blank": ([v2("/my\\040groups")], ["0::/a"], {"/my groups/a/cpu.max": "100000 100000"}, 1.0),
    "nonsense": ([v2()], ["0::/a"], {"/sys/fs/cgroup/a/cpu.max": "few many\nmore"}, None),
    "a period of nothing": ([v2()], ["0::/a"], {"/sys/fs/cgroup/a/cpu.max": "100000 0"}, None),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    mounts, groups, files, expected = CASES[request.param]
    own = {"/proc/self/mountinfo": "\n".join(mounts), "/proc/self/cgroup": "\n".join(groups)}
    for name, text in (own | files).items():
        path = tmp_path / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return str(tmp_path), expected


def test_quota(case):
    root, expected = case
    assert cpu_quota(root) == expected


def test_threads(case, monkeypatch):
    """Whole CPUs, one at least, and no more than the process may run on."""
    root, quota = case
    for cpus in (1, 2, 64):
        monkeypatch.setattr(available.os, "sched_getaffinity", lambda _, n=cpus: set(range(n)), raising=False)
        assert available_threads(root) == (cpus if quota is None else max(1, min(cpus, int(quota))))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not say")
def test_this_machine():
    allowed = os.sched_getaffinity(os.getpid())
    assert 1 <= available_threads() <= len(allowed)
    os.sched_setaffinity(os.getpid(), {min(allowed)})
    try:
        assert available_threads() == 1
    finally:
        os.sched_setaffinity(os.getpid(), allowed)
