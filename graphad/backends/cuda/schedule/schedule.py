"""``KernelProgram -> DeviceProgram``: the same loop nests, dealt out to the threads of a device.

For each nest: independent loops go into the grid (`nest.widened`); what is left inside is run by one thread for each
point, or shared out among a warp or a block (`build`); and where even a block would be too little, the nest is split
first (`split`). Scatters become atomic updates (`scatter`). Neighbouring nests over the same rows become one kernel
(`vertical_fusion`), padding is folded into reads (`padding`), elementwise loops become epilogues of the scans that they
read (`scan_epilogues`), and transposed reads go by tiles (`tiles`). Sorting, a routine on the CPU, is a
nest for short rows (`sorting`) and kernels of its own for others (`radix`). Before all that, independent loops become
nests of their own (`fission`); after it, independent kernels share launches (`horizontal_fusion`). Loops of steps stay
what they are, and the steps inside are scheduled as a program of their own; before anything else, loops of a number of
turns known only as they run are written with a test (`counted`). Matrix products come as lowering has made them for a
GPU (`traits`): of 16-bit floats, and with a bias and relu as their epilogue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.ir import MOST_SHARED, WARP, DeviceProgram, DeviceStep, reads, writes
from graphad.backends.cuda.schedule.build import THREADS, kernel_of, spreadable, work_of
from graphad.backends.cuda.schedule.counted import with_counted_loops_tested
from graphad.backends.cuda.schedule.fission import independent_loops, independent_pieces, is_flat, iterations, n_pieces
from graphad.backends.cuda.schedule.horizontal_fusion import bundled, named
from graphad.backends.cuda.schedule.limits import LIMITS, Limits
from graphad.backends.cuda.schedule.nest import Nest, steps_along, widened
from graphad.backends.cuda.schedule.padding import with_padding_folded
from graphad.backends.cuda.schedule.radix import radix_kernels
from graphad.backends.cuda.schedule.scan_epilogues import with_scan_epilogues
from graphad.backends.cuda.schedule.scatter import election, path_to_store, with_atomics
from graphad.backends.cuda.schedule.segments import depends_on_order, sorted_updates
from graphad.backends.cuda.schedule.sorting import SHORT, sort_of, sorting_network, unused_bits
from graphad.backends.cuda.schedule.split import Splitter
from graphad.backends.cuda.schedule.tiles import TILE_THREADS, tiled
from graphad.backends.cuda.schedule.vertical_fusion import is_deep, localised, with_rows_fused
from graphad.backends.loops.independence import independent
from graphad.backends.loops.ir import (
    Buffer,
    Counted,
    KernelProgram,
    Load,
    Loop,
    LoopNest,
    Repeat,
    RepeatWhile,
    RoutineCall,
    Statement,
    Step,
    Store,
    While,
)
from graphad.backends.loops.rewrites import (
    Names,
    copied,
    defined,
    forward,
    is_pure,
    loops_of,
    names_of,
    with_unique_variables,
)
from graphad.backends.loops.steps import Turns, every_step
from graphad.backends.loops.visit import walk
from graphad.config import config


def schedule(
    program: KernelProgram,
    *,
    limits: Limits = LIMITS,
    deterministic: bool = False,
) -> DeviceProgram:
    """Turn ``program`` into launches.

    Parameters
    ----------
    program
        A program that `check_program` accepts.
    limits
        When to use how many threads.
    deterministic
        Combine floats at scattered positions in an order that does not change from run to run, rather than by atomic
        updates; this takes a sort.

    Raises
    ------
    VerifyError
        If the result breaks the rules of device programs, which is checked from ``config.verify`` 2 on.
    """
    program = with_counted_loops_tested(program)
    nests = [s for s in every_step(program.steps) if isinstance(s, LoopNest)]
    names = Names([*[b.name for b in program.buffers], *[n for s in nests for n in names_of(s.body)]])
    options = _Options(limits, deterministic)
    scheduler = _Scheduler(program, options, names)
    steps = named(scheduler.run(), program.name)
    used = {n for s in every_step(steps) for n in reads(s) | writes(s)}
    kept = [b for b in scheduler.buffers.values() if b.role in ("input", "output") or b.name in used]
    kept.sort(key=lambda b: b.role == "window")
    launches = DeviceProgram(program.name, tuple([replace(b, private=False) for b in kept]), tuple(steps))
    if config.verify >= 2:
        check_device_program(launches)
    return launches


@dataclass(frozen=True, slots=True)
class _Options:
    """How to schedule: what `schedule` is told."""

    limits: Limits
    deterministic: bool


class _Scheduler:
    """Schedules the steps of one program, or those inside of a loop of steps; ``buffers`` grows by new temporaries."""

    def __init__(self, program: KernelProgram, options: _Options, names: Names) -> None:
        self.program = program
        self.options = options
        self.limits = limits = options.limits
        self.deterministic = options.deterministic
        self.buffers: dict[str, Buffer] = {b.name: b for b in program.buffers}
        self.names = names
        self.values: set[str] = set()  # of the nests so far
        self.splitter = Splitter(self.names, self.buffers, limits)
        self.steps: list[DeviceStep] = []

    def run(self) -> list[DeviceStep]:
        """The steps of the device, without names yet."""
        steps: list[Step] = [t for s in self.program.steps for t in self._prepared(s)]
        steps = with_padding_folded(steps, self.names, self.buffers)
        steps = with_scan_epilogues(steps, self.names, self.buffers)
        steps = with_rows_fused(steps, self.names, self.buffers, self.limits)
        users = Counter(name for s in steps for name in reads(s) | writes(s))
        for step in steps:
            if isinstance(step, LoopNest):
                own = {b.name: b for b in self._temporaries(step) if users[b.name] == 1}
                for nest in self._widened(Nest((), step.body, loc=step.loc), own):
                    self._place(nest)
            elif isinstance(step, RoutineCall):
                sort = replace(sort_of(step), unused=unused_bits(step.reads[0], self.program))
                self.steps += radix_kernels(sort, self.names, self.buffers)
            elif isinstance(step, (Repeat, RepeatWhile, Counted)):
                self.steps.append(self._turns(step, [s for s in steps if s is not step]))
            else:
                self.steps.append(step)
        return bundled(self.steps, self.limits)

    def _turns(self, step: Turns, others: Sequence[Step]) -> DeviceStep:
        """A loop of steps, with those inside scheduled; what ``others`` touch too is no temporary of theirs."""
        own = {n for s in step.body for n in reads(s) | writes(s)} - reads(replace(step, body=()))
        own = own.difference(*[reads(s) | writes(s) for s in others])
        inside = [
            replace(b, role="window") if b.role == "temporary" and b.name not in own else b
            for b in self.buffers.values()
        ]
        inner = replace(self.program, buffers=tuple(inside), steps=step.body)
        scheduler = _Scheduler(inner, self.options, self.names)
        body = tuple(scheduler.run())
        for b in scheduler.buffers.values():
            if b.role == "temporary":
                self.buffers[b.name] = b
        if isinstance(step, Repeat):
            looked_through = {n for s in body for n in reads(s) | writes(s)}
            step = replace(step, windows=tuple([w for w in step.windows if w.name in looked_through]))
        return replace(step, body=body)

    # ---- before threads are assigned

    def _prepared(self, step: Step) -> list[Step]:
        """``step`` with names that no other step has, for nests to be fused; scatters and calls replaced."""
        if isinstance(step, RoutineCall):
            return self._sorted(step)
        if not isinstance(step, LoopNest):
            return [step]
        body = with_unique_variables(self._with_own_values(step.body), self.names)
        body = tuple([t for s in body for t in (independent_loops(s, self.names) if isinstance(s, Loop) else [s])])
        body = tuple([with_atomics(s) if isinstance(s, Loop) and self._in_order(s) else s for s in body])
        pieces = [p for piece in independent_pieces(body, self.names) for p in self._pieces(piece)]
        pieces = [p for piece in pieces for p in independent_pieces(piece, self.names)]
        return [t for piece in pieces for t in self._scattered(LoopNest(piece, step.loc))]

    def _with_own_values(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """``body``, with fresh names for its values if an earlier nest has one of them: that of a region may."""
        own = {name for s in walk(body) for name in defined(s)}
        if not own.isdisjoint(self.values):
            body, _ = copied(body, self.names)
            own = {name for s in walk(body) for name in defined(s)}
        self.values |= own
        return body

    def _sorted(self, call: RoutineCall) -> list[Step]:
        """A sort of short rows as a nest, which may be fused with others; one of longer rows as it is."""
        sort = sort_of(call)
        if not sort.rows * sort.n:
            return []
        return self._prepared(sorting_network(sort, self.names, self.buffers)) if sort.n <= SHORT else [call]

    def _pieces(self, body: tuple[Statement, ...]) -> list[tuple[Statement, ...]]:
        """``body`` distributed: loops that take several kernels, or need threads of their own, become nests."""
        loops = loops_of(body)
        if len(body) > 1 and any(map(self._needs_steps, loops)):
            pieces = self.splitter.with_loops_alone(body, self._needs_steps)
        elif len(loops) > 1 and any(map(self._is_deep, loops)):
            return self.splitter.with_loops_alone(body, self._is_deep)
        elif (alone := self._alone(body)) is not None:
            return self.splitter.with_loops_alone(body, alone)
        else:
            return [body]
        return [q for p in pieces for q in (self._pieces(p) if len(p) > 1 else [p])]

    def _scattered(self, nest: LoopNest) -> list[Step]:
        """``nest``, or the steps that replace it if it is a scatter."""
        body = nest.body
        if self._is_ordered_sum(body):
            steps = sorted_updates(body, self.names, self.buffers)
            return [t for s in steps for t in (self._prepared(s) if isinstance(s, RoutineCall) else [s])]
        if len(body) == 1 and isinstance(body[0], Loop) and self._in_order(body[0]):
            elected = election(body[0], self.names, self.buffers)
            if elected is not None:
                return [*elected]
        return [nest]

    def _needs_steps(self, loop: Loop) -> bool:
        """Whether a scatter takes more than one kernel: a sort, or an election."""
        return path_to_store(loop) is not None and (self._is_ordered_sum((loop,)) or self._in_order(loop))

    def _alone(self, body: Sequence[Statement]) -> Callable[[Loop], bool] | None:
        """The loops that get threads of their own, because one block would be too few for all of ``body``."""
        loops = loops_of(body)
        combined = [k for k, s in enumerate(body) if isinstance(s, While) or (isinstance(s, Loop) and not is_flat(s))]
        if len(body) < 2 or not loops:
            return None
        if not combined:
            return is_flat
        head = body[: combined[-1] + 1]  # what uses the results comes after it
        n_first = sum(isinstance(s, Loop) for s in head)
        if sum(map(iterations, loops)) > self.limits.small and 1 < n_first == n_pieces(head):
            return lambda loop: True
        flat = sum([iterations(loop) for loop in loops if is_flat(loop)])
        return is_flat if flat > self.limits.small else None

    def _is_deep(self, loop: Loop) -> bool:
        return is_deep(loop, self.limits)

    def _is_ordered_sum(self, body: Sequence[Statement]) -> bool:
        return self.deterministic and depends_on_order(body, self.buffers)

    @staticmethod
    def _in_order(loop: Loop) -> bool:
        """Whether stores make the iterations of a loop sequential."""
        return not loop.carries and not independent(loop.var, loop.extent, forward(loop).body, {})

    def _temporaries(self, step: LoopNest) -> Iterable[Buffer]:
        touched = dict.fromkeys(s.buffer for s in walk(step.body) if isinstance(s, (Load, Store)))
        return [self.buffers[n] for n in touched if self.buffers[n].role == "temporary"]

    def _widened(self, nest: Nest, own: dict[str, Buffer]) -> list[Nest]:
        """``nest`` with its parallel loops in the grid; loops side by side are treated one by one."""
        return [localised(widened(nest, own), own, self.buffers)]

    # ---- one nest

    def _place(self, nest: Nest) -> None:
        """Append the kernels of ``nest``."""
        if not nest.points or not nest.body:
            return
        loops = loops_of(nest.body)
        shared = [s for s in loops if spreadable(s, nest)]
        work = max([work_of(s, nest) for s in shared], default=0)
        group = self._group(nest, shared, work)
        parts = self._columns(nest, loops, work) if shared == loops else None
        if parts is None and work > self.limits.long and nest.points * group < self.limits.enough:
            parts = self._cut(nest, work)
        if parts is not None:
            for part in parts:
                self._place(widened(part, {}))
            return
        tiles = tiled(nest, self.splitter, self.limits) if group == 1 and not loops else None
        if tiles is not None:
            whole, rest = tiles
            self.steps.append(kernel_of(whole, TILE_THREADS, self.buffers))
            for edge in rest:
                self.steps.append(kernel_of(edge, 1, self.buffers))
            return
        kept = () if group == 1 else self._kept_in_shared(nest, group)
        nest = self.splitter.with_copies(nest, [b for b in nest.private if b not in kept])
        self.steps.append(kernel_of(nest, group, self.buffers))

    def _group(self, nest: Nest, shared: Sequence[Loop], work: int) -> int:
        """How many threads for each point."""
        alone = [s for s in nest.body if isinstance(s, While) or (isinstance(s, Loop) and s not in shared)]
        if work < self.limits.spread or any(map(_has_loop_carried_dependence, alone)):
            return 1
        if nest.points >= self.limits.plenty and _reads_across(nest):
            return 1
        if nest.points >= 16 * self.limits.plenty and work <= 32:
            return 1
        group = 256 if work > self.limits.block else 128 if work > self.limits.warp else 32
        if nest.points >= self.limits.plenty and work <= self.limits.block:
            return 32
        while group < 256 and 4 * group <= work and 4 * nest.points * group < self.limits.enough:
            group = 128 if group == 32 else 256  # few points leave room for more threads on each
        return group

    def _columns(self, nest: Nest, loops: Sequence[Loop], work: int) -> list[Nest] | None:
        """Sums over many long columns, cut into chunks of rows, with a thread for each column of each chunk."""
        most = 4 * self.limits.enough // nest.points
        chunks = min(most, 4 * self.limits.chunks, work // self.limits.column)
        if len(loops) != 1 or not loops[0].carries or nest.private or chunks < 4 or not _reads_across(nest):
            return None
        if nest.grid[-1].extent < WARP or nest.points * work < self.limits.columns:
            return None
        return self.splitter.split_reduction(nest, chunks, across=True)

    def _cut(self, nest: Nest, work: int) -> list[Nest] | None:
        """Smaller nests instead of one that would leave most threads idle."""
        nest = self.splitter.with_copies(nest)
        if sum(isinstance(s, (Loop, While)) for s in nest.body) > 1:
            return self.splitter.distributed(nest)
        loop = next(s for s in nest.body if isinstance(s, Loop))
        if not loop.carries:
            return self._cut_map(nest)
        chunks = min(self.limits.chunks, max(2, work // self.limits.chunk))
        return self.splitter.split_scan(nest) or self.splitter.split_reduction(nest, chunks)

    def _cut_map(self, nest: Nest) -> list[Nest] | None:
        """The independent loop without the stores of scalars beside it, and those alone."""
        if all(map(is_pure, nest.body[:-1])) and isinstance(nest.body[-1], Loop):
            return None  # a parallel loop alone would be in the grid already
        k = next(k for k, s in enumerate(nest.body) if isinstance(s, Loop))
        pure = tuple([s for s in nest.body[:k] if is_pure(s)])
        stores = tuple([s for s in nest.body if not isinstance(s, Loop)])
        written = {s.buffer for s in nest.body if isinstance(s, Store)}
        if any(isinstance(s, (Load, Store)) and s.buffer in written for s in walk((nest.body[k],))):
            return None
        if any(isinstance(s, Load) and s.buffer in _written((nest.body[k],)) for s in nest.body):
            return None
        return [replace(nest, body=stores), replace(nest, body=(*pure, nest.body[k]))]

    def _kept_in_shared(self, nest: Nest, group: int) -> list[str]:
        """The private temporaries that a group keeps in shared memory: small ones, private to each point."""
        at_once = max(THREADS // group, 1)
        room, kept = min(self.limits.shared, MOST_SHARED // at_once), list[str]()
        for name, axes in nest.private.items():
            size = self.buffers[name].size * max(self.buffers[name].dtype.bits // 8, 1)
            if set(axes) == set(nest.extents) and size <= room:
                room -= size
                kept.append(name)
        return kept


def _has_loop_carried_dependence(loop: Loop | While) -> bool:
    """Whether a loop reads what it writes: then every thread that runs it needs a private copy."""
    read = {s.buffer for s in walk(loop.body) if isinstance(s, Load)}
    return not read.isdisjoint(_written((loop,)))


def _written(statements: Sequence[Statement]) -> set[str]:
    return {s.buffer for s in walk(statements) if isinstance(s, Store)}


def _reads_across(nest: Nest) -> bool:
    """Whether neighbouring points read neighbouring elements, and the iterations of one point do not."""
    if not nest.grid:
        return False
    inner = loops_of(nest.body)
    votes = 0
    for loop in inner:
        votes += steps_along(loop.body, nest.grid[-1].var).count(1) - steps_along(loop.body, loop.var).count(1)
    return votes > 0
