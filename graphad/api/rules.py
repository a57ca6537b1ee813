"""The rules of `custom_jvp` and `custom_vjp` at one structure of arguments: graphs, traced lazily."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphad.api import branching
from graphad.api.branching import Predicates
from graphad.api.tangents import zeros
from graphad.api.tracing import trace_with_loops
from graphad.errors import DifferentiationError, TracerBoolError
from graphad.ir.bounded import BoundedDict
from graphad.ir.graph import Graph
from graphad.ir.types import Aval, f64
from graphad.primitives.control import slim_region, without_effects
from graphad.primitives.custom import MAX_GRAPHS
from graphad.trace.bind import Spec, Traced, as_argument, as_input, type_of
from graphad.trace.exact import Exact, Origin
from graphad.trace.keys import is_keys
from graphad.trace.pytree import TreeDef, flatten, structure_text, unflatten
from graphad.trace.recording import axes_in_scope, state
from graphad.trace.semantics import cast
from graphad.trace.source import where
from graphad.trace.tracer import Tracer


def merged(diff: Sequence[Any], static: dict[int, Any]) -> list[Any]:
    """All arguments in order, from those with a derivative and those without."""
    it = iter(diff)
    return [static[i] if i in static else next(it) for i in range(len(diff) + len(static))]


class Rule:
    """A custom derivative at one argument structure; its graphs are traced lazily.

    Compared by identity. ``captures`` are the values that the primal closed over: the rule may use them too.
    """

    def __init__(self, custom: Any, static: dict[int, Any], treedef: TreeDef, n_args: int, traced: Traced) -> None:
        self.custom = custom
        self.static = static
        self.treedef = treedef
        self.n_args = n_args
        self.captures = traced.captures
        self.constants = state.stack[0].constants
        self.exact = [d.exact for d in traced.derivatives]
        self.out_tree = traced.out_tree
        self.n_results = traced.out_tree.num_leaves
        self.rule_name = custom.name
        self.axes = state.axes
        self.batches: BoundedDict[Any, Any] = BoundedDict(MAX_GRAPHS)
        self.ways: BoundedDict[Any, Any] = BoundedDict(MAX_GRAPHS)  # rules of calls, by their graphs
        self._graphs: BoundedDict[Any, Any] = BoundedDict(MAX_GRAPHS)
        self._seen: list[Any] | None = None  # the arguments of the graph being traced, where their values are known
        self._found: list[Predicates] = []
        self._branches = False

    @property
    def axis_names(self) -> frozenset[str]:
        return frozenset([name for name, _ in self.axes])

    def graphs_key(self) -> Any:
        return tuple(self._graphs.items())

    def _trace(
        self, call: Callable[[Any], Any], avals: Sequence[Aval], treedef: TreeDef, what: str, exact: Sequence[bool]
    ) -> Traced:
        """``exact`` marks the first arguments that are Python floats in full precision."""
        marks = [*exact, *([False] * (len(avals) - len(exact)))]
        leaves: list[Any] = [Spec(a, exact=e and a.dtype is f64) for a, e in zip(avals, marks, strict=True)]
        known = self._seen is not None
        if self._seen is not None:
            leaves[: len(self._seen)] = self._seen
        primal = (self.captures, self.constants, known)
        try:
            name = f"{self.rule_name}.{what}"
            with axes_in_scope(self.axes):
                traced = trace_with_loops(call, leaves, treedef, name=name, region=known, primal=primal)
        except TracerBoolError as error:
            raise branching.note(self.custom._code(), error) from None
        if len(traced.captures) > len(self.captures):
            extra = traced.captures[len(self.captures)]
            kind = "a traced value" if isinstance(extra, Tracer) else f"an array of shape {extra.shape}"
            raise DifferentiationError(
                f"{where()}the {what} rule of {self.rule_name} closes over {kind} that the function itself does not "
                "use. Pass it as an argument of the function, or compute it inside the rule."
            )
        return self._without_predicates(traced, leaves) if known else traced

    def _without_predicates(self, traced: Traced, leaves: Sequence[Any]) -> Traced:
        self._branches |= traced.branched
        graph, predicates = branching.without_predicates(traced, [*leaves, *self.captures])
        self._found.extend([predicates] if predicates else [])
        return traced._replace(graph=graph, expected=[])

    def look(self, leaves: Sequence[Any], traced: Traced) -> tuple[bool, list[Predicates]]:
        """Trace the graphs for a call that is being traced: whether they branch, and on what."""
        avals = traced.graph.in_avals
        n_results = self.n_results
        self._look(
            [as_argument(x, a) for x, a in zip(leaves, avals, strict=False)], avals, traced.graph.out_avals[:n_results]
        )
        self._seen = None
        return self._branches, self._found

    def _look(self, arguments: list[Tracer], in_avals: tuple[Aval, ...], out_avals: tuple[Aval, ...]) -> None:
        raise AssertionError

    def __repr__(self) -> str:
        return f"@{self.rule_name}"


class JvpRule(Rule):
    """The rule of a `custom_jvp` function; its protocol is in `graphad.primitives.custom`."""

    def graph_for(self, in_avals: tuple[Aval, ...]) -> tuple[Graph, int]:
        """Arguments, tangents of the float ones, captures -> results, tangents of the float ones."""
        if in_avals not in self._graphs:
            self._graphs[in_avals] = self._trace_jvp(in_avals[: self.n_args])
        return self._graphs[in_avals]

    def _look(self, arguments: list[Tracer], in_avals: tuple[Aval, ...], out_avals: tuple[Aval, ...]) -> None:
        self._seen = arguments
        self.graph_for(in_avals)

    def _trace_jvp(self, avals: Sequence[Aval]) -> tuple[Graph, int]:
        float_avals = [a for a in avals if a.is_float]
        _, treedef = flatten((tuple(avals), tuple(float_avals)))
        count: list[int] = []

        def call(tree: Any) -> Any:
            primals, float_tangents = tree
            it = iter(float_tangents)
            tangents = [next(it) if a.is_float else zeros(a) for a in avals]
            pair = self.custom.jvp_rule(
                *self.static.values(), unflatten(self.treedef, primals), unflatten(self.treedef, tangents)
            )
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(
                    f"{where()}the jvp rule of {self.rule_name} must return a pair (result, tangent of the result)"
                )
            outs, out_tree = flatten(pair[0])
            out_tangents, tangent_tree = flatten(pair[1])
            if out_tree != tangent_tree:
                raise TypeError(
                    f"{where()}the jvp rule of {self.rule_name} returned a result of structure "
                    f"{structure_text(out_tree)} with a tangent of structure {structure_text(tangent_tree)}"
                )
            count.append(len(outs))
            return outs, [_like(t, y, self, "tangent") for t, y in zip(out_tangents, outs, strict=True) if _is_float(y)]

        traced = self._trace(call, [*avals, *float_avals], treedef, "jvp", self.exact)
        return traced.graph, count[0]


def _is_float(x: Any) -> bool:
    return type_of(x).aval.is_float


def _like(t: Any, y: Any, rule: Rule, what: str) -> Any:
    """``t`` checked to be a tangent or cotangent of ``y``, in the dtype of ``y``."""
    want, got = type_of(y).aval, type_of(t)
    if got.aval.shape != want.shape or not got.aval.is_float:
        raise TypeError(
            f"{where()}the rule of {rule.rule_name} returned a {what} of type {got.aval} for a value of type {want}: "
            "shapes must be equal"
        )
    return cast(t, want.dtype)


def _of_cotangents(treedef: TreeDef) -> TreeDef:
    """The structure of cotangents of arguments: those of keys are leaves."""
    return flatten(unflatten(treedef, list(range(treedef.num_leaves))), is_keys)[1]


class VjpRule(Rule):
    """The rule of a `custom_vjp` function; its protocol is in `graphad.primitives.custom`."""

    residual_tree: TreeDef
    exact_residuals: Sequence[bool] = ()  # which of them are Python floats

    def fwd(self, in_avals: tuple[Aval, ...]) -> tuple[Graph, int]:
        """Arguments, captures -> results, residuals; and the number of residuals."""
        key = ("fwd", in_avals)
        if key not in self._graphs:
            self._graphs[key] = self._trace_fwd(in_avals[: self.n_args])
        return self._graphs[key]

    def _look(self, arguments: list[Tracer], in_avals: tuple[Aval, ...], out_avals: tuple[Aval, ...]) -> None:
        self._seen = arguments
        graph, n_residuals = self.fwd(in_avals)
        trace = state.stack[-1]
        n_results = len(graph.outputs) - n_residuals
        slim, kept = slim_region(without_effects(graph), tuple([k >= n_results for k in range(len(graph.outputs))]))
        operands = [*arguments, *self.captures]
        inputs = [as_input(trace, operands[i], a) for i, a in zip(kept, slim.in_avals, strict=True)]
        numbers = trace.inline(slim, inputs)
        marks = [*self.exact_residuals, *([False] * (len(numbers) - len(self.exact_residuals)))]
        self._seen = [
            Exact(trace, n, (Origin(),)) if e else Tracer(trace, n) for n, e in zip(numbers, marks, strict=True)
        ]
        residual_avals = (*graph.out_avals[n_results:], *in_avals[self.n_args :])
        self.bwd(in_avals, residual_avals, out_avals)

    def _trace_fwd(self, avals: Sequence[Aval]) -> tuple[Graph, int]:
        def call(tree: Any) -> Any:
            pair = self.custom.fwd_rule(*merged(tree, self.static))
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(f"{where()}the fwd rule of {self.rule_name} must return a pair (result, residuals)")
            result, out_tree = flatten(pair[0])
            if out_tree != self.out_tree:
                raise TypeError(
                    f"{where()}the fwd rule of {self.rule_name} returned a result of structure "
                    f"{structure_text(out_tree)}, but {self.rule_name} itself returns {structure_text(self.out_tree)}"
                )
            residuals, self.residual_tree = flatten(pair[1])
            self.exact_residuals = [type(r) is Exact for r in residuals]
            return result, [r.wide if type(r) is Exact else r for r in residuals]

        traced = self._trace(call, avals, self.treedef, "fwd", self.exact)
        return traced.graph, self.residual_tree.num_leaves

    def bwd(self, in_avals: tuple[Aval, ...], residual_avals: tuple[Aval, ...], out_avals: tuple[Aval, ...]) -> Graph:
        """Residuals, cotangents of the float results, captures -> cotangents of the float arguments."""
        key = ("bwd", in_avals, residual_avals, out_avals)
        if key not in self._graphs:
            self._graphs[key] = self._trace_bwd(in_avals[: self.n_args], residual_avals, out_avals)
        return self._graphs[key]

    def _trace_bwd(self, in_avals: Sequence[Aval], residual_avals: Sequence[Aval], out_avals: Sequence[Aval]) -> Graph:
        own = list(residual_avals[: self.residual_tree.num_leaves])
        ct_avals = [a for a in out_avals if a.is_float]
        _, treedef = flatten((own, ct_avals))

        def call(tree: Any) -> list[Any]:
            residuals, float_cts = tree
            it = iter(float_cts)
            cts = [next(it) if a.is_float else zeros(a) for a in out_avals]
            found = self.custom.bwd_rule(
                *self.static.values(), unflatten(self.residual_tree, residuals), unflatten(self.out_tree, cts)
            )
            return self._cotangents(found, in_avals)

        return self._trace(call, [*own, *ct_avals], treedef, "bwd", self.exact_residuals).graph

    def _cotangents(self, found: Any, in_avals: Sequence[Aval]) -> list[Any]:
        """The cotangents of the float arguments among what the backward rule returned."""
        arguments = self.treedef.children()
        if not isinstance(found, (tuple, list)) or len(found) != len(arguments):
            got = f"{len(found)} entries" if isinstance(found, (tuple, list)) else type(found).__name__
            raise TypeError(
                f"{where()}the bwd rule of {self.rule_name} must return a tuple with one cotangent for each of the "
                f"{len(arguments)} arguments (None for zero), not {got}"
            )
        leaves: list[Any] = []
        for k, (ct, tree) in enumerate(zip(found, arguments, strict=True)):
            if ct is None:
                leaves.extend([None] * tree.num_leaves)
                continue
            flat, ct_tree = flatten(ct)
            if ct_tree != _of_cotangents(tree):
                raise TypeError(
                    f"{where()}the bwd rule of {self.rule_name} returned a cotangent of structure "
                    f"{structure_text(ct_tree)} for argument {k}, which has structure {structure_text(tree)}"
                )
            leaves.extend(flat)
        return [
            zeros(a) if ct is None else _like(ct, Spec(a), self, "cotangent")
            for ct, a in zip(leaves, in_avals, strict=True)
            if a.is_float
        ]
