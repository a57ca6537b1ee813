"""Values and derivatives where a formula has its corners: as JAX has them, or better where that is said."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from graphad.ir.types import f32, f64
from graphad.primitives import elementwise as e
from tests.primitives.calculus import derivatives

SAME_AS_JAX = {
    "abs": (e.abs_, jnp.abs, (0.0, -0.0, 1.0, -2.0)),
    "sign": (e.sign, jnp.sign, (0.0, -0.0, 2.0, -2.0, np.nan)),
    "floor": (e.floor, jnp.floor, (0.0, 1.0, -0.5)),
    "round": (e.round_, jnp.round, (0.5, 1.5, 2.5, -0.5)),
    "maximum": (lambda x: e.maximum(x, 0.0), lambda x: lax.max(x, jnp.float32(0)), (0.0, -0.0, 1.0, -1.0, np.nan)),
    "minimum": (lambda x: e.minimum(x, 1.0), lambda x: lax.min(x, jnp.float32(1)), (1.0, 0.0, 2.0, np.inf)),
    "square at 0": (lambda x: e.integer_pow(x, n=2), lambda x: lax.integer_pow(x, 2), (0.0, -0.0, 3.0)),
    "cube at 0": (lambda x: e.integer_pow(x, n=3), lambda x: lax.integer_pow(x, 3), (0.0, -1.0, 3.0)),
    "inverse": (lambda x: e.integer_pow(x, n=-1), lambda x: lax.integer_pow(x, -1), (0.0, 2.0, -4.0)),
    "sqrt": (e.sqrt, jnp.sqrt, (0.0, 4.0, np.inf)),
    "log": (e.log, jnp.log, (0.0, 1.0, -1.0)),
    "log1p": (e.log1p, jnp.log1p, (0.0, -1.0, 1e-8)),
    "expm1": (e.expm1, jnp.expm1, (0.0, -np.inf, 1e-8)),
    "tanh": (e.tanh, jnp.tanh, (0.0, 20.0, -20.0, np.inf, -np.inf)),
    "logistic": (e.logistic, jax.nn.sigmoid, (0.0, 30.0, -30.0, 200.0, -200.0)),
    "pow by base": (lambda x: e.power(x, 2.5), lambda x: x ** jnp.float32(2.5), (0.0, 1.0, 4.0)),
    "pow by exponent": (lambda x: e.power(2.0, x), lambda x: jnp.float32(2.0) ** x, (0.0, -1.0, 3.0)),
    "0 to a power": (lambda x: e.power(0.0, x), lambda x: jnp.float32(0.0) ** x, (1.0, 2.0)),
    "division": (lambda x: e.div(1.0, x), lambda x: 1 / x, (2.0, -4.0, np.inf)),
    "asin": (e.asin, jnp.arcsin, (0.0, 0.5)),
    "acos": (e.acos, jnp.arccos, (0.0, 0.5)),
    "erf": (e.erf, jax.scipy.special.erf, (0.0, 5.0)),  # what is beyond 0 * inf differs between versions of JAX
    "erf_inv": (e.erf_inv, jax.scipy.special.erfinv, (0.0, 0.5)),
    "erfc": (e.erfc, jax.scipy.special.erfc, (0.0, 5.0, -3.0)),
    "asinh": (e.asinh, jnp.arcsinh, (0.0, 1.0, -1e3)),
    "acosh": (e.acosh, jnp.arccosh, (1.5, 10.0, 1e3, 0.5)),
    "atanh": (e.atanh, jnp.arctanh, (0.0, 0.5, -0.9)),
    "cbrt": (e.cbrt, jnp.cbrt, (0.125, 1.0, 8.0, -27.0)),
    "rsqrt": (e.rsqrt, lax.rsqrt, (0.25, 4.0, np.inf, -1.0)),
    "atan2 by y": (lambda y: e.atan2(y, -2.0), lambda y: jnp.arctan2(y, jnp.float32(-2)), (0.0, -0.0, 1.0, -3.0)),
    "atan2 by x": (lambda x: e.atan2(-2.0, x), lambda x: jnp.arctan2(jnp.float32(-2), x), (0.0, 1.0, -3.0)),
    "hypot": (lambda x: e.hypot(x, -4.0), lambda x: jnp.hypot(x, jnp.float32(-4)), (3.0, -3.0, 0.0)),
    "clamp": (
        lambda x: e.clamp(-1.0, x, 2.0),
        lambda x: lax.clamp(jnp.float32(-1), x, jnp.float32(2)),
        (-1.0, 2.0, 0.5),
    ),
    "clamp from below": (
        lambda x: e.clamp(x, 0.5, 2.0),
        lambda x: lax.clamp(x, jnp.float32(0.5), jnp.float32(2)),
        (0.0, 1.0),
    ),
    "clamp from above": (
        lambda x: e.clamp(0.5, 2.0, x),
        lambda x: lax.clamp(jnp.float32(0.5), jnp.float32(2), x),
        (1.0, 3.0),
    ),
    "copysign": (lambda x: e.copysign(x, -1.0), lambda x: jnp.copysign(x, jnp.float32(-1)), (2.0, -2.0)),
}


@pytest.mark.parametrize("name", SAME_AS_JAX)
def test_value_and_two_derivatives_are_those_of_jax(name):
    ours, theirs, points = SAME_AS_JAX[name]
    of_jax = jax.jit(lambda x: [theirs(x), jax.grad(theirs)(x), jax.grad(jax.grad(theirs))(x)])
    for x in points:
        with np.errstate(all="ignore"):
            got = derivatives(ours, x, f32, order=2)
        expected = np.array(of_jax(np.float32(x)))
        np.testing.assert_allclose(got, expected, rtol=3e-6, atol=1e-6, err_msg=f"{name} at {x}")


def test_a_power_of_zero_has_a_derivative_at_zero():
    """The derivative by the base is 0 * 0**-1 where it is really 0; likewise where the exponent is computed."""
    assert derivatives(lambda x: e.power(x, 0.0), 0.0, f64, order=2).tolist() == [1, 0, 0]
    assert derivatives(lambda x: e.power(x, e.mul(x, 0.0)), 2.0, f64, order=1).tolist()[0] == 1
    assert derivatives(lambda x: e.power(e.mul(x, x), e.sub(x, x)), 0.0, f64, order=1).tolist() == [1, 0]


def test_integer_powers_are_exact_to_every_order():
    assert derivatives(lambda x: e.integer_pow(x, n=3), 0.0, f64, order=4).tolist() == [0, 0, 0, 6, 0]
    assert derivatives(lambda x: e.integer_pow(x, n=0), 0.0, f64, order=1).tolist() == [1, 0]
    assert derivatives(lambda x: e.integer_pow(x, n=1), 0.0, f64, order=2).tolist() == [0, 1, 0]


def test_derivatives_keep_their_digits_where_the_function_saturates():
    x = 15.0
    assert derivatives(e.tanh, x, f64, order=1)[1] == pytest.approx(4 * np.exp(-2 * x), rel=1e-3)
    near_one = 1 - 2.0**-40
    assert derivatives(e.asin, near_one, f64, order=1)[1] == pytest.approx(2.0**19.5, rel=1e-9)


def test_division_by_a_small_number_does_not_overflow_on_the_way():
    assert derivatives(lambda x: e.div(1e-30, x), 1e-25, f32, order=1)[1] == pytest.approx(-1e20, rel=1e-5)


def test_derivatives_do_not_overflow_where_the_function_does_not():
    far = 1e30
    assert derivatives(e.asinh, far, f32, order=1)[1] == pytest.approx(1 / far, rel=1e-6)
    assert derivatives(e.acosh, far, f32, order=1)[1] == pytest.approx(1 / far, rel=1e-6)
    assert derivatives(lambda y: e.atan2(y, far), far, f32, order=1)[1] == pytest.approx(0.5 / far, rel=1e-6)
    assert derivatives(lambda x: e.atan2(-far, x), far, f32, order=1)[1] == pytest.approx(0.5 / far, rel=1e-6)
    assert derivatives(lambda x: e.hypot(x, far), far, f32, order=1)[1] == pytest.approx(0.5**0.5, rel=1e-6)


def test_the_distance_to_the_origin_has_derivative_zero_there():
    assert derivatives(lambda x: e.hypot(x, 0.0), 0.0, f64, order=1).tolist() == [0, 0]
    assert derivatives(lambda x: e.hypot(x, x), 0.0, f64, order=1).tolist() == [0, 0]


def test_the_cube_root_and_the_inverse_root_are_steep_at_zero():
    with np.errstate(all="ignore"):
        assert derivatives(e.cbrt, 0.0, f64, order=1).tolist() == [0, np.inf]
        assert derivatives(e.rsqrt, 0.0, f64, order=1).tolist() == [np.inf, -np.inf]
        assert derivatives(e.acosh, 1.0, f64, order=1).tolist() == [0, np.inf]


def test_crossed_limits_clamp_to_the_upper_one():
    assert derivatives(lambda x: e.clamp(3.0, x, 1.0), 2.0, f64, order=1).tolist() == [1, 0]
    assert derivatives(lambda x: e.clamp(x, 0.0, 1.0), 3.0, f64, order=1).tolist() == [1, 0]
    assert derivatives(lambda x: e.clamp(3.0, 2.0, x), 1.0, f64, order=1).tolist() == [1, 1]


def test_a_neighbour_moves_along():
    assert derivatives(lambda x: e.nextafter(x, 9.0), 1.0, f64, order=2).tolist() == [1 + 2.0**-52, 1, 0]
    assert derivatives(lambda x: e.nextafter(2.0, x), 1.0, f64, order=1).tolist() == [2 - 2.0**-52, 0]


def test_the_value_not_selected_has_no_influence():
    """Not even a nan."""

    def nan_or_square(x):
        return e.select(e.gt(x, 0.0), e.mul(x, x), e.sqrt(e.neg(x)))

    def parts(x):
        return e.select(e.gt(x, 0.0), e.mul(x, x), e.neg(x))

    assert derivatives(nan_or_square, 2.0, f64, order=0)[0] == 4
    assert derivatives(parts, 2.0, f64, order=2).tolist() == [4, 4, 2]
    assert derivatives(parts, -2.0, f64, order=2).tolist() == [2, -1, 0]


def test_stop_gradient():
    assert derivatives(lambda x: e.mul(x, e.stop_gradient(x)), 3.0, f64, order=2).tolist() == [9, 3, 0]


def test_three_derivatives_of_tanh_have_the_known_float32_digits():
    known = np.float32([0.9640276, 0.070650816, -0.13621868, 0.25265405])
    np.testing.assert_array_equal(derivatives(e.tanh, 2.0, f32, order=3), known)


@pytest.mark.parametrize(
    ("name", "x", "value"), [("erf", np.inf, 1), ("erf", -np.inf, -1), ("erfc", np.inf, 0), ("erfc", -np.inf, 2)]
)
def test_error_functions_at_infinity(name, x, value):
    """All derivatives there are 0; what JAX says of the second one depends on its version."""
    for dtype in (f32, f64):
        with np.errstate(all="ignore"):
            got = derivatives(getattr(e, name), x, dtype, order=3)
        np.testing.assert_array_equal(got, [value, 0, 0, 0])


@pytest.mark.parametrize("x", [-11.0, -6.5, 0.0, 0.3, 12.5, 26.0])
def test_error_functions_have_their_digits_far_out(x):
    """To third order: exp(-x*x) times a polynomial, which is 0 from about 27 on."""
    bell = 2 / np.sqrt(np.pi) * np.exp(-x * x)
    slopes = np.array([1, -2 * x, 4 * x * x - 2]) * bell
    for function, sign in ((e.erf, 1), (e.erfc, -1)):
        np.testing.assert_allclose(derivatives(function, x, f64, order=3)[1:], sign * slopes, rtol=1e-13, atol=1e-320)
