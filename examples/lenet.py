"""A convolutional network like LeNet (LeCun et al. 1998) on handwritten digits: ``python examples/lenet.py``.

The data are UCI's 8x8 digits, which scikit-learn ships. `graphad.train.fit` compiles loss, gradient and update as one
program and runs it on any device: ``--device cuda``.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import graphad
import graphad.numpy as gnp
from graphad import lax, nn, optim, train

TEST = 360  # images that are not trained on


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


def accuracy(params: dict[str, Any], images: Any, digits: Any) -> Any:
    """The fraction of the images that are recognised."""
    return gnp.mean(gnp.argmax(predict(params, images), axis=1) == digits)


def main(argv: list[str] | None = None) -> float:
    """Train, report, and return the test accuracy."""
    parser = argparse.ArgumentParser(description="Train a small convolutional network on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, or cuda:emulated (about a second a step)")
    parser.add_argument("--precision", choices=("float16", "bfloat16"), help="compute the gradient in 16 bits")
    parser.add_argument("--accumulate", type=int, default=1, help="compute each batch in so many parts")
    parser.add_argument("--checkpoint", help="a folder: killed and started again, the training goes on")
    options = vars(parser.parse_args(argv))  # all of them are options of fit as well

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, digits = (pixels[order] / 16).astype(np.float32).reshape(-1, 8, 8), labels[order].astype(np.int32)
    test, rest = (images[:TEST], digits[:TEST]), (images[TEST:], digits[TEST:])
    params = init_params(graphad.random.key(0))
    result = train.fit(
        loss, params, rest, optim.adam(3e-3), batch_size=64, eval_data=test, evaluate=accuracy, **options
    )
    reached = result.history[-1]["eval_accuracy"]
    print(result)
    print(f"test accuracy {reached:.1%} on {TEST} images that were not trained on")
    return reached


if __name__ == "__main__":
    main()
