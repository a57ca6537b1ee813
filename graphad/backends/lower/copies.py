"""Copies of what nobody reads afterwards: source and target become one buffer.

A loop copies what it starts with into the buffers that it carries, and these into its results. Where the source is not
read behind such a copy, nor the target touched before it, both are one buffer, and the copy is gone. The target may be
an output of the program::

    tmp0[i] = 0.0                          tmp0[i] = 0.0
    copy tmp1 = tmp0                       repeat turn0 in 10: ... tmp0 ...
    repeat turn0 in 10: ... tmp1 ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphad.backends.loops.ir import Buffer, Copy, Counted, Repeat, RepeatWhile, Step
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step, over


def without_copies(buffers: Sequence[Buffer], steps: Sequence[Step]) -> tuple[tuple[Buffer, ...], tuple[Step, ...]]:
    """The program with fewer temporaries and copies."""
    if not any([type(s) is Copy for s in every_step(steps)]):
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
            if type(step) is Copy:
                source, target = self.name(step.source), step.target
                kind = self.temporaries.get(source)
                may = kind is not None and kind in (self.temporaries.get(target), self.outputs.get(target))
                # A source that is joined with one further outside is not touched here by that name.
                if may and first[target] == last.get(source) == at and is_local(source) and is_local(target):
                    if target in self.outputs:
                        self.names[source] = target
                    else:
                        self.names[target], last[source] = source, last[target]
            elif isinstance(step, (Repeat, RepeatWhile, Counted)):
                own = _named_by(step)
                self.look(
                    step.body,
                    lambda n, at=at, own=own: n not in own and first.get(n) == last.get(n) == at and is_local(n),
                )


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
