"""Loss and metrics of a model computed in 16 bits, in float32: they are compared, and rounded ones are often equal."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from graphad import numpy as gnp
from graphad.ir.graph import Atom, Eqn, is_effectful
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, Literal, f32, literal
from graphad.primitives import control
from graphad.primitives.cast import convert
from graphad.primitives.contract import dot_general
from graphad.primitives.reduce import reduce_max, reduce_min, reduce_prod, reduce_sum
from graphad.trace.pytree import Tree, tree_map
from graphad.trace.recording import Trace, current
from graphad.trace.tracer import Tracer

_astype: Final[Any] = gnp.astype  # tracers are Arrays to isinstance, but not to type checkers
_REDUCTIONS: Final = frozenset({reduce_sum, reduce_prod, reduce_max, reduce_min, dot_general})


def unrounded(x: Any) -> Any:
    """A scalar of 16 bits in float32, as it was before it was rounded.

    What it is made of while it is traced, sums and what is done with these, is recorded once more in float32.
    """
    trace = current()
    if trace is None or type(x) is not Tracer or x.builder is not trace or type(x.atom) is not int:
        return _astype(x, np.float32)
    atom = _inlined(trace, x.atom)
    found: dict[Atom, Atom] = {}
    for number, (primitive, inputs, params, _, _) in _made_of(trace, atom):
        trace.loc = trace.made_at(number)
        if primitive is convert:
            found[number] = inputs[0]
        else:
            (found[number],) = trace.emit(primitive, tuple([_in_f32(trace, a, found) for a in inputs]), params)
    return _astype(Tracer(trace, found.get(atom, atom)), np.float32)


def unrounded_scalars(tree: Tree) -> Tree:
    """``tree`` with `unrounded` scalars: metrics are averaged, and compared."""
    return tree_map(lambda x: unrounded(x) if type(x) is Tracer and not x.shape and _is_narrow(x.aval) else x, tree)


def _inlined(trace: Trace, atom: Atom) -> Atom:
    """``atom``, of a compiled function that the loss is, within its graph."""
    while (eqn := trace.maker(atom)) is not None and eqn.primitive is control.jit and not is_effectful(eqn):
        atom = trace.inline(eqn.regions[0], eqn.inputs)[eqn.outputs.index(atom)]
    return atom


def _made_of(trace: Trace, atom: Atom) -> list[tuple[int, Eqn]]:
    """The scalars of 16 bits that ``atom`` is made of and that can be had in float32, in their order."""
    found: dict[int, Eqn] = {}
    todo = [atom]
    while todo:
        a = todo.pop()
        eqn = trace.maker(a)
        if type(a) is not int or eqn is None or a in found or not _is_narrow(trace.avals[a]) or trace.avals[a].shape:
            continue
        if eqn.primitive is convert:
            source = Ref(trace, eqn.inputs[0]).aval
            if source.is_float and source.dtype.bits >= 32:
                found[a] = eqn
        elif eqn.primitive.elementwise or eqn.primitive in _REDUCTIONS:
            found[a] = eqn
            todo.extend(eqn.inputs)
    return sorted(found.items())


def _is_narrow(a: Aval) -> bool:
    return a.is_float and a.dtype.bits < 32


def _in_f32(trace: Trace, atom: Atom, found: dict[Atom, Atom]) -> Atom:
    if atom in found:
        return found[atom]
    if not _is_narrow(Ref(trace, atom).aval):
        return atom
    return literal(atom.item(), f32) if isinstance(atom, Literal) else trace.emit(convert, (atom,), (f32,))[0]
