"""Derivatives where elements are equal, at zeros of both signs and at the edges of pieces: those of JAX."""

from __future__ import annotations

import jax
import jax.nn as jnn
import jax.numpy as jnp
import numpy as np
import pytest

import graphad
import graphad.nn as nn
import graphad.numpy as gnp

VECTORS = {
    "ties": [1.0, 0, 1, -1, 0.5, 0.5, 0, 1], "same": [2.0, 2, 2, 2], "zeros": [0.0, -0.0, 0.0, -0.0],
    "halves": [-1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2.5], "bounds": [-3.0, 3.0, 1.0, -1.0, 6.0, 0.0],
}  # fmt: skip
MATRICES = {"square": [[0.5, 1, -0.5], [1, 1, 0], [0.5, -1, 0]], "row": [[1.0, 0.5, 1]]}


def words(text):
    return text.split()


OF_VECTORS = words("""np.max(x) np.min(x) np.ptp(x) np.sort(x) np.median(x) np.quantile(x,.25) np.quantile(x,.3)
    np.percentile(x,50.,method='lower') np.abs(x) np.fabs(x) np.sign(x) np.maximum(x,0.) np.minimum(x,.5)
    np.maximum(x,x[::-1]) np.minimum(x,x[::-1]) np.fmax(x,x[::-1]) np.fmin(x,0.) np.clip(x,0.,1.) np.clip(x,-.5,.5)
    np.floor(x) np.round(x) np.remainder(x,1.) np.remainder(x,.5) np.mod(x,-1.) np.fmod(x,1.) np.floor_divide(x,.5)
    np.nanmax(x) np.nanmin(x) np.cumprod(x) np.prod(x) np.interp(x,np.array([-1.,0,1.]),np.array([2.,0,1.]))
    np.where(x>0,x,-x) np.logaddexp(x,x) np.logaddexp(x,0.) np.max(x,initial=1.) np.max(x,where=x>0,initial=0.)
    np.hypot(x+2,x+2) np.power(x,2) np.power(x,1.) np.unwrap(x) np.nan_to_num(x) np.select([x>0,x<0],[x,2*x],x)
    np.modf(x)[0] np.cumulative_prod(x) np.heaviside(x,.5) np.diff(np.sort(x))""")
OF_MATRICES = words("""np.max(x,0) np.max(x,-1) np.min(x,0) np.max(x,(0,1)) np.sort(x,0) np.median(x,0) np.median(x,-1)
    np.quantile(x,.25,axis=0) np.cumprod(x,0) np.prod(x,0) np.ptp(x,0) np.linalg.norm(x,1,axis=0)
    np.linalg.norm(x,np.inf,axis=1) np.linalg.norm(x,-np.inf,axis=1)""")
ACTIVATIONS = words("""relu relu6 leaky_relu elu selu celu hard_sigmoid hard_tanh hard_silu silu softplus soft_sign
    log_sigmoid sparse_plus sparse_sigmoid squareplus softmax""")
CASES = [*OF_VECTORS, *OF_MATRICES, *ACTIVATIONS]


def value(case, x, module, activations):
    y = getattr(activations, case)(x) if case in ACTIVATIONS else eval(case, {"np": module, "x": x})
    return (y * module.cos(module.arange(y.size, dtype="float32").reshape(y.shape))).sum()


def check(case, x, transform):
    x = np.array(x, np.float32)
    expected = jax.jit(jax.grad(lambda x: value(case, x, jnp, jnn)))(x)
    got = transform(graphad.grad(lambda x: value(case, x, gnp, nn)))(x)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def inputs(case):
    return list((MATRICES if case in OF_MATRICES else VECTORS).values())


@pytest.mark.parametrize("case", CASES[::10])
def test_gradients_like_jax(case):
    check(case, inputs(case)[0], lambda f: f)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_all_gradients_like_jax(case):
    for x in inputs(case)[1:]:
        check(case, x, lambda f: f)
    check(case, inputs(case)[0], graphad.jit)
