"""Traversal of steps, and the buffers that each reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from graphad.backends.loops.ir import (
    Copy,
    Counted,
    Gemm,
    GuardStep,
    HostCall,
    Load,
    LoopNest,
    Repeat,
    RepeatWhile,
    RoutineCall,
    Statement,
    Step,
    Store,
)
from graphad.backends.loops.visit import mapped, walk

S = TypeVar("S")  # of steps, of whatever kind
Turns = Repeat | RepeatWhile | Counted  # steps with steps inside


def every_step(steps: Iterable[S]) -> Iterator[S]:
    """All steps, those inside others behind them."""
    for step in steps:
        yield step
        if isinstance(step, (Repeat, RepeatWhile, Counted)):
            yield from every_step(step.body)


def mapped_steps(steps: Iterable[Step], change: Callable[[Step], Step]) -> tuple[Step, ...]:
    """Every step rewritten, after those inside it."""
    return tuple(
        [
            change(
                replace(s, body=mapped_steps(s.body, change)) if isinstance(s, (Repeat, RepeatWhile, Counted)) else s
            )
            for s in steps
        ]
    )


def over(step: Step, names: Mapping[str, str], body: Callable[[Sequence[Step]], tuple[Step, ...]]) -> Step:
    """``step`` over other buffers; ``body`` does the same for the steps inside."""

    def pairs(swaps: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple([(names[a], names[b]) for a, b in swaps])

    match step:
        case LoopNest(body=statements):
            return replace(step, body=mapped(statements, lambda s: _access_over(s, names)))
        case Gemm():
            a, b, c = (replace(m, buffer=names[m.buffer]) for m in (step.a, step.b, step.c))
            return replace(step, a=a, b=b, c=c, bias=None if step.bias is None else names[step.bias])
        case RoutineCall(reads=reads, writes=writes) | HostCall(reads=reads, writes=writes):
            return replace(step, reads=tuple([names[r] for r in reads]), writes=tuple([names[w] for w in writes]))
        case Copy(target=target, source=source):
            return replace(step, target=names[target], source=names[source])
        case GuardStep(buffer=buffer):
            return replace(step, buffer=names[buffer])
        case Repeat(windows=windows, swaps=swaps):
            windows = tuple([replace(w, name=names[w.name], buffer=names[w.buffer]) for w in windows])
            return replace(step, windows=windows, swaps=pairs(swaps), body=body(step.body))
        case Counted(count=count):
            return replace(step, count=names[count], body=body(step.body))
        case RepeatWhile(condition=condition, swaps=swaps):
            return replace(step, condition=names[condition], swaps=pairs(swaps), body=body(step.body))


def _access_over(s: Statement, names: Mapping[str, str]) -> Statement:
    return replace(s, buffer=names[s.buffer]) if isinstance(s, (Load, Store)) else s


def buffers_read(step: Step) -> set[str]:
    """Names of the buffers that ``step`` reads."""
    match step:
        case LoopNest(body=body):
            return {s.buffer for s in walk(body) if isinstance(s, Load)}
        case Gemm(a=a, b=b, bias=bias):
            return {a.buffer, b.buffer} if bias is None else {a.buffer, b.buffer, bias}
        case RoutineCall(reads=reads) | HostCall(reads=reads):
            return set(reads)
        case Copy(source=source):
            return {source}
        case GuardStep(buffer=buffer):
            return {buffer}
        case Repeat() | RepeatWhile() | Counted():
            return read_in_turns(step, buffers_read)


def buffers_written(step: Step) -> set[str]:
    """Names of the buffers that ``step`` writes."""
    match step:
        case LoopNest(body=body):
            return {s.buffer for s in walk(body) if isinstance(s, Store)}
        case Gemm(c=c):
            return {c.buffer}
        case RoutineCall(writes=writes) | HostCall(writes=writes):
            return set(writes)
        case Copy(target=target):
            return {target}
        case GuardStep():
            return set()
        case Repeat() | RepeatWhile() | Counted():
            return written_in_turns(step, buffers_written)


def read_in_turns(step: Turns, reads: Callable[[Any], set[str]]) -> set[str]:
    """Names of the buffers outside that steps inside ``step`` read, given what each of them reads."""
    found = {name for inner in step.body for name in reads(inner)}
    match step:
        case Counted(count=count):
            return found | {count}
        case Repeat(swaps=swaps):
            return _outside(step, found | {name for pair in swaps for name in pair})
        case RepeatWhile(swaps=swaps, condition=condition):
            return found | {name for pair in swaps for name in pair} | {condition}


def written_in_turns(step: Turns, writes: Callable[[Any], set[str]]) -> set[str]:
    """Names of the buffers outside that steps inside ``step`` write, given what each of them writes."""
    found = {name for inner in step.body for name in writes(inner)}
    return found if isinstance(step, Counted) else _outside(step, found | {n for pair in step.swaps for n in pair})


def _outside(step: Repeat | RepeatWhile, names: set[str]) -> set[str]:
    """``names`` with the buffers that windows look at in place of the windows."""
    windows = {w.name: w.buffer for w in step.windows} if type(step) is Repeat else {}
    return {windows.get(name, name) for name in names}
