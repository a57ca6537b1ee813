"""What is said where Python, NumPy or SciPy want the number behind a traced value: who wants it, and what to write."""

from __future__ import annotations

import importlib
import math
import re
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pytest
import scipy.integrate
import scipy.special as sc

import graphad
import graphad.numpy as gnp
from graphad.errors import ConcretizationError
from graphad.trace import hints

VECTOR = gnp.array([1.0, 2.0])


def filled(x):
    out = np.empty(2)
    out[0] = x[0]
    return x.sum()


def filled_by_slice(x):
    out = np.empty(2)
    out[:] = x
    return x.sum()


#: Each cause has its own ending, which begins with these words.
CAUSES = {
    "float(x)": (lambda x: float(x[0]), r"float\(x\) needs", "Leave float"),
    "a function of math": (lambda x: math.sin(x[0]), "math.sin needs", "Write graphad.numpy.sin"),
    "one of math elsewhere": (lambda x: math.erf(x[0]), "math.erf needs", "Write graphad.lax.erf"),
    "one of math without a twin": (lambda x: math.gamma(x[0]), "math.gamma needs", "Write it with functions of"),
    "a function of NumPy": (lambda x: np.sin(x), "np.sin needs", r"Write graphad.numpy.sin\(x\)"),
    "one of NumPy without a twin": (lambda x: np.i0(x), "np.asarray|numpy.i0", "Write it with functions of|Write the"),
    "an array of NumPy": (lambda x: np.array([x[0], x[1]]), "np.asarray", "Write the graphad.numpy function"),
    "a ufunc of SciPy": (lambda x: sc.erf(x), "scipy.special.erf needs", "Write graphad.lax.erf"),
    "one with a twin in nn": (lambda x: sc.expit(x), "scipy.special.expit needs", "Write graphad.nn.sigmoid"),
    "one without a twin": (lambda x: sc.gammaln(x), "scipy.special.gammaln needs", "Write .* have no gammaln"),
    "Python code of SciPy": (lambda x: sc.logsumexp(x), "scipy.special.logsumexp", "Write graphad.nn.logsumexp"),
    "another part of SciPy": (lambda x: scipy.integrate.simpson(x), "SciPy needs", "Write .*, or call SciPy outside"),
    "an element": (filled, r"an element of a NumPy array, out\[i\] = x,", r"Write out = out.at\[i\].set\(x\)"),
    "elements": (filled_by_slice, r"an element of a NumPy array, out\[i\] = x,", r"Write out = out.at\[i\].set\(x\)"),
    "item": (lambda x: x[0].item(), r"x.item\(\) needs", "Leave .item"),
    "tolist": (lambda x: x.tolist(), r"x.tolist\(\) needs", "Iterate over x"),
    "tobytes": (lambda x: x.tobytes(), r"x.tobytes\(\) needs", "What depends on the bytes"),
    "a format": (lambda x: f"{x[0]:.3f}", "the format '.3f' needs", "Write graphad.debug.print"),
    "complex": (lambda x: complex(x[0]), r"complex\(x\) needs", "Complex numbers"),
    "DLPack": (lambda x: np.from_dlpack(x), "__dlpack__", "Another library can have"),
}


@pytest.mark.parametrize("transform", [graphad.grad, graphad.jit], ids=["grad", "jit"])
@pytest.mark.parametrize("cause", CAUSES)
def test_the_remedy_fits_the_cause(cause, transform):
    use, what, instead = CAUSES[cause]
    with pytest.raises(ConcretizationError) as caught:
        transform(use)(VECTOR)
    said, _line, ending = str(caught.value).splitlines()
    assert re.match(rf"test_hints\.py:\d+: .*({what}).*would cut its derivative\.", said)
    assert re.match(instead, ending)
    assert caught.value.__cause__ is None


def test_what_numpy_puts_over_an_error_keeps_its_own():
    def raises(_x):
        raise ValueError("mine") from KeyError("theirs")

    with pytest.raises(ValueError, match="mine") as caught:
        graphad.jit(raises)(VECTOR)
    assert isinstance(caught.value.__cause__, KeyError)


def test_every_twin_exists():
    for path in hints._ELSEWHERE.values():
        package, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(package), name))


@pytest.mark.parametrize("name", [n for n in dir(sc) if isinstance(getattr(sc, n), np.ufunc)][::4])
def test_ufuncs_of_scipy_are_named_as_such(name):
    what, instead = hints.of_function(getattr(sc, name))
    assert what == f"scipy.special.{name}"
    twin = instead.split("(")[0].removeprefix("Write ")
    if twin.startswith("graphad."):
        assert callable(reduce(getattr, twin.split(".")[1:], graphad))


@dataclass
class Plain:
    a: object
    b: object


SIZES = {
    "zeros": lambda n: gnp.zeros(n), "ones of two": lambda n: gnp.ones((n, 2)), "full": lambda n: gnp.full(n, 1.0),
    "arange": lambda n: gnp.arange(n),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_traced_sizes(name):
    """An int is known, and guarded; a float is refused with what to do."""
    np.testing.assert_array_equal(graphad.jit(SIZES[name])(3), SIZES[name](3))
    with pytest.raises(TypeError, match=r"test_hints\.py:\d+: .* as a size: .*static argument"):
        graphad.jit(SIZES[name])(3.0)


USES_OF_PLAIN = {
    "jit": lambda: graphad.jit(lambda p: p.a)(Plain(1.0, 2.0)),
    "grad": lambda: graphad.grad(lambda p: p.a)(Plain(1.0, 2.0)),
    "vmap": lambda: graphad.vmap(lambda p: p.a)(Plain(VECTOR, VECTOR)),
    "a result": lambda: graphad.jit(lambda x: Plain(x, x))(VECTOR),
}


@pytest.mark.parametrize("use", USES_OF_PLAIN)
def test_a_plain_dataclass(use):
    with pytest.raises(TypeError) as caught:
        USES_OF_PLAIN[use]()
    text = str(caught.value)
    assert "Write graphad.tree_util.register_pytree_node(Plain, lambda p: ((p.a, p.b,), None)" in text
    # What it says to write works.
    written = text.partition("Write ")[2].partition(" below the class")[0]
    Own = type("Own", (Plain,), {})
    eval(written.replace("Plain", "Own"), {"graphad": graphad, "Own": Own})
    assert graphad.grad(lambda p: p.a * p.b)(Own(2.0, 3.0)).a == 3.0
