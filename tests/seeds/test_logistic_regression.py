"""A tutorial, cell by cell: gradients of tanh and of logistic regression, with the digits that it prints."""

from __future__ import annotations

import numpy as np
import pytest

import graphad as jax
import graphad.numpy as jnp
from graphad import grad

W_GRAD = "Array([-0.16965583, -0.8774644 , -1.4901346 ], dtype=float32)"
B_GRAD = "Array(-0.29227245, dtype=float32)"


def sigmoid(x):
    return 0.5 * (jnp.tanh(x / 2) + 1)


# outputs probability of a label being true
def predict(W, b, inputs):
    return sigmoid(jnp.dot(inputs, W) + b)


@pytest.fixture(scope="module")
def data():
    key = jax.random.key(0)
    # build a toy dataset
    inputs = jnp.array([[0.52, 1.12, 0.77], [0.88, -1.08, 0.15], [0.52, 0.06, -1.30], [0.74, -2.49, 1.39]])
    targets = jnp.array([True, True, False, True])

    # Training loss is the negative log-likelihood of the training examples
    def loss(W, b):
        preds = predict(W, b, inputs)
        label_probs = preds * targets + (1 - preds) * (1 - targets)
        return -jnp.sum(jnp.log(label_probs))

    # initialise parameters randomly
    key, W_key, b_key = jax.random.split(key, 3)
    W = jax.random.normal(W_key, (3,))
    b = jax.random.normal(b_key, ())
    return key, loss, W, b, inputs, targets


def test_tanh(capsys):
    grad_tanh = grad(jnp.tanh)
    print(grad_tanh(2.0))
    assert capsys.readouterr().out == "0.070650816\n"


def test_tanh_again_and_again(capsys):
    print(grad(grad(jnp.tanh))(2.0))
    print(grad(grad(grad(jnp.tanh)))(2.0))
    assert capsys.readouterr().out == "-0.13621868\n0.25265405\n"


def test_four_derivatives_of_a_cubic(capsys):
    f = lambda x: x**3 + 2 * x**2 - 3 * x + 1
    dfdx = grad(f)
    d2fdx = jax.grad(dfdx)
    d3fdx = jax.grad(d2fdx)
    d4fdx = jax.grad(d3fdx)
    print(dfdx(1.0))
    print(d2fdx(1.0))
    print(d3fdx(1.0))
    print(d4fdx(1.0))
    assert capsys.readouterr().out == "4.0\n10.0\n6.0\n0.0\n"


def test_gradients_by_each_parameter(data):
    _, loss, W, b, *_ = data
    W_grad = grad(loss, argnums=0)(W, b)  # argnums=0 is default
    assert f"{W_grad=}" == f"W_grad={W_GRAD}"
    b_grad = grad(loss, 1)(W, b)
    assert f"{b_grad=}" == f"b_grad={B_GRAD}"
    W_grad, b_grad = grad(loss, (0, 1))(W, b)
    assert f"{W_grad=}" == f"W_grad={W_GRAD}"
    assert f"{b_grad=}" == f"b_grad={B_GRAD}"


def test_nested_containers(data, capsys):
    *_, W, b, inputs, targets = data

    def loss2(param_dict):
        preds = predict(param_dict["W"], param_dict["b"], inputs)
        label_probs = preds * targets + (1 - preds) * (1 - targets)
        return -jnp.sum(jnp.log(label_probs))

    print(grad(loss2)({"W": W, "b": b}))
    assert capsys.readouterr().out == f"{{'W': {W_GRAD}, 'b': {B_GRAD}}}\n"


def test_value_and_grad(data, capsys):
    _, loss, W, b, *_ = data
    loss_value, Wb_grad = jax.value_and_grad(loss, (0, 1))(W, b)
    print(f"loss value: {loss_value}")
    print(f"Wb_grad: {Wb_grad}")
    print(f"loss value: {loss(W, b)}")
    assert capsys.readouterr().out == (
        f"loss value: 3.051938533782959\nWb_grad: ({W_GRAD}, {B_GRAD})\nloss value: 3.051938533782959\n"
    )


def test_numerical_differences(data):
    key, loss, W, b, *_ = data
    # set a step size for finite differences calculations
    eps = 1e-4
    # The difference of two losses has no digits beyond their last one: 2 ulp(loss) / eps.
    allowed = 2 * float(np.spacing(np.float32(loss(W, b)))) / eps

    # check b_grad with scalar finite differences
    b_grad_numerical = (loss(W, b + eps / 2.0) - loss(W, b - eps / 2.0)) / eps
    assert str(grad(loss, 1)(W, b)) == "-0.29227245"
    assert abs(float(b_grad_numerical) - -0.29325485) <= allowed

    # check W_grad with finite differences in a random direction
    key, subkey = jax.random.split(key)
    vec = jax.random.normal(subkey, W.shape)
    unitvec = vec / jnp.sqrt(jnp.vdot(vec, vec))
    W_grad_numerical = (loss(W + eps / 2.0 * unitvec, b) - loss(W - eps / 2.0 * unitvec, b)) / eps
    assert str(jnp.vdot(grad(loss)(W, b), unitvec)) == "-0.19909117"
    assert abs(float(W_grad_numerical) - -0.2002716) <= allowed


def test_compiled_gradients_agree_to_the_last_digits(data):
    _, loss, W, b, *_ = data
    for argnums, text in ((0, W_GRAD), (1, B_GRAD)):
        expected = np.array(eval(text, {"Array": lambda x, dtype: x, "float32": None}))
        np.testing.assert_allclose(jax.jit(grad(loss, argnums))(W, b), expected, rtol=5e-7)
