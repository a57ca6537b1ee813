"""Limits on the size of traces, for Python loops that do not end while they are traced."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from graphad.config import config
from graphad.errors import EndlessTraceError, GrowthWarning
from graphad.ir.loc import source_of
from graphad.ir.types import Literal, f64
from graphad.trace.source import quoted, user_loc, where

if TYPE_CHECKING:
    from graphad.ir.graph import Atom
    from graphad.ir.loc import Loc
    from graphad.ir.types import DType
    from graphad.trace.recording import Trace

#: Equations of a trace, or turns of a loop, at which there is a warning.
WARN_EQUATIONS: Final = 100_000
#: A line that observes values more often than this is taken for the condition of a loop.
_MANY_TURNS: Final = 100


class Turns:
    """How often Python has observed a value at one line, and the last such value."""

    __slots__ = ("atom", "count", "next_warning")

    def __init__(self) -> None:
        self.count = 0
        self.atom: Atom = 0
        self.next_warning = min(WARN_EQUATIONS, config.max_equations)


def grown(trace: Trace, count: int) -> int:
    """Warn that ``trace`` has ``count`` equations or turns, or raise; returns the count for the next check."""
    limit = config.max_equations
    if count >= limit:
        raise EndlessTraceError(
            f"{_report(trace)}The limit is config.max_equations = {limit:,}; raise it with "
            f"config.update('max_equations', ...) if the program is meant to be that long.{_instead(trace)}"
        )
    if trace.next_warning < limit:  # once a trace
        trace.next_warning = limit
        place = source_of(user_loc(2)) or ("<unknown>", 1)
        warnings.warn_explicit(f"{_report(trace).rstrip()}{_instead(trace)}", GrowthWarning, *place)
    return limit


def _report(trace: Trace) -> str:
    loc, turns = _longest_loop(trace)
    now = loc if loc is not None else user_loc(2)
    text = f"{where(now)}tracing {trace.name} has recorded {len(trace.eqns):,} equations"
    if turns is None:
        return f"{text}, and goes on: Python's loops are unrolled.{quoted(now)}"
    text += f" in {turns.count:,} turns of a loop that looks at a traced value here; it may never end.{quoted(now)}"
    floats = [d for d in _compared(trace, turns.atom) if d.is_float]
    if floats and f64 not in floats:
        return (
            f"{text}The values compared are {floats[0].numpy.name}, which cannot resolve differences below their "
            "rounding error. Compare with a wider tolerance, limit the number of turns, or use float64. "
        )
    return f"{text}Limit the number of turns. "


def _instead(trace: Trace) -> str:
    """The loop as it may be written instead."""
    from graphad.trace.rewritten.loops import rewritten_loop

    loc, turns = _longest_loop(trace)
    text = rewritten_loop(user_loc(2) if turns is None else loc, turns is not None)
    return text and f"\n{text.rstrip()}"


def _compared(trace: Trace, atom: Atom) -> list[DType]:
    """The types of the values that a predicate compares."""
    made = trace.maker(atom)
    return [] if made is None else [trace.avals[a].dtype for a in made.inputs if not isinstance(a, Literal)]


def _longest_loop(trace: Trace) -> tuple[Loc, Turns | None]:
    """The line with the most observations, if it is in a loop."""
    loc, turns = max(trace.turns.items(), key=lambda item: item[1].count, default=(None, None))
    return (loc, turns) if turns is not None and turns.count > _MANY_TURNS else (None, None)
