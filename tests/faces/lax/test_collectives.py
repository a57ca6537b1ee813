"""Collectives over named batch axes give what JAX's do, within every transformation, and say which names there are."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.errors import AxisNameError, TracerBoolError
from tests.faces.oracle import check_equal

RNG = np.random.default_rng(3)
X = RNG.normal(size=3).astype(np.float32)
A = RNG.normal(size=(3, 4)).astype(np.float32)
S = RNG.normal(size=(3, 3, 2)).astype(np.float32)
W = RNG.normal(size=(2, 3, 4)).astype(np.float32)
Q = RNG.normal(size=(2, 3, 6, 5)).astype(np.float32)
I = np.array([5, -2, 7], np.int32)
B = np.array([True, False, True])
H = np.array([1.5, 3.0, -0.25], np.float16)
TIES = np.array([2.0, 1.0, 2.0], np.float32)


ARRAYS = {name: x for name, x in globals().items() if isinstance(x, np.ndarray)}


def run(case, module, arrays):
    """The value of an expression by graphad or by JAX."""
    names = {"g": module, "np": jnp if module is jax else gnp, "lax": module.lax}
    return eval(case, {**names, "vmap": module.vmap, "grad": module.grad, **arrays})


CASES = """
vmap(lambda x: lax.psum(x, 'i'), axis_name='i')(X)
vmap(lambda x: x / lax.psum(x, 'i'), axis_name='i')(A)
vmap(lambda x: lax.pmean(x, 'i'), axis_name='i')(A)
vmap(lambda x: lax.pmax(x, 'i') - lax.pmin(x, 'i'), axis_name='i')(A)
vmap(lambda x: lax.psum(x, 'i'), axis_name='i')(I)
vmap(lambda x: lax.pmean(x, 'i'), axis_name='i')(I)
vmap(lambda x: (lax.psum(x, 'i'), lax.pmean(x, 'i'), lax.pmax(x, 'i'), lax.pmin(x, 'i')), axis_name='i')(B)
vmap(lambda x: (lax.psum(x, 'i'), lax.pmean(x, 'i'), lax.pmax(x, 'i')), axis_name='i')(H)
vmap(lambda x: x * lax.psum(1, 'i'), axis_name='i')(X)
vmap(lambda x: lax.psum(2.5, 'i') + lax.pmean(2.5, 'i') + x, axis_name='i')(X)
vmap(lambda x: (lax.psum(True, 'i'), lax.psum(X, 'i')), axis_name='i')(X)
vmap(lambda x: lax.psum({'a': x, 'b': (x * 2, 3.0)}, 'i'), axis_name='i')(X)
vmap(lambda x: lax.pmean({'a': x, 'b': (x * 2, 3.0)}, 'i'), axis_name='i')(X)
vmap(lambda x: lax.axis_size('i') * x, axis_name='i')(X)
vmap(lambda x: lax.axis_index('i') * x, axis_name='i')(X)
vmap(lambda: lax.axis_index('i'), axis_name='i', axis_size=4)()
vmap(lambda: lax.psum(lax.axis_index('i'), 'i'), axis_name='i', axis_size=4, out_axes=None)()
vmap(lambda x: lax.psum(x, 'i'), axis_name='i', out_axes=None)(A)
vmap(lambda x: lax.psum(x, 'i'), axis_name='i', in_axes=1)(A)
vmap(lambda x: lax.all_gather(x, 'i'), axis_name='i')(A)
vmap(lambda x: lax.all_gather(x, 'i', axis=1), axis_name='i')(A)
vmap(lambda x: lax.all_gather(x, 'i', axis=-1), axis_name='i')(S)
vmap(lambda x: lax.all_gather(x, 'i', tiled=True), axis_name='i')(A)
vmap(lambda x: lax.all_gather(x, 'i', axis=1, tiled=True), axis_name='i')(S)
vmap(lambda x: lax.all_gather(2.0, 'i') * x, axis_name='i')(X)
vmap(lambda x: lax.all_gather(x > 0, 'i'), axis_name='i')(X)
vmap(lambda x: lax.pmax(2, 'i') + x, axis_name='i')(X)
vmap(lambda x: lax.ppermute(x, 'i', [(0, 1), (1, 2), (2, 0)]), axis_name='i')(A)
vmap(lambda x: lax.ppermute((x, I[0]), 'i', [(0, 2), (1, 1), (2, 0)]), axis_name='i')(A)
vmap(lambda x: lax.pshuffle(x, 'i', [2, 0, 1]), axis_name='i')(A)
vmap(lambda x: lax.psum_scatter(x, 'i'), axis_name='i')(S)
vmap(lambda x: lax.psum_scatter(x, 'i', scatter_dimension=1), axis_name='i', in_axes=2)(np.swapaxes(S, 0, 2))
vmap(lambda x: lax.psum_scatter(x, 'i', tiled=True), axis_name='i')(np.concatenate([S, 2 * S], 1))
vmap(lambda x: lax.all_to_all(x, 'i', 0, 0), axis_name='i')(S)
vmap(lambda x: lax.all_to_all(x, 'i', 0, 1), axis_name='i')(S)
vmap(lambda x: lax.all_to_all(x, 'i', 1, 0), axis_name='i')(np.swapaxes(S, 1, 2))
vmap(lambda x: lax.all_to_all(x, 'i', 1, 0, tiled=True), axis_name='i')(np.swapaxes(np.concatenate([S, -S], 1), 1, 2))
vmap(lambda x: lax.all_to_all(x, 'i', 0, 0, tiled=True), axis_name='i')(np.concatenate([S, -S], 1))
vmap(lambda x: lax.pswapaxes(x, 'i', 0), axis_name='i')(S)
vmap(vmap(lambda x: lax.psum(x, 'i'), axis_name='j'), axis_name='i')(W)
vmap(vmap(lambda x: lax.psum(x, 'j'), axis_name='j'), axis_name='i')(W)
vmap(vmap(lambda x: lax.psum(x, ('i', 'j')), axis_name='j'), axis_name='i')(W)
vmap(vmap(lambda x: lax.pmean(x, ('i', 'j')) + lax.pmax(x, ('j', 'i')), axis_name='j'), axis_name='i')(W)
vmap(vmap(lambda x: lax.axis_index(('i', 'j')) * x, axis_name='j'), axis_name='i')(W)
vmap(vmap(lambda x: lax.axis_index('i') * 10 + lax.axis_index('j') * x, axis_name='j'), axis_name='i')(W)
vmap(vmap(lambda x: lax.all_gather(lax.all_gather(x, 'j'), 'i'), axis_name='j'), axis_name='i')(W)
vmap(vmap(lambda x: lax.psum_scatter(x, 'i', scatter_dimension=0), axis_name='j'), axis_name='i')(Q[:, :, :2])
vmap(vmap(lambda x: lax.all_to_all(x, 'i', 0, 1), axis_name='j'), axis_name='i')(Q[:, :, :2])
vmap(vmap(lambda x: lax.all_to_all(x, ('i', 'j'), 0, 0), axis_name='j'), axis_name='i')(Q)
vmap(vmap(lambda x: lax.ppermute(x, 'i', [(0, 1), (1, 0)]), axis_name='j'), axis_name='i')(W)
vmap(vmap(lambda x: lax.psum(x, 'i'), axis_name='i'), axis_name='i')(W)
vmap(lambda x: vmap(lambda y: lax.psum(x * y, 'i'))(x), axis_name='i')(A)
vmap(lambda x, y: vmap(lambda z: lax.psum(x, 'j') + z, axis_name='j')(y), axis_name='i')(X, A)
vmap(lambda x: g.jit(lambda y: lax.psum(y, 'i') * lax.axis_index('i'))(x), axis_name='i')(X)
vmap(lambda x: x * g.jit(lambda w: lax.psum(w * w, 'i'))(2.0), axis_name='i')(X)
vmap(lambda x: x * g.jit(lambda w: w * lax.axis_index('i'))(2.0), axis_name='i')(X)
vmap(lambda x: g.checkpoint(lambda y: np.sin(lax.psum(y, 'i')) * y)(x), axis_name='i')(X)
vmap(grad(lambda x: lax.psum(x * x, 'i')), axis_name='i')(X)
vmap(grad(lambda x: np.sin(x) * lax.pmean(np.cos(x), 'i')), axis_name='i')(X)
vmap(grad(grad(lambda x: np.sin(x) * lax.psum(x**3, 'i'))), axis_name='i')(X)
vmap(grad(lambda x: (lax.all_gather(x, 'i') ** 3).sum() * lax.axis_index('i')), axis_name='i')(X)
vmap(grad(lambda x: (lax.psum_scatter(x**2, 'i') ** 2).sum()), axis_name='i')(S)
vmap(grad(lambda x: (lax.all_to_all(x**2, 'i', 0, 0) ** 2 * lax.axis_index('i')).sum()), axis_name='i')(S)
vmap(grad(lambda x: lax.ppermute(x**2, 'i', [(0, 1), (1, 2), (2, 0)]) * x), axis_name='i')(X)
vmap(grad(g.checkpoint(lambda x: np.sin(lax.psum(x * x, 'i')) * x)), axis_name='i')(X)
vmap(grad(lambda x: g.jit(lambda y: lax.psum(y * y, 'i') * y)(x)), axis_name='i')(X)
vmap(lambda x: x * grad(lambda w: lax.psum(w * w, 'i'))(2.0), axis_name='i')(X)
grad(lambda x: (vmap(lambda x: np.sin(x) * lax.pmean(x**2, 'i'), axis_name='i')(x) ** 2).sum())(X)
grad(lambda x: (vmap(lambda x: lax.all_gather(x, 'i'), axis_name='i')(x) ** 3).sum())(A)
grad(lambda x: (vmap(lambda x: lax.ppermute(x, 'i', [(0, 2), (1, 1), (2, 0)]) * x, axis_name='i')(x) ** 2).sum())(A)
g.jvp(lambda x: vmap(lambda x: x * lax.psum(x**2, 'i'), axis_name='i')(x), (X,), (X * 2,))
vmap(lambda x: g.jvp(lambda y: y * lax.psum(y**2, 'i'), (x,), (x * 2,)), axis_name='i')(X)
vmap(lambda x: g.jacfwd(lambda y: np.sin(y) * lax.psum(y**2, 'i'))(x), axis_name='i')(A)
vmap(lambda x: g.jacrev(lambda y: np.sin(y) * lax.psum(y**2, 'i'))(x), axis_name='i')(A)
vmap(lambda x: g.hessian(lambda y: lax.psum((y**3).sum(), 'i'))(x), axis_name='i')(A)
g.jacobian(lambda x: vmap(lambda x: x - lax.pmean(x, 'i'), axis_name='i')(x))(X)
""".strip().splitlines()


@pytest.fixture(scope="module")
def by_jax():
    """What JAX finds for all cases, as one program."""
    return jax.jit(lambda arrays: {case: run(case, jax, arrays) for case in CASES})(ARRAYS)


@pytest.mark.parametrize("case", CASES)
def test_as_jax(case, by_jax):
    arrays = graphad.tree.map(gnp.asarray, ARRAYS)
    check_equal(run(case, graphad, arrays), by_jax[case], ulps=16)


@pytest.mark.parametrize("case", CASES)
def test_as_jax_compiled(case, by_jax):
    check_equal(graphad.jit(lambda arrays: run(case, graphad, arrays))(ARRAYS), by_jax[case], ulps=16)


def over(fun, *args):
    return graphad.vmap(fun, axis_name="i")(*args)


def test_a_constant_is_multiplied_while_tracing():
    sizes = []
    over(lambda x: (sizes.append((lax.psum(1, "i"), lax.axis_size("i"), lax.psum(2.5, "i"))), x)[1], X)
    assert sizes == [(3, 3, 7.5)]
    assert all(type(a) is type(b) for a, b in zip(sizes[0], (3, 3, 7.5), strict=True))


def test_a_sum_is_no_result_with_a_batch_axis():
    graph = graphad.make_graph(lambda x: over(lambda y: lax.psum(gnp.sin(y), "i"), x))(gnp.asarray(A))
    assert [e.primitive.name for e in graph.eqns] == ["sin", "reduce_sum", "broadcast"]


def test_missing_destinations_are_zero():
    for perm in ([(0, 1), (1, 2)], [(2, 0)], [], [(0, 2), (2, 1)]):
        expected = np.zeros_like(A)
        for source, target in perm:
            expected[target] = A[source]
        np.testing.assert_array_equal(over(lambda x, p=perm: lax.ppermute(x, "i", p), A), expected)


def test_missing_destinations_have_no_cotangent():
    found = over(graphad.grad(lambda x: lax.ppermute(x**2, "i", [(0, 1), (1, 2)]) * (lax.axis_index("i") + 1)), X)
    np.testing.assert_allclose(found, 2 * X * [2, 3, 0], rtol=1e-6)


def test_several_names_at_once():
    both_axes = graphad.vmap(graphad.vmap(lambda x: lax.all_gather(x, ("i", "j")), axis_name="j"), axis_name="i")
    np.testing.assert_array_equal(both_axes(W), np.broadcast_to(W.reshape(6, 4), (2, 3, 6, 4)))
    scattered = graphad.vmap(graphad.vmap(lambda x: lax.psum_scatter(x, ("i", "j")), axis_name="j"), axis_name="i")
    np.testing.assert_allclose(scattered(Q), Q.sum((0, 1)).reshape(2, 3, 5), rtol=1e-5)


OVER_THE_BATCH = {
    "psum": lambda x: (lax.psum(x**2, "i") * x).sum(),
    "pmean": lambda x: (lax.pmean(x, "i") ** 2 * lax.axis_index("i")).sum(),
    "pmax": lambda x: (lax.pmax(x, "i") * x).sum(),
    "pmin": lambda x: (lax.pmin(x, "i") * x).sum(),
    "all_gather": lambda x: (lax.all_gather(x, "i", axis=1) ** 3).sum() * lax.axis_index("i"),
    "psum_scatter": lambda x: (lax.psum_scatter(x, "i") ** 2).sum() * x[0, 0],
    "all_to_all": lambda x: (lax.all_to_all(x**2, "i", 0, 1) ** 2 * lax.axis_index("i")).sum(),
    "ppermute": lambda x: (lax.ppermute(x, "i", [(0, 1), (2, 0)]) * x).sum(),
}


@pytest.mark.parametrize("fun", OVER_THE_BATCH.values(), ids=OVER_THE_BATCH)
def test_each_element_differentiates_the_sum_over_all(fun):
    within = over(graphad.grad(fun), S)
    outside = graphad.grad(lambda x: over(fun, x).sum())(S)
    np.testing.assert_allclose(within, outside, rtol=1e-5, atol=1e-5)
    graphad.check_grads(lambda x: over(fun, x).sum(), (S.astype(np.float64),), order=2)


def test_extrema_within_have_derivatives_too():
    inside = over(graphad.grad(lambda x: lax.pmax(x, "i") * 2), TIES)
    np.testing.assert_allclose(inside, [3.0, 0.0, 3.0])
    halves = over(graphad.grad(lambda x: lax.pmin(x, "i")), gnp.array([2.0, 1.0, 1.0], "float16"))
    np.testing.assert_array_equal(halves, np.array([0.0, 1.5, 1.5], np.float16))


def test_sums_of_what_all_have_alike():
    big = gnp.array(1.5, "float16")

    def f(x):
        return graphad.jit(lambda w: lax.psum(w, "i"))(big) + 0 * x

    found = graphad.vmap(f, axis_name="i")(gnp.zeros(4099, "float16"))
    np.testing.assert_array_equal(found, np.full(4099, 1.5 * 4099, np.float16))
    wrapped = graphad.vmap(lambda _: graphad.jit(lambda w: lax.psum(w, "i"))(gnp.array(3, "int8")), axis_name="i")
    assert wrapped(gnp.zeros(100)).tolist() == [np.array(300).astype(np.int8)] * 100


def test_compiled_functions_are_traced_for_each_axis():
    f = graphad.jit(lambda x: lax.psum(x, "i") + lax.axis_size("i"))
    np.testing.assert_allclose(over(f, gnp.ones(3)), [6.0] * 3)
    np.testing.assert_allclose(over(f, gnp.ones(4)), [8.0] * 4)
    with pytest.raises(AxisNameError):
        f(1.0)
    with pytest.raises(AxisNameError):
        graphad.vmap(f)(gnp.ones(3))
    nested = graphad.vmap(lambda x: graphad.vmap(f, axis_name="j")(x), axis_name="i")
    np.testing.assert_allclose(nested(gnp.ones((3, 2))), np.full((3, 2), 6.0))


@pytest.mark.parametrize("outside", [False, True])
def test_rules_of_ones_own_are_over_the_axes_of_the_call(outside):
    def sums(module):
        @module.custom_vjp
        def f(x):
            return x * 1.0

        f.defvjp(lambda x: (f(x), x), lambda x, ct: (module.lax.psum(ct * x, "i") + module.lax.axis_index("i"),))

        @module.custom_jvp
        def h(x):
            return module.lax.psum(x, "i") * x

        h.defjvp(lambda p, t: (h(*p), module.lax.pmean(t[0], "i") * p[0]))

        def each(x, w):
            if module is jax and outside:  # which has no axis for a rule of an operand that is not mapped
                w = w + 0 * x
            return f(x) * h(x) * x + f(w) * h(w)

        if outside:

            def total(x, w):
                return module.vmap(each, in_axes=(0, None), axis_name="i")(x, w).sum()

            return module.grad(total, (0, 1))
        return module.vmap(module.grad(each, (0, 1)), in_axes=(0, None), axis_name="i")

    mine, theirs = sums(graphad)(X, np.float32(0.7)), sums(jax)(X, np.float32(0.7))
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@graphad.custom_vjp
def summing(x):
    return x * 1.0


summing.defvjp(lambda x: (x * 1.0, None), lambda _, ct: (lax.psum(ct, "i") * lax.axis_size("i"),))


def test_a_rule_knows_the_axes_of_each_call():
    for n in (3, 4):
        found = over(graphad.grad(summing), gnp.ones(n))
        np.testing.assert_allclose(found, [float(n * n)] * n)
    with pytest.raises(AxisNameError, match="No batch axis has a name here"):
        graphad.grad(summing)(1.0)


def test_named_and_other_axes_of_one_size():
    g = graphad.jit(lambda x: lax.psum(x, "i"))
    found = over(lambda x: g(x) + graphad.vmap(g)(x * gnp.ones(3)).sum(), X)
    np.testing.assert_allclose(found, [4 * X.sum()] * 3, rtol=1e-5)
    twice = lambda x: summing(x) + graphad.vmap(summing)(x * gnp.ones(3)).sum()
    np.testing.assert_allclose(over(graphad.grad(twice), X), [9.0 + 27.0] * 3)
    np.testing.assert_allclose(graphad.grad(lambda x: over(twice, x).sum())(X), [9.0 + 27.0] * 3)


def test_a_rule_of_what_is_not_mapped():
    """The cotangents that the rule sums are those of the elements, which differ."""

    def total(y):
        each = lambda x: graphad.vmap(lambda v: summing(v) * x, axis_name="j")(y).sum()
        return over(each, X).sum()

    np.testing.assert_allclose(graphad.grad(total)(gnp.ones(2)), [9 * X.sum()] * 2, rtol=1e-5)
    square = graphad.custom_vjp(lambda x: x * 1.0)
    square.defvjp(lambda x: (x, None), lambda _, ct: (lax.pmax(ct, "i"),))

    def squares(y):
        return over(lambda x: graphad.vmap(lambda v: square(v) * x, axis_name="j")(y).sum(), X).sum()

    np.testing.assert_allclose(graphad.grad(squares)(gnp.ones(2)), [3 * X.max()] * 2, rtol=1e-5)


def test_branching_on_what_all_have_together():
    def f(x):
        return x if graphad.jit(lambda w: lax.psum(w, "i"))(2.0) > 3 else -x

    with pytest.raises(TracerBoolError, match="differs along the batch axis"):
        over(f, X)
    w = gnp.ones(())
    branches = over(lambda x: x if graphad.jit(lambda v: summing(v))(w) > 0 else -x, X)  # not over the axis
    np.testing.assert_array_equal(branches, X)


WRONG = {
    "no name at all": (lambda: lax.psum(1.0, "i"), AxisNameError, "'i', which is not bound. No batch axis has a name"),
    "another name": (
        lambda: over(lambda x: lax.psum(x, "j"), X),
        AxisNameError,
        r"'j', which is not bound. .*'?i'?.*vmap\(f, axis_name='j'\)",
    ),
    "the name of a vmap that has ended": (
        lambda: over(lambda x: x, X) + lax.axis_index("i"),
        NameError,
        "lax.axis_index is over the batch axis 'i'",
    ),
    "no string": (lambda: over(lambda x: lax.psum(x, 0), X), TypeError, "name of a batch axis or a tuple of names"),
    "a name twice": (lambda: over(lambda x: lax.psum(x, ("i", "i")), X), ValueError, "names an axis twice"),
    "a name that is no string": (
        lambda: graphad.vmap(lambda x: x, axis_name=1)(X),
        TypeError,
        "axis_name is a string or None, not 1",
    ),
    "two sources": (lambda: over(lambda x: lax.ppermute(x, "i", [(0, 1), (0, 2)]), X), ValueError, "a source is twice"),
    "two destinations": (
        lambda: over(lambda x: lax.ppermute(x, "i", [(0, 1), (2, 1)]), X),
        ValueError,
        "a destination is twice",
    ),
    "places that are not there": (
        lambda: over(lambda x: lax.ppermute(x, "i", [(0, 3)]), X),
        ValueError,
        r"places must be in range\(3\)",
    ),
    "two axes to permute": (
        lambda: graphad.vmap(lambda y: over(lambda x: lax.ppermute(x, ("i", "j"), []), y), axis_name="j")(A),
        ValueError,
        "over one batch axis",
    ),
    "no permutation": (
        lambda: over(lambda x: lax.pshuffle(x, "i", [0, 0, 1]), X),
        ValueError,
        "a permutation of range",
    ),
    "an axis of another size": (
        lambda: over(lambda x: lax.all_to_all(x, "i", 0, 0), A),
        ValueError,
        r"axis 0 has size 4, and must be 3, the size of the batch axis 'i'",
    ),
    "an axis that does not divide": (
        lambda: over(lambda x: lax.psum_scatter(x, "i", tiled=True), A),
        ValueError,
        "must be divisible by 3",
    ),
    "an axis to gather that is not there": (
        lambda: over(lambda x: lax.all_gather(x, "i", axis=2), X),
        ValueError,
        "lax.all_gather got axis 2",
    ),
    "no array": (lambda: over(lambda x: lax.pmax("a", "i"), X), TypeError, "lax.pmax"),
}


@pytest.mark.parametrize(("use", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_uses(use, error, message):
    with pytest.raises(error, match=message) as caught:
        use()
    assert str(caught.value).startswith("test_collectives.py:")
