"""Trains a multilayer perceptron on handwritten digits through `compile_grad`: ``make demo``.

The data are UCI's handwritten digits, which scikit-learn ships. A step (loss, gradient, update) is compiled as a whole.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from os.path import relpath
from typing import Any

import mlp
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import graphad
import graphad.numpy as gnp
from graphad import optim
from graphad.inspection import format_arguments

SIZES, BATCH, TEST = [64, 128, 64, 10], 64, 360  # of the layers, of a batch, and of the test set


@graphad.compile_grad(with_value=True)
def loss_and_grad(params: Any, images: Any, digits: Any) -> Any:
    """The compiled gradient of the loss; calls return the loss as well."""
    return mlp.mlp_loss(params, images, digits)


def train_step(optimizer: optim.GradientTransformation, params: Any, state: Any, images: Any, digits: Any) -> Any:
    """Loss, gradient and update: what is compiled as one program."""
    loss, grads = loss_and_grad(params, images, digits)
    updates, state = optimizer.update(grads, state)
    return optim.apply_updates(params, updates), state, loss


def batches(images: np.ndarray, digits: np.ndarray, epochs: int, rng: np.random.Generator) -> Iterator[Any]:
    """Shuffled batches with a little noise, which keeps the network from learning single pixels by heart."""
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(images) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            yield images[chosen] + rng.normal(0, 0.15, (BATCH, 64)).astype(np.float32), digits[chosen]


def with_progress(items: Iterable[Any], total: int) -> Iterable[Any]:
    """Pass ``items`` on, with a progress bar where rich is installed."""
    try:
        from rich.progress import track
    except ImportError:
        print(f"Training for {total} steps; pip install rich for a progress bar")
        return items
    return track(items, "Training", total)


def terminal_plot(losses: np.ndarray, width: int = 64, height: int = 10) -> str:
    """The curve in characters, its vertical axis logarithmic."""
    curve = np.log10([part.mean() for part in np.array_split(losses, min(width, len(losses)))])
    low, high = curve.min(), max(curve.max(), curve.min() + 0.1)
    rows = np.round((curve - low) / (high - low) * (height - 1)).astype(int)
    lines = [
        f"{10 ** (low + (high - low) * row / (height - 1)):8.3f} |" + "".join("*" if r == row else " " for r in rows)
        for row in reversed(range(height))
    ]
    return "\n".join([*lines, f"{'loss':>8} +{'-' * len(rows)} step {len(losses)}"])


def save_plot(losses: np.ndarray, path: str) -> None:
    """Draw the curve into a PNG."""
    axes = (figure := Figure(layout="constrained")).subplots()
    axes.semilogy(losses, linewidth=0.8)
    axes.set(xlabel="training step", ylabel="loss (cross entropy, nats)", title="An MLP learns handwritten digits")
    figure.savefig(path, dpi=150)


def gpu_or_emulated() -> str:
    """A GPU if there is one, else the emulated device, which says so."""
    found = [d.name for d in graphad.devices() if d.kind == "cuda" and not d.is_emulated]
    if not found:
        print("There is no GPU here, so the CUDA kernels run in emulation, on the CPU: for one epoch.")
    return found[0] if found else "cuda:emulated"


def main(argv: list[str] | None = None) -> float:
    """Train, report, and return the test accuracy."""
    parser = argparse.ArgumentParser(description="Train a multilayer perceptron on handwritten digits.")
    parser.add_argument("--epochs", type=int, help="40, but 1 in emulation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, cuda:emulated, or gpu for what there is")
    options = parser.parse_args(argv)
    device = gpu_or_emulated() if options.device == "gpu" else options.device
    if options.epochs is None:
        options.epochs = 1 if device == "cuda:emulated" else 40
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    graphad.config.update("default_device", device)

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    rng = np.random.default_rng(options.seed)
    order = rng.permutation(len(labels))
    images, digits = (pixels[order] / 16).astype(np.float32), labels[order].astype(np.int32)
    test_images, test_digits, images, digits = images[:TEST], digits[:TEST], images[TEST:], digits[TEST:]

    steps = options.epochs * (len(images) // BATCH)
    optimizer = optim.adam(lambda step: 3e-3 * (0.5 + 0.5 * gnp.cos(np.pi * step / steps)))
    params = mlp.init_params(graphad.random.key(options.seed), SIZES)
    state, step = optimizer.init(params), graphad.jit(partial(train_step, optimizer))
    losses, times = np.zeros(steps), np.zeros(steps)
    for k, batch in enumerate(with_progress(batches(images, digits, options.epochs, rng), steps)):
        start = time.perf_counter()
        params, state, loss = step(params, state, *batch)
        losses[k], times[k] = float(loss), time.perf_counter() - start

    accuracy = float(np.mean(np.argmax(graphad.jit(mlp.predict)(params, test_images), axis=1) == test_digits))
    save_plot(losses, "digits_loss.png")
    print(terminal_plot(losses))
    print(f"test accuracy {accuracy:.1%} on {TEST} images that were not trained on")
    print(f"{1e3 * np.median(times[1:]):.3f} ms a step; the first, with compilation, {1e3 * times[0]:.0f} ms")
    print("The loss curve is in digits_loss.png, and this shows the compiled gradient:")
    python = min(sys.executable, relpath(sys.executable), key=len)
    print(f"{python} -m graphad inspect {relpath(mlp.__file__)}:mlp_loss \\")
    stage = "source" if device == "cpu" else "ptx"
    print(f"  --args '{format_arguments(params, images[:BATCH], digits[:BATCH])}' --stage {stage}")
    return accuracy


if __name__ == "__main__":
    main()
