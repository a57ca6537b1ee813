"""Linear forms: what the equations of a loop compute, as sums of carried values with coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphad.ir.graph import Eqn
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import literal
from graphad.passes.all_turns import AllTurns, Over
from graphad.primitives.cast import convert
from graphad.primitives.elementwise import add, div, mul, neg, sub


@dataclass(slots=True)
class Form:
    """The value ``sum(terms[j] * carried[j]) + rest``."""

    terms: dict[int, Over]
    rest: Over | None


def linear_forms(turns: AllTurns, equations: Sequence[int], carried: Sequence[int]) -> dict[int, Form] | None:
    """The forms of all values that ``equations`` compute from ``carried`` ones; None if one is not linear.

    The coefficients are emitted, for all turns.
    """
    one = [Over(Ref(turns.builder, literal(1, turns.region.avals[a].dtype)), False) for a in carried]
    forms = {a: Form({j: one[j]}, None) for j, a in enumerate(carried)}
    rules = _Rules(turns, forms)
    for k in equations:
        form = rules.form(turns.region.eqns[k])
        if form is None:
            return None
        forms[turns.region.eqns[k].outputs[0]] = form
    return forms


class _Rules:
    """What primitives make of linear forms."""

    def __init__(self, turns: AllTurns, known: dict[int, Form]) -> None:
        self.turns, self.known = turns, known

    def form(self, eqn: Eqn) -> Form | None:
        """The result of an equation; None if it is not linear."""
        forms = [self.known.get(a) if type(a) is int else None for a in eqn.inputs]
        first = forms[0]
        if eqn.primitive in (add, sub):
            a, b = [f or Form({}, self.turns.value(x)) for f, x in zip(forms, eqn.inputs, strict=True)]
            return self._sum(eqn.primitive, a, b)
        if eqn.primitive is neg and first is not None:
            return _mapped(first, lambda x: self.turns.apply(neg, x))
        if eqn.primitive is convert and first is not None and eqn.params[0].is_float:
            return _mapped(first, lambda x: self.turns.apply(convert, x, dtype=eqn.params[0]))
        if eqn.primitive is div and first is not None and forms[1] is None:
            divisor = self.turns.value(eqn.inputs[1])
            return _mapped(first, lambda x: self.turns.apply(div, x, divisor))
        if eqn.primitive is mul:
            return self._product(eqn, forms)
        return None

    def _product(self, eqn: Eqn, forms: Sequence[Form | None]) -> Form | None:
        a, b = forms
        if a is not None and b is not None:
            return None
        form, factor = (b, eqn.inputs[0]) if a is None else (a, eqn.inputs[1])
        known = self.turns.value(factor)
        return None if form is None else _mapped(form, lambda x: self._times(x, known))

    def _times(self, x: Over, y: Over) -> Over:
        if x.ref.atom is literal(1, x.ref.aval.dtype):
            return y
        return self.turns.apply(mul, x, y)

    def _sum(self, primitive: Primitive, a: Form, b: Form) -> Form:
        def both(x: Over | None, y: Over | None) -> Over | None:
            if x is None and y is not None and primitive is sub:
                return self.turns.apply(neg, y)
            if x is None or y is None:
                return x or y
            return self.turns.apply(primitive, x, y)

        terms = {j: both(a.terms.get(j), b.terms.get(j)) for j in sorted({*a.terms, *b.terms})}
        return Form({j: x for j, x in terms.items() if x is not None}, both(a.rest, b.rest))


def _mapped(form: Form, f: Callable[[Over], Over]) -> Form:
    """``f`` of all coefficients."""
    return Form({j: f(x) for j, x in form.terms.items()}, None if form.rest is None else f(form.rest))
