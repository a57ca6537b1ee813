"""The gradient of every case that JAX has a gradient of is JAX's."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.trace.pytree import flatten
from tests.faces.cases import ALL
from tests.faces.oracle import arrays, names_in, run, width

# Where we differ on purpose: a read that is clamped passes its derivative to the element it read, the derivative of an
# extremum that is nan is 0, and so is that of a row that is masked as a whole; that of an infinite length is 1.
EXCEPT = {
    "x[i]", "A[j, i]", "x.at[i].get()", "np.max(w)", "np.min(w)", "np.logaddexp(w, w)", "np.pad(w, 1, 'minimum')",
    "np.var(A, axis=1, where=M)", "np.std(A, axis=1, where=M)", "np.hypot(w, 1.0)",
}  # fmt: skip
# JAX has no derivative of these; the tests of the primitives hold ours against finite differences.
NOT_IN_JAX = (".mul(", ".multiply(", ".apply(")
CASES = [case for case in ALL if case not in EXCEPT and not ("at[" in case and any(f in case for f in NOT_IN_JAX))]


def weighted(case, module, leaves_of, constants):
    """A scalar function of the float arrays: all float results, each element with a weight of its own."""

    def f(floats):
        total = 0.0
        for y in leaves_of(run(case, module, {**constants, **floats})):
            if hasattr(y, "dtype") and np.dtype(y.dtype).kind == "f":
                total = total + (y * np.cos(np.arange(y.size) + 1).astype(y.dtype).reshape(y.shape)).sum()
        return total

    return f


def check(case):
    named = {name: value for name, value in arrays(64).items() if name in names_in(case)}
    floats = {name: value for name, value in named.items() if value.dtype == np.float64}
    if not floats:
        return
    with width(64):
        theirs = weighted(case, jnp, jax.tree.leaves, jax.tree.map(jnp.asarray, named))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = jax.jit(jax.grad(theirs))(floats)
        ours = weighted(case, gnp, lambda y: flatten(y)[0], {name: gnp.asarray(v) for name, v in named.items()})
        got = graphad.grad(ours)({name: gnp.asarray(value) for name, value in floats.items()})
    for name in floats:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("case", CASES[::17])
def test_like_jax(case):
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_all_like_jax(case):
    check(case)
