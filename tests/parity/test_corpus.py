"""Values, types and derivatives of the corpus, against JAX's."""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from tests.parity.corpus import CASES, THEMES, arguments
from tests.parity.libraries import OURS, THEIRS

#: What makes JAX compile fastest, for its programs run once.
QUICKLY = {"xla_backend_optimization_level": 0}
TOLERANCE = {32: 2e-5, 64: 1e-11}
ROUGH = 5e-4
#: Even so each function takes a tenth of a second: the default run has those of some themes, in 64 bits. It leaves the
#: derivatives of others to `tests.faces.python.test_check_grads`, which holds them against differences, and their
#: values to the tests of each face, which compare them with JAX's.
ALWAYS = {"by hand"}


def is_slow(theme, bits):
    """Whether the default run leaves the cases of a theme out."""
    return theme not in ALWAYS or bits == 32


in_both_widths = [
    pytest.param(theme, name, bits, marks=pytest.mark.slow if is_slow(theme, bits) else (), id=f"{name}-{bits}")
    for theme, name in CASES
    for bits in (64, 32)
]
cases = pytest.mark.parametrize(("theme", "name", "bits"), in_both_widths)


def everything(m, transforms, case, args):
    """Value, Jacobian by the first argument and, of smooth functions, a second derivative along a direction."""
    f = lambda *args: case.function(m, *args)
    has_reverse = case.reverse or transforms is not jax
    jacobian, gradient = (transforms.jacrev, transforms.grad) if has_reverse else (jax.jacfwd, jax.jacfwd)
    found = {"value": f(*args), "jacobian": jacobian(f)(*args)}
    if case.smooth:
        leaves = transforms.tree.leaves
        weighted = lambda x: sum((y * y).sum() for y in leaves(f(x, *args[1:])))
        direction = transforms.tree.map(lambda x: x * 0.5 + 0.25, args[0])
        found["second"] = transforms.jvp(gradient(weighted), (args[0],), (direction,))[1]
    return found


@cache
def found_by_jax(theme, bits):
    """What JAX finds for the cases of a theme, as one program."""

    def program(args):
        return {name: everything(THEIRS, jax, case, args[name]) for name, case in THEMES[theme].items()}

    with jax.enable_x64(bits == 64), jax.threefry_partitionable(True):
        args = {name: arguments(case, bits) for name, case in THEMES[theme].items()}
        return jax.jit(program, compiler_options=QUICKLY)(args)


@cache
def compiled(theme, bits):
    """What the compiled program of all cases of a theme gives."""

    def program(args):
        return {name: everything(OURS, graphad, case, args[name]) for name, case in THEMES[theme].items()}

    with graphad.config.override(default_dtype_bits=bits, threefry_partitionable=True):
        return graphad.jit(program)({name: arguments(case, bits) for name, case in THEMES[theme].items()})


def compare(got, expected, bits, what, rough=False):
    """Same structure, shapes, dtypes, and values within the tolerance of the dtype."""
    assert graphad.tree.structure(got) == graphad.tree.structure(jax.tree.map(np.asarray, expected)), what
    for x, y in zip(graphad.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (x.shape, np.dtype(x.dtype)) == (y.shape, np.dtype(y.dtype)), what
        finite = np.asarray(y)[np.isfinite(y)]
        scale = max(1.0, float(np.max(np.abs(finite), initial=0.0)))
        tolerance = ROUGH if rough else TOLERANCE[min(bits, 32 if x.dtype == np.float32 else 64)]
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tolerance, atol=tolerance * scale, err_msg=what)


@cases
def test_compiled(theme, name, bits):
    found, expected = compiled(theme, bits)[name], found_by_jax(theme, bits)[name]
    for what, theirs in expected.items():
        compare(found[what], theirs, bits, what, CASES[theme, name].rough)


@cases
def test_eager(theme, name, bits):
    case, expected = CASES[theme, name], found_by_jax(theme, bits)[name]
    with graphad.config.override(default_dtype_bits=bits, threefry_partitionable=True):
        found = everything(OURS, graphad, case, graphad.tree.map(gnp.asarray, arguments(case, bits)))
        for what, theirs in expected.items():
            compare(found[what], theirs, bits, what, CASES[theme, name].rough)
        for x, y in zip(graphad.tree.leaves(found["value"]), jax.tree.leaves(expected["value"]), strict=True):
            assert getattr(x, "weak_type", False) == y.weak_type


@pytest.mark.parametrize("name", THEMES["by hand"])
def test_batched(name):
    case = CASES["by hand", name]
    elements = [arguments(case, 64), jax.tree.map(lambda x: x * 0.9 if x.dtype.kind == "f" else x, arguments(case, 64))]
    f = lambda *args: case.function(OURS, *args)
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *elements)
    with graphad.config.override(default_dtype_bits=64):
        found = graphad.vmap(f)(*stacked)
        for k, element in enumerate(elements):
            one = graphad.tree.map(lambda x, k=k: x[k], found)
            compare(one, graphad.tree.map(np.asarray, f(*graphad.tree.map(gnp.asarray, element))), 64, f"element {k}")


def test_the_corpus_is_wide():
    smooth = [name for (_, name), case in CASES.items() if case.smooth]
    assert len(set(smooth)) >= 300
