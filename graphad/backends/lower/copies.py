"""Copies of what nobody reads afterwards, and calls that may overwrite it: source and target become one buffer.

A loop copies what it starts with into the buffers that it carries, and these into its results. Where the source is not
read behind such a copy, nor the target touched before it, both are one buffer, and the copy is gone. The target may be
an output of the program::

    tmp0[i] = 0.0                          tmp0[i] = 0.0
    copy tmp1 = tmp0                       repeat turn0 in 10: ... tmp0 ...
    repeat turn0 in 10: ... tmp1 ...

A routine that copies an operand to change it (`overwrites` in the table of routines) is handed the operand itself::

    tmp0[i] = add(t0, t1)                  tmp0[i] = add(t0, t1)
    call cholesky f64 (tmp0) -> (tmp1)     call cholesky f64 (tmp0) -> (tmp0)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphad_kernels.routines import ROUTINES

from graphad.backends.loops.ir import Buffer, Copy, Counted, Repeat, RepeatWhile, RoutineCall, Step
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step, over


def without_copies(buffers: Sequence[Buffer], steps: Sequence[Step]) -> tuple[tuple[Buffer, ...], tuple[Step, ...]]:
    """The program with fewer temporaries and copies."""
    if not any([_pairs(s) for s in every_step(steps)]):
        return tuple(buffers), tuple(steps)
    temporaries, outputs = (
        {b.name: (b.dtype, b.size) for b in buffers if b.role == role and not b.private}
        for role in ("temporary", "output")
    )
    for step in every_step(steps):
        if isinstance(step, (Repeat, RepeatWhile)):
            for pair in step.swaps:  # the memory of either may be that of the other behind the loop
                for name in pair:
                    temporaries.pop(name, None)
    joined = _Joined(temporaries, outputs)
    joined.look(steps, lambda _: True)
    names = {b.name: joined.name(b.name) for b in buffers}
    return tuple([b for b in buffers if names[b.name] == b.name]), _renamed(steps, names)


class _Joined:
    """Which buffers are one, of those that may be, by their types."""

    def __init__(self, temporaries: Mapping[str, object], outputs: Mapping[str, object]) -> None:
        self.temporaries, self.outputs = temporaries, outputs
        self.names: dict[str, str] = {}

    def name(self, buffer: str) -> str:
        while buffer in self.names:
            buffer = self.names[buffer]
        return buffer

    def look(self, steps: Sequence[Step], is_local: Callable[[str], bool]) -> None:
        """Join what the copies among ``steps`` allow; ``is_local`` says whether a buffer is known here alone."""
        touched = [buffers_read(s) | buffers_written(s) for s in steps]
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for at, names in enumerate(touched):
            for name in names:
                first.setdefault(name, at)
                last[name] = at
        for at, step in enumerate(steps):
            for given, target in _pairs(step):
                source = self.name(given)
                if type(step) is RoutineCall and [self.name(r) for r in step.reads].count(source) > 1:
                    continue
                kind = self.temporaries.get(source)
                may = kind is not None and kind in (self.temporaries.get(target), self.outputs.get(target))
                # A source that is joined with one further outside is not touched here by that name.
                if may and first[target] == last.get(source) == at and is_local(source) and is_local(target):
                    if target in self.outputs:
                        self.names[source] = target
                    else:
                        self.names[target], last[source] = source, last[target]
            if isinstance(step, (Repeat, RepeatWhile, Counted)):
                own = _named_by(step)
                self.look(
                    step.body,
                    lambda n, at=at, own=own: n not in own and first.get(n) == last.get(n) == at and is_local(n),
                )


def _pairs(step: Step) -> list[tuple[str, str]]:
    """What a step copies, or copies to change it, and where to."""
    match step:
        case Copy(source=source, target=target):
            return [(source, target)]
        case RoutineCall(routine=routine, reads=reads, writes=writes):
            row = ROUTINES[routine]
            return [(reads[i], writes[k - row.reads]) for i, k in row.overwrites]
        case _:
            return []


def _named_by(step: Repeat | RepeatWhile | Counted) -> set[str]:
    """What a step that holds others reads and writes itself."""
    match step:
        case Repeat(windows=windows):
            return {w.buffer for w in windows}
        case RepeatWhile(condition=condition):
            return {condition}
        case Counted(count=count):
            return {count}


def _renamed(steps: Sequence[Step], names: dict[str, str]) -> tuple[Step, ...]:
    """The steps over the joined buffers."""
    kept = [s for s in steps if not (type(s) is Copy and names[s.target] == names[s.source])]
    return tuple([over(s, names, lambda body: _renamed(body, names)) for s in kept])
