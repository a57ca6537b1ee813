"""A convolutional network like LeNet (LeCun et al. 1998) on handwritten digits: ``python examples/lenet.py``.

The data are UCI's 8x8 digits, which scikit-learn ships. Loss, gradient and update are one compiled program, to which
the state of the training is donated.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import graphad
import graphad.numpy as gnp
from graphad import lax, nn, optim

TEST, BATCH = 360, 64


def init_params(key: Any) -> dict[str, Any]:
    """Random weights (He et al. 2015) of two convolutions and two full layers."""
    shapes = {"conv1": (3, 3, 1, 8), "conv2": (3, 3, 8, 16), "full1": (64, 64), "full2": (64, 10)}
    params: dict[str, Any] = {}
    for k, (name, shape) in zip(graphad.random.split(key, len(shapes)), shapes.items(), strict=True):
        params[name] = graphad.random.normal(k, shape) * (2 / np.prod(shape[:-1])) ** 0.5
        params[name + "_bias"] = gnp.zeros(shape[-1])
    return params


def predict(params: dict[str, Any], images: Any) -> Any:
    """One score per digit for images of 8x8 pixels."""
    x = images[..., None]
    for name in ("conv1", "conv2"):
        x = lax.conv_general_dilated(x, params[name], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = nn.max_pool(nn.relu(x + params[name + "_bias"]), (2, 2), (2, 2))
    x = nn.relu(x.reshape(len(images), -1) @ params["full1"] + params["full1_bias"])
    return x @ params["full2"] + params["full2_bias"]


def loss(params: dict[str, Any], images: Any, digits: Any) -> Any:
    """The cross entropy between the scores and the true digits."""
    return -gnp.mean(gnp.sum(nn.log_softmax(predict(params, images)) * nn.one_hot(digits, 10), axis=1))


def train_step(optimizer: Any, training: tuple[Any, Any], images: Any, digits: Any) -> tuple[Any, Any]:
    """Parameters and optimiser state after one batch, and its loss."""
    params, state = training
    value, grads = graphad.value_and_grad(loss)(params, images, digits)
    updates, state = optimizer.update(grads, state)
    return (optim.apply_updates(params, updates), state), value


def main(argv: list[str] | None = None) -> float:
    """Train, report, and return the test accuracy."""
    parser = argparse.ArgumentParser(description="Train a small convolutional network on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args(argv)

    (pixels, labels), rng = load_digits(return_X_y=True), np.random.default_rng(0)
    order, batches = rng.permutation(len(labels)), (len(labels) - TEST) // BATCH
    images, digits = (pixels[order] / 16).astype(np.float32).reshape(-1, 8, 8), labels[order].astype(np.int32)
    optimizer, params = optim.adam(3e-3), init_params(graphad.random.key(0))
    training, value = (params, optimizer.init(params)), gnp.inf
    step = graphad.jit(partial(train_step, optimizer), donate_argnums=0)
    for epoch in range(options.epochs):
        for chosen in TEST + rng.permutation(len(labels) - TEST)[: batches * BATCH].reshape(batches, BATCH):
            training, value = step(training, images[chosen], digits[chosen])
        print(f"epoch {epoch + 1:3d}  loss of the last batch {value:.4f}")
    scores = graphad.jit(predict)(training[0], images[:TEST])
    accuracy = float(np.mean(np.argmax(scores, axis=1) == digits[:TEST]))
    print(f"test accuracy {accuracy:.1%} on {TEST} images that were not trained on")
    return accuracy


if __name__ == "__main__":
    main()
