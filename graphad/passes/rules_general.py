"""Rules on equations of any primitive: empty arrays are zeros, repeated operands repeat the result."""

from __future__ import annotations

from typing import Any

from graphad.ir.graph import Eqn
from graphad.ir.ref import Ref
from graphad.ir.types import Literal, literal
from graphad.passes.rewrite import Candidate, Rewriter, RuleSet, general_rule
from graphad.primitives.layout import broadcast


@general_rule("empty", fits=lambda _primitive, _heads, empty: empty)
def _empty(builder: Rewriter, eqn: Candidate) -> Any:
    """An array without elements is a constant."""
    primitive, inputs, _, avals = eqn
    if any([a.size for a in avals]) or (primitive is broadcast and isinstance(inputs[0], Literal)):
        return None
    return [broadcast(Ref(builder, literal(0, a.dtype)), shape=a.shape, dims=()) for a in avals]


@general_rule("repeated-operands", fits=lambda primitive, heads, _: primitive.elementwise and broadcast in heads)
def _repeated_operands(builder: Rewriter, eqn: Candidate) -> Any:
    """A broadcast literal operand becomes the literal; broadcasts alike of all operands move to the result."""
    primitive, inputs, params, avals = eqn
    shape = avals[0].shape
    makers = {a: _broadcast_of(builder, a) for a in inputs if not isinstance(a, Literal)}
    inner = tuple([makers[a].inputs[0] if makers.get(a) else a for a in inputs])  # pyright: ignore
    layouts = {
        (Ref(builder, m.inputs[0]).shape, m.params[1]) if m else None
        for m in makers.values()
        if m is None or not isinstance(m.inputs[0], Literal)
    }
    if len(layouts) <= 1 and None not in layouts:
        dims = next(iter(layouts))[1] if layouts else ()  # pyright: ignore[reportOptionalSubscript]
        results = builder.emit(primitive, inner, params)
        return [broadcast(Ref(builder, r), shape=shape, dims=dims) for r in results]
    mixed = tuple([b if isinstance(b, Literal) else a for a, b in zip(inputs, inner, strict=True)])
    if mixed == inputs:
        return None
    return [Ref(builder, r) for r in builder.emit(primitive, mixed, params)]


def _broadcast_of(builder: Rewriter, number: int) -> Eqn | None:
    maker = builder.maker(number)
    return maker if maker is not None and maker.primitive is broadcast else None


GENERAL = RuleSet([_empty, _repeated_operands])
