"""``scan``: a loop of a known number of turns, with values carried from turn to turn.

    carry_0 = init;   carry_{t+1}, y_t = region(consts, carry_t, x_t);   results: carry_T, and all y_t stacked

The operands are ``n_consts`` constants, ``n_carry`` initial values and then the arrays ``xs``, whose leading axis is
that of the turns; those of the region are the constants, the carried values and one slice of each of the arrays. With
``reverse`` the last slices come first, and results are stacked from the end.

Linearization makes two loops of one: the primal one, which stacks the residuals, and one of the tangents, which reads
them. What does not change from turn to turn is computed before the loop, and not stacked. Transposition turns the loop
of the tangents round: cotangents of carried values are carried, those of constants are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.lowering import Repeat
from graphad.ir.params import BOOL, INT
from graphad.ir.primitive import Primitive, RegionRules
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType, aval
from graphad.primitives.accumulation import accumulate
from graphad.primitives.control import Marks, Run, Tangents, atoms_of, batched_outputs, check_region, only, spread
from graphad.primitives.crossing import (
    Crossing,
    Params,
    RegionBuilder,
    avals_of,
    emit_crossing,
    to_stack,
    unstacked,
    varying,
)
from graphad.primitives.layout import instantiate, repeat_leading, transpose, zeros_like_aval

# ---------------------------------------------------------------------------------------------------------------------
# Types and values


def stacked(a: Aval, length: int) -> Aval:
    """The type of ``length`` arrays of type ``a``, stacked."""
    return aval((length, *a.shape), a.dtype)


def _type(*operands: OperandType, regions: tuple[Graph, ...], **params: Any) -> tuple[Aval, ...]:
    p, (region,) = Params(**params), regions
    slices: list[OperandType] = list(operands[: p.first_x])
    for x in operands[p.first_x :]:
        if not x.shape or x.shape[0] != p.length:
            raise TypeError(f"scan of {p.length} turns got {x} to run over; its first axis must be of that length")
        slices.append(aval(x.shape[1:], x.dtype))
    check_region("scan", slices, region)
    carried, outs = region.in_avals[p.n_consts : p.first_x], region.out_avals
    if outs[: p.n_carry] != carried:
        raise TypeError(f"scan carries {carried}, but its region gives {outs[: p.n_carry]} to carry on")
    return (*carried, *[stacked(a, p.length) for a in outs[p.n_carry :]])


def _evaluate(eqn: Eqn, values: Sequence[Any], run: Run) -> list[Any]:
    p, region = Params(*eqn.params), eqn.regions[0]
    consts, carried, xs = values[: p.n_consts], list(values[p.n_consts : p.first_x]), values[p.first_x :]
    ys = [np.empty((p.length, *a.shape), a.dtype.numpy) for a in region.out_avals[p.n_carry :]]
    for t in reversed(range(p.length)) if p.reverse else range(p.length):
        outs = run(region, [*consts, *carried, *[x[t] for x in xs]])
        carried = list(outs[: p.n_carry])
        for y, out in zip(ys, outs[p.n_carry :], strict=True):
            y[t] = out
    return [*carried, *ys]


# ---------------------------------------------------------------------------------------------------------------------
# Linearization


class _Linear(NamedTuple):
    """The loop of what depends linearly on some operands, without its operands: they are ``fixed`` constants, those of
    the linear operands that are constants, then carried values, ``slices``, and the linear ones of the ``xs``.
    """

    params: Params
    region: Graph
    consts: list[int]
    carry: list[int]
    xs: list[int]

    def operands(self, crossing: Crossing, given: Sequence[Any], crossed: Sequence[Any]) -> list[Any]:
        """The operands: ``crossed`` are those that cross, ``given`` those of the loop that this is made of."""
        n = len(crossing.consts)
        linear = [[given[k] for k in group] for group in (self.consts, self.carry, self.xs)]
        return [*crossed[:n], *linear[0], *linear[1], *crossed[n:], *linear[2]]


def _linear_loop(
    builder: Builder, eqn: Eqn, graph: Graph, nonzero: Sequence[bool], mask: Sequence[bool], crossing: Crossing
) -> _Linear:
    """``graph`` takes residuals, then the inputs of the region that are marked in ``mask``; it gives those of the
    region's outputs that are ``nonzero``.
    """
    p, region = Params(*eqn.params), eqn.regions[0]
    marked = [k for k, m in enumerate(mask) if m]
    consts = [k for k in marked if k < p.n_consts]
    carry = [k for k in marked if p.n_consts <= k < p.first_x]
    xs = [k for k in marked if k >= p.first_x]
    body = RegionBuilder(region.name)
    fixed = body.inputs(avals_of(builder, crossing.consts))
    first = body.inputs([region.avals[k] for k in consts + carry])
    slices = body.inputs(unstacked(builder, crossing.xs))
    last = body.inputs([region.avals[k] for k in xs])
    arrived = [*fixed, *slices]
    found = iter(body.inline(graph, [*[arrived[k] for k in crossing.order], *first, *last]))
    outs = [next(found) if n else None for n in nonzero]
    carried = [instantiate(body.builder, outs[k - p.n_consts], region.avals[k]) for k in carry]
    closed = body.close([*carried, *[y for y in outs[p.n_carry :] if y is not None]])
    params = p._replace(n_consts=len(fixed) + len(consts), n_carry=len(carry))
    return _Linear(params, closed, consts, carry, xs)


def linear_parts(eqn: Eqn, marks: Sequence[bool], linearized: Callable[..., Any]) -> tuple[Any, list[bool]]:
    """The region, linearized along the marked operands and carried values that get a tangent; and which those are."""
    p, mask = Params(*eqn.params), list(marks)
    while True:
        split = linearized(eqn.regions[0], tuple(mask))
        grown = [m or n for m, n in zip(mask[p.n_consts : p.first_x], split.nonzero, strict=False)]
        if grown == mask[p.n_consts : p.first_x]:
            return split, mask
        mask[p.n_consts : p.first_x] = grown


def residual_avals(eqn: Eqn, marks: Sequence[bool], linearized: Callable[..., Any]) -> list[Aval]:
    """The types of what reverse mode by the marked operands reads of each turn, and the loop has to stack."""
    primal = linear_parts(eqn, marks, linearized)[0].primal
    found = to_stack(primal, Params(*eqn.params), len(eqn.regions[0].outputs))
    return [primal.aval_of(a) for a in found]


def _linearize(
    builder: Builder, eqn: Eqn, atoms: tuple[Atom, ...], tangents: Tangents, linearized: Callable[..., Any], _: Any
) -> tuple[list[Atom], list[Ref | None]]:
    p, region = Params(*eqn.params), eqn.regions[0]
    (primal, linear, _n, nonzero), mask = linear_parts(eqn, [t is not None for t in tangents], linearized)
    loc = builder.loc
    outs, crossing = emit_crossing(builder, eqn, atoms, primal, len(region.outputs))
    builder.loc = ("jvp", loc)
    loop = _linear_loop(builder, eqn, linear, nonzero, mask, crossing)
    written = [
        instantiate(builder, t, Ref(builder, a).aval).atom if m else 0
        for t, a, m in zip(tangents, atoms, mask, strict=True)
    ]
    operands = loop.operands(crossing, written, [*crossing.consts, *crossing.xs])
    results = builder.emit(eqn.primitive, tuple(operands), tuple(loop.params), (loop.region,))
    return outs, spread(builder, results, [*mask[p.n_consts : p.first_x], *nonzero[p.n_carry :]])


# ---------------------------------------------------------------------------------------------------------------------
# Transposition


def _transpose(
    builder: Builder,
    eqn: Eqn,
    operands: Sequence[Ref | Aval],
    cts: Tangents,
    transposed: Callable[..., Any],
    parted: Callable[..., Any],
) -> list[Ref | None]:
    p = Params(*eqn.params)
    linear = _linear_inputs(eqn, [type(x) is Aval for x in operands])
    if not all(linear[p.n_consts : p.first_x]):
        return _transpose_mixed(builder, eqn, operands, cts, linear, transposed, parted)
    return transposed_loop(builder, eqn, operands, cts, {}, transposed)


def transposed_loop(
    builder: Builder,
    eqn: Eqn,
    operands: Sequence[Ref | Aval],
    cts: Tangents,
    sums: Mapping[int, Ref],
    transposed: Callable[..., Any],
) -> list[Ref | None]:
    """The cotangents of linear operands, all that is carried among them.

    Those of constants begin as ``sums``, by the number of the operand, or zeros. They are None where no turn adds to
    them.
    """
    p, region = Params(*eqn.params), eqn.regions[0]
    linear = _linear_inputs(eqn, [type(x) is Aval for x in operands])
    graph, nonzero, seeded = _transposed_region(eqn, linear, cts, transposed)
    fixed = [x for x in operands[: p.n_consts] if type(x) is Ref]
    slices = [x for x in operands[p.first_x :] if type(x) is Ref]
    y_cts = [c for c in cts[p.n_carry :] if c is not None]
    summed = [k for k in range(p.n_consts) if nonzero[k]]
    carried = [p.n_consts + k for k in range(p.n_carry) if seeded[k]]
    body = RegionBuilder(region.name)
    in_fixed = body.inputs([x.aval for x in fixed])
    in_sums = body.inputs([region.avals[k] for k in summed])
    in_carry = body.inputs([region.avals[k] for k in carried])
    in_slices = body.inputs(unstacked(builder, [x.atom for x in slices]))
    in_ys = body.inputs(unstacked(builder, [c.atom for c in y_cts]))
    found = iter(body.inline(graph, [*in_fixed, *in_slices, *in_carry, *in_ys]))
    by = [next(found) if n else None for n in nonzero]
    outs = [accumulate(s, x) for s, x in zip(in_sums, [x for x in by[: p.n_consts] if x is not None], strict=True)]
    outs += [instantiate(body.builder, by[k], region.avals[k]) for k in carried]
    outs += [x for x in by[p.first_x :] if x is not None]
    starts = [sums[k] if k in sums else zeros_like_aval(builder, region.avals[k]) for k in summed]
    starts += [instantiate(builder, cts[k - p.n_consts], region.avals[k]) for k in carried]
    params = Params(p.length, not p.reverse, len(fixed), len(starts))
    numbers = builder.emit(
        eqn.primitive, atoms_of([*fixed, *starts, *slices, *y_cts]), tuple(params), (body.close(outs),)
    )
    positions = [*summed, *carried, *[k for k in range(p.first_x, len(operands)) if nonzero[k]]]
    cotangents = {k: Ref(builder, n) for k, n in zip(positions, numbers, strict=True)}
    return [cotangents.get(k) if type(x) is Aval else None for k, x in enumerate(operands)]


def _linear_inputs(eqn: Eqn, linear: list[bool]) -> list[bool]:
    """``linear``, and the carried values that depend on those marked there in some turn."""
    p, region = Params(*eqn.params), eqn.regions[0]
    while True:
        marks = varying(region, [k for k, m in enumerate(linear) if m])
        grown = list(linear)
        for k, a in enumerate(region.outputs[: p.n_carry], p.n_consts):
            grown[k] = grown[k] or (type(a) is int and bool(marks[a]))
        if grown == linear:
            return linear
        linear = grown


def _transposed_region(
    eqn: Eqn, linear: Sequence[bool], cts: Tangents, transposed: Callable[..., Any]
) -> tuple[Graph, list[bool], list[bool]]:
    """The transposed region; per input of the region, and per carried value, whether it has a cotangent."""
    p, region = Params(*eqn.params), eqn.regions[0]
    seeded = [c is not None for c in cts[: p.n_carry]]
    of_ys = [c is not None for c in cts[p.n_carry :]]
    while True:
        graph, found = transposed(region, tuple(linear), (*seeded, *of_ys))
        it = iter(found)
        nonzero = [next(it) if is_linear else False for is_linear in linear]
        grown = [s or n for s, n in zip(seeded, nonzero[p.n_consts : p.first_x], strict=True)]
        if grown == seeded:
            return graph, nonzero, seeded
        seeded = grown


def _transpose_mixed(
    builder: Builder,
    eqn: Eqn,
    operands: Sequence[Ref | Aval],
    cts: Tangents,
    linear: list[bool],
    transposed: Callable[..., Any],
    parted: Callable[..., Any],
) -> list[Ref | None]:
    """Of a loop that carries other values too: those in a loop before, which stacks what the linear part reads."""
    p, region = Params(*eqn.params), eqn.regions[0]
    known, graph, n_residuals, depends = parted(region, tuple(linear))
    kept = [k for k, m in enumerate(linear) if not m]
    n_carry = len([k for k in kept if p.n_consts <= k < p.first_x])
    params = p._replace(n_consts=len([k for k in kept if k < p.n_consts]), n_carry=n_carry)
    atoms = [operands[k].atom for k in kept]  # type: ignore[union-attr]
    # A carried value may start from one that is not linear, or become one: of a linear map, that is zero.
    results = known.outputs[: len(known.outputs) - n_residuals]
    of_known = [k for k, d in enumerate(depends) if not d]
    results = [a for k, a in zip(of_known, results, strict=True) if k >= p.n_carry or not linear[p.n_consts + k]]
    region_of_known = only(known, [*results, *known.outputs[len(known.outputs) - n_residuals :]])
    _, crossing = emit_crossing(builder, eqn._replace(params=tuple(params)), atoms, region_of_known, len(results))
    loop = _linear_loop(builder, eqn, graph, depends, linear, crossing)
    refs = [Ref(builder, a) for a in (*crossing.consts, *crossing.xs)]
    avals = [x.aval if type(x) is Ref else x for x in operands]
    given = loop.operands(crossing, avals, refs)
    own = [cts[k] for k in range(p.n_carry) if linear[p.n_consts + k]]
    own += [c for c, d in zip(cts[p.n_carry :], depends[p.n_carry :], strict=True) if d]
    of_loop = eqn._replace(params=tuple(loop.params), regions=(loop.region,))
    found = _transpose(builder, of_loop, given, own, transposed, parted)
    of_linear = [c for c, x in zip(found, given, strict=True) if type(x) is Aval]
    by = dict(zip([*loop.consts, *loop.carry, *loop.xs], of_linear, strict=True))
    return [by.get(k) if type(x) is Aval else None for k, x in enumerate(operands)]


# ---------------------------------------------------------------------------------------------------------------------
# Batching


def _batch(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref], marks: Sequence[bool], size: int, batched: Callable[..., Any]
) -> tuple[list[Ref], Marks]:
    p, region = Params(*eqn.params), eqn.regions[0]
    mask = list(marks)
    while True:
        graph, out_mask = batched(region, tuple(mask), size)
        grown = [m or o for m, o in zip(mask[p.n_consts : p.first_x], out_mask, strict=False)]
        if grown == mask[p.n_consts : p.first_x]:
            break
        mask[p.n_consts : p.first_x] = grown
    graph = batched_outputs(graph, out_mask, (*grown, *out_mask[p.n_carry :]), size)
    out_mask = (*grown, *out_mask[p.n_carry :])
    atoms: list[Atom] = []
    for k, (x, was, is_batched) in enumerate(zip(operands, marks, mask, strict=True)):
        if k < p.first_x:
            atoms.append(repeat_leading(x, size).atom if is_batched and not was else x.atom)
        else:
            atoms.append(_swapped(x).atom if was else x.atom)
    numbers = builder.emit(eqn.primitive, tuple(atoms), eqn.params, (graph,))
    results = [Ref(builder, n) for n in numbers]
    ys = [_swapped(y) if m else y for y, m in zip(results[p.n_carry :], out_mask[p.n_carry :], strict=True)]
    return [*results[: p.n_carry], *ys], out_mask


def _swapped(x: Ref) -> Ref:
    """The first two axes exchanged: the batch axis, and that of the turns."""
    return transpose(x, perm=(1, 0, *range(2, x.ndim)))


# ---------------------------------------------------------------------------------------------------------------------
# Dead code


def _prune(eqn: Eqn, live: Marks) -> Eqn:
    p, region = Params(*eqn.params), eqn.regions[0]
    slim, outputs, inputs = region.memoize(("prune", tuple(eqn.params), live), lambda: _slim(region, p, live))
    if len(outputs) == len(region.outputs) and len(inputs) == region.n_inputs:
        return eqn
    params = p._replace(
        n_consts=len([k for k in inputs if k < p.n_consts]), n_carry=len([k for k in outputs if k < p.n_carry])
    )
    atoms = tuple([eqn.inputs[k] for k in inputs])
    return Eqn(eqn.primitive, atoms, tuple(params), tuple([eqn.outputs[k] for k in outputs]), (slim,))


def _slim(region: Graph, p: Params, live: Marks) -> tuple[Graph, list[int], list[int]]:
    """The region of the live results alone, and which outputs and inputs it keeps."""
    wanted = list(live)
    while True:
        outputs = [k for k, is_live in enumerate(wanted) if is_live]
        slim = only(region, [region.outputs[k] for k in outputs])
        read = {a for e in slim.eqns for a in e.inputs if type(a) is int} | {a for a in slim.outputs if type(a) is int}
        grown = [w or (k < p.n_carry and p.n_consts + k in read) for k, w in enumerate(wanted)]
        if grown == wanted:
            break
        wanted = grown
    inputs = [
        k for k in range(region.n_inputs) if (wanted[k - p.n_consts] if p.n_consts <= k < p.first_x else k in read)
    ]
    builder = Builder()
    numbers = [builder.input(a) for a in region.in_avals]
    outs = builder.inline(region, numbers)
    weak = [region.weak[k] for k in outputs]
    return builder.close([outs[k] for k in outputs], weak, [numbers[k] for k in inputs], region.name), outputs, inputs


scan = Primitive(
    "scan",
    doc="Runs its region ``length`` times, over slices of its last operands, and carries values from turn to turn.",
    type_rule=_type,
    numpy=None,
    params={"length": INT, "reverse": BOOL, "n_consts": INT, "n_carry": INT},
    multiple=True,
    lowering=lambda _types, params: Repeat(**params),
    region_rules=RegionRules(_linearize, _transpose, _batch, _evaluate),
    prune=_prune,
)
