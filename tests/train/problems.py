"""Small problems that the tests of training share."""

from __future__ import annotations

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad import optim
from graphad.train import Checkpoint, fit


def line_data(n=64):
    """Points on a line, with noise that is always the same."""
    x = np.linspace(-1, 1, n, dtype=np.float32)
    return x, 3 * x + 1 + 0.1 * np.sin(37 * x).astype(np.float32)


def line_params():
    return {"a": np.float32(0.0), "b": np.zeros((), np.float32)}


def line_loss(params, x, y):
    return gnp.mean((params["a"] * x + params["b"] - y) ** 2)


def net_data(n=96):
    """Points in the plane and whether they lie in a ring."""
    x = np.random.default_rng(1).normal(size=(n, 2)).astype(np.float32)
    radius = np.hypot(*x.T)
    return {"x": x, "label": ((radius > 0.7) & (radius < 1.5)).astype(np.int32)}


def net_params(width=8):
    first, second = graphad.random.split(graphad.random.key(1))
    return [
        {"w": graphad.random.normal(first, (2, width)), "b": gnp.zeros(width)},
        {"w": graphad.random.normal(second, (width, 2)) * 0.3, "b": gnp.zeros(2)},
    ]


def net_scores(params, x):
    hidden = gnp.tanh(x @ params[0]["w"] + params[0]["b"])
    return hidden @ params[1]["w"] + params[1]["b"]


def net_loss(params, batch):
    scores = graphad.nn.log_softmax(net_scores(params, batch["x"]))
    return -gnp.mean(gnp.take_along_axis(scores, batch["label"][:, None], axis=1))


def net_loss_with_dropout(params, batch, key):
    keep = graphad.random.bernoulli(key, 0.8, batch["x"].shape)
    return net_loss(params, {**batch, "x": gnp.where(keep, batch["x"] / 0.8, 0.0)})


def bits(tree):
    """All bytes of a tree, for comparisons to the last bit."""
    return [(np.asarray(x).dtype.name, np.asarray(x).shape, np.asarray(x).tobytes()) for x in graphad.tree.leaves(tree)]


def train_with_dropout(folder, every=1, epochs=20, callbacks=()):
    """120 steps in which all that may be random is; checkpoints into ``folder`` if there is one."""
    return fit(
        net_loss_with_dropout,
        net_params(),
        net_data(),
        optim.adam(optim.cosine_decay_schedule(3e-2, 120)),
        epochs=epochs,
        batch_size=16,
        key=11,
        checkpoint=None if folder is None else Checkpoint(folder, every=every, keep=2),
        callbacks=callbacks,
        progress=False,
    )
