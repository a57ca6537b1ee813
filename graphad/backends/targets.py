"""What compiles programs for a device: a `Target`, found by the kind of the device.

The floors above name no target: they ask `target_of`. A target is made when a device of its kind is first used, so that
the CPU needs nothing of CUDA. Another kind of device is a class with the methods of `Target` and one call of
`register`; its devices have names from then on, and `graphad.devices`, ``jit(device=...)``, ``device_put``, ``explain``
and ``graphad inspect`` know them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from graphad.backends.outcome import Answers
from graphad.device import KINDS, Allocator, Device, Kind, parse
from graphad.errors import DeviceError
from graphad.ir.graph import Graph

if TYPE_CHECKING:
    from graphad.backends.loops.explanation import Explanation


class Executable(Protocol):
    """A graph compiled for a device. If that is the host, it may have an ``entry`` as `cpu.executable` has: calls of
    compiled functions then go through that.
    """

    def run(self, operands: Sequence[Any], answers: Answers = (), /) -> Any:
        """The results, or the `GuardFailure` that ended the run; what the program prints is printed.

        Operands and results are arrays if the device is the host, else `Memory` on it. ``answers`` are those of a run
        that this one takes the place of.
        """
        ...


class Target(Protocol):
    """What compiles programs for devices of one kind. Graphs come as they were traced; ``passes`` is the pipeline that
    they are to go through first.
    """

    @property
    def stages(self) -> tuple[str, ...]:
        """The forms that `show` gives of a program, in the order in which they are made."""
        ...

    @property
    def has_architectures(self) -> bool:
        """Whether programs are shown for an architecture that can be named."""
        ...

    @property
    def rerolls(self) -> bool:
        """Whether what Python has unrolled is to become loops: whether programs run loops better than long programs."""
        ...

    @property
    def has_routines(self) -> bool:
        """Whether programs call all routines of `graphad_kernels.routines`; else graphs stand for those that can be."""
        ...

    def devices(self) -> Sequence[Device]:
        """The devices that are there. Fast, and it never raises."""
        ...

    def memory(self, device: Device, /) -> Allocator:
        """The memory of a device that is not the host; `DeviceError` where that or its driver is missing."""
        ...

    def compile(self, graph: Graph, device: Device, passes: str, /) -> Executable:
        """The program of ``graph`` on a device that is there, under the settings in force."""
        ...

    def show(self, graph: Graph, device: Device, passes: str, stage: str, architecture: str | None = None, /) -> str:
        """The program in one of `stages`, as text; neither the device nor its driver need be there."""
        ...

    def explain(self, graph: Graph, device: Device, passes: str, architecture: str | None = None, /) -> Explanation:
        """What the program does, step by step; neither the device nor its driver need be there."""
        ...


class SharingTarget(Target, Protocol):
    """A target of devices whose memory other libraries have arrays in."""

    def device_of(self, address: int, /) -> Device:
        """The device that has this address."""
        ...


def _cpu() -> Target:
    from graphad.backends.cpu.target import CpuTarget  # late: start-up time

    return CpuTarget()


def _cuda() -> Target:
    from graphad.backends.cuda.target import CudaTarget  # late: start-up time

    return CudaTarget()


_factories: Final[dict[str, Callable[[], Target]]] = {"cpu": _cpu, "cuda": _cuda}
_targets: Final[dict[str, Target]] = {}


def register(kind: str, factory: Callable[[], Target], naming: Kind | None = None) -> None:
    """Have ``factory`` make the target for devices of a kind.

    Parameters
    ----------
    kind
        What the names of the devices begin with.
    factory
        Called once, when a device of the kind is first used.
    naming
        How the devices are named; by default there is one, of the name of its kind, with memory of its own.
    """
    if kind in _factories:
        raise ValueError(f"there is a target for devices of the kind {kind!r} already")
    if not kind.isidentifier():
        raise ValueError(f"the kind of a device is a word, not {kind!r}")
    KINDS[kind] = naming or Kind()
    _factories[kind] = factory


def unregister(kind: str) -> None:
    """Forget the target that was registered for a kind; nothing on its devices may be used any more."""
    del _factories[kind], KINDS[kind]
    _targets.pop(kind, None)
    parse.cache_clear()


def target_of(device: Device) -> Target:
    """The target of a device."""
    return _target(device.kind)


def every_target() -> dict[str, Target]:
    """All targets, by the kind of their devices."""
    return {kind: _target(kind) for kind in _factories}


def _target(kind: str) -> Target:
    found = _targets.get(kind)
    if found is None:
        factory = _factories.get(kind)
        if factory is None:
            raise DeviceError(f"no target is registered for devices of the kind {kind!r}")
        found = _targets.setdefault(kind, factory())
    return found
