"""Logistic regression on 100,000 rows, in mini-batches: ``python examples/many_clicks.py --device cpu``.

Whether somebody clicks, from 40 features: made-up data of which the true weights are known. The same file runs on every
device, and can be killed and started again if it is given a folder for its checkpoints.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad import optim, train

FEATURES, HELD_OUT = 40, 10_000


def make_data(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels 1 and -1 drawn from a logistic model, and the weights of that model."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=FEATURES).astype(np.float32)
    x = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    clicked = rng.random(rows) < 1 / (1 + np.exp(-(x @ true)))
    return x, np.where(clicked, 1, -1).astype(np.float32), true


def loss(params: dict[str, Any], x: Any, y: Any) -> Any:
    """The mean negative log-likelihood."""
    return gnp.mean(graphad.nn.softplus(-y * (x @ params["w"] + params["b"])))


def main(argv: list[str] | None = None) -> float:
    """Train, report, and return the correlation of the weights with the true ones."""
    parser = argparse.ArgumentParser(description="Logistic regression on many rows.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, or cuda:emulated")
    parser.add_argument("--checkpoint", help="a folder: killed and started again, the training goes on")
    options = parser.parse_args(argv)

    x, y, true = make_data(options.rows, options.seed)
    held_out = min(HELD_OUT, options.rows // 10)
    steps = options.epochs * ((options.rows - held_out) // options.batch)
    result = train.fit(
        loss,
        {"w": np.zeros(FEATURES, np.float32), "b": np.float32(0.0)},
        (x[held_out:], y[held_out:]),
        optim.adam(optim.cosine_decay_schedule(0.1, steps)),
        epochs=options.epochs,
        batch_size=options.batch,
        key=options.seed,
        eval_data=(x[:held_out], y[:held_out]),
        early_stopping=train.EarlyStopping(patience=2),
        device=options.device,
        checkpoint=options.checkpoint,
    )
    correlation = float(np.corrcoef(result.params["w"], true)[0, 1])
    print(result)
    print(f"correlation with the true weights {correlation:.4f}")
    return correlation


if __name__ == "__main__":
    main()
