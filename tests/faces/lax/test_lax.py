"""`graphad.lax` gives what ``jax.lax`` gives, and says what is not there."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from tests.faces.cases import each, texts
from tests.faces.oracle import by_jax_together, check_equal, eagerly

CASES = [
    *each("lax.{}(y)", "exp expm1 log log1p sqrt rsqrt square sin cos tan sinh cosh tanh erf logistic"),
    *each("lax.{}(x)", "floor ceil sign neg abs"),
    *each("lax.{}(x / 3)", "asin acos atan erf_inv is_finite round reciprocal"),
    *each("lax.{}(x, y)", "add sub mul div rem max min eq ne lt le gt ge pow"),
    *each("lax.{}(i, i[::-1])", "add sub mul max min eq lt bitwise_and bitwise_or bitwise_xor"),
    *each("lax.{}(I, 2)", "shift_left shift_right_logical shift_right_arithmetic div rem add"),
    *each("lax.{}(A, axes=(1,))", "reduce_sum reduce_max reduce_min reduce_prod"),
    *each("lax.{}(M, axes=(0,))", "reduce_and reduce_or"),
    *texts("""
lax.add(1.5, 2.0); lax.mul(x, 2.0); lax.div(7, 2); lax.div(-7, 2); lax.add(A, A[:1]); lax.integer_pow(x, 3);
lax.max(1, 2); lax.integer_pow(x, -2); lax.bitwise_not(i); lax.clamp(-1.0, x, 1.0); lax.clamp(x - 1, x, x + 1);
lax.round(w); lax.pow(y, 2); lax.select(b, x, y); lax.convert_element_type(x, 'int32');
lax.convert_element_type(1, float); lax.bitcast_convert_type(x, 'int32'); lax.bitcast_convert_type(1.0, 'int32');
lax.broadcast(x, (2, 3)); lax.broadcast(1.0, (2,)); lax.broadcast_in_dim(x, (5, 2), (0,));
lax.broadcast_in_dim(u, (3, 2, 4), (0, 2)); lax.reshape(A, (2, 6)); lax.transpose(C, (2, 0, 1)); lax.rev(A, (0, 1));
lax.concatenate([A, A], 1); lax.slice(A, (0, 1), (3, 4), (2, 1)); lax.slice(x, (1,), (4,));
lax.slice_in_dim(A, 1, 3, axis=1); lax.slice_in_dim(x, None, -1, 2); lax.pad(x, 0.0, [(1, 2, 1)]);
lax.pad(A, s, [(1, 0, 0), (0, -1, 2)]); lax.iota('float32', 4); lax.iota(int, 3);
lax.broadcasted_iota('int32', (2, 3), 1); lax.full((2,), 1.5); lax.full_like(x, 2); lax.expand_dims(x, (0,));
lax.squeeze(u, (1,)); lax.dot(A, x[:4]); lax.dot_general(A, B, (((1,), (0,)), ((), ())));
lax.dot_general(C, D, (((2,), (1,)), ((0,), (0,)))); lax.argmax(A, 1, 'int32'); lax.argmin(A, 0, 'int8');
lax.cumsum(A, 1); lax.cumsum(A); lax.cumsum(A, reverse=True); lax.stop_gradient(x);
lax.optimization_barrier((x, [2.0, i]))
"""),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_like_jax(case):
    check_equal(eagerly(case, 32), by_jax_together(case, 32, CASES), ulps=8)


def test_stop_gradient_of_a_tree():
    def f(x):
        frozen = lax.stop_gradient({"a": x, "b": (x * x, None)})
        return x * frozen["a"] + frozen["b"][0]

    assert graphad.grad(f)(3.0) == 3.0


def test_nothing_promotes():
    with pytest.raises(TypeError, match=r"test_lax.py:\d+: lax.add got f32\[3\] and i32\[3\]: dtypes must be equal"):
        lax.add(gnp.ones(3), gnp.arange(3))
    with pytest.raises(TypeError, match=r"lax.mul got f32\[2,3\] and f32\[3\]: the numbers of axes must be equal"):
        lax.mul(gnp.ones((2, 3)), gnp.ones(3))
    with pytest.raises(TypeError, match=r"lax.select got"):
        lax.select(True, gnp.ones(3), gnp.arange(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: lax.slice(x, (0,), (9,)), "slice got 0:9:1"),
        (lambda x: lax.pad(x, 0.0, [(0, 0, -1)]), "interior must not be negative"),
        (lambda x: lax.broadcast_in_dim(x, (2, 2), (0,)), "lax.broadcast_in_dim got f32[3]"),
        (lambda x: lax.dot_general(x, x[:2], (((0,), (0,)), ((), ()))), "of sizes (3,) and (2,)"),
        (lambda x: lax.reduce_and(x, (0,)), "compare with 0 first"),
        (lambda x: lax.bitcast_convert_type(x, "int8"), "bitcast of f32 to i8"),
        (lambda x: lax.exp([1.0]), "write graphad.numpy.array"),
    ],
)
def test_errors_name_the_line(call, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(gnp.ones(3))
    assert message in str(caught.value)
    assert str(caught.value).startswith("test_lax.py:")


def test_unknown_names():
    with pytest.raises(AttributeError, match=r"module 'graphad\.lax' has no attribute 'expp'"):
        _ = lax.expp
    assert not hasattr(lax, "nope")


def test_functions_are_named_and_explained():
    for name in ("add", "exp", "reduce_sum", "max"):
        function = getattr(lax, name)
        assert function.__name__ == name
        assert function.__doc__
    assert np.asarray(lax.add(1, 2)) == 3
