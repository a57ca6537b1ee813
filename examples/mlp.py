"""A multilayer perceptron for 8x8 images of digits: plain functions of a list of weights.

graphad inspect examples/mlp.py:loss --args 'f32[64], f32[8,64]' --stage adjoint
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import graphad
import graphad.numpy as gnp

Params = list[dict[str, Any]]


def loss(w: Any, x: Any) -> Any:
    """How far a single neuron with weights ``w`` is from saying yes to all images ``x``."""
    return gnp.mean(gnp.log1p(gnp.exp(-(x @ w))))


def init_params(key: Any, sizes: list[int]) -> Params:
    """Random weights (He et al. 2015) for layers of these sizes."""
    keys = graphad.random.split(key, len(sizes) - 1)
    return [
        {"w": graphad.random.normal(k, (n, m)) * (2 / n) ** 0.5, "b": gnp.zeros(m)}
        for k, (n, m) in zip(keys, pairwise(sizes), strict=True)
    ]


def predict(params: Params, images: Any) -> Any:
    """One score per digit."""
    *hidden, last = params
    for layer in hidden:
        images = graphad.nn.relu(images @ layer["w"] + layer["b"])
    return images @ last["w"] + last["b"]


def mlp_loss(params: Params, images: Any, digits: Any) -> Any:
    """The cross entropy between the scores and the true digits."""
    scores = graphad.nn.log_softmax(predict(params, images))
    return -gnp.mean(gnp.sum(scores * graphad.nn.one_hot(digits, 10), axis=1))
