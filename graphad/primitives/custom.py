"""Functions with derivatives of the user's own: ``custom_jvp``, ``custom_vjp``, ``custom_lin``.

The *rule* of a custom derivative is an object compared by identity that `graphad.api` supplies. Its graphs are traced
when first needed:

``custom_jvp``
    ``graph_for(in_avals) -> (Graph, number of outputs)``: arguments, one tangent per float argument, captured operands
    -> outputs and one tangent per float output.
``custom_vjp``
    ``fwd(in_avals) -> (Graph, number of residuals)``: arguments, captured operands -> outputs and residuals;
    ``bwd(in_avals, residual_avals, out_avals) -> Graph``: residuals, one cotangent per float output, captured operands
    -> one cotangent per float argument.

A batched equation of either has a `BatchedRule`, which batches the graphs of the rule that it is made of.

``axis_names`` are those of the named batch axes that the function was called within: its rule may be over them.
``n_args`` is the number of leading operands that are arguments; the others were captured from enclosing traces.
``n_results`` is the number of the primal's results; behind them come predicates of its guards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from graphad.errors import DifferentiationError
from graphad.ir.bounded import BoundedDict
from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.lowering import Inline
from graphad.ir.params import AVALS, INT, RULE
from graphad.ir.primitive import Primitive, RegionRules
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType, aval
from graphad.primitives.control import Tangents, atoms_of, jit, region_type, slim_region, spread
from graphad.primitives.families import listed
from graphad.primitives.layout import instantiate, repeat_leading
from graphad.primitives.reduce import reduce_sum

MAX_GRAPHS: Final = 256
"""Of one rule: for as many types of its arguments."""


def _refuse_captured(rule: Any, tangents: Tangents, loc: Any) -> None:
    if any([t is not None for t in tangents[rule.n_args :]]):
        raise DifferentiationError(
            f"{format_loc(loc)}: {rule.rule_name} has a custom derivative and closes over a value that is being "
            "differentiated. Pass that value as an argument (nondiff_argnums marks arguments without a derivative)."
        )


def _instantiate(builder: Builder, tangents: Tangents, avals: Sequence[Aval]) -> list[Ref]:
    """Tangents of the float operands, zeros written out: only custom rules see those."""
    return [instantiate(builder, t, a) for t, a in zip(tangents, avals, strict=True) if a.is_float]


def _predicates(builder: Builder, eqn: Eqn, atoms: tuple[Atom, ...], n_outs: int) -> list[Atom]:
    """The outputs of the primal region after the function's own: predicates, which are guarded outside the region."""
    region = eqn.regions[0]
    if len(region.outputs) == n_outs:
        return []
    slim, kept = slim_region(region, tuple([k >= n_outs for k in range(len(region.outputs))]))
    return list(builder.emit(jit, tuple([atoms[i] for i in kept]), (region.name,), (slim,)))


def _check_results(rule: Any, what: str, found: Sequence[Aval], eqn: Eqn, loc: Loc) -> None:
    """The results that the rule computes besides the derivative must have the types of the function's results."""
    wanted = eqn.regions[0].out_avals[: len(found)]
    if tuple(found) != wanted:
        raise TypeError(
            f"{format_loc(loc)}: the {what} rule of {rule.rule_name} returned results of types {listed(found)}, but "
            f"{rule.rule_name} itself returns {listed(wanted)}"
        )


def _operand_avals(builder: Builder, atoms: Sequence[Atom]) -> tuple[Aval, ...]:
    return tuple([builder.avals[a] if type(a) is int else a.aval for a in atoms])  # type: ignore[union-attr]


def _linearize_custom_jvp(
    builder: Builder, eqn: Eqn, atoms: tuple[Atom, ...], tangents: Tangents, *_: Any
) -> tuple[list[Atom], list[Ref | None]]:
    (rule,) = eqn.params
    _refuse_captured(rule, tangents, builder.loc)
    in_avals = _operand_avals(builder, atoms)
    graph, n_outs = rule.graph_for(in_avals)
    _check_results(rule, "jvp", graph.out_avals[:n_outs], eqn, builder.loc)
    n_args = rule.n_args
    instantiated = _instantiate(builder, tangents[:n_args], in_avals[:n_args])
    outs = builder.inline(graph, [*atoms[:n_args], *[t.atom for t in instantiated], *atoms[n_args:]])
    predicates = _predicates(builder, eqn, atoms, n_outs)
    is_float = [a.is_float for a in graph.out_avals[:n_outs]]
    return [*outs[:n_outs], *predicates], [
        *spread(builder, outs[n_outs:], is_float),
        *([None] * len(predicates)),
    ]


def _batched_primal(
    region: Graph, mask: tuple[bool, ...], size: int, n_results: int, batched: Callable[..., Any]
) -> tuple[Graph, tuple[bool, ...]]:
    """The region over a batch of ``size``: all results batched, as the rules are; guard predicates where they vary."""
    graph, found = batched(region, mask, size)
    builder = Builder()
    outs = [Ref(builder, a) for a in builder.inline(graph, [builder.input(a) for a in graph.in_avals])]
    for k in range(n_results):
        if not found[k]:
            outs[k] = repeat_leading(outs[k], size)
    out_mask = tuple([k < n_results or m for k, m in enumerate(found)])
    return builder.close(atoms_of(outs), graph.weak, name=graph.name), out_mask


def _batch_custom(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref], marks: Sequence[bool], size: int, batched: Callable[..., Any]
) -> tuple[list[Ref], tuple[bool, ...]]:
    (rule,) = eqn.params
    mask = tuple(marks)
    graph, out_mask = _batched_primal(eqn.regions[0], mask, size, rule.n_results, batched)
    key = (mask, size, batched)
    if key not in rule.batches:
        rule.batches[key] = (BatchedJvp if eqn.primitive is custom_jvp else BatchedVjp)(rule, mask, size, batched)
    numbers = builder.emit(eqn.primitive, atoms_of(operands), (rule.batches[key],), (graph,))
    return [Ref(builder, n) for n in numbers], out_mask


custom_jvp = Primitive(
    "custom_jvp",
    doc="Runs its region; differentiated by the user's forward rule.",
    type_rule=region_type,
    numpy=None,
    params={"rule": RULE},
    multiple=True,
    lowering=Inline(),
    region_rules=RegionRules(_linearize_custom_jvp, None, _batch_custom),
)


def _linearize_custom_vjp(
    builder: Builder, eqn: Eqn, atoms: tuple[Atom, ...], tangents: Tangents, *_: Any
) -> tuple[list[Atom], list[Ref | None]]:
    (rule,) = eqn.params
    loc = builder.loc
    _refuse_captured(rule, tangents, loc)
    in_avals = _operand_avals(builder, atoms)
    n_args = rule.n_args
    graph, n_residuals = rule.fwd(in_avals)
    _check_results(rule, "fwd", graph.out_avals[: len(graph.outputs) - n_residuals], eqn, loc)
    outs = builder.inline(graph, list(atoms))
    n_outs = len(outs) - n_residuals
    predicates = _predicates(builder, eqn, atoms, n_outs)
    residuals = [*outs[n_outs:], *atoms[n_args:]]
    out_avals = graph.out_avals[:n_outs]
    builder.loc = ("jvp", loc)
    instantiated = _instantiate(builder, tangents[:n_args], in_avals[:n_args])
    results = builder.emit(
        custom_lin,
        (*residuals, *[t.atom for t in instantiated]),
        (rule, len(residuals), in_avals, out_avals),
    )
    is_float = [a.is_float for a in out_avals]
    return [*outs[:n_outs], *predicates], [*spread(builder, results, is_float), *([None] * len(predicates))]


custom_vjp = Primitive(
    "custom_vjp",
    doc="Runs its region; differentiated by the user's pair of forward and backward rules.",
    type_rule=region_type,
    numpy=None,
    params={"rule": RULE},
    multiple=True,
    lowering=Inline(),
    region_rules=RegionRules(_linearize_custom_vjp, None, _batch_custom),
)


def _custom_lin_type(
    *_operands: OperandType, rule: Any, n_residuals: int, in_avals: tuple[Aval, ...], out_avals: tuple[Aval, ...]
) -> tuple[Aval, ...]:
    return tuple([a for a in out_avals if a.is_float])


def _no_forward_mode(*_operands: Any, rule: Any, **_params: Any) -> Any:
    raise DifferentiationError(
        f"{rule.rule_name} has a custom_vjp rule: it has no forward-mode derivative. "
        "Use grad, vjp or jacrev, or define it with custom_jvp, which serves both modes."
    )


def _linearize_custom_lin(
    _builder: Builder, eqn: Eqn, _atoms: tuple[Atom, ...], _tangents: Tangents, *_: Any
) -> tuple[list[Atom], list[Ref | None]]:
    return _no_forward_mode(rule=eqn.params[0])


def _transpose_custom_lin(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref | Aval], cts: Tangents, *_: Any
) -> list[Ref | None]:
    rule, n_residuals, in_avals, out_avals = eqn.params
    residuals = [x for x in operands[:n_residuals] if type(x) is Ref]
    float_avals = [a for a in out_avals if a.is_float]
    seeds = _instantiate(builder, cts, float_avals)
    graph = rule.bwd(in_avals, tuple([r.aval for r in residuals]), out_avals)
    n_own = n_residuals - (len(in_avals) - rule.n_args)
    found = builder.inline(graph, [*atoms_of(residuals[:n_own]), *atoms_of(seeds), *atoms_of(residuals[n_own:])])
    return [*([None] * n_residuals), *[Ref(builder, a) for a in found]]


def _batch_custom_lin(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref], marks: Sequence[bool], size: int, _: Any
) -> tuple[list[Ref], tuple[bool, ...]]:
    """There is no such rule: under ``vmap`` a `BatchedVjp` emits this equation again, with batched residuals.

    What arrives here is the forward-mode derivative of a ``custom_vjp`` function, which has none.
    """
    rule = eqn.params[0]
    raise DifferentiationError(
        f"{format_loc(builder.loc)}: the forward-mode derivative of {rule.rule_name} (a custom_vjp function) cannot be "
        "batched, for it has none. Use grad, vjp or jacrev, or define it with custom_jvp."
    )


custom_lin = Primitive(
    "custom_lin",
    doc="The linear map of a custom_vjp function at given residuals. It can be transposed, not evaluated.",
    type_rule=_custom_lin_type,
    numpy=_no_forward_mode,
    params={"rule": RULE, "n_residuals": INT, "in_avals": AVALS, "out_avals": AVALS},
    multiple=True,
    lowering=lambda _types, params: _no_forward_mode(**params),
    region_rules=RegionRules(_linearize_custom_lin, _transpose_custom_lin, _batch_custom_lin),
)


# ---------------------------------------------------------------------------------------------------------------------
# Rules under vmap


def _unbatched(avals: Sequence[Aval], mask: Sequence[bool]) -> tuple[Aval, ...]:
    return tuple([aval(a.shape[1:], a.dtype) if m else a for a, m in zip(avals, mask, strict=True)])


class BatchedRule:
    """The rule of a custom derivative over a batch of ``size`` for the operands marked in ``mask``."""

    def __init__(self, rule: Any, mask: tuple[bool, ...], size: int, batched: Any) -> None:
        self.rule = rule
        self.mask = mask
        self.size = size
        self.batched = batched
        self.batches: BoundedDict[Any, Any] = BoundedDict(MAX_GRAPHS)
        self.graphs: BoundedDict[Any, Graph] = BoundedDict(MAX_GRAPHS)

    @property
    def n_args(self) -> int:
        return self.rule.n_args

    @property
    def n_results(self) -> int:
        return self.rule.n_results

    @property
    def rule_name(self) -> str:
        return f"{self.rule.rule_name}.batch"

    @property
    def axis_names(self) -> frozenset[str]:
        return self.rule.axis_names - {self.batched.name}


class BatchedJvp(BatchedRule):
    """A ``custom_jvp`` rule under vmap."""

    def graph_for(self, in_avals: tuple[Aval, ...]) -> tuple[Graph, int]:
        graph, n_outs = self.rule.graph_for(_unbatched(in_avals, self.mask))
        n_args = self.n_args
        # A tangent has the shape of its primal: batched where that is.
        tangent_marks = [m for a, m in zip(in_avals[:n_args], self.mask, strict=False) if a.is_float]
        mask = (*self.mask[:n_args], *tangent_marks, *self.mask[n_args:])
        return self.batched(graph, mask, self.size, True).graph, n_outs


class BatchedVjp(BatchedRule):
    """A ``custom_vjp`` rule under vmap: cotangents of unbatched arguments are summed over the batch."""

    def fwd(self, in_avals: tuple[Aval, ...]) -> tuple[Graph, int]:
        graph, n_residuals = self.rule.fwd(_unbatched(in_avals, self.mask))
        return self.batched(graph, self.mask, self.size, True).graph, n_residuals

    def bwd(self, in_avals: tuple[Aval, ...], residual_avals: tuple[Aval, ...], out_avals: tuple[Aval, ...]) -> Graph:
        key = (in_avals, residual_avals, out_avals)
        if key not in self.graphs:
            self.graphs[key] = self._batch_bwd(in_avals, residual_avals, out_avals)
        return self.graphs[key]

    def _batch_bwd(
        self, in_avals: tuple[Aval, ...], residual_avals: tuple[Aval, ...], out_avals: tuple[Aval, ...]
    ) -> Graph:
        n_captured = len(in_avals) - self.n_args
        n_own = len(residual_avals) - n_captured
        residual_mask = (*([True] * n_own), *self.mask[self.n_args :])
        all_outs = (True,) * len(out_avals)
        graph = self.rule.bwd(
            _unbatched(in_avals, self.mask),
            _unbatched(residual_avals, residual_mask),
            _unbatched(out_avals, all_outs),
        )
        ct_avals = [a for a in out_avals if a.is_float]
        mask = (*residual_mask[:n_own], *([True] * len(ct_avals)), *residual_mask[n_own:])
        batched_graph = self.batched(graph, mask, self.size, True).graph
        builder = Builder()
        inputs = [builder.input(a) for a in (*residual_avals[:n_own], *ct_avals, *residual_avals[n_own:])]
        outs = builder.inline(batched_graph, inputs)
        float_marks = [m for a, m in zip(in_avals[: self.n_args], self.mask, strict=False) if a.is_float]
        summed = [
            a if m else reduce_sum(Ref(builder, a), axes=(0,)).atom for a, m in zip(outs, float_marks, strict=True)
        ]
        return builder.close(summed, name=graph.name)
