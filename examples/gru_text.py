"""A recurrent network that writes: ``python examples/gru_text.py``.

A gated recurrent unit (Cho et al. 2014) reads the descriptions of data sets that scikit-learn ships, character by
character, and learns what comes next. `lax.scan` runs over the characters; its adjoint adds the products of all of them
up in one product of matrices. At the end the network writes a few words of its own.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from sklearn import datasets

import graphad
import graphad.numpy as gnp
from graphad import lax, nn, optim, random, train

SETS: Any = (datasets.load_breast_cancer(), datasets.load_diabetes(), datasets.load_wine())
TEXT = "".join([s.DESCR for s in SETS])
LETTERS = sorted({*TEXT})
CODES = np.array([LETTERS.index(c) for c in TEXT], np.int32)


def init_params(key: Any, units: int) -> dict[str, Any]:
    """Weights that keep the variance of what goes through them."""
    shapes = {"input": (len(LETTERS), 3 * units), "hidden": (units, 3 * units), "output": (units, len(LETTERS))}
    params: dict[str, Any] = {"bias": gnp.zeros(3 * units)}
    for k, (name, shape) in zip(random.split(key, len(shapes)), shapes.items(), strict=True):
        params[name] = random.normal(k, shape) * shape[0] ** -0.5
    return params


def step(params: dict[str, Any], h: Any, code: Any) -> tuple[Any, Any]:
    """The state after a character of each row, and the scores of the next."""
    from_input = gnp.split(params["input"][code] + params["bias"], 3, axis=-1)
    from_state = gnp.split(h @ params["hidden"], 3, axis=-1)
    update, reset = (nn.sigmoid(a + b) for a, b in zip(from_input[:2], from_state[:2], strict=True))
    h = update * h + (1 - update) * gnp.tanh(from_input[2] + reset * from_state[2])
    return h, h @ params["output"]


def loss(params: dict[str, Any], rows: Any) -> Any:
    """The cross entropy of each character, given those before it."""
    start = gnp.zeros((len(rows), params["hidden"].shape[0]))
    _, scores = lax.scan(lambda h, codes: step(params, h, codes), start, rows[:, :-1].T)
    return -gnp.mean(gnp.take_along_axis(nn.log_softmax(scores), rows[:, 1:].T[..., None], axis=-1))


@graphad.jit(static_argnames="length")
def written(params: dict[str, Any], first: Any, key: Any, length: int) -> Any:
    """Characters drawn one after the other."""

    def letter(state: Any, key: Any) -> Any:
        h, scores = step(params, *state)
        return (h, code := random.categorical(key, scores / 0.5)), code

    return lax.scan(letter, (gnp.zeros(params["hidden"].shape[0]), first), random.split(key, length))[1]


def main(argv: list[str] | None = None) -> float:
    """Train, write, and return the bits per character."""
    parser = argparse.ArgumentParser(description="Train a recurrent network on text.")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--units", type=int, default=128)
    options = parser.parse_args(argv)
    rows = np.lib.stride_tricks.sliding_window_view(CODES, 65)[::16]
    params = init_params(random.key(0), options.units)
    result = train.fit(loss, params, rows, optim.adam(3e-3), batch_size=32, epochs=options.epochs)
    bits = float(loss(result.params, rows)) / np.log(2)
    print("".join([LETTERS[c] for c in written(result.params, np.int32(0), random.key(1), 300)]))
    print(
        f"{bits:.2f} bits per character; of {len(LETTERS)} equally likely ones it would be {np.log2(len(LETTERS)):.2f}"
    )
    return bits


if __name__ == "__main__":
    main()
