"""A tutorial, cell by cell: "Automatic differentiation", with plots, jit, vmap, Jacobians and Hessians."""

from __future__ import annotations

import numpy as np
import pytest

import graphad as jax
import graphad.numpy as jnp
from graphad import grad, hessian, jacobian, jit, vmap


def func(x):
    return x**2


dfunc = grad(func)


def test_grad_of_a_scalar_function():
    assert repr(dfunc(3.0)) == "Array(6., dtype=float32, weak_type=True)"


def test_the_argument_must_be_a_float_and_the_result_a_scalar():
    with pytest.raises(TypeError, match=r"Write 3\.0 for 3"):
        dfunc(3)
    with pytest.raises(TypeError, match="jacobian"):
        dfunc(jnp.array([1.0, 2.0]))


def test_plot(tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    x = jnp.linspace(-3, 3, 100)
    fig = plt.figure(figsize=(14, 6))
    ax = fig.add_subplot(121)
    ax.set_xlabel(r"$x$", size=20)
    ax.set_ylabel(r"$f(x)$", size=20)
    ax.plot(x, func(x))
    ax.grid()
    df_array = jnp.array([dfunc(val) for val in x])
    ax = fig.add_subplot(122)
    ax.set_xlabel(r"$x$", size=20)
    ax.set_ylabel(r"$\frac{df(x)}{dx}$", size=20)
    (line,) = ax.plot(x, df_array)
    ax.grid()
    plt.tight_layout()
    plt.savefig(tmp_path / "plot.png")
    plt.close(fig)
    np.testing.assert_allclose(line.get_ydata(), 2 * np.linspace(-3, 3, 100), atol=1e-6)


def slow_fn(x):
    return jnp.sin(x) + jnp.cos(x) * x**2


def test_jit_and_vmap(capsys):
    fast_fn = jax.jit(slow_fn)
    x = jnp.array([3.0])
    print(fast_fn(x))
    fast_vectorized_fn = jax.jit(jax.vmap(slow_fn))
    print(fast_vectorized_fn(x))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == printed[1]
    assert float(printed[0].strip("[]")) == pytest.approx(np.sin(3.0) + 9 * np.cos(3.0), rel=1e-6)


def test_comprehension_vmap_and_jit_agree():
    x = jnp.linspace(-3, 3, 100)

    def list_comprehension(x):
        return jnp.array([dfunc(val) for val in x])

    df_vec = vmap(dfunc)
    fx_vec = jit(vmap(dfunc))
    np.testing.assert_array_equal(list_comprehension(x), df_vec(x))
    np.testing.assert_array_equal(list_comprehension(x), fx_vec(x))


def test_gradient_of_two_arguments():
    def func(x):
        return x[0] ** 2 + 3 * x[1] ** 3

    df = grad(func)
    x = jnp.array([1.0, 2.0])
    assert repr(func([1, 2])) == "25"
    assert repr(df(x)) == "Array([ 2., 36.], dtype=float32)"


def test_gradient_through_unpacking():
    def func(x):
        x, y, z = x
        return x**2 + x * y**3 + jnp.sin(z)

    dfunc = grad(func)
    x = jnp.array([2, 2, jnp.pi])
    assert repr(func(x)) == "Array(20., dtype=float32)"
    assert repr(dfunc(x)) == "Array([12., 24., -1.], dtype=float32)"


def test_jacobian(capsys):
    def f(x):
        x, y = x
        return jnp.array([x**2 + y**2, x**2 + x * y])

    def df(x):
        x, y = x
        return jnp.array([[2 * x, 2 * y], [2 * x + y, x]])

    J = jacobian(f)
    x = jnp.array([2.0, 3.0])
    print("function evaluation", f(x))
    print("coded Jacobian", df(x))
    print("AD Jacobian", J(x))
    assert capsys.readouterr().out.splitlines() == [
        "function evaluation [13. 10.]",
        "coded Jacobian [[4. 6.]",
        " [7. 2.]]",
        "AD Jacobian [[4. 6.]",
        " [7. 2.]]",
    ]


def test_hessian(capsys):
    def f(x):
        x, y = x
        return x**3 + y**2 + x * y

    def ddf(x):
        x, y = x  # noqa: RUF059 - as in the tutorial
        return jnp.array([[6 * x, 1], [1, 2]])

    H = hessian(f)
    x = jnp.array([3.0, 2.0])
    print("function evaluation", f(x))
    print("coded Hessian", ddf(x))
    print("AD Hessian", H(x))
    assert capsys.readouterr().out.splitlines() == [
        "function evaluation 37.0",
        "coded Hessian [[18.  1.]",
        " [ 1.  2.]]",
        "AD Hessian [[18.  1.]",
        " [ 1.  2.]]",
    ]
