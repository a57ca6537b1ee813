"""``while``: a loop that ends when its test says so; ``counted``: loops of a number of turns known only when they run.

``while`` has two regions, the test and the body, each with constants of its own; the results are the values carried
last and the number of turns. Batched, the test gives an answer for each element, and elements for which it is False
keep their values; the body still runs for them.

**Derivatives.** What another loop reads of each turn would have to be stacked in an array whose length nobody knows. So
the derivative of a ``while`` is a ``counted`` equation: its operands are the number of turns and those of the loop, and
its region computes the loop once more, as ``scan`` equations of length `EXTENT`, which stands for the number of turns.
Arrays of that length live inside the region alone. It is differentiated, transposed and batched as any graph is, to any
order. Its own derivative computes it again, as that of ``remat`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.lowering import Counted, While
from graphad.ir.params import INT
from graphad.ir.primitive import Primitive, RegionRules
from graphad.ir.ref import Ref
from graphad.ir.types import EXTENT, Aval, OperandType, aval, b1, i32, i64
from graphad.primitives.cast import convert
from graphad.primitives.cond import cond
from graphad.primitives.control import (
    Marks,
    Run,
    Tangents,
    atoms_of,
    batched_outputs,
    check_region,
    narrowed,
    only,
    refuse_effects,
    slim_region,
    spread,
    without_effects,
)
from graphad.primitives.elementwise import lt
from graphad.primitives.layout import instantiate, positions, repeat_leading
from graphad.primitives.reduce import reduce_max
from graphad.primitives.scan import scan


class Params(NamedTuple):
    """The params of an equation."""

    n_test_consts: int
    n_body_consts: int

    @property
    def first_carry(self) -> int:
        """The position of the first initial value among the operands."""
        return self.n_test_consts + self.n_body_consts


# ---------------------------------------------------------------------------------------------------------------------
# Types and values


def _type(*operands: OperandType, regions: tuple[Graph, ...], **params: int) -> tuple[Aval, ...]:
    p, (test, body) = Params(**params), regions
    carried = operands[p.first_carry :]
    check_region("the test of while", [*operands[: p.n_test_consts], *carried], test)
    check_region("the body of while", [*operands[p.n_test_consts : p.first_carry], *carried], body)
    (answer,) = test.out_avals
    if answer.dtype is not b1:
        raise TypeError(f"the test of while gives {answer}; it must give a bool")
    if body.out_avals != body.in_avals[p.n_body_consts :]:
        raise TypeError(f"while carries {body.in_avals[p.n_body_consts :]}, but its body gives {body.out_avals}")
    for a in body.out_avals:
        if a.shape[: answer.ndim] != answer.shape:
            raise TypeError(f"while tests for each element of {answer}, but carries {a}; the batch axes must lead")
    return (*body.out_avals, aval(answer.shape, i64))


def _evaluate(eqn: Eqn, values: Sequence[Any], run: Run) -> list[Any]:
    p, (test, body) = Params(*eqn.params), eqn.regions
    test_consts, body_consts = values[: p.n_test_consts], values[p.n_test_consts : p.first_carry]
    carried = list(values[p.first_carry :])
    turns = np.zeros(test.out_avals[0].shape, np.int64)
    while True:
        goes_on = np.asarray(run(test, [*test_consts, *carried])[0])
        if not goes_on.any():
            return [*carried, turns]
        turns = turns + goes_on
        after = run(body, [*body_consts, *carried])
        carried = [
            np.where(goes_on.reshape(goes_on.shape + (1,) * (np.ndim(new) - goes_on.ndim)), new, old)
            if goes_on.ndim
            else new
            for new, old in zip(after, carried, strict=True)
        ]


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


def _linearize(
    builder: Builder,
    eqn: Eqn,
    atoms: tuple[Atom, ...],
    tangents: Tangents,
    linearized: Callable[..., Any],
    jvp_graph: Callable[..., Any],
) -> tuple[list[Atom], list[Ref | None]]:
    p, (test, body) = Params(*eqn.params), eqn.regions
    outs: list[Atom] = [*builder.emit(eqn.primitive, atoms, eqn.params, eqn.regions)]
    turns = Ref(builder, outs[-1])
    loc = builder.loc
    again = body.memoize(
        ("again", p.n_body_consts, test.out_avals, loc), lambda: _again(body, p, test.out_avals[0], loc)
    )
    operands = [turns, *[Ref(builder, a) for a in atoms[p.n_test_consts :]]]
    most = reduce_max(turns, axes=tuple(range(turns.ndim))) if turns.ndim else turns
    builder.loc = ("jvp", builder.loc)
    found = _tangents(builder, again, most, operands, [None, *tangents[p.n_test_consts :]], jvp_graph)
    return outs, [*found, None]


def _again(body: Graph, p: Params, answer: Aval, loc: Loc) -> Graph:
    """The loop as a region of ``counted``: the turns of each element, the constants of the body, initial values."""
    builder = Builder()
    builder.loc = loc
    turns = builder.input(aval(answer.shape, i64))
    numbers = [builder.input(a) for a in body.in_avals]
    n_carry = body.n_inputs - p.n_body_consts
    if not answer.shape:
        params = (EXTENT, False, p.n_body_consts, n_carry)
        return builder.close(builder.emit(scan, tuple(numbers), params, (body,)), name=body.name)
    params = (EXTENT, False, 1 + p.n_body_consts, n_carry)
    turn = positions(builder, (EXTENT,), 0, i64).atom
    region = masked_turn(body, p.n_body_consts, n_carry, aval(answer.shape, i64))
    return builder.close(builder.emit(scan, (turns, *numbers, turn), params, (region,)), name=body.name)


def masked_turn(body: Graph, n_consts: int, n_carry: int, turns: Aval) -> Graph:
    """The region of a scan that keeps carried values, and gives zeros besides, from the turn of number ``turns`` on.

    It takes ``turns`` before the inputs of ``body``, and the number of the turn behind them.
    """
    builder = Builder()
    last = builder.input_ref(turns)
    numbers = [builder.input(a) for a in body.in_avals]
    turn = builder.input_ref(aval((), i64))
    for n in reversed(turns.shape):
        turn = repeat_leading(turn, n)
    index = convert(lt(turn, last), dtype=i32)
    stays = Builder()
    inputs = [stays.input(a) for a in body.in_avals]
    kept = [Ref(stays, a) for a in inputs[n_consts : n_consts + n_carry]]
    kept += [instantiate(stays, None, a) for a in body.out_avals[n_carry:]]
    regions = (stays.close(atoms_of(kept), name=body.name), body)
    params = (len(body.outputs), (0, 0))
    return builder.close(builder.emit(cond, (index.atom, *numbers), params, regions), name=body.name)


def _tangents(
    builder: Builder,
    region: Graph,
    n_turns: Ref,
    operands: Sequence[Ref],
    tangents: Tangents,
    jvp_graph: Callable[..., Any],
) -> list[Ref | None]:
    """The tangents of the results of a ``counted`` equation, which computes its region again."""
    joint, nonzero = jvp_graph(without_effects(region), tuple([t is not None for t in tangents]))
    n_outs = len(region.outputs)
    slim, kept = slim_region(joint, (False,) * n_outs + (True,) * (len(joint.outputs) - n_outs))
    inputs = [*atoms_of(operands), *atoms_of(tangents)]
    atoms = (n_turns.atom, *[inputs[i] for i in kept])
    return spread(builder, builder.emit(counted, atoms, (), (slim,)), nonzero)


# ---------------------------------------------------------------------------------------------------------------------
# Batching and dead code


def _batch(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref], marks: Sequence[bool], size: int, batched: Callable[..., Any]
) -> tuple[list[Ref], Marks]:
    p, (test, body) = Params(*eqn.params), eqn.regions
    mask = list(marks)
    while True:
        of_test = [*mask[: p.n_test_consts], *mask[p.first_carry :]]
        test_made = batched(test, tuple(of_test), size)
        if test_made.mask[0] or (test.out_avals[0].shape and any(mask)):  # all, as in a batched cond
            mask[p.n_test_consts :] = [True] * len(mask[p.n_test_consts :])
        body_made = batched(body, tuple(mask[p.n_test_consts :]), size)
        grown = [m or o for m, o in zip(mask[p.first_carry :], body_made.mask, strict=True)]
        if grown == mask[p.first_carry :] and test_made is batched(test, (*mask[: p.n_test_consts], *grown), size):
            break
        mask[p.first_carry :] = grown
    by_element = test_made.mask[0] or bool(test.out_avals[0].shape and any(mask))
    if by_element:
        refuse_effects(builder, eqn, "while_loop")
    test_graph = batched_outputs(test_made.graph, test_made.mask, (by_element,), size)
    body_graph = batched_outputs(body_made.graph, body_made.mask, grown, size)
    xs = [repeat_leading(x, size) if m and not was else x for x, m, was in zip(operands, mask, marks, strict=True)]
    numbers = builder.emit(eqn.primitive, atoms_of(xs), eqn.params, (test_graph, body_graph))
    return [Ref(builder, n) for n in numbers], (*grown, by_element)


def _prune(eqn: Eqn, live: Marks) -> Eqn:
    p, (test, body) = Params(*eqn.params), eqn.regions
    kept, slim = body.memoize(("prune", p, test, live), lambda: _slim(test, body, p, live))
    if len(kept) == len(eqn.inputs):
        return eqn
    carried = [k - p.first_carry for k in kept if k >= p.first_carry]
    params = Params(
        len([k for k in kept if k < p.n_test_consts]), len([k for k in kept if p.n_test_consts <= k < p.first_carry])
    )
    outputs = tuple([*[eqn.outputs[k] for k in carried], eqn.outputs[-1]])
    return Eqn(eqn.primitive, tuple([eqn.inputs[k] for k in kept]), tuple(params), outputs, slim)


def _slim(test: Graph, body: Graph, p: Params, live: Marks) -> tuple[list[int], tuple[Graph, Graph]]:
    """The operands that live results and the test need, and regions of these alone."""
    n_carry = len(body.outputs)
    by_test = test.values_read
    wanted = [is_live or p.n_test_consts + k in by_test for k, is_live in enumerate(live[:n_carry])]
    while True:
        slim = only(body, [a for a, w in zip(body.outputs, wanted, strict=True) if w])
        by_body = slim.values_read
        grown = [w or p.n_body_consts + k in by_body for k, w in enumerate(wanted)]
        if grown == wanted:
            break
        wanted = grown
    test_consts = [k for k in range(p.n_test_consts) if k in by_test]
    body_consts = [k for k in range(p.n_body_consts) if k in by_body]
    carried = [k for k in range(n_carry) if wanted[k]]
    outs = [body.outputs[k] for k in carried]
    regions = (
        narrowed(test, test.outputs, [*test_consts, *[p.n_test_consts + k for k in carried]]),
        narrowed(body, outs, [*body_consts, *[p.n_body_consts + k for k in carried]]),
    )
    kept = [*test_consts, *[p.n_test_consts + k for k in body_consts], *[p.first_carry + k for k in carried]]
    return kept, regions


while_ = Primitive(
    "while",
    doc="Runs its second region, the body, on the carried values as long as its first region, the test, gives True.",
    type_rule=_type,
    numpy=None,
    params={"n_test_consts": INT, "n_body_consts": INT},
    multiple=True,
    lowering=lambda _types, params: While(**params),
    region_rules=RegionRules(_linearize, None, _batch, _evaluate),
    prune=_prune,
)


# ---------------------------------------------------------------------------------------------------------------------
# counted


def _counted_type(n_turns: OperandType, *operands: OperandType, regions: tuple[Graph, ...]) -> tuple[Aval, ...]:
    if n_turns.shape or n_turns.dtype is not i64:
        raise TypeError(f"counted takes the number of its turns as i64[], not {n_turns}")
    check_region("counted", operands, regions[0])
    for a in (*regions[0].in_avals, *regions[0].out_avals):
        if EXTENT in a.shape:
            raise TypeError(f"{a} is of the length of a loop that is counted as it runs: it may not leave its region")
    return regions[0].out_avals


def _counted_evaluate(eqn: Eqn, values: Sequence[Any], run: Run) -> Sequence[Any]:
    return run(with_extent(eqn.regions[0], max(int(values[0]), 0)), values[1:])


def with_extent(graph: Graph, n: int) -> Graph:
    """``graph`` with ``n`` in place of `EXTENT`."""
    builder = Builder()
    value: list[Atom] = [builder.input(a) for a in graph.in_avals]
    value.extend([0] * (len(graph.avals) - graph.n_inputs))
    for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
        builder.loc = loc
        atoms = tuple([value[a] if type(a) is int else a for a in eqn.inputs])
        regions = eqn.regions
        if eqn.primitive is not counted:
            regions = tuple([with_extent(r, n) for r in regions])
        params = tuple([_replaced(x, n) for x in eqn.params])
        for o, new in zip(eqn.outputs, builder.emit(eqn.primitive, atoms, params, regions), strict=True):
            value[o] = new
    return builder.close([value[a] if type(a) is int else a for a in graph.outputs], graph.weak, name=graph.name)


def _replaced(x: Any, n: int) -> Any:
    if type(x) is tuple:
        return tuple([_replaced(i, n) for i in x])
    return n if type(x) is int and x == EXTENT else x


def _linearize_counted(
    builder: Builder, eqn: Eqn, atoms: tuple[Atom, ...], tangents: Tangents, _: Any, jvp_graph: Callable[..., Any]
) -> tuple[list[Atom], list[Ref | None]]:
    outs: list[Atom] = [*builder.emit(eqn.primitive, atoms, eqn.params, eqn.regions)]
    builder.loc = ("jvp", builder.loc)
    refs = [Ref(builder, a) for a in atoms]
    return outs, _tangents(builder, eqn.regions[0], refs[0], refs[1:], tangents[1:], jvp_graph)


def _transpose_counted(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref | Aval], cts: Tangents, transposed: Callable[..., Any], _: Any
) -> list[Ref | None]:
    n_turns, *others = operands
    linear = tuple([type(x) is Aval for x in others])
    graph, nonzero = transposed(eqn.regions[0], linear, tuple([c is not None for c in cts]))
    inputs = (n_turns.atom, *[x.atom for x in others if type(x) is Ref], *atoms_of(cts))  # type: ignore[union-attr]
    found = iter(spread(builder, builder.emit(eqn.primitive, inputs, eqn.params, (graph,)), nonzero))
    return [None, *[next(found) if is_linear else None for is_linear in linear]]


def _batch_counted(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref], marks: Sequence[bool], size: int, batched: Callable[..., Any]
) -> tuple[list[Ref], Marks]:
    (region,), (n_turns, *others) = eqn.regions, operands
    mask = marks[1:]
    if marks[0]:
        region = region.memoize("with turns masked", lambda: _allmasked_turn(region))
        others, mask = [n_turns, *others], marks
        n_turns = reduce_max(n_turns, axes=(0,))
    graph, out_mask = batched(region, tuple(mask), size)
    numbers = builder.emit(eqn.primitive, (n_turns.atom, *atoms_of(others)), eqn.params, (graph,))
    return [Ref(builder, n) for n in numbers], out_mask


def _allmasked_turn(region: Graph) -> Graph:
    """``region`` with a number of turns as its first input, after which no loop of it goes on."""
    builder = Builder()
    last = builder.input(aval((), i64))
    value: list[Atom] = [builder.input(a) for a in region.in_avals]
    value.extend([0] * (len(region.avals) - region.n_inputs))
    for eqn, loc in zip(region.eqns, region.locs, strict=True):
        builder.loc = loc
        atoms = tuple([value[a] if type(a) is int else a for a in eqn.inputs])
        if eqn.primitive is scan and eqn.params[0] == EXTENT:
            _, reverse, n_consts, n_carry = eqn.params
            turn = positions(builder, (EXTENT,), 0, i64).atom
            body = masked_turn(eqn.regions[0], n_consts, n_carry, aval((), i64))
            params = (EXTENT, reverse, n_consts + 1, n_carry)
            numbers = builder.emit(scan, (last, *atoms, turn), params, (body,))
        else:
            numbers = builder.copy(eqn, atoms, [region.avals[o] for o in eqn.outputs])
        for o, new in zip(eqn.outputs, numbers, strict=True):
            value[o] = new
    return builder.close([value[a] if type(a) is int else a for a in region.outputs], region.weak, name=region.name)


def _prune_counted(eqn: Eqn, live: Marks) -> Eqn:
    slim, kept = slim_region(eqn.regions[0], live)
    if all(live) and len(kept) == eqn.regions[0].n_inputs:
        return eqn
    outputs = tuple([o for o, is_live in zip(eqn.outputs, live, strict=True) if is_live])
    return Eqn(eqn.primitive, (eqn.inputs[0], *[eqn.inputs[1 + i] for i in kept]), (), outputs, (slim,))


counted = Primitive(
    "counted",
    doc="Runs its region, whose loops of length `EXTENT` have as many turns as the first operand says.",
    type_rule=_counted_type,
    numpy=None,
    multiple=True,
    lowering=Counted(),
    region_rules=RegionRules(_linearize_counted, _transpose_counted, _batch_counted, _counted_evaluate),
    prune=_prune_counted,
)
