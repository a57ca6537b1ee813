"""Loss and metrics of a model computed in 16 bits, in float32: they are compared, and rounded ones are often equal."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from graphad import numpy as gnp
from graphad.ir.graph import Atom, Eqn, is_effectful
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, Literal, f32, literal
from graphad.primitives import control
from graphad.primitives.cast import bitcast, convert
from graphad.primitives.contract import dot_general
from graphad.primitives.elementwise import nextafter
from graphad.primitives.reduce import reduce_max, reduce_min, reduce_prod, reduce_sum
from graphad.trace.pytree import Tree, tree_map
from graphad.trace.recording import Trace, current
from graphad.trace.tracer import Tracer

_astype: Final[Any] = gnp.astype  # tracers are Arrays to isinstance, but not to type checkers
_OF_BITS: Final = frozenset({bitcast, nextafter})
_REDUCTIONS: Final = frozenset({reduce_sum, reduce_prod, reduce_max, reduce_min, dot_general})


def unrounded(x: Any) -> Any:
    """A scalar of 16 bits in float32, as it was before it was rounded.

    What it is made of while it is traced, sums and what is done with these, is recorded once more in float32.
    """
    trace = current()
    if trace is None or type(x) is not Tracer or x.builder is not trace:
        return _astype(x, np.float32)
    return _astype(Tracer(trace, _Wide(trace).of(x.atom)), np.float32)


def unrounded_scalars(tree: Tree) -> Tree:
    """``tree`` with `unrounded` scalars: metrics are averaged, and compared."""
    return tree_map(lambda x: unrounded(x) if type(x) is Tracer and not x.shape and _is_narrow(x.aval) else x, tree)


class _Wide:
    """Scalars of a trace in float32, recorded on demand."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.found: dict[Atom, Atom] = {}
        self.inlined: dict[Atom, Atom] = {}

    def of(self, atom: Atom) -> Atom:
        """``atom`` in float32 if it is a float of 16 bits, as exact as can be."""
        todo = [atom]
        while todo:
            a = self._within(todo[-1])
            missing = [] if a in self.found else [b for b in self._parts(a) if self._within(b) not in self.found]
            if missing:
                todo += missing
                continue
            todo.pop()
            if a not in self.found:
                self.found[a] = self._recorded(a)
        return self.found[self._within(atom)]

    def _within(self, atom: Atom) -> Atom:
        """The value itself, where ``atom`` is what a compiled function gives."""
        while (eqn := self.trace.maker(atom)) is not None and eqn.primitive is control.jit and not is_effectful(eqn):
            if atom not in self.inlined:
                inside = self.trace.inline(eqn.regions[0], eqn.inputs)
                self.inlined.update(zip(eqn.outputs, inside, strict=True))
            atom = self.inlined[atom]
        return atom

    def _eqn(self, atom: Atom) -> Eqn | None:
        """The equation of a scalar of 16 bits that can be had in float32."""
        eqn, found = self.trace.maker(atom), self._aval(atom)
        if eqn is None or not _is_narrow(found) or found.shape:
            return None
        if eqn.primitive is convert:
            source = self._aval(eqn.inputs[0])
            return eqn if source.is_float and source.dtype.bits >= 32 else None
        again = eqn.primitive.elementwise and eqn.primitive not in _OF_BITS
        return eqn if (again and not eqn.primitive.multiple) or eqn.primitive in _REDUCTIONS else None

    def _parts(self, atom: Atom) -> tuple[Atom, ...]:
        eqn = self._eqn(atom)
        return () if eqn is None or eqn.primitive is convert or not eqn.primitive.elementwise else eqn.inputs

    def _recorded(self, atom: Atom) -> Atom:
        """``atom`` in float32, its parts being found."""
        eqn = self._eqn(atom)
        self.trace.loc = self.trace.made_at(atom)
        if eqn is None:
            return self._converted(atom)
        primitive, inputs, params, _, _ = eqn
        if primitive is convert:
            return inputs[0]
        wide = [self.found[self._within(a)] if primitive.elementwise else self._converted(a) for a in inputs]
        return self.trace.emit(primitive, tuple(wide), params)[0]

    def _converted(self, atom: Atom) -> Atom:
        if not _is_narrow(self._aval(atom)):
            return atom
        return literal(atom.item(), f32) if isinstance(atom, Literal) else self.trace.emit(convert, (atom,), (f32,))[0]

    def _aval(self, atom: Atom) -> Aval:
        return Ref(self.trace, atom).aval


def _is_narrow(a: Aval) -> bool:
    return a.is_float and a.dtype.bits < 32
