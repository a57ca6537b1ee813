"""Functions with derivatives of the user's own: `custom_jvp` and `custom_vjp`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

from graphad.api import branching
from graphad.api.branching import Predicates
from graphad.api.functions import Function, check_callable, name_of
from graphad.api.pickling import reduced
from graphad.api.tangents import zeros
from graphad.errors import DifferentiationError, TracerBoolError
from graphad.ir.graph import Graph
from graphad.ir.recent import Recent
from graphad.ir.types import Aval, f64
from graphad.primitives.control import slim_region, without_effects
from graphad.primitives.custom import MAX_GRAPHS
from graphad.primitives.custom import custom_jvp as custom_jvp_primitive
from graphad.primitives.custom import custom_vjp as custom_vjp_primitive
from graphad.trace.apart import Apart
from graphad.trace.bind import Spec, Traced, any_tracer, as_argument, as_input, emit_region, trace_function, type_of
from graphad.trace.exact import Exact, Origin
from graphad.trace.pytree import TreeDef, flatten, structure_text, unflatten
from graphad.trace.recording import current, state
from graphad.trace.semantics import cast
from graphad.trace.source import where
from graphad.trace.tracebacks import hide_frames
from graphad.trace.tracer import Tracer

_MAX_RULES = 64  # of one function; each holds the arrays that its primal captured


class _Custom:
    """What `custom_jvp` and `custom_vjp` share: calling the function, and keeping its rules."""

    primitive: Any

    def __init__(self, fun: Function, nondiff_argnums: Sequence[int] = ()) -> None:
        check_callable(fun, type(self).__name__)
        update_wrapper(self, fun)
        self.fun = fun
        self.name = name_of(fun)
        self.nondiff_argnums = tuple(sorted(nondiff_argnums))
        self._rules: Recent[Any, Any] = Recent(_MAX_RULES)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if kwargs:
                args = self._positional(args, kwargs)
            self._check_rule()
            if current() is None:
                return self.fun(*args)
            if any([i >= len(args) for i in self.nondiff_argnums]):
                raise ValueError(
                    f"{where()}{self.name}: nondiff_argnums={self.nondiff_argnums}, but the call has {len(args)} "
                    "arguments; they are counted from 0."
                )
            static = {i: args[i] for i in self.nondiff_argnums}
            diff = [a for i, a in enumerate(args) if i not in static]
            leaves, treedef = flatten(tuple(diff))
            traced = trace_function(
                lambda tree: self.fun(*_merge(tree, static)), leaves, treedef, name=self.name, region=True
            )
            if not any_tracer([*leaves, *traced.captures]):
                return self.fun(*args)
            rule = self._rule(static, treedef, len(leaves), traced)
            predicates: list[Predicates] = []
            if state.derivatives and branching.is_traced_here(self._code()):
                rule, predicates = self._rule_of_call(rule, leaves, traced)
            results = unflatten(traced.out_tree, emit_region(self.primitive, (rule,), traced, leaves))
            for p in predicates:
                p.guard(state.stack[-1])
            return results
        except BaseException as error:
            hide_frames(error)
            raise

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        bound = inspect.signature(self.fun).bind(*args, **kwargs)
        bound.apply_defaults()
        if bound.kwargs:
            raise TypeError(f"{where()}{self.name} has a custom derivative: its arguments must be positional")
        return bound.args

    def _rule(self, static: dict[int, Any], treedef: TreeDef, n_args: int, traced: Traced) -> Any:
        """The rule for this call; shared between calls that capture the same values."""
        captured = tuple([(x.builder, x.atom) if isinstance(x, Tracer) else id(x) for x in traced.captures])
        try:
            marks = tuple([d.exact for d in traced.derivatives])
            key = (treedef, Apart(tuple(static.items())), captured, marks)
            found = self._rules.get(key)
        except TypeError:  # a static argument that does not hash: no sharing
            return self._make_rule(static, treedef, n_args, traced)
        if found is None:
            found = self._make_rule(static, treedef, n_args, traced)
            if not any_tracer(traced.captures):  # tracers die with their trace: nothing to share
                self._rules[key] = found
        return found

    def _rule_of_call(self, shared: Any, leaves: Sequence[Any], traced: Traced) -> tuple[Any, list[Predicates]]:
        """The rule as it is for the values of this call, and what it has observed; the shared one if it has not."""
        forced = list(state.forced)
        rule = self._make_rule(shared.static, shared.treedef, shared.n_args, traced)
        try:
            branches, predicates = rule.look(leaves, traced)
        except TracerBoolError:  # the value is known nowhere: the transform says so, if it needs the rule
            state.forced[:] = forced
            return shared, []
        if not branches:
            return shared, []
        # One object for calls that went the same way: what is compiled with it serves them all.
        if any_tracer(traced.captures):
            return rule, predicates
        return shared.ways.setdefault(rule.graphs_key(), rule), predicates

    def __reduce__(self) -> str | tuple[Any, ...]:
        rules = {k: v for k, v in vars(self).items() if k in ("jvp_rule", "fwd_rule", "bwd_rule")}
        return reduced(self, type(self), self.fun, {"nondiff_argnums": self.nondiff_argnums}, rules)

    def __copy__(self) -> _Custom:
        return self

    def __deepcopy__(self, _memo: Any) -> _Custom:
        return self

    def _make_rule(self, static: dict[int, Any], treedef: TreeDef, n_args: int, traced: Traced) -> Any:
        raise AssertionError

    def _code(self) -> Any:
        """The rule by which it is noted that this function's rule branches."""
        raise AssertionError

    def _check_rule(self) -> None:
        raise AssertionError


def _merge(diff: Sequence[Any], static: dict[int, Any]) -> list[Any]:
    """All arguments in order, from those with a derivative and those without."""
    it = iter(diff)
    return [static[i] if i in static else next(it) for i in range(len(diff) + len(static))]


class _Rule:
    """A custom derivative at one argument structure; its graphs are traced when first asked for.

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
        self.batches: Recent[Any, Any] = Recent(MAX_GRAPHS)
        self.ways: Recent[Any, Any] = Recent(MAX_GRAPHS)  # rules of calls, by their graphs
        self._graphs: Recent[Any, Any] = Recent(MAX_GRAPHS)
        self._seen: list[Any] | None = None  # the arguments of the graph being traced, where their values are known
        self._found: list[Predicates] = []
        self._branches = False

    def graphs_key(self) -> Any:
        return tuple(self._graphs.items())

    def _trace(
        self, call: Callable[[Any], Any], avals: Sequence[Aval], treedef: TreeDef, what: str, exact: Sequence[bool]
    ) -> Traced:
        """``exact`` says which of the first arguments stand for Python floats, where these have all their digits."""
        marks = [*exact, *([False] * (len(avals) - len(exact)))]
        leaves: list[Any] = [Spec(a, exact=e and a.dtype is f64) for a, e in zip(avals, marks, strict=True)]
        known = self._seen is not None
        if self._seen is not None:
            leaves[: len(self._seen)] = self._seen
        primal = (self.captures, self.constants, known)
        try:
            traced = trace_function(call, leaves, treedef, name=f"{self.rule_name}.{what}", region=known, primal=primal)
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
        graph, predicates = branching.parted(traced, [*leaves, *self.captures])
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


class custom_jvp(_Custom):  # noqa: N801 - JAX's name
    """A function with a forward derivative rule of your own; reverse mode follows by transposition.

    Parameters
    ----------
    fun
        The function.
    nondiff_argnums
        Positional arguments without a derivative (functions, options); the rule gets them first.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> @graphad.custom_jvp
    ... def softplus(x):
    ...     return gnp.log1p(gnp.exp(x))
    >>> @softplus.defjvp
    ... def softplus_jvp(primals, tangents):
    ...     (x,), (t,) = primals, tangents
    ...     return softplus(x), t / (1 + gnp.exp(-x))
    >>> graphad.grad(softplus)(0.0)
    Array(0.5, dtype=float32, weak_type=True)
    """

    primitive = custom_jvp_primitive

    def __init__(self, fun: Function, nondiff_argnums: Sequence[int] = ()) -> None:
        super().__init__(fun, nondiff_argnums)
        self.jvp_rule: Callable[..., Any] | None = None

    def defjvp(self, jvp: Callable[..., Any]) -> Callable[..., Any]:
        """Set the rule: ``jvp(*nondiff arguments, primals, tangents) -> (result, tangent of the result)``."""
        self.jvp_rule = jvp
        self._rules.clear()
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """Set one rule per argument, ``rule(tangent, result, *arguments) -> tangent``; None where it is zero."""

        def jvp(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
            result = self(*primals)
            terms = [f(t, result, *primals) for f, t in zip(jvps, tangents, strict=True) if f is not None]
            total = sum(terms[1:], terms[0]) if terms else result * 0
            return result, total

        self.defjvp(jvp)

    def _check_rule(self) -> None:
        if self.jvp_rule is None:
            raise DifferentiationError(
                f"{where()}{self.name} is a custom_jvp function without a rule; call {self.name}.defjvp"
            )

    def _code(self) -> Any:
        return self.jvp_rule

    def _make_rule(self, static: dict[int, Any], treedef: TreeDef, n_args: int, traced: Traced) -> Any:
        return _JvpRule(self, static, treedef, n_args, traced)


class _JvpRule(_Rule):
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
            primals, hot = tree
            it = iter(hot)
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


def _like(t: Any, y: Any, rule: _Rule, what: str) -> Any:
    """``t`` checked to be a tangent or cotangent of ``y``, in the dtype of ``y``."""
    want, got = type_of(y).aval, type_of(t)
    if got.aval.shape != want.shape or not got.aval.is_float:
        raise TypeError(
            f"{where()}the rule of {rule.rule_name} returned a {what} of type {got.aval} for a value of type {want}: "
            "shapes must be equal"
        )
    return cast(t, want.dtype)


class custom_vjp(_Custom):  # noqa: N801 - JAX's name
    """A function with a reverse derivative rule of your own.

    Parameters
    ----------
    fun
        The function.
    nondiff_argnums
        Positional arguments without a derivative; the backward rule gets them first.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> @graphad.custom_vjp
    ... def clip_gradient(x):
    ...     return x
    >>> clip_gradient.defvjp(lambda x: (x, None), lambda _, ct: (gnp.clip(ct, -1.0, 1.0),))
    >>> graphad.grad(lambda x: 5.0 * clip_gradient(x))(2.0)
    Array(1., dtype=float32, weak_type=True)
    """

    primitive = custom_vjp_primitive

    def __init__(self, fun: Function, nondiff_argnums: Sequence[int] = ()) -> None:
        super().__init__(fun, nondiff_argnums)
        self.fwd_rule: Callable[..., Any] | None = None
        self.bwd_rule: Callable[..., Any] | None = None

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Set the rules.

        Parameters
        ----------
        fwd
            ``fwd(*arguments) -> (result, residuals)``.
        bwd
            ``bwd(*nondiff arguments, residuals, cotangent) -> cotangents of the other arguments`` (a tuple; None for
            zero).
        """
        self.fwd_rule, self.bwd_rule = fwd, bwd
        self._rules.clear()

    def _check_rule(self) -> None:
        if self.fwd_rule is None:
            raise DifferentiationError(
                f"{where()}{self.name} is a custom_vjp function without rules; call {self.name}.defvjp(fwd, bwd)"
            )

    def _code(self) -> Any:
        return self.bwd_rule

    def _make_rule(self, static: dict[int, Any], treedef: TreeDef, n_args: int, traced: Traced) -> Any:
        return _VjpRule(self, static, treedef, n_args, traced)


class _VjpRule(_Rule):
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
            pair = self.custom.fwd_rule(*_merge(tree, self.static))
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
            residuals, hot = tree
            it = iter(hot)
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
            if ct_tree != tree:
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
