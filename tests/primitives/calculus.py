"""Derivatives of whole graphs, for tests: forward, reverse, and gradients of functions of one number."""

from __future__ import annotations

import numpy as np

from graphad.ir.builder import Builder
from graphad.ir.types import aval, literal
from graphad.primitives.layout import zeros_like_aval
from graphad.transforms.linearize import jvp_graph, linearized
from graphad.transforms.transpose import transposed
from tests.primitives.cases import epsilon, is_float, run


def float_outputs(graph, values):
    return [v for v, a in zip(values, graph.out_avals) if a.is_float]


def roughest(graph):
    """The epsilon of the coarsest floating-point type in ``graph``."""
    return max((epsilon(a.dtype.numpy) for a in graph.avals if a.is_float), default=0.0)


def jvp(graph, args, along):
    """The derivative along ``along``, zeros filled in; one per floating-point output."""
    mask = tuple(is_float(a) for a in args)
    joint, nonzero = jvp_graph(graph, mask)
    values = run(joint, [*args, *along])
    tangents = iter(values[len(nonzero) :])
    filled = [next(tangents) if n else None for n in nonzero]
    return [
        np.zeros(a.shape, a.dtype.numpy) if t is None else t
        for t, a in zip(filled, graph.out_avals, strict=True)
        if a.is_float
    ]


def vjp_graph(graph):
    """(arguments, one cotangent per floating-point output) -> one cotangent per floating-point argument."""
    mask = tuple(a.is_float for a in graph.in_avals)
    parts = linearized(graph, mask)
    back = transposed(
        parts.linear,
        tuple(i >= parts.n_residuals for i in range(parts.linear.n_inputs)),
        (True,) * len(parts.linear.outputs),
    )
    builder = Builder()
    primals = [builder.input(a) for a in graph.in_avals]
    cts = [builder.input(a) if a.is_float else None for a in graph.out_avals]
    residuals = builder.inline(parts.primal, primals)[len(graph.outputs) :]
    found = iter(builder.inline(back.graph, [*residuals, *[c for c, n in zip(cts, parts.nonzero) if n]]))
    pulled = [next(found) if n else None for n in back.nonzero]
    filled = [zeros_like_aval(builder, a).atom if p is None else p for p, a in zip(pulled, float_inputs(graph))]
    return builder.close(filled)


def float_inputs(graph):
    return [a for a in graph.in_avals if a.is_float]


def scalar_graph(function, dtype):
    """The graph of a function of one number, written with primitives."""
    builder = Builder()
    return builder.close([function(builder.input_ref(aval((), dtype))).atom])


def grad_graph(graph):
    """The derivative of a graph of one number, in reverse mode."""
    builder = Builder()
    x = builder.input(graph.in_avals[0])
    return builder.close(builder.inline(vjp_graph(graph), [x, literal(1, graph.out_avals[0].dtype)]))


def derivatives(function, x, dtype, order):
    """``function(x), function'(x), ...`` up to ``order``."""
    graph = scalar_graph(function, dtype)
    point = [np.asarray(x, dtype.numpy)]
    values = [run(graph, point)[0]]
    for _ in range(order):
        graph = grad_graph(graph)
        values.append(run(graph, point)[0])
    return np.array(values)
