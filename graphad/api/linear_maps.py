"""The derivative at a point as a linear map: `jvp`, `linearize`, `vjp`; and `linear_transpose`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphad.api.abstract import ShapeDtypeStruct, as_spec
from graphad.api.branching import differentiated
from graphad.api.functions import (
    Arguments,
    Aux,
    Function,
    check_callable,
    check_float_inputs,
    name_of,
    trace_floats,
)
from graphad.api.stages import run_on
from graphad.api.tangents import check_tangents, derivative_types, zeros
from graphad.api.tracing import trace_with_loops
from graphad.api.transformed import Transformed
from graphad.ir.graph import Graph
from graphad.primitives.custom import custom_lin
from graphad.trace.array import Array
from graphad.trace.bind import Traced, type_of
from graphad.trace.pytree import unflatten
from graphad.trace.semantics import cast, with_weak
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary
from graphad.transforms.linearize import Split, jvp_graph, linearized
from graphad.transforms.transpose import Transposed, transposed


@boundary
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

    Raises
    ------
    TypeError
        The tangents do not match the primals, or one belongs to a value that is no float.

    Examples
    --------
    >>> import graphad
    >>> graphad.jvp(lambda x: x**2, (3.0,), (1.0,))
    (Array(9., dtype=float32, weak_type=True), Array(6., dtype=float32, weak_type=True))
    """
    check_callable(fun, "jvp")
    if not isinstance(primals, (tuple, list)):
        raise TypeError(
            f"{where()}jvp({name_of(fun)}): primals must be a tuple of the arguments, not {type(primals).__name__}; "
            "write (x,) for one argument"
        )
    arguments = Arguments.of(primals, {})
    n_floats = len(check_tangents(primals, tangents, "tangents", "jvp", name_of(fun)))

    def take() -> tuple[Aux | None, Traced, Graph, tuple[bool, ...]]:
        aux = Aux("jvp", name_of(fun)) if has_aux else None
        traced = trace_floats(lambda args: fun(*args), arguments, name_of(fun), aux)
        return aux, traced, *jvp_graph(traced.graph, (True,) * n_floats + (False,) * len(traced.captures))

    aux, traced, graph, nonzero = differentiated(take)
    directions = check_tangents(primals, tangents, "tangents", "jvp", name_of(fun), traced.graph.in_avals)
    results = run_on(graph, [*_floats(arguments), *traced.captures, *directions])
    value = unflatten(traced.out_tree, results[: len(nonzero)])
    tangent = unflatten(traced.out_tree, _with_zeros(results[len(nonzero) :], nonzero, traced.graph))
    return (value, tangent) if aux is None else (value[0], tangent[0], aux.joined(value[1]))


def _floats(arguments: Arguments) -> list[Any]:
    return [x for x in arguments.leaves if type_of(x).aval.is_float]


def _with_zeros(found: Sequence[Any], nonzero: Sequence[bool], graph: Graph) -> list[Any]:
    """One tangent per output: those ``found``, zeros elsewhere."""
    it = iter(found)
    return [
        with_weak(next(it), weak) if is_nonzero else zeros(a, weak)
        for is_nonzero, a, weak in zip(nonzero, graph.out_avals, graph.weak, strict=True)
    ]


class _Linearized(NamedTuple):
    """A traced function, split into a primal and a linear program, and the outputs and residuals of the first."""

    traced: Traced
    split: Split
    outputs: list[Any]
    residuals: list[Any]
    aux: Aux | None

    @property
    def n_values(self) -> int:
        """The number of outputs that are not auxiliary."""
        tree = self.traced.out_tree
        return tree.num_leaves if self.aux is None else tree.children()[0].num_leaves

    def transposed(self) -> Transposed:
        """The transposed linear program: from cotangents of the values to cotangents of the arguments."""
        split = self.split
        given = tuple([k < self.n_values for k, is_nonzero in enumerate(split.nonzero) if is_nonzero])
        return transposed(split.linear, tuple([i >= split.n_residuals for i in range(split.linear.n_inputs)]), given)


def _linearized_at(fun: Function, arguments: Arguments, has_aux: bool, transform: str) -> _Linearized:
    name = name_of(fun)
    floats = _floats(arguments)

    def take() -> _Linearized:
        aux = Aux(transform, name) if has_aux else None
        traced = trace_floats(lambda args: fun(*args), arguments, name, aux)
        split = linearized(traced.graph, (True,) * len(floats) + (False,) * len(traced.captures))
        found = _Linearized(traced, split, [], [], aux)
        if transform == "vjp" and _has_custom(split.linear):
            found.transposed()  # now, for its rules may have to be traced at their calls
        return found

    found = differentiated(take)
    results = run_on(found.split.primal, [*floats, *found.traced.captures])
    n_outputs = len(found.split.nonzero)
    return found._replace(outputs=results[:n_outputs], residuals=results[n_outputs:])


def _has_custom(graph: Graph) -> bool:
    return any([e.primitive is custom_lin or any([_has_custom(r) for r in e.regions]) for e in graph.eqns])


@boundary
def linearize(fun: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Value of ``fun`` at ``primals``, and its derivative there as a linear function of the tangents.

    Parameters
    ----------
    fun
        A function of arrays.
    *primals
        Its arguments.
    has_aux
        ``fun`` returns ``(value, aux)``; the result is ``(value, linear function, aux)``.

    Raises
    ------
    TypeError
        By the linear function: its arguments do not match the primals.

    Examples
    --------
    >>> import graphad
    >>> y, f_lin = graphad.linearize(lambda x: x**2, 3.0)
    >>> f_lin(2.0)
    Array(12., dtype=float32, weak_type=True)
    """
    check_callable(fun, "linearize")
    arguments = Arguments.of(primals, {})
    name = name_of(fun)
    traced, split, outputs, residuals, aux = _linearized_at(fun, arguments, has_aux, "linearize")

    @boundary
    def linear_map(*tangents: Any) -> Any:
        directions = check_tangents(primals, tangents, "tangents", "linearize", name, traced.graph.in_avals)
        outs = _with_zeros(run_on(split.linear, [*residuals, *directions]), split.nonzero, traced.graph)
        tangent = unflatten(traced.out_tree, outs)
        return tangent[0] if has_aux else tangent

    out = unflatten(traced.out_tree, outputs)
    return (out, linear_map) if aux is None else (out[0], linear_map, aux.joined(out[1]))


@boundary
def vjp(fun: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Value of ``fun`` and its pullback: cotangents of the result -> cotangents of the arguments (a tuple).

    Parameters
    ----------
    fun
        A function of arrays.
    *primals
        Its arguments.
    has_aux
        ``fun`` returns ``(value, aux)``; the result is ``(value, pullback, aux)``.

    Raises
    ------
    TypeError
        By the pullback: the cotangents do not match the result.

    Examples
    --------
    >>> import graphad
    >>> y, pullback = graphad.vjp(lambda x: x**2, 3.0)
    >>> pullback(1.0)
    (Array(6., dtype=float32, weak_type=True),)
    """
    check_callable(fun, "vjp")
    arguments = Arguments.of(primals, {})
    name = name_of(fun)
    found = _linearized_at(fun, arguments, has_aux, "vjp")
    traced, split, outputs, residuals, aux = found
    out = unflatten(traced.out_tree, outputs)
    value = out[0] if has_aux else out

    @boundary
    def pullback(ct: Any) -> tuple[Any, ...]:
        seeds = iter(check_tangents(value, ct, "cotangents", "vjp", name))
        by_output = [next(seeds) if a.is_float else None for a in traced.graph.out_avals[: found.n_values]]
        cts = [c for c, is_nonzero in zip(by_output, split.nonzero, strict=False) if is_nonzero]
        graph, nonzero_inputs = found.transposed()
        results = iter(run_on(graph, [*residuals, *cts]))
        is_nonzero = iter(nonzero_inputs)
        leaves: list[Any] = []
        for a, weak, _ in derivative_types(arguments.leaves, traced):
            leaves.append(cast(next(results), a.dtype, weak) if a.is_float and next(is_nonzero) else zeros(a, weak))
        return unflatten(arguments.treedef, leaves)[0]

    return (value, pullback) if aux is None else (value, pullback, aux.joined(out[1]))


@boundary
def linear_transpose(fun: Function, *primals: Any) -> Callable[..., tuple[Any, ...]]:
    """The transpose of a linear function.

    Parameters
    ----------
    fun
        A function of arrays, linear in all of them together.
    *primals
        Arguments for their shapes and dtypes alone: arrays or `ShapeDtypeStruct`.

    Returns
    -------
    callable
        From a cotangent of the result to a tuple of cotangents of the arguments.

    Raises
    ------
    TypeError
        An argument is no float; or, by the callable, ``fun`` is not linear, or the cotangent does not match.

    Examples
    --------
    >>> import graphad
    >>> graphad.linear_transpose(lambda x: 3 * x, 1.0)(2.0)
    (Array(6., dtype=float32, weak_type=True),)
    """
    check_callable(fun, "linear_transpose")
    arguments = Arguments.of(primals, {})
    specs = [type_of(as_spec(x)) for x in arguments.leaves]
    structs = [ShapeDtypeStruct(s.aval.shape, s.aval.dtype, s.weak) for s in specs]
    arguments = arguments._replace(leaves=specs)
    check_float_inputs(arguments, "linear_transpose", name_of(fun))
    traced = trace_with_loops(lambda tree: fun(*tree[0]), specs, arguments.treedef, name=name_of(fun), examples=False)
    graph = traced.graph

    @boundary
    def transpose_of(ct: Any) -> tuple[Any, ...]:
        results = [Array(np.broadcast_to(np.zeros((), a.dtype.numpy), a.shape)) for a in graph.out_avals]
        example = unflatten(traced.out_tree, results)
        seeds = check_tangents(example, ct, "cotangents", "linear_transpose", name_of(fun))
        linear = (True,) * len(specs) + (False,) * len(traced.captures)
        program, nonzero = transposed(graph, linear, tuple([a.is_float for a in graph.out_avals]))
        found = iter(run_on(program, [*traced.captures, *seeds]))
        leaves = [
            cast(next(found), s.aval.dtype, s.weak) if is_nonzero else zeros(s.aval, s.weak)
            for s, is_nonzero in zip(traced.derivatives, nonzero, strict=True)
        ]
        return unflatten(arguments.treedef, leaves)[0]

    primals = unflatten(arguments.treedef, structs)[0]
    made = Transformed(transpose_of, fun, _transpose_again, "linear_transpose", primals=primals)
    made.__wrapped__ = transpose_of  # it takes a cotangent: the signature is not that of `fun`
    return made


def _transpose_again(fun: Function, primals: tuple[Any, ...]) -> Callable[..., tuple[Any, ...]]:
    return linear_transpose(fun, *primals)
