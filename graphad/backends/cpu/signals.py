"""Where programs that may run for long look for signals, such as that of Ctrl-C.

Loops count the scalar operations of each turn, and look whenever some 50 ms of them have been counted. If a handler
raises, the program is left, and the exception is what its call raises.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from graphad.backends.loops.costs import Tally
from graphad.backends.loops.ir import Counted, Loop, LoopNest, Repeat, RepeatWhile, Statement, Step, While
from graphad.backends.loops.visit import walk
from graphad.ir.types import EXTENT

#: Of CPython: take the GIL, run the handlers of signals that have come (not 0: one has raised), give the GIL back.
TAKE, HANDLE, GIVE = "PyGILState_Ensure", "PyErr_CheckSignals", "PyGILState_Release"
#: After so many operations a program looks.
OFTEN: Final = 1 << 26
#: Loops of statements whose number of turns is known look if they compute more, for each turn takes longer then.
_LONG: Final = 1 << 30


def look(steps: Iterable[Step]) -> bool:
    """Whether some of ``steps``, or some inside these, look for signals."""
    return any([_looks(s) for s in steps])


def _looks(step: Step) -> bool:
    match step:
        case LoopNest(body=body):
            return any([look_within(s) for s in walk(body)])
        case Repeat(parallel=True):
            return False
        case Repeat() | RepeatWhile():
            return each_turn_looks(step) or look(step.body)
        case Counted(body=body):
            return look(body)
        case _:
            return False


def look_within(loop: Statement) -> bool:
    """Whether each turn of a loop of statements looks."""
    match loop:
        case While():
            return not loop.is_branch
        case Loop(carries=carries, extent=extent):
            in_order = any([c.combine == "last" for c in carries])
            return in_order and extent * operations(loop.body) >= _LONG
        case _:
            return False


def each_turn_looks(step: Repeat | RepeatWhile) -> bool:
    """Whether each turn of a loop of steps looks."""
    if isinstance(step, RepeatWhile):
        return not step.once
    return step.extent == EXTENT or step.extent * operations(step.body) >= OFTEN


def operations(body: Iterable[Any]) -> int:
    """How many scalar operations statements or steps apply, one at least."""
    tally = Tally(())
    for part in body:
        if isinstance(part, Step):
            tally.step(part)
        else:
            tally.statement(part, {})
    return max(tally.operations, 1)
