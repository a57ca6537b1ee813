"""Code of a user's, as a type checker and an editor see it; `test_typing` runs the checker on it. It is never run."""

from __future__ import annotations

from typing import Any, assert_type

import graphad
from graphad import Array


def loss(w: Array, x: Array, power: int = 2, *, scale: float = 1.0) -> Array:
    return ((x @ w) ** power).sum() * scale


def loss_and_text(w: Array, x: Array) -> tuple[Array, dict[str, str]]:
    return (x @ w).sum(), {"x": str(x.shape)}


W = Array.__new__(Array)

# The signature stays.
assert_type(graphad.vmap(loss)(W, W, power=3, scale=2.0), Array)
assert_type(graphad.jit(loss)(W, W, 3), Array)
assert_type(graphad.checkpoint(loss)(W, x=W), Array)
graphad.grad(loss)(W)  # error: x is missing
graphad.grad(loss)(W, W, power="2")  # error: no int
graphad.value_and_grad(loss)(W, W, scalee=2.0)  # error: no such name
graphad.vmap(loss, in_axes=(0, None))(W, W, 2, 3.0)  # error: scale is no positional argument
graphad.jit(loss)(W, W, power=None)  # error: no int
graphad.jit(static_argnames="power")(loss)(W, "x")  # error: no array
graphad.compile_grad(loss)(W)  # error: x is missing
graphad.compile_grad(loss, with_value=True)(W)  # error: x is missing
graphad.jacrev(loss)(W)  # error: x is missing
graphad.jacfwd(loss)(W)  # error: x is missing
graphad.jacobian(loss)(W)  # error: x is missing
graphad.hessian(loss)(W)  # error: x is missing
graphad.make_graph(loss)(W)  # error: x is missing
graphad.grad(3)  # error: no function

# Results, by options.
assert_type(graphad.grad(loss)(W, W), Any)
assert_type(graphad.grad(loss, 1)(W, W), Any)
assert_type(graphad.grad(loss, (0, 1))(W, W), tuple[Any, ...])
assert_type(graphad.grad(loss_and_text, has_aux=True)(W, W), tuple[Any, dict[str, str]])
assert_type(graphad.grad(loss_and_text, 0, True)(W, W), tuple[Any, dict[str, str]])
assert_type(graphad.grad(loss_and_text, (0, 1), True)(W, W), tuple[tuple[Any, ...], dict[str, str]])
assert_type(graphad.grad(loss_and_text, argnums=(0, 1), has_aux=True)(W, W)[1], dict[str, str])
assert_type(graphad.value_and_grad(loss)(W, W), tuple[Array, Any])
assert_type(graphad.value_and_grad(loss, [0, 1])(W, W), tuple[Array, tuple[Any, ...]])
assert_type(graphad.value_and_grad(loss_and_text, has_aux=True)(W, W), tuple[tuple[Array, dict[str, str]], Any])
assert_type(
    graphad.value_and_grad(loss_and_text, (0, 1), has_aux=True)(W, W),
    tuple[tuple[Array, dict[str, str]], tuple[Any, ...]],
)
assert_type(graphad.jacrev(loss_and_text, has_aux=True)(W, W), tuple[Any, dict[str, str]])
assert_type(graphad.hessian(loss_and_text, (0, 1), True)(W, W), tuple[Any, dict[str, str]])
assert_type(graphad.compile_grad(loss)(W, W), Any)
assert_type(graphad.compile_grad(loss, with_value=True)(W, W), tuple[Array, Any])
assert_type(graphad.compile_grad(loss_and_text, with_value=True, has_aux=True)(W, W)[0][1], dict[str, str])
assert_type(graphad.make_graph(loss)(W, W).name, str)
graphad.grad(loss_and_text, has_aux=True)(W)  # error: x is missing

# One of the other, and functions of the checker's own.
assert_type(graphad.jit(graphad.value_and_grad(loss))(W, W, scale=2.0), tuple[Array, Any])
assert_type(graphad.vmap(graphad.jit(loss))(W, W), Array)
assert_type(graphad.jit(loss).graph(W, W).name, str)
graphad.jit(graphad.grad(graphad.vmap(loss)))(W)  # error: x is missing
assert_type(graphad.grad(lambda x: x**2)(3.0), Any)


@graphad.jit
def decorated(x: Array) -> Array:
    return x


@graphad.jit(donate_argnums=0)
def with_options(x: Array) -> Array:
    return x


@graphad.compile_grad(with_value=True)
def compiled(x: Array) -> Array:
    return x.sum()


class Model:
    @graphad.jit
    def predict(self, x: Array, scale: float = 1.0) -> Array:
        return x * scale


assert_type(decorated(W), Array)
assert_type(with_options(W), Array)
assert_type(compiled(W), tuple[Array, Any])
assert_type(Model().predict(W, scale=2.0), Array)
decorated(W, W)  # error: too many
with_options("x")  # error: no array
compiled()  # error: x is missing
Model().predict()  # error: x is missing
