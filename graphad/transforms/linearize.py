"""Forward derivatives of graphs: jvp rules are emitted beside the primal, then the tangent part is split off.

Reverse mode is `linearize` followed by `graphad.transforms.transpose` (Radul et al., "You Only Linearize Once:
Tangents Transpose to Gradients", POPL 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from graphad.errors import DifferentiationError, GraphadError
from graphad.ir.builder import Builder
from graphad.ir.collector import without_collector
from graphad.ir.graph import Atom, Eqn, Graph, is_effectful
from graphad.ir.loc import format_loc
from graphad.ir.ref import Ref
from graphad.primitives.elementwise import add
from graphad.transforms.rules import checked, raised


class Joint(NamedTuple):
    """Primal and tangent graph in one builder, so that value numbering merges their common subexpressions.

    The builder's inputs are the primals and then one tangent per differentiated input of float type. A tangent
    output of None is zero.
    """

    builder: Builder
    n_primals: int
    primals: list[Atom]
    tangents: list[Atom | None]


class Split(NamedTuple):
    """``primal``: inputs -> outputs + residuals. ``linear``: residuals + tangents -> nonzero tangent outputs."""

    primal: Graph
    linear: Graph
    n_residuals: int
    nonzero: tuple[bool, ...]  # per output of the original graph


@without_collector
def linearize(graph: Graph, mask: Sequence[bool]) -> Joint:
    """The joint graph of ``graph`` differentiated along the inputs marked in ``mask``."""
    builder = Builder()
    avals = graph.avals
    value: list[Atom] = [builder.input(a) for a in graph.in_avals]
    value.extend([0] * (len(avals) - graph.n_inputs))
    tangent: list[Ref | None] = [None] * len(avals)
    for i, marked in enumerate(mask):
        if marked and avals[i].is_float:
            tangent[i] = builder.input_ref(avals[i])
    for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
        builder.loc = loc
        _linearize_eqn(builder, graph, eqn, value, tangent)
    tangents = [tangent[a] if type(a) is int else None for a in graph.outputs]
    return Joint(
        builder,
        graph.n_inputs,
        [value[a] if type(a) is int else a for a in graph.outputs],
        [None if t is None else t.atom for t in tangents],
    )


def _linearize_eqn(builder: Builder, graph: Graph, eqn: Eqn, value: list[Atom], tangent: list[Ref | None]) -> None:
    """Append one equation and its tangent; record both in ``value`` and ``tangent``."""
    primitive, inputs, _, outputs, _ = eqn
    avals = graph.avals
    atoms = tuple([value[a] if type(a) is int else a for a in inputs])
    active = [i for i, a in enumerate(inputs) if type(a) is int and tangent[a] is not None]
    loc = builder.loc
    if active and primitive.region_rules is not None:
        tangents = [tangent[a] if type(a) is int else None for a in inputs]
        rule = primitive.region_rules.linearize
        values, results = rule(builder, eqn, atoms, tangents, linearized, jvp_graph)
    else:
        values = builder.copy(eqn, atoms, [avals[o] for o in outputs])
        if not active or not any([avals[o].is_float for o in outputs]):
            results = None
        else:
            builder.loc = ("jvp", loc)
            results = _apply_jvp(builder, eqn, atoms, active, tangent, values, loc)
    for k, o in enumerate(outputs):
        value[o] = values[k]
        if results is not None:
            tangent[o] = results[k]


def _apply_jvp(
    builder: Builder,
    eqn: Eqn,
    atoms: tuple[Atom, ...],
    active: list[int],
    tangent: list[Ref | None],
    values: Sequence[Atom],
    loc: object,
) -> Sequence[Ref | None]:
    primitive, inputs, params, _, _ = eqn
    rule: Any = primitive.jvp
    if rule is None:
        raise DifferentiationError(
            f"{format_loc(loc)}: {primitive.name} is not differentiable"  # type: ignore[arg-type]
            f"{': ' + primitive.nondifferentiable if primitive.nondifferentiable else ''}. "
            "Wrap its operand in stop_gradient to treat it as a constant."
        )
    operands = [Ref(builder, a) for a in atoms]
    results: Any
    try:
        if type(rule) is not tuple:
            tangents = [tangent[a] if type(a) is int else None for a in inputs]
            outs = [Ref(builder, v) for v in values]
            results = rule(tangents, operands, outs, **primitive.named(params))
        else:
            operands.append(Ref(builder, values[0]))
            named = primitive.named(params)
            total: Ref | None = None
            for i in active:
                partial = rule[i]
                if partial is not None:
                    term = partial(tangent[inputs[i]], *operands, **named)  # type: ignore[index]
                    if term is not None:
                        total = term if total is None else add(total, term)
            results = [total]
            if total is None or (type(total) is Ref and total.aval is builder.avals[values[0]]):  # type: ignore[index]
                return results
    except GraphadError:
        raise
    except Exception as error:
        raise raised(eqn, "derivative", loc, error) from error  # type: ignore[arg-type]
    return checked(eqn, "derivative", loc, results, [builder.avals[v] for v in values])  # type: ignore[arg-type]


@without_collector
def split(joint: Joint, weak: Sequence[bool] | None = None, name: str = "main") -> Split:
    """Split the joint graph into the primal one and the linear one; the values that cross are the residuals."""
    builder, n_primals, primals, tangents = joint
    n = len(builder.avals)
    depends = builder.dependent(builder.inputs[n_primals:])
    results = [t for t in tangents if t is not None]
    linear_eqns, residuals = _linear_part(builder, results, depends)

    linear = Builder()
    number: list[Atom] = [0] * n
    for a in residuals:
        number[a] = linear.input(builder.avals[a])
    for i in builder.inputs[n_primals:]:
        number[i] = linear.input(builder.avals[i])
    for k in linear_eqns:
        eqn = builder.eqns[k]
        linear.loc = builder.locs[k]
        atoms = tuple([number[a] if type(a) is int else a for a in eqn.inputs])
        for o, new in zip(eqn.outputs, linear.copy(eqn, atoms, [builder.avals[o] for o in eqn.outputs]), strict=True):
            number[o] = new
    linear_graph = linear.close([number[a] if type(a) is int else a for a in results], name=name)
    # No primal value depends on a tangent: linear equations are dead in the primal graph, but for prints of tangents.
    effects = {k for k in linear_eqns if is_effectful(builder.eqns[k])}
    if effects:
        builder.locs = [loc for k, loc in enumerate(builder.locs) if k not in effects]
        builder.eqns = [eqn for k, eqn in enumerate(builder.eqns) if k not in effects]
    weak = list(weak) if weak is not None else [False] * len(primals)
    primal_graph = builder.close(
        [*primals, *residuals], [*weak, *([False] * len(residuals))], builder.inputs[:n_primals], name
    )
    return Split(primal_graph, linear_graph, len(residuals), tuple([t is not None for t in tangents]))


def _linear_part(builder: Builder, results: list[Atom], depends: bytearray) -> tuple[list[int], list[int]]:
    """The equations on tangents that tangent results and effects depend on, and the values that they read."""
    live = bytearray(len(builder.avals))
    residuals: dict[int, None] = {}
    for a in results:
        if type(a) is int:
            live[a] = 1
            if not depends[a]:
                residuals[a] = None
    needed: list[int] = []
    for k in range(len(builder.eqns) - 1, -1, -1):
        eqn = builder.eqns[k]
        outputs = eqn.outputs
        if outputs:
            wanted = depends[outputs[0]] and (any([live[o] for o in outputs]) or is_effectful(eqn))
        else:
            wanted = any([type(a) is int and depends[a] for a in eqn.inputs])
        if wanted:
            needed.append(k)
            for a in eqn.inputs:
                if type(a) is int:
                    live[a] = 1
    needed.reverse()
    for k in needed:
        for a in builder.eqns[k].inputs:
            if type(a) is int and not depends[a]:
                residuals[a] = None
    return needed, list(residuals)


def jvp_graph(graph: Graph, mask: tuple[bool, ...]) -> tuple[Graph, tuple[bool, ...]]:
    """The joint graph, closed: outputs, then the nonzero tangent outputs; and which those are. Memoised."""

    def make() -> tuple[Graph, tuple[bool, ...]]:
        builder, _, primals, tangents = linearize(graph, mask)
        nonzero = tuple([t is not None for t in tangents])
        tangent_weak = [w for w, t in zip(graph.weak, nonzero, strict=True) if t]
        outs = [*primals, *[t for t in tangents if t is not None]]
        return builder.close(outs, [*graph.weak, *tangent_weak], name=graph.name), nonzero

    return graph.memoize(("jvp", mask), make)


def linearized(graph: Graph, mask: tuple[bool, ...]) -> Split:
    """`linearize` and `split`, memoised."""
    return graph.memoize(("linearized", mask), lambda: split(linearize(graph, mask), graph.weak, graph.name))


def parted(graph: Graph, linear: tuple[bool, ...]) -> Split:
    """``graph`` split by dependence on the inputs marked ``linear``, memoised.

    ``primal`` takes the other inputs and gives the outputs that do not depend on the marked ones, then residuals;
    ``linear`` takes residuals and the marked inputs, and gives the outputs that do, which are those marked ``nonzero``.
    """

    def make() -> Split:
        builder = Builder()
        numbers: list[Atom] = [0] * graph.n_inputs
        for wanted in (False, True):
            for i, is_linear in enumerate(linear):
                if is_linear is wanted:
                    numbers[i] = builder.input(graph.avals[i])
        outs = builder.inline(graph, numbers)
        depends = builder.dependent([numbers[i] for i, is_linear in enumerate(linear) if is_linear])
        marks = [type(a) is int and bool(depends[a]) for a in outs]
        known = [a for a, m in zip(outs, marks, strict=True) if not m]
        tangents = [a if m else None for a, m in zip(outs, marks, strict=True)]
        return split(Joint(builder, linear.count(False), known, tangents), name=graph.name)

    return graph.memoize(("parted", linear), make)
