"""Guards: Python's own control flow on traced values.

``bool(t)``, ``int(t)`` and ``t.__index__()`` look at the example value and append ``guard[expect=...] t``: the graph is
right for every call in which the guard holds, and the compiled function keeps a tree of such paths.
"""

from __future__ import annotations

from typing import Any, Final

from graphad.errors import GuardError, TracerBoolError
from graphad.ir.graph import Atom
from graphad.ir.loc import Loc, format_loc
from graphad.ir.ref import Ref
from graphad.ir.types import Literal, b1, dtype_of, literal
from graphad.primitives.cast import convert
from graphad.primitives.effects import guard
from graphad.primitives.elementwise import ne
from graphad.primitives.layout import reshape
from graphad.trace.guard_sites import GuardSite
from graphad.trace.recording import NO_EXAMPLE, Trace, current, leaked, lift, state
from graphad.trace.scalars import scalar_dtype
from graphad.trace.source import quoted, user_loc, where


def observe(x: Ref, kind: type) -> Any:
    """``bool(x)`` or ``int(x)`` of a tracer: the value on the example arguments, recorded as a guard."""
    if isinstance(x.atom, Literal):
        return kind(x.atom.item())
    trace = current()
    if trace is None:
        raise leaked(x)
    if x.aval.size != 1:
        raise ValueError(
            f"{where()}the truth value of an array of shape {x.shape} is ambiguous. Use x.any() or x.all()."
        )
    atom = _predicate(trace, lift(trace, x), kind)
    if isinstance(atom, Literal):
        return kind(atom.item())
    trace.turn(trace.loc, atom)
    seen = trace.observed.get(atom)
    if seen is not None:
        return kind(seen.item())
    value = trace.example(atom)
    if value is NO_EXAMPLE:
        raise _no_example(x, kind)
    for running in state.stack:
        running.branched = True
    expected = literal(value[()], trace.avals[atom].dtype)
    if trace.varies(atom):
        if state.forced:
            expected = state.forced.pop(0)
        record(trace, atom, expected)
    return kind(expected.item())


def record(trace: Trace, atom: int, expected: Literal) -> None:
    """Guard ``atom``: from here on the graph holds only where it is ``expected``."""
    trace.observed[atom] = expected
    trace.loc = user_loc(2)
    site = trace.site_of(atom)
    if trace.path and len(trace.sites) < len(state.sites):
        before = state.sites[len(trace.sites)]
        if site != before:
            raise changed(trace.name, before, site)
    trace.sites.append(site)
    trace.emit(guard, (atom,), (expected,))


def changed(name: str, before: GuardSite, now: GuardSite | None) -> GuardError:
    """The error for a retrace whose observations differ from those of the path that it continues."""
    at_first = f"it branched on {before.text} at {format_loc(before.loc) or 'an unknown line'}"
    at_last = f"on {now.text}" if now is not None else "no more"
    return GuardError(
        f"{where(now.loc if now is not None else before.loc)}{name} was traced again, for a branch not taken before, "
        f"and went another way up to there: {at_first}, and now branches {at_last}. Which way it goes must depend on "
        "its arguments alone, but Python values beside them (a global, an attribute, a closure) have changed. Pass "
        "those as arguments, or make a new compiled function."
    )


def _predicate(trace: Trace, atom: Atom, kind: type) -> Atom:
    """What the guard compares: a bool for ``bool``, an integer for ``int``."""
    trace.loc = user_loc(2)
    x = Ref(trace, atom)
    if x.shape:
        x = reshape(x, shape=())
    dtype = x.dtype
    if kind is bool and dtype is not b1:
        x = ne(x, 0)
    elif kind is int and dtype.is_float:
        x = convert(x, dtype=dtype_of("i64") if dtype.bits == 64 else scalar_dtype(0))
    return x.atom


#: What Python was about to do with an unknown value, and what to write instead.
_REMEDIES: Final[dict[type, tuple[str, str]]] = {
    bool: ("branches on", "Write graphad.numpy.where(condition, a, b), which computes both and chooses."),
    int: ("needs the integer behind", "Take the greatest that it may be, and choose with graphad.numpy.where."),
}


def _no_example(x: Ref, kind: type) -> TracerBoolError:
    loc = user_loc(2)
    what, remedy = _REMEDIES[kind]
    loop = next((t.loop for t in reversed(state.stack) if t.loop), "")
    if loop:
        return TracerBoolError(
            f"{where(loc)}Python {what} a value of type {x.aval} in a body of {loop}, where it is not known: the "
            f"body is traced once, and runs with other values in each turn or call.{quoted(loc)}{_as_equation(loc)}"
        )
    return TracerBoolError(
        f"{where(loc)}Python {what} a value of type {x.aval} that is not known here: it differs along the batch axis "
        f"of a vmap or between the uses of a custom rule, an io_callback gives it, or its type alone was given."
        f"{quoted(loc)}{remedy}"
    )


def _as_equation(loc: Loc) -> str:
    """What to write in a body of a loop, in place of the branch at ``loc``."""
    from graphad.trace.rewritten.branches import rewritten_branch

    return rewritten_branch(loc) or (
        "Write graphad.lax.cond(condition, lambda: a, lambda: b) in place of `if condition: a; else: b`, or "
        "graphad.numpy.where(condition, a, b), which computes both and chooses."
    )
