"""Derivatives of functions of one number, written with primitives, for tests."""

from __future__ import annotations

import numpy as np

from graphad.check.calculus import vjp_graph
from graphad.ir.builder import Builder
from graphad.ir.types import aval, literal
from tests.primitives.cases import epsilon, run


def roughest(graph):
    """The epsilon of the coarsest floating-point type in ``graph``."""
    return max((epsilon(a.dtype.numpy) for a in graph.avals if a.is_float), default=0.0)


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
