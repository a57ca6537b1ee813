"""Values, types and derivatives of the corpus, against JAX's."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from tests.parity.corpus import CASES

OURS = SimpleNamespace(
    np=gnp,
    nn=graphad.nn,
    lax=graphad.lax,
    grad=graphad.grad,
    vmap=graphad.vmap,
    jit=graphad.jit,
    checkpoint=graphad.checkpoint,
)
THEIRS = SimpleNamespace(
    np=jnp, nn=jax.nn, lax=jax.lax, grad=jax.grad, vmap=jax.vmap, jit=jax.jit, checkpoint=jax.checkpoint
)
TOLERANCE = {32: 2e-5, 64: 1e-11}
cases = pytest.mark.parametrize("name", CASES)


def arguments(case, bits):
    """The arguments of a case in a width of floats; integers stay what they are."""

    def convert(x):
        x = np.asarray(x)
        return x.astype(f"float{bits}") if x.dtype.kind == "f" else x.astype("int32")

    return jax.tree.map(convert, case.args)


def everything(m, transforms, case, args):
    """Value, Jacobian by the first argument and, of smooth functions, a second derivative along a direction."""
    f = lambda *args: case.function(m, *args)
    found = {"value": f(*args), "jacobian": transforms.jacrev(f)(*args)}
    if case.smooth:
        leaves = transforms.tree.leaves
        weighted = lambda x: sum((y * y).sum() for y in leaves(f(x, *args[1:])))
        direction = transforms.tree.map(lambda x: x * 0.5 + 0.25, args[0])
        found["second"] = transforms.jvp(transforms.grad(weighted), (args[0],), (direction,))[1]
    return found


@pytest.fixture(scope="module", params=[32, 64], ids=["float32", "float64"])
def oracle(request):
    """What JAX finds for all cases, as one program."""
    bits = request.param
    with jax.enable_x64(bits == 64):
        args = {name: arguments(case, bits) for name, case in CASES.items()}
        program = jax.jit(
            lambda args: {name: everything(THEIRS, jax, case, args[name]) for name, case in CASES.items()}
        )
        return bits, program(args)


def compare(got, expected, bits, what):
    """Same structure, shapes, dtypes, and values within the tolerance of the dtype."""
    assert graphad.tree.structure(got) == graphad.tree.structure(jax.tree.map(np.asarray, expected)), what
    for x, y in zip(graphad.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (x.shape, np.dtype(x.dtype)) == (y.shape, np.dtype(y.dtype)), what
        scale = max(1.0, float(np.max(np.abs(y), initial=0.0)))
        tolerance = TOLERANCE[min(bits, 32 if x.dtype == np.float32 else 64)]
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tolerance, atol=tolerance * scale, err_msg=what)


@cases
def test_eager(name, oracle):
    bits, expected = oracle
    case = CASES[name]
    with graphad.config.override(default_dtype_bits=bits):
        found = everything(OURS, graphad, case, graphad.tree.map(gnp.asarray, arguments(case, bits)))
        for what, theirs in expected[name].items():
            compare(found[what], theirs, bits, what)
        for x, y in zip(graphad.tree.leaves(found["value"]), jax.tree.leaves(expected[name]["value"]), strict=True):
            assert getattr(x, "weak_type", False) == y.weak_type


@cases
def test_compiled(name, oracle):
    bits, expected = oracle
    case = CASES[name]
    with graphad.config.override(default_dtype_bits=bits):
        program = graphad.jit(lambda *args: everything(OURS, graphad, case, args))
        found = program(*arguments(case, bits))
        for what, theirs in expected[name].items():
            compare(found[what], theirs, bits, what)


@cases
def test_batched(name):
    case = CASES[name]
    lanes = [arguments(case, 64), jax.tree.map(lambda x: x * 0.9 if x.dtype.kind == "f" else x, arguments(case, 64))]
    f = lambda *args: case.function(OURS, *args)
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *lanes)
    with graphad.config.override(default_dtype_bits=64):
        found = graphad.vmap(f)(*stacked)
        for k, lane in enumerate(lanes):
            one = graphad.tree.map(lambda x, k=k: x[k], found)
            compare(one, graphad.tree.map(np.asarray, f(*graphad.tree.map(gnp.asarray, lane))), 64, f"lane {k}")


def test_the_corpus_is_wide():
    assert len(CASES) >= 80
