"""Horizontal fusion: independent kernels in one launch, each on a range of blocks. An example is the updates of all
parameters of a model.

A launch costs as much as moving megabytes, and a kernel of few blocks leaves most of a device idle. So kernels of which
none touches what another one writes share a launch (Li et al., "Automatic Horizontal Fusion for GPU Kernels", CGO
2022), which may move them past independent steps. A thread of a bundle has as many registers as the part that needs
most. In bundles of more threads than a device runs at once (`Limits.crowd`), where this lowers occupancy, all parts are
elementwise: these need few registers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from graphad.backends.cuda.program.independence import MOST_PARAMETERS, independent
from graphad.backends.cuda.program.ir import (
    MOST_SHARED,
    WARP,
    Bundle,
    DeviceStep,
    Kernel,
    reads,
    writes,
)
from graphad.backends.cuda.schedule.limits import Limits
from graphad.backends.loops.ir import Counted, GuardStep, HostCall, Loop, Repeat, RepeatWhile, While


def bundled(steps: Sequence[DeviceStep], limits: Limits) -> list[DeviceStep]:
    """``steps`` with independent kernels fused into bundles, where that pays.

    Bundles have no name yet. No kernel moves across a guard, a callback or a loop of steps.
    """
    done: list[DeviceStep] = []
    segment: list[DeviceStep] = []
    for step in steps:
        if isinstance(step, (GuardStep, HostCall, Repeat, RepeatWhile, Counted)):
            done += [*_Segment(segment, limits).run(), step]
            segment = []
        else:
            segment.append(step)
    return [*done, *_Segment(segment, limits).run()]


def named(steps: Iterable[DeviceStep], name: str) -> list[DeviceStep]:
    """``steps`` with kernels and bundles called ``name_0``, ``name_1``, ..., parts of a bundle ``name_1_0``, ..."""
    numbers = count()

    def one(step: DeviceStep) -> DeviceStep:
        match step:
            case Kernel():
                return replace(step, name=f"{name}_{next(numbers)}")
            case Bundle(parts=parts):
                own = f"{name}_{next(numbers)}"
                called = [replace(part, name=f"{own}_{k}") for k, part in enumerate(parts)]
                return replace(step, name=own, parts=tuple(called))
            case Repeat() | RepeatWhile() | Counted():
                return replace(step, body=tuple([one(s) for s in step.body]))
            case _:
                return step

    return [one(s) for s in steps]


# ---- which kernels go together


@dataclass(slots=True)
class _Group:
    """Steps that become one: kernels of a bundle, or a single step. Sets of groups are bits of an integer."""

    members: list[DeviceStep]
    ancestors: int = 0  # what must come before, directly or not
    kernels: list[Kernel] = field(default_factory=list[Kernel])  # as they are in the bundle
    parameters: set[str] = field(default_factory=set[str])  # of all kernels

    def join(self, step: Kernel, together: list[Kernel]) -> None:
        """Add ``step``; the bundle then consists of the kernels ``together``."""
        self.members.append(step)
        self.kernels = together
        self.parameters.update(step.parameters)


class _Segment:
    """Steps without a guard among them."""

    def __init__(self, steps: Sequence[DeviceStep], limits: Limits) -> None:
        self.steps = steps
        self.limits = limits
        self.groups: list[_Group] = []
        self.readers: dict[str, list[tuple[DeviceStep, int]]] = {}  # of a buffer, each with its group
        self.writers: dict[str, list[tuple[DeviceStep, int]]] = {}

    def run(self) -> list[DeviceStep]:
        for step in self.steps:
            own_reads, own_writes = reads(step), writes(step)
            ancestors = self._ancestors(step, own_reads, own_writes)
            group = self._home(step, ancestors)
            for name in own_reads:
                self.readers.setdefault(name, []).append((step, group))
            for name in own_writes:
                self.writers.setdefault(name, []).append((step, group))
        return [self._step(g) for g in self._in_order()]

    def _ancestors(self, step: DeviceStep, read: set[str], written: set[str]) -> int:
        """The groups that must come before ``step``."""
        ancestors = 0
        earlier = [pair for name in read | written for pair in self.writers.get(name, ())]
        earlier += [pair for name in written for pair in self.readers.get(name, ())]
        for other, group in earlier:
            if not ancestors >> group & 1 and not _apart(other, step):
                ancestors |= 1 << group | self.groups[group].ancestors
        return ancestors

    def _home(self, step: DeviceStep, ancestors: int) -> int:
        """The group that ``step`` goes to: the first that can take it, or a new one."""
        if isinstance(step, Kernel) and step.blocks and self.limits.crowd:
            for k, group in enumerate(self.groups):
                if not group.kernels or ancestors >> k & 1:
                    continue
                if len(group.parameters.union(step.parameters)) > MOST_PARAMETERS:
                    continue
                together = _together([*group.kernels, step], self.limits)
                if together is not None:
                    group.join(step, together)
                    self._come_after(k, ancestors)
                    return k
        self.groups.append(_Group([step], ancestors))
        if isinstance(step, Kernel) and step.blocks:
            self.groups[-1].kernels, self.groups[-1].parameters = [step], set(step.parameters)
        return len(self.groups) - 1

    def _come_after(self, k: int, ancestors: int) -> None:
        """Add ``ancestors`` to those of group ``k``, and of the groups that depend on it."""
        self.groups[k].ancestors |= ancestors
        for group in self.groups:
            if group.ancestors >> k & 1:
                group.ancestors |= self.groups[k].ancestors

    def _in_order(self) -> list[_Group]:
        """The groups in a stable topological order."""
        waiting = dict(enumerate(self.groups))
        ordered: list[_Group] = []
        done = 0
        while waiting:
            k = next(k for k, g in waiting.items() if not g.ancestors & ~done)
            ordered.append(waiting.pop(k))
            done |= 1 << k
        return ordered

    @staticmethod
    def _step(group: _Group) -> DeviceStep:
        if len(group.members) == 1:
            return group.members[0]
        loc = next((k.loc for k in group.kernels if k.loc is not None), None)
        return Bundle("", tuple(group.kernels), loc)


def _apart(a: DeviceStep, b: DeviceStep) -> bool:
    return isinstance(a, Kernel) and isinstance(b, Kernel) and independent(a, b)


def _together(kernels: Sequence[Kernel], limits: Limits) -> list[Kernel] | None:
    """``kernels`` with blocks of one size, or None if they cannot be a bundle."""
    whole = {k.threads for k in kernels if k.group > WARP}
    if len(whole) > 1:
        return None
    threads = whole.pop() if whole else max([k.threads for k in kernels])
    recut = [k if k.threads == threads else replace(k, threads=threads) for k in kernels]
    if sum([k.shared_bytes for k in recut]) > MOST_SHARED:
        return None
    crowded = sum([k.blocks for k in recut]) * threads > limits.crowd
    return None if crowded and not all(map(_is_elementwise, recut)) else recut


def _is_elementwise(kernel: Kernel) -> bool:
    return kernel.group == 1 and not any(isinstance(s, (Loop, While)) for s in kernel.body)


# ---- what does not depend on each other
