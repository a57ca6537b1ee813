"""The adjoint of some turns of a loop, which goes on with sums that other turns have begun.

Transposition of a ``scan`` adds up the cotangents of constants from zeros, turn by turn. Where a loop is reversed in
parts, each part begins with the sums of those behind it. So terms are added in the order of the whole loop, and what
belongs to one element of a constant is written into the sum.
"""

from __future__ import annotations

from graphad.ir.builder import Builder
from graphad.ir.graph import Graph
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, aval, i64
from graphad.primitives.control import without_effects
from graphad.primitives.crossing import Params
from graphad.primitives.layout import positions, zeros_like_aval
from graphad.primitives.scan import scan, transposed_loop
from graphad.primitives.while_loop import masked_turn
from graphad.transforms.linearize import linearized
from graphad.transforms.transpose import transposed


def loop_adjoint(region: Graph, p: Params) -> Graph:
    """The adjoint of the loop ``scan[p]`` of ``region``, by all floats.

    Takes the operands of the loop, cotangents of its results, and the sums so far of cotangents of its constants; gives
    these sums, and cotangents of initial values and of ``xs``. Of all but the operands only floats count. Memoised.
    """
    return region.memoize(("adjoint", tuple(p)), lambda: _adjoint(region, p))


def while_adjoint(body: Graph, n_consts: int, answer: Aval, length: int) -> Graph:
    """The adjoint of ``length`` turns of a ``while`` with this body, whose test gives ``answer``, by all floats.

    Takes the number of turns that each element still goes on, constants, initial values, and as `loop_adjoint` does
    cotangents of the results, and sums so far. Memoised.
    """
    return body.memoize(("while adjoint", n_consts, answer, length), lambda: _of_while(body, n_consts, answer, length))


def _of_while(body: Graph, n_consts: int, answer: Aval, length: int) -> Graph:
    body = without_effects(body)
    builder = Builder()
    turns = builder.input(aval(answer.shape, i64))
    operands = [builder.input(a) for a in body.in_avals]
    region, params = body, Params(length, False, n_consts, body.n_inputs - n_consts)
    if answer.shape:
        region = masked_turn(body, n_consts, params.n_carry, aval(answer.shape, i64))
        params = params._replace(n_consts=1 + n_consts)
        operands = [turns, *operands, positions(builder, (length,), 0, i64).atom]
    adjoint = loop_adjoint(region, params)
    others = [builder.input(a) for a in adjoint.in_avals[len(operands) :]]
    return builder.close(builder.inline(adjoint, [*operands, *others]), name=body.name)


def _adjoint(region: Graph, p: Params) -> Graph:
    loop = _loop(region, p)
    split = linearized(loop, tuple([a.is_float for a in loop.in_avals]))
    builder = Builder()
    operands = [builder.input_ref(a) for a in loop.in_avals]
    cts = [builder.input_ref(a) if a.is_float else None for a in loop.out_avals]
    sums = [builder.input_ref(a) for a in loop.in_avals[: p.n_consts] if a.is_float]
    primal = builder.inline(split.primal, [x.atom for x in operands])
    residuals = [Ref(builder, a) for a in primal[len(primal) - split.n_residuals :]]
    floats = [a for a in loop.in_avals if a.is_float]
    found: list[Ref | None] = [*sums, *[None] * (len(floats) - len(sums))]
    (eqn, *others) = split.linear.eqns
    assert not others, "the tangents of a loop by all its floats are one loop"
    given: list[Ref | Aval] = []
    sums_of: dict[int, Ref] = {}
    numbers = [a - split.n_residuals if type(a) is int else -1 for a in eqn.inputs]
    for k, (a, number) in enumerate(zip(eqn.inputs, numbers, strict=True)):
        if number >= 0:
            given.append(floats[number])
            sums_of |= {k: sums[number]} if number < len(sums) else {}
        else:
            given.append(residuals[a] if type(a) is int else Ref(builder, a))
    wanted = [ct for ct, nonzero in zip(cts, split.nonzero, strict=True) if nonzero]
    by_output = dict(zip(split.linear.outputs, wanted, strict=True))
    seeds = [by_output.get(o) for o in eqn.outputs]
    for number, ct in zip(numbers, transposed_loop(builder, eqn, given, seeds, sums_of, transposed), strict=True):
        if number >= 0 and ct is not None:
            found[number] = ct
    outs = [zeros_like_aval(builder, a) if x is None else x for x, a in zip(found, floats, strict=True)]
    return builder.close([x.atom for x in outs], name=region.name)


def _loop(region: Graph, p: Params) -> Graph:
    """The loop as a graph of one equation."""
    builder = Builder()
    avals = region.in_avals
    atoms = [builder.input(a) for a in avals[: p.first_x]]
    atoms += [builder.input(aval((p.length, *a.shape), a.dtype)) for a in avals[p.first_x :]]
    return builder.close(builder.emit(scan, tuple(atoms), tuple(p), (region,)), name=region.name)
