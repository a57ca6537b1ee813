"""Comparing `graphad.numpy` with `jax.numpy`: the same expression, as text, evaluated with either."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from functools import cache

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

import graphad.numpy as gnp
from graphad import lax
from graphad.config import config
from graphad.ir.evaluate import evaluate
from graphad.trace.bind import trace_function
from graphad.trace.pytree import flatten, unflatten
from graphad.trace.tracer import Tracer

LAX = {jnp: jax.lax, gnp: lax}
#: How many expressions JAX compiles together.
GROUP = 200
#: How JAX says that an expression needs values while it is traced.
ASKS_FOR_VALUES = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)


def arrays(bits):
    """The arrays that expressions name, as NumPy arrays: floats in `bits` bits, integers, bools, odd shapes."""
    rng = np.random.default_rng(7)
    f, i = np.dtype(f"f{bits // 8}"), np.dtype(f"i{bits // 8}")
    return {
        "x": rng.uniform(-2, 2, 5).astype(f),
        "y": rng.uniform(0.3, 2, 5).astype(f),
        "u": rng.uniform(-0.9, 0.9, (3, 1)).astype(f),
        "A": rng.normal(size=(3, 4)).astype(f),
        "B": rng.normal(size=(4, 2)).astype(f),
        "C": rng.normal(size=(2, 3, 4)).astype(f),
        "D": rng.normal(size=(2, 4, 3)).astype(f),
        "s": np.asarray(0.7, f),
        "e": np.zeros((0, 3), f),
        "w": np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -2.5, 2.5], f),
        "i": np.array([3, -2, 0, 7, -7], i),
        "j": np.array([2, 3, 5, -2, 2], i),
        "k": np.array([0, 2, 1], i),
        "I": np.arange(12, dtype=i).reshape(3, 4),
        "n": np.asarray(2, i),
        "c": np.array([1, -5, 100], np.int8),
        "q": np.array([1, 5, 250], np.uint8),
        "h": np.array([1.5, -0.25, 3.0], np.float16),
        "g": np.array([1.5, -0.25, 3.0], ml_dtypes.bfloat16),
        "b": np.array([True, False, True, True, False]),
        "M": np.array([[True, False, True, False], [False] * 4, [True] * 4]),
        "N": np.array([[np.nan, 2.5, -1.0, 0.5], [1.5, -0.5, 4.0, 2.0], [np.nan, np.nan, 3.0, -2.0]], f),
    }


@contextmanager
def width(bits):
    """Both libraries with default dtypes of so many bits."""
    with config.override(default_dtype_bits=bits), jax.enable_x64(bits == 64):
        yield


def run(expression, module, named):
    return eval(expression, {"np": module, "lax": LAX.get(module), "numpy": np, **named})


def names_in(expression):
    code = compile(expression, "case", "eval")
    return set(code.co_names).union(*[c.co_names for c in code.co_consts if hasattr(c, "co_names")])


def by_jax(case, bits):
    with width(bits), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX's own
        return run(case, jnp, {name: jnp.asarray(value) for name, value in arrays(bits).items()})


def by_jax_together(case, bits, among):
    """The same, compiled with the cases `among` which it is: JAX takes about as long for all as for one operation."""
    first = among.index(case) // GROUP * GROUP
    return _group_by_jax(tuple(among[first : first + GROUP]), bits)[case]


@cache
def _group_by_jax(cases, bits):
    """What a case makes that is an array comes out of the program, what is not was known when it was traced."""
    known = {}

    def program(named):
        made = {}
        for case in cases:
            try:
                leaves, treedef = jax.tree.flatten(run(case, jnp, named))
            except ASKS_FOR_VALUES:
                continue
            known[case] = treedef, [None if hasattr(leaf, "shape") else leaf for leaf in leaves]
            made[case] = [leaf if hasattr(leaf, "shape") else None for leaf in leaves]
        return made

    with width(bits), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = jax.jit(program)(arrays(bits))
    found = {case: by_jax(case, bits) for case in cases if case not in made}
    for case, (treedef, leaves) in known.items():
        found[case] = treedef.unflatten([b if a is None else a for a, b in zip(leaves, made[case], strict=True)])
    return found


def eagerly(expression, bits):
    named = {name: gnp.asarray(value) for name, value in arrays(bits).items()}
    return run(expression, gnp, named)


def traced(expression, bits):
    """By way of a graph whose inputs are the arrays named in the expression."""
    named = {name: gnp.asarray(value) for name, value in arrays(bits).items() if name in names_in(expression)}
    leaves, treedef = flatten(named)
    found = trace_function(lambda tree: run(expression, gnp, tree), leaves, treedef)
    values = [x._value for x in [*leaves, *map(gnp.asarray, found.captures)]]
    outputs = evaluate(found.graph, values)
    results = [gnp.ndarray(y, weak) for y, weak in zip(outputs, found.graph.weak, strict=True)]
    return unflatten(found.out_tree, results)


def check_like_jax(case, bits, among):
    """The same by JAX, eagerly and traced."""
    expected = by_jax_together(case, bits, among)
    with width(bits):
        eager = eagerly(case, bits)
        check_equal(eager, expected, ulps=16)
        check_equal(traced(case, bits), eager, ulps=4)


def check_equal(got, expected, ulps):
    """Shapes, dtypes, weak types and, within `ulps` of the largest element, values."""
    mine, theirs = flatten(got)[0], jax.tree.leaves(expected)
    assert len(mine) == len(theirs)
    for x, y in zip(mine, theirs, strict=True):
        if not hasattr(y, "shape"):
            assert x == y
            continue
        assert isinstance(x, gnp.ndarray)
        assert not isinstance(x, Tracer)
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        assert x.weak_type == y.weak_type
        a, b = np.asarray(x), np.asarray(y)
        if a.dtype.kind in "iub":
            np.testing.assert_array_equal(a, b)
        else:
            wide = [v.astype(np.float64) for v in (a, b)]
            eps = float(ml_dtypes.finfo(a.dtype).eps)
            np.testing.assert_allclose(*wide, rtol=ulps * eps, atol=ulps * eps * _largest(wide[1]), equal_nan=True)


def _largest(x):
    finite = np.abs(x[np.isfinite(x)])
    return finite.max(initial=1e-30)
