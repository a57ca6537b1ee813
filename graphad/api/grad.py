"""Reverse and forward mode: `grad`, `value_and_grad`, `vjp`, `jvp`, `linearize`, `linear_transpose`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad.api.abstract import as_spec
from graphad.api.functions import (
    Arguments,
    Function,
    as_argnums,
    check_callable,
    check_float_inputs,
    copy_name,
    name_of,
    trace_call,
)
from graphad.api.stages import gradient, run_on
from graphad.errors import DifferentiationError
from graphad.ir.graph import Graph
from graphad.ir.types import Aval
from graphad.trace.array import Array
from graphad.trace.bind import Traced, trace_function, type_of
from graphad.trace.pytree import TreeDef, flatten, path_text, structure_text, unflatten
from graphad.trace.semantics import as_operand, cast, with_weak
from graphad.trace.source import where
from graphad.transforms.linearize import jvp_graph, linearized
from graphad.transforms.transpose import transposed

#: The dtype of the derivative of an integer: it holds nothing (JAX's ``float0``).
float0 = np.dtype([("float0", np.void, 0)])


def zeros(a: Aval, weak: bool = False) -> Any:
    """A zero tangent; of ``float0`` for what has no tangent."""
    if not a.is_float:
        return np.zeros(a.shape, float0)
    return Array(np.broadcast_to(np.zeros((), a.dtype.numpy), a.shape), weak)


def grad(
    fun: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False, *, allow_int: bool = False
) -> Callable[..., Any]:
    """The gradient of a scalar function.

    Parameters
    ----------
    fun
        A function of arrays, numbers and containers of these, with a scalar float result.
    argnums
        The positional argument or arguments to differentiate.
    has_aux
        ``fun`` returns ``(value, aux)``; so does the gradient: ``(gradient, aux)``.
    allow_int
        Integer inputs are allowed; their derivative has dtype ``float0``.

    Returns
    -------
    callable
        Takes the arguments of ``fun``; returns the gradient, of the structure and shapes of the argument (a tuple of
        them if ``argnums`` is a tuple).

    Raises
    ------
    TypeError
        For integer inputs (write ``2.0`` for ``2``) and results that are not scalar (use `jacobian`).

    Examples
    --------
    >>> import graphad
    >>> graphad.grad(lambda x: x**2)(3.0)
    Array(6., dtype=float32, weak_type=True)
    """
    check_callable(fun, "grad")
    both = value_and_grad(fun, argnums, has_aux, allow_int=allow_int)

    def gradient_of(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return copy_name(gradient_of, fun, "grad")


def value_and_grad(
    fun: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False, *, allow_int: bool = False
) -> Callable[..., Any]:
    """The value and the gradient of a scalar function, computed together. See `grad`.

    Examples
    --------
    >>> import graphad
    >>> graphad.value_and_grad(lambda x: x**2)(3.0)
    (Array(9., dtype=float32, weak_type=True), Array(6., dtype=float32, weak_type=True))
    """
    check_callable(fun, "value_and_grad")
    name = name_of(fun)

    def value_and_gradient_of(*args: Any, **kwargs: Any) -> Any:
        arguments = Arguments.of(args, kwargs)
        wanted = as_argnums(argnums, len(args), "grad", name)
        mask = arguments.mask(wanted)
        if not allow_int:
            check_float_inputs(arguments, mask, "grad", name)
        traced = trace_call(fun, arguments)
        _check_scalar(traced, has_aux, name)
        outputs = _gradient_leaves(traced, arguments, mask)
        n_outputs = len(traced.graph.outputs)
        value = unflatten(traced.out_tree, outputs[:n_outputs])
        grads = iter(outputs[n_outputs:])
        trees = {i: unflatten(*_tree_of(args[i], grads)) for i in sorted(set(wanted))}
        return value, trees[wanted[0]] if isinstance(argnums, int) else tuple([trees[i] for i in wanted])

    return copy_name(value_and_gradient_of, fun, "value_and_grad")


def _tree_of(tree: Any, leaves: Any) -> tuple[TreeDef, list[Any]]:
    """``leaves`` (an iterator) arranged like ``tree``."""
    flat, treedef = flatten(tree)
    return treedef, [next(leaves) for _ in flat]


def _gradient_leaves(traced: Traced, arguments: Arguments, mask: Sequence[bool]) -> list[Any]:
    """Outputs of the traced function, then the gradient of each marked leaf."""
    graph = traced.graph
    operands = [*arguments.leaves, *traced.captures]
    full_mask = (*mask, *([False] * len(traced.captures)))
    adjoint = gradient(graph, full_mask)
    results = run_on(adjoint.graph, operands)
    n_outputs = len(graph.outputs)
    found = iter(results[n_outputs:])
    hot = iter(adjoint.nonzero)
    grads: list[Any] = []
    for x, marked in zip(arguments.leaves, mask, strict=True):
        if marked:
            spec = type_of(x)
            if spec.aval.is_float and next(hot):
                grads.append(with_weak(next(found), spec.weak))
            else:
                grads.append(zeros(spec.aval, spec.weak))
    return [*results[:n_outputs], *grads]


def _check_scalar(traced: Traced, has_aux: bool, name: str) -> None:
    graph, out_tree = traced.graph, traced.out_tree
    children = out_tree.children() if has_aux else []
    if has_aux and (out_tree.type is not tuple or len(children) != 2):
        raise TypeError(f"{where()}grad({name}, has_aux=True): {name} must return a pair (value, aux)")
    value_tree = children[0] if has_aux else out_tree
    avals = graph.out_avals
    if value_tree.num_leaves != 1 or value_tree.num_nodes != 1:
        raise TypeError(
            f"{where()}grad takes functions with one scalar result, but {name} returns {_structure(value_tree)}. "
            "Return the scalar loss (has_aux=True passes other results along), or use jacobian or vjp."
        )
    if avals[0].shape:
        raise TypeError(
            f"{where()}grad takes functions with a scalar result, but {name} returns {avals[0]}. "
            "Use jacobian for all derivatives, or sum the result: .sum()."
        )
    if not avals[0].is_float:
        raise DifferentiationError(
            f"{where()}grad takes functions with a real result, but {name} returns {avals[0]}, which has no "
            "derivative. Convert it: .astype(float)."
        )


def _structure(treedef: TreeDef) -> str:
    kind: Any = treedef.type
    if not treedef.num_leaves:
        return "nothing" if kind is type(None) else f"an empty {kind.__name__}"
    return f"a {kind.__name__} of {treedef.num_leaves} array{'s' if treedef.num_leaves > 1 else ''}"


# ---------------------------------------------------------------------------------------------------------------------
# Forward mode


def jvp(fun: Function, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """Value and directional derivative of ``fun``.

    Parameters
    ----------
    fun
        A function of arrays.
    primals, tangents
        The arguments, and a direction for each: tuples of equal structure, shapes and dtypes.
    has_aux
        ``fun`` returns ``(value, aux)``; the result is ``(value, tangent, aux)``.

    Examples
    --------
    >>> import graphad
    >>> graphad.jvp(lambda x: x**2, (3.0,), (1.0,))
    (Array(9., dtype=float32, weak_type=True), Array(6., dtype=float32, weak_type=True))
    """
    check_callable(fun, "jvp")
    arguments = _forward_arguments(fun, primals, "jvp")
    hot = _check_tangents(primals, tangents, "tangents", "jvp", name_of(fun))
    traced = trace_call(fun, arguments)
    mask = (True,) * len(arguments.leaves) + (False,) * len(traced.captures)
    graph, nonzero = jvp_graph(traced.graph, mask)
    results = run_on(graph, [*arguments.leaves, *traced.captures, *hot])
    n_outputs = len(nonzero)
    outs = _with_zeros(results[n_outputs:], nonzero, traced.graph)
    return _with_aux(traced.out_tree, results[:n_outputs], outs, has_aux)


def _with_aux(out_tree: TreeDef, values: list[Any], tangents: list[Any], has_aux: bool) -> tuple[Any, ...]:
    value, tangent = unflatten(out_tree, values), unflatten(out_tree, tangents)
    return (value[0], tangent[0], value[1]) if has_aux else (value, tangent)


def _with_zeros(found: Sequence[Any], nonzero: Sequence[bool], graph: Graph) -> list[Any]:
    """One tangent per output: those ``found``, zeros elsewhere."""
    it = iter(found)
    return [
        with_weak(next(it), weak) if hot else zeros(a, weak)
        for hot, a, weak in zip(nonzero, graph.out_avals, graph.weak, strict=True)
    ]


def _forward_arguments(fun: Function, primals: Any, transform: str) -> Arguments:
    if not isinstance(primals, (tuple, list)):
        raise TypeError(
            f"{where()}{transform}({name_of(fun)}): primals must be a tuple of the arguments, not "
            f"{type(primals).__name__}; write (x,) for one argument"
        )
    return Arguments.of(primals, {})


def _check_tangents(primals: Any, tangents: Any, what: str, transform: str, name: str) -> list[Any]:
    """The tangents (or cotangents) of the float leaves, checked against the primals and cast to their dtypes."""
    leaves, treedef = flatten(tuple(primals) if isinstance(primals, list) else primals)
    directions, other = flatten(tuple(tangents) if isinstance(tangents, list) else tangents)
    if treedef != other:
        raise TypeError(
            f"{where()}{transform}({name}): the {what} have structure {structure_text(other)}, which is not that of "
            f"what they belong to, {structure_text(treedef)}"
        )
    checked: list[Any] = []
    for k, (x, t) in enumerate(zip(leaves, directions, strict=True)):
        a = type_of(x).aval
        if not a.is_float:
            if getattr(t, "dtype", None) != float0:
                raise DifferentiationError(
                    f"{where()}{transform}({name}): the {what}{_at(tangents, k)} belong to a value of type {a}, which "
                    f"has no tangent. Pass a float in its place, or np.zeros({a.shape}, graphad.float0)."
                )
            continue
        spec = type_of(t)
        if spec.aval.shape != a.shape or not (spec.weak or spec.aval.dtype is a.dtype):
            raise TypeError(
                f"{where()}{transform}({name}): the {what}{_at(tangents, k)} are {spec.aval}, but must have the shape "
                f"and dtype of what they belong to, {a}"
            )
        checked.append(cast(as_operand(t), a.dtype))
    return checked


def _at(tree: Any, index: int) -> str:
    path = path_text(tree, index)
    return f" at {path}" if path else ""


def linearize(fun: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Value of ``fun`` at ``primals``, and its derivative there as a linear function of the tangents.

    With ``has_aux``, ``fun`` returns ``(value, aux)`` and the result is ``(value, linear function, aux)``.

    Examples
    --------
    >>> import graphad
    >>> y, f_lin = graphad.linearize(lambda x: x**2, 3.0)
    >>> f_lin(2.0)
    Array(12., dtype=float32, weak_type=True)
    """
    check_callable(fun, "linearize")
    arguments = Arguments.of(primals, {})
    traced = trace_call(fun, arguments)
    mask = (True,) * len(arguments.leaves) + (False,) * len(traced.captures)
    primal, linear, _, nonzero = linearized(traced.graph, mask)
    results = run_on(primal, [*arguments.leaves, *traced.captures])
    n_outputs = len(nonzero)
    residuals = results[n_outputs:]
    name = name_of(fun)

    def linear_map(*tangents: Any) -> Any:
        hot = _check_tangents(primals, tangents, "tangents", "linearize", name)
        outs = _with_zeros(run_on(linear, [*residuals, *hot]), nonzero, traced.graph)
        tangent = unflatten(traced.out_tree, outs)
        return tangent[0] if has_aux else tangent

    out = unflatten(traced.out_tree, results[:n_outputs])
    return (out[0], linear_map, out[1]) if has_aux else (out, linear_map)


def vjp(fun: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Value of ``fun`` and its pullback: cotangents of the result -> cotangents of the arguments (a tuple).

    With ``has_aux``, ``fun`` returns ``(value, aux)`` and the result is ``(value, pullback, aux)``.

    Examples
    --------
    >>> import graphad
    >>> y, pullback = graphad.vjp(lambda x: x**2, 3.0)
    >>> pullback(1.0)
    (Array(6., dtype=float32, weak_type=True),)
    """
    check_callable(fun, "vjp")
    arguments = Arguments.of(primals, {})
    traced = trace_call(fun, arguments)
    mask = (True,) * len(arguments.leaves) + (False,) * len(traced.captures)
    primal, linear, n_residuals, nonzero = linearized(traced.graph, mask)
    results = run_on(primal, [*arguments.leaves, *traced.captures])
    n_outputs = len(nonzero)
    out = unflatten(traced.out_tree, results[:n_outputs])
    residuals = results[n_outputs:]
    value = out[0] if has_aux else out
    n_values = len(flatten(value)[0])
    name = name_of(fun)

    def pullback(ct: Any) -> tuple[Any, ...]:
        seeds = iter(_check_tangents(value, ct, "cotangents", "vjp", name))
        by_output = [next(seeds) if a.is_float else None for a in traced.graph.out_avals[:n_values]]
        wanted = [k < n_values for k in range(n_outputs)]
        given = tuple([w for w, hot in zip(wanted, nonzero, strict=True) if hot])
        cts = [c for c, hot in zip(by_output, nonzero, strict=False) if hot]
        mask_in = (False,) * n_residuals + (True,) * (linear.n_inputs - n_residuals)
        graph, hot_inputs = transposed(linear, mask_in, given)
        found = iter(run_on(graph, [*residuals, *cts]))
        hot = iter(hot_inputs)
        leaves: list[Any] = []
        for x in arguments.leaves:
            a, weak = type_of(x)
            leaves.append(with_weak(next(found), weak) if a.is_float and next(hot) else zeros(a, weak))
        return unflatten(arguments.treedef, leaves)[0]

    return (value, pullback, out[1]) if has_aux else (value, pullback)


def linear_transpose(fun: Function, *primals: Any) -> Callable[..., tuple[Any, ...]]:
    """The transpose of a linear function. ``primals`` give shapes and dtypes only (arrays or `ShapeDtypeStruct`).

    Examples
    --------
    >>> import graphad
    >>> graphad.linear_transpose(lambda x: 3 * x, 1.0)(2.0)
    (Array(6., dtype=float32, weak_type=True),)
    """
    check_callable(fun, "linear_transpose")
    arguments = Arguments.of(primals, {})
    specs = [type_of(as_spec(x)) for x in arguments.leaves]
    arguments = arguments._replace(leaves=specs)
    check_float_inputs(arguments, [True] * len(specs), "linear_transpose", name_of(fun))
    traced = trace_function(lambda tree: fun(*tree[0]), specs, arguments.treedef, name=name_of(fun), examples=False)
    graph = traced.graph

    def transpose_of(ct: Any) -> tuple[Any, ...]:
        results = [Array(np.broadcast_to(np.zeros((), a.dtype.numpy), a.shape)) for a in graph.out_avals]
        example = unflatten(traced.out_tree, results)
        seeds = _check_tangents(example, ct, "cotangents", "linear_transpose", name_of(fun))
        linear = (True,) * len(specs) + (False,) * len(traced.captures)
        program, nonzero = transposed(graph, linear, tuple([a.is_float for a in graph.out_avals]))
        found = iter(run_on(program, [*traced.captures, *seeds]))
        leaves = [
            with_weak(next(found), s.weak) if hot else zeros(s.aval, s.weak)
            for s, hot in zip(specs, nonzero, strict=True)
        ]
        return unflatten(arguments.treedef, leaves)[0]

    return transpose_of
