"""Solutions of equations, differentiated as such: ``custom_root``, ``custom_linear_solve``.

Both run their first region, which finds the solution somehow; how it did so is never differentiated. The derivative
comes from what the solution fulfils (the implicit function theorem), and that is what the other regions say. All
regions take the same *constants* first: the first operands of the equation.

``custom_root``
    Of n *unknowns* x with f(p, x) = 0; the operands are p and where the search begins.

    - ``solve``: p, start -> x, then auxiliary results
    - ``function``: p, x -> f(p, x), of the types of x
    - ``tangent``: p, x, b -> y with J y = b, where J = df/dx at x. It is linear in b.

    From f(p, x(p)) = 0 follows J dx = -df, where df is the derivative of f along dp at a fixed x: ``dx = -tangent(p, x,
    df)``.

``custom_linear_solve``
    Of n unknowns x with A x = b, where A depends on p; the operands are p and b.

    - ``solve``: p, b -> x, then auxiliary results
    - ``matvec``: p, x -> A x
    - ``transpose_solve``, ``vecmat``: the same two of the transpose of A, or neither, where there is no reverse mode

    From A x = b follows A dx = db - dA x: the same equation with another right side. It is linear in b, and its
    transpose is the equation with the two pairs of regions exchanged.

Only the first region has effects: it alone runs once, where the user called it.

**Walked**: ``grad(lambda a: custom_root(lambda x: x * x - a, 1.0, newton, lambda g, b: b / g(1.0)))(2.0)``. The
traced graph has ``%2 = custom_root[n_unknowns=1] %a, 1.0``. ``function`` is ``x * x - a``, and ``tangent`` is
``b / (2 * x)``, with the linear map g written out. Linearizing differentiates ``function`` along a alone, which gives
``df = -da``, and inlines ``tangent`` on it: ``dx = -(-da / (2 * %2))``. Transposing has only this division to do. What
is evaluated is ``newton``, once, and ``1 / (2 * %2)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphad.errors import DifferentiationError
from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import format_loc
from graphad.ir.lowering import Inline
from graphad.ir.params import INT
from graphad.ir.primitive import Primitive, RegionRules
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType
from graphad.primitives.control import (
    Marks,
    Tangents,
    atoms_of,
    batched_outputs,
    check_region,
    narrowed,
    only,
    spread,
    without_effects,
)
from graphad.primitives.elementwise import neg, sub
from graphad.primitives.layout import instantiate, repeat_leading


def _check_outputs(what: str, region: Graph, wanted: Sequence[Aval]) -> None:
    if region.out_avals[: len(wanted)] != tuple(wanted):
        raise TypeError(f"{what} gives {region.out_avals}; it must give results of the types {tuple(wanted)}")


def _n_consts(eqn: Eqn) -> int:
    """The number of leading operands that are constants: what else the function of n unknowns takes is these."""
    return eqn.regions[1].n_inputs - eqn.params[0]


def _along_constants(builder: Builder, eqn: Eqn, atoms: tuple[Atom, ...], tangents: Tangents, jvp: Any) -> Tangents:
    """The tangents of the results of the second region, at the unknowns ``atoms[n_consts:]``, which have none."""
    function, n = eqn.regions[1], _n_consts(eqn)
    marks = tuple([t is not None for t in tangents[:n]])
    if not any(marks):
        return [None] * len(function.outputs)
    joint, nonzero = jvp(function, (*marks, *[False] * (len(atoms) - n)))
    found = builder.inline(joint, [*atoms, *atoms_of(tangents[:n])])
    return spread(builder, found[len(function.outputs) :], nonzero)


def _prune(eqn: Eqn, live: Marks) -> Eqn:
    """Without auxiliary results that nobody reads, and constants that no region reads; the unknowns stay."""
    (n,) = eqn.params
    first, *others = eqn.regions
    if not all(live[n:]):
        first = only(first, [*first.outputs[:n], *[a for a, m in zip(first.outputs[n:], live[n:], strict=True) if m]])
    n_consts = _n_consts(eqn)
    read = first.values_read.union(*[r.values_read for r in others])
    kept = [k for k in range(n_consts) if k in read]
    if first is eqn.regions[0] and len(kept) == n_consts:
        return eqn
    regions = tuple([narrowed(r, r.outputs, [*kept, *range(n_consts, r.n_inputs)]) for r in (first, *others)])
    atoms = (*[eqn.inputs[k] for k in kept], *eqn.inputs[n_consts:])
    outputs = (*eqn.outputs[:n], *[o for o, m in zip(eqn.outputs[n:], live[n:], strict=True) if m])
    return Eqn(eqn.primitive, atoms, eqn.params, outputs, regions)


def _batch(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref], marks: Sequence[bool], size: int, batched: Callable[..., Any]
) -> tuple[list[Ref], Marks]:
    """Unknowns have the batch axis, all of them; so do the start, the right side and what functions give of them."""
    (n,), n_consts = eqn.params, _n_consts(eqn)
    of_consts = tuple(marks[:n_consts])
    xs = [x if m or k < n_consts else repeat_leading(x, size) for k, (x, m) in enumerate(zip(operands, marks))]
    made = [batched(r, (*of_consts, *[True] * (r.n_inputs - n_consts)), size) for r in eqn.regions]
    wanted = [tuple([k < n or m for k, m in enumerate(one.mask)]) for one in made]
    regions = tuple([batched_outputs(one.graph, one.mask, w, size) for one, w in zip(made, wanted, strict=True)])
    numbers = builder.emit(eqn.primitive, atoms_of(xs), eqn.params, regions)
    return [Ref(builder, o) for o in numbers], wanted[0]


# ---------------------------------------------------------------------------------------------------------------------
# custom_root


def _root_type(*operands: OperandType, regions: tuple[Graph, ...], n_unknowns: int) -> tuple[Aval, ...]:
    solve, function, tangent = regions
    check_region("custom_root", operands, solve)
    unknowns = solve.out_avals[:n_unknowns]
    consts = operands[: function.n_inputs - n_unknowns]
    check_region("custom_root", (*consts, *unknowns), function)
    check_region("custom_root", (*consts, *unknowns, *unknowns), tangent)
    _check_outputs("the function of custom_root", function, unknowns)
    _check_outputs("the tangent solve of custom_root", tangent, unknowns)
    return solve.out_avals


def _linearize_root(
    builder: Builder, eqn: Eqn, atoms: tuple[Atom, ...], tangents: Tangents, _: Any, jvp_graph: Callable[..., Any]
) -> tuple[list[Atom], list[Ref | None]]:
    loc = builder.loc
    values: list[Atom] = [*builder.emit(eqn.primitive, atoms, eqn.params, eqn.regions)]
    (n,), tangent = eqn.params, eqn.regions[2]
    at_solution = (*atoms[: _n_consts(eqn)], *values[:n])
    builder.loc = ("jvp", loc)
    along = _along_constants(builder, eqn, at_solution, tangents, jvp_graph)
    if not any([t is not None for t in along]):
        return values, [None] * len(values)
    right = [instantiate(builder, t, a) for t, a in zip(along, tangent.out_avals, strict=True)]
    found = builder.inline(tangent, [*at_solution, *atoms_of(right)])
    builder.loc = ("jvp", loc)
    return values, [*[neg(Ref(builder, a)) for a in found], *[None] * (len(values) - n)]


custom_root = Primitive(
    "custom_root",
    doc="Runs its region `solve`, which finds a root of its region `function`; differentiated as a root.",
    type_rule=_root_type,
    numpy=None,
    params={"n_unknowns": INT},
    multiple=True,
    lowering=Inline(),
    region_rules=RegionRules(_linearize_root, None, _batch),
    prune=_prune,
)


# ---------------------------------------------------------------------------------------------------------------------
# custom_linear_solve


def _linear_solve_type(*operands: OperandType, regions: tuple[Graph, ...], n_unknowns: int) -> tuple[Aval, ...]:
    if len(regions) not in (2, 4):
        raise TypeError(f"custom_linear_solve has a solve and a product, of the transpose too or not; not {regions}")
    unknowns = tuple(regions[0].out_avals[:n_unknowns])
    for k, region in enumerate(regions):
        check_region("custom_linear_solve", operands, region)
        _check_outputs(("a solve" if k % 2 == 0 else "a product") + " of custom_linear_solve", region, unknowns)
    return regions[0].out_avals


def _linearize_linear_solve(
    builder: Builder, eqn: Eqn, atoms: tuple[Atom, ...], tangents: Tangents, _: Any, jvp_graph: Callable[..., Any]
) -> tuple[list[Atom], list[Ref | None]]:
    loc = builder.loc
    values: list[Atom] = [*builder.emit(eqn.primitive, atoms, eqn.params, eqn.regions)]
    (n,), n_consts = eqn.params, _n_consts(eqn)
    consts = atoms[:n_consts]
    builder.loc = ("jvp", loc)
    along = _along_constants(builder, eqn, (*consts, *values[:n]), tangents, jvp_graph)
    builder.loc = ("jvp", loc)
    right: list[Ref | None] = []
    for of_b, of_product in zip(tangents[n_consts:], along, strict=True):
        if of_product is None:
            right.append(of_b)
        else:
            right.append(neg(of_product) if of_b is None else sub(of_b, of_product))
    if not any([t is not None for t in right]):
        return values, [None] * len(values)
    avals = eqn.regions[1].out_avals
    whole = [instantiate(builder, t, a) for t, a in zip(right, avals, strict=True)]
    regions = (without_effects(eqn.regions[0]), *eqn.regions[1:])
    found = builder.emit(eqn.primitive, (*consts, *atoms_of(whole)), eqn.params, regions)
    return values, [*[Ref(builder, o) for o in found[:n]], *[None] * (len(values) - n)]


def _transpose_linear_solve(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref | Aval], cts: Tangents, *_: Any
) -> list[Ref | None]:
    (n,), n_consts = eqn.params, _n_consts(eqn)
    consts = [x for x in operands[:n_consts] if type(x) is Ref]
    if len(consts) < n_consts:
        raise DifferentiationError(
            f"{format_loc(builder.loc)}: custom_linear_solve is linear in b, and not in what its matvec closes over. "
            "linear_transpose takes linear functions only; for others use vjp."
        )
    if len(eqn.regions) < 4:
        raise DifferentiationError(
            f"{format_loc(builder.loc)}: custom_linear_solve has no solve of its transpose, which reverse-mode "
            "derivatives need. Give it transpose_solve, or symmetric=True if its matvec is."
        )
    solve, matvec, transpose_solve, vecmat = eqn.regions
    seeds = [instantiate(builder, c, a) for c, a in zip(cts[:n], matvec.out_avals, strict=True)]
    regions = (transpose_solve, vecmat, without_effects(solve), matvec)
    found = builder.emit(eqn.primitive, atoms_of([*consts, *seeds]), eqn.params, regions)
    of_b = [Ref(builder, o) if type(x) is Aval else None for o, x in zip(found, operands[n_consts:], strict=False)]
    return [*[None] * n_consts, *of_b]


custom_linear_solve = Primitive(
    "custom_linear_solve",
    doc="Runs its region `solve`, which solves A x = b, where its region `matvec` is A x; differentiated as that.",
    type_rule=_linear_solve_type,
    numpy=None,
    params={"n_unknowns": INT},
    multiple=True,
    lowering=Inline(),
    region_rules=RegionRules(_linearize_linear_solve, _transpose_linear_solve, _batch),
    prune=_prune,
)
