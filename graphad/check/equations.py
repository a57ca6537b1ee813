"""Which rule is wrong: every equation of a graph is checked as a graph of its own, at its actual operands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import ml_dtypes
import numpy as np

from graphad.check.calculus import Arrays, float_inputs, jvp, run, vjp_graph
from graphad.check.compare import (
    Mismatch,
    by_differences,
    forward_mismatch,
    has_forward_mode,
    index_of,
    reverse_mismatch,
)
from graphad.check.origin import Index, Run, run_regions
from graphad.check.widening import widened
from graphad.errors import DifferentiationError
from graphad.ir.builder import Builder
from graphad.ir.evaluate import evaluate
from graphad.ir.graph import Eqn, Graph
from graphad.ir.loc import Loc
from graphad.primitives.elementwise import stop_gradient
from graphad.primitives.while_loop import counted
from graphad.transforms.linearize import linearized
from graphad.transforms.transpose import transposed

NDArray = np.ndarray[Any, Any]

#: How far a derivative may be from differences, relative to its largest element, by the bits of the coarsest float.
TOLERANCE: Final = {64: 1e-6, 32: 1e-3, 16: 0.1}


class Fault(NamedTuple):
    """A rule that is wrong at the operands of an equation.

    Attributes
    ----------
    rule
        ``"derivative"``, ``"transpose"`` or ``"batching"``; ``"backward"`` of a function with reverse mode alone.
    order
        Of the derivative that is wrong: 1, or 2 where the first is right, ...
    eqn, loc
        The equation and its location.
    within
        Of a transpose: the equation of the graph whose derivative contains ``eqn``, if it is another.
    operand
        The operand along which the derivative is wrong, or whose cotangent is; None for all of them together.
    place
        Which element of the result, or of the operand's cotangent.
    expected, found
        The numbers that should be equal.
    operands
        The values of its operands.
    is_decided
        False at a kink or at the edge of a domain, where differences say little.
    """

    rule: str
    order: int
    eqn: Eqn
    loc: Loc
    within: Eqn | None
    operand: int | None
    place: Index
    expected: float
    found: float
    operands: tuple[NDArray, ...]
    is_decided: bool


class Single(NamedTuple):
    """An equation as a graph: operands that are no literals are its inputs.

    Attributes
    ----------
    graph, args
        The graph and its arguments.
    positions
        For each input which operand of the equation it is.
    eqn, loc
        The equation itself.
    operands
        The values of all its operands.
    """

    graph: Graph
    args: tuple[NDArray, ...]
    positions: tuple[int, ...]
    eqn: Eqn
    loc: Loc
    operands: tuple[NDArray, ...]


def single(eqn: Eqn, loc: Loc, graph: Graph, operands: Sequence[NDArray]) -> Single:
    """``eqn`` of ``graph`` as a graph, at these values of its operands."""
    builder = Builder()
    builder.loc = loc
    positions = tuple([k for k, a in enumerate(eqn.inputs) if isinstance(a, int)])
    atoms = tuple([builder.input(graph.avals[a]) if isinstance(a, int) else a for a in eqn.inputs])
    made = builder.close(builder.emit(eqn.primitive, atoms, eqn.params, eqn.regions), name=eqn.primitive.name)
    return Single(made, tuple([operands[k] for k in positions]), positions, eqn, loc, tuple(operands))


def singles(graph: Graph, args: Arrays) -> Iterator[Single]:
    """The equations that depend on floating-point inputs; those of a region before the equation that holds it."""
    values = Run(graph, args)
    depends = bytearray(len(graph.avals))
    for i in float_inputs(graph):
        depends[i] = 1
    for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
        if eqn.primitive.effect or not any([isinstance(a, int) and depends[a] for a in eqn.inputs]):
            continue
        for o in eqn.outputs:
            depends[o] = graph.avals[o].is_float
        operands = values.operands(eqn)
        for region, given in _first_runs(eqn, operands):
            yield from singles(region, given)
        yield single(eqn, loc, graph, operands)


def _first_runs(eqn: Eqn, operands: Sequence[NDArray]) -> list[tuple[Graph, list[NDArray]]]:
    """The regions of an equation, with what each is given when it first runs."""
    found: dict[int, tuple[Graph, list[NDArray]]] = {}

    def run(region: Graph, values: Sequence[NDArray]) -> list[NDArray]:
        found.setdefault(id(region), (region, list(values)))
        return evaluate(region, values)

    if eqn.regions and eqn.primitive is not counted:  # whose region has other lengths in each run
        run_regions(eqn, operands, run)
    return list(found.values())


def faults(graph: Graph, args: Arrays, order: int = 1) -> Iterator[Fault]:
    """The faults, and doubtful cases, of the derivatives of the equations of ``graph``, in order.

    Parameters
    ----------
    graph, args
        The graph, not simplified, and its arguments.
    order
        Up to which derivatives are compared with differences, and their transposes with them.
    """
    for one in singles(graph, args):
        found = fault_of(one, order)
        if found is not None:
            yield found


def fault_of(one: Single, order: int = 1) -> Fault | None:
    """The fault of the derivatives of one equation; None too if it has none, or if values are not finite."""
    try:
        return _fault_of(one, order)
    except DifferentiationError:  # the rule says that there is none, and why
        return None


def _fault_of(one: Single, order: int) -> Fault | None:
    if one.eqn.primitive is stop_gradient or not _is_differentiable(one.graph):
        return None
    if not all([bool(np.all(np.isfinite(x))) for x, a in zip(one.args, one.graph.in_avals, strict=True) if a.is_float]):
        return None
    wide = widened(one.graph)
    if wide is None:
        # Of a custom derivative, at least the function (its region) can be evaluated in float64.
        regions = one.eqn.regions
        return _wrong(one, one.graph, one.args, order, order, widened(regions[0]) if regions else None)
    args = [x.astype(a.dtype.numpy) for x, a in zip(one.args, wide.in_avals, strict=True)]
    return _wrong(one, wide, args, order, order) or _loses_digits(one, wide, args)


def _is_differentiable(graph: Graph) -> bool:
    (eqn,) = graph.eqns
    primitive = eqn.primitive
    has_rule = primitive.jvp is not None or primitive.region_rules is not None
    return has_rule and bool(float_inputs(graph)) and any([a.is_float for a in graph.out_avals])


def _wrong(
    one: Single, graph: Graph, args: Arrays, order: int, highest: int, values: Graph | None = None
) -> Fault | None:
    """The first fault of ``graph``, which is the equation or a derivative of it, up to ``order`` more derivatives."""
    if not any([a.is_float for a in graph.out_avals]):
        return None  # a derivative that is 0
    rng = np.random.default_rng(0)
    floats = float_inputs(graph)
    along = [direction(rng, args[k]) for k in floats]
    tolerance = tolerance_of(graph)
    least = _rounding(graph, run(graph, args))
    number = highest - order + 1
    forward = has_forward_mode(graph, args, along)
    if forward:
        for mask, operand in _masks(graph, floats):
            part = [t if mask[k] else np.zeros_like(t) for t, k in zip(along, floats, strict=True)]
            wrong = forward_mismatch(graph, args, part, tolerance, mask=mask, least_scale=least, values=values)
            if wrong is not None:
                return _fault(one, "derivative", number, wrong, None if operand is None else _position(one, operand))
    found = _wrong_transpose(one, graph, args, along, number, None if forward else values or graph)
    if found is not None or order == 1:
        return found
    if forward:
        higher, higher_args = _forward_program(graph, args, along)
        found = _wrong(one, higher, higher_args, order - 1, highest)
        if found is not None:
            return found
    cts = [direction(rng, y) for y, a in zip(run(graph, args), graph.out_avals, strict=True) if a.is_float]
    return _wrong(one, vjp_graph(graph), [*args, *cts], order - 1, highest)


def _masks(graph: Graph, floats: Sequence[int]) -> Iterator[tuple[tuple[bool, ...], int | None]]:
    """Each floating-point input alone, then all of them."""
    for k in floats:
        yield tuple([i == k for i in range(graph.n_inputs)]), k
    if len(floats) > 1:
        yield tuple([a.is_float for a in graph.in_avals]), None


def _position(one: Single, k: int) -> int | None:
    """The operand of the equation that input ``k`` is; None for the further inputs of a derivative."""
    return one.positions[k] if k < len(one.positions) else None


def _forward_program(graph: Graph, args: Arrays, along: Arrays) -> tuple[Graph, list[NDArray]]:
    """The tangents as a graph of arguments and directions."""
    mask = tuple([a.is_float for a in graph.in_avals])
    split = linearized(graph, mask)
    builder = Builder()
    inputs = [builder.input(a) for a in graph.in_avals]
    tangents = [builder.input(graph.in_avals[k]) for k in float_inputs(graph)]
    residuals = builder.inline(split.primal, inputs)[len(graph.outputs) :]
    return builder.close(builder.inline(split.linear, [*residuals, *tangents])), [*args, *along]


def _wrong_transpose(
    one: Single, graph: Graph, args: Arrays, along: Arrays, number: int, primal: Graph | None
) -> Fault | None:
    """The fault of reverse mode; without forward mode it is compared with finite differences of ``primal``."""
    rng = np.random.default_rng(1)
    values = run(graph, args)
    cts = [direction(rng, y) for y, a in zip(values, graph.out_avals, strict=True) if a.is_float]
    pulled = run(vjp_graph(graph), [*args, *cts])
    pushed = (lambda t: jvp(graph, args, t)) if primal is None else by_differences(primal, args)
    wrong = reverse_mismatch(pushed, pulled, along, cts, tolerance_of(graph), _rounding(graph, values, cts))
    if wrong is None or wrong.operand is None:
        return None
    if primal is None:
        guilty = _guilty_transpose(one, graph, args, number)
        if guilty is not None:
            return guilty
    k = float_inputs(graph)[wrong.operand]
    return _fault(one, "transpose" if primal is None else "backward", number, wrong, _position(one, k))


def _guilty_transpose(one: Single, graph: Graph, args: Arrays, number: int) -> Fault | None:
    """The equation on tangents, in the derivative of ``graph``, whose transpose is wrong."""
    rng = np.random.default_rng(2)
    mask = tuple([a.is_float for a in graph.in_avals])
    split = linearized(graph, mask)
    residuals = run(split.primal, args)[len(graph.outputs) :]
    linear = split.linear
    tangents = [direction(rng, np.zeros(a.shape, a.dtype.numpy)) for a in linear.in_avals[split.n_residuals :]]
    values = Run(linear, [*residuals, *tangents])
    depends = bytearray(len(linear.avals))
    depends[split.n_residuals : linear.n_inputs] = b"\1" * (linear.n_inputs - split.n_residuals)
    for eqn, loc in zip(linear.eqns, linear.locs, strict=True):
        marks = [isinstance(a, int) and bool(depends[a]) for a in eqn.inputs]
        if not any(marks) or eqn.primitive.effect:
            continue
        for o in eqn.outputs:
            depends[o] = 1
        part = single(eqn, loc, linear, values.operands(eqn))
        wrong = transpose_mismatch(part, [marks[k] for k in part.positions], rng)
        if wrong is not None:
            return _fault(part, "transpose", number, wrong, wrong.operand)._replace(within=one.eqn)
    return None


def transpose_mismatch(part: Single, marks: Sequence[bool], rng: np.random.Generator) -> Mismatch | None:
    """The transpose of an equation that is linear in the inputs in ``marks``, against the equation."""
    graph, args = part.graph, part.args
    outs = run(graph, args)
    cts = [direction(rng, y) for y in outs]
    back = transposed(graph, tuple(marks), (True,) * len(outs))
    found = iter(run(back.graph, [*[x for x, m in zip(args, marks, strict=True) if not m], *cts]))
    active = [k for k, m in enumerate(marks) if m]
    pulled = [next(found) if n else np.zeros_like(args[k]) for k, n in zip(active, back.nonzero, strict=True)]
    along = [direction(rng, args[k]) for k in active]

    def forward(tangents: Sequence[NDArray]) -> list[NDArray]:
        given = iter(tangents)
        return run(graph, [next(given) if m else x for x, m in zip(args, marks, strict=True)])

    wrong = reverse_mismatch(forward, pulled, along, cts, tolerance_of(graph), _rounding(graph, outs, cts))
    return None if wrong is None else wrong._replace(operand=part.positions[active[wrong.operand or 0]])


def _loses_digits(one: Single, wide: Graph, args: Arrays) -> Fault | None:
    """Whether the rule in the equation's own precision is far from the same rule in float64."""
    rng = np.random.default_rng(0)
    floats = float_inputs(one.graph)
    along = [direction(rng, one.args[k]) for k in floats]
    try:
        narrow = jvp(one.graph, one.args, along)
        exact = jvp(wide, args, [t.astype(np.float64) for t in along])
    except DifferentiationError:  # there is no forward mode
        return None
    tolerance, limits = tolerance_of(one.graph), coarsest(one.graph)
    tiny, huge = float(limits.tiny), float(limits.max)
    for found, expected in zip(narrow, exact, strict=True):
        found = found.astype(np.float64)
        with np.errstate(all="ignore"):
            off = ~(np.abs(found - expected) <= tolerance * np.abs(expected).max(initial=tiny) + tiny)
            off &= np.isfinite(expected) & (np.abs(expected) < huge)
        if off.any():
            place = index_of(int(np.argmax(off)), off.shape)
            return _fault(
                one, "derivative", 1, Mismatch(None, place, float(expected[place]), float(found[place])), None
            )
    return None


def _fault(one: Single, rule: str, number: int, wrong: Mismatch, operand: int | None) -> Fault:
    return Fault(
        rule, number, one.eqn, one.loc, None, operand, wrong.place, wrong.expected, wrong.found, one.operands,
        wrong.is_decided,
    )  # fmt: skip


def coarsest(graph: Graph) -> Any:
    """The `finfo` of the least precise floating-point type of ``graph``."""
    return max([ml_dtypes.finfo(a.dtype.numpy) for a in graph.avals if a.is_float], key=lambda info: float(info.eps))


def tolerance_of(graph: Graph) -> float:
    """The tolerance of the derivatives of a graph."""
    return TOLERANCE[coarsest(graph).bits]


def _rounding(graph: Graph, values: Arrays, cts: Arrays | None = None) -> float:
    """The least magnitude of a derivative above the rounding of ``values``, or of their products with ``cts``."""
    floats = [np.abs(v.astype(np.float64)) for v, a in zip(values, graph.out_avals, strict=True) if a.is_float]
    if cts is None:
        size = max([float(v.max(initial=0.0)) for v in floats], default=0.0)
    else:
        size = sum(float((v * np.abs(c)).sum()) for v, c in zip(floats, cts, strict=True))
    return 30 * float(coarsest(graph).eps) / tolerance_of(graph) * size


def direction(rng: np.random.Generator, x: NDArray) -> NDArray:
    """A random direction whose elements scale with those of ``x``, so that steps stay in the domain."""
    size = np.abs(x.astype(np.float64))
    largest = float(size.max(initial=0.0)) or 1.0
    return np.asarray(rng.normal(size=x.shape) * np.where(size > 0, size, largest)).astype(x.dtype)
