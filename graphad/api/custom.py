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
from graphad.api.rules import JvpRule, VjpRule, merged
from graphad.api.tracing import trace_with_loops
from graphad.errors import DifferentiationError, TracerBoolError
from graphad.ir.bounded import BoundedDict
from graphad.primitives.custom import custom_jvp as custom_jvp_primitive
from graphad.primitives.custom import custom_vjp as custom_vjp_primitive
from graphad.trace.bind import Traced, any_tracer, emit_region
from graphad.trace.pytree import TreeDef, flatten, unflatten
from graphad.trace.recording import current, state
from graphad.trace.source import where
from graphad.trace.static_keys import StaticKey
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
        self._rules: BoundedDict[Any, Any] = BoundedDict(_MAX_RULES)

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
            traced = trace_with_loops(
                lambda tree: self.fun(*merged(tree, static)), leaves, treedef, name=self.name, region=True
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
            key = (treedef, StaticKey(tuple(static.items())), captured, marks, state.axes)
            found = self._rules.get(key)
        except TypeError:  # a static argument that does not hash: no sharing
            return self._make_rule(static, treedef, n_args, traced)
        if found is None:
            found = self._make_rule(static, treedef, n_args, traced)
            if not any_tracer(traced.captures):  # tracers die with their trace: nothing to share
                self._rules[key] = found
        return found

    def _rule_of_call(self, shared: Any, leaves: Sequence[Any], traced: Traced) -> tuple[Any, list[Predicates]]:
        """The rule for the values of this call, and its observations; the shared rule if there are none."""
        forced = list(state.forced)
        rule = self._make_rule(shared.static, shared.treedef, shared.n_args, traced)
        try:
            branches, predicates = rule.look(leaves, traced)
        except TracerBoolError:  # the value is known nowhere: the transform says so, if it needs the rule
            state.forced[:] = forced
            return shared, []
        if not branches:
            return shared, []
        # One object for calls with equal observations, which share what is compiled with it.
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
        """The user's rule, by which it is noted that the rule branches."""
        raise AssertionError

    def _check_rule(self) -> None:
        raise AssertionError


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
        return JvpRule(self, static, treedef, n_args, traced)


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
        return VjpRule(self, static, treedef, n_args, traced)
