"""Callbacks of `fit`, and early stopping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from graphad.trace.pytree import Tree
from graphad.trace.source import user_loc, where
from graphad.train._step import TrainState

Row = dict[str, float]


@dataclass
class Training:
    """A running training, as callbacks see it.

    Attributes
    ----------
    state
        The present state. The next step donates its arrays: copy what is to be kept, `np.array(x)`.
    epoch
        The number of the epoch, from 1.
    step
        Steps done.
    history
        One row for each finished epoch: ``{"epoch": 1, "step": 23, "loss": 0.7, ...}``.
    last_loss
        The loss of the last step, on the device: reading it waits for the step.
    stop_reason
        Why the training is to stop, or None.
    """

    state: TrainState
    epoch: int = 1
    step: int = 0
    history: list[Row] = field(default_factory=list[Row])
    last_loss: Any = None
    stop_reason: str | None = None

    @property
    def params(self) -> Tree:
        return self.state.params

    @property
    def model_state(self) -> Tree:
        return self.state.model_state

    def stop(self, reason: str) -> None:
        """End the training after this step."""
        self.stop_reason = reason


class Callback:
    """Base class of callbacks of `fit`; override what you need.

    A plain function of a `Training` is a callback too: it is called after each epoch.
    """

    def on_step(self, training: Training) -> None:
        """After each step. Do not read the loss each time: that waits for the device."""

    def on_epoch(self, training: Training) -> None:
        """After each epoch, its evaluation and its row of the history included."""

    def on_end(self, training: Training) -> None:
        """When the training has ended without an error."""


class FunctionCallback(Callback):
    """A function as a callback of epochs."""

    def __init__(self, function: Callable[[Training], Any]) -> None:
        self.function = function

    def on_epoch(self, training: Training) -> None:
        self.function(training)


def as_callback(callback: Any) -> Callback:
    """A callback as it is, a function as one."""
    if isinstance(callback, Callback):
        return callback
    if isinstance(callback, type) or not callable(callback):
        raise TypeError(
            f"{where()}fit: {callback!r} is no callback. Pass an instance of a graphad.train.Callback, or a function "
            "of the training."
        )
    return FunctionCallback(callback)


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when a metric has not improved for some epochs. It looks at the history alone, and so survives a resume.

    Attributes
    ----------
    patience
        Epochs to wait for an improvement.
    metric
        A column of the history.
    mode
        Whether small or large values are good.
    min_delta
        By how much a value must be better to count.
    restore_best
        Return the parameters, and the model's state, of the best epoch, however the training ends. Checkpoints hold
        those as well.

    Examples
    --------
    >>> losses = [3.0, 2.0, 2.5, 2.1]
    >>> EarlyStopping(2, "loss").reason([{"epoch": k + 1, "loss": x} for k, x in enumerate(losses)])
    'loss did not improve for 2 epochs; the best was 2 in epoch 2'
    """

    patience: int = 3
    metric: str = "eval_loss"
    mode: Literal["min", "max"] = "min"
    min_delta: float = 0.0
    restore_best: bool = False

    def __post_init__(self) -> None:
        caller = user_loc(3)  # beyond the __init__ that dataclasses write
        if self.patience < 1:
            raise ValueError(f"{where(caller)}EarlyStopping: patience={self.patience} must be at least one epoch.")
        if self.mode not in ("min", "max"):
            raise ValueError(f"{where(caller)}EarlyStopping: mode={self.mode!r} must be 'min' or 'max'.")

    def reason(self, history: list[Row]) -> str | None:
        """Why to stop after these epochs, or None."""
        if not history:
            return None
        best = self.best(history)
        waited = len(history) - 1 - (best or 0)
        if waited < self.patience:
            return None
        text = f"{self.metric} did not improve for {waited} epoch{'s' * (waited > 1)}"
        if best is None:
            return f"{text}; it never was a number"
        return f"{text}; the best was {history[best][self.metric]:.6g} in epoch {history[best]['epoch']:.0f}"

    def best(self, history: list[Row]) -> int | None:
        """The row of the best epoch; None if the metric never was a number."""
        sign = 1 if self.mode == "min" else -1
        best, best_at = float("inf"), None
        for k, row in enumerate(history):
            if sign * self._value(row) < best - self.min_delta:
                best, best_at = sign * self._value(row), k
        return best_at

    def _value(self, row: Row) -> float:
        if self.metric not in row:
            columns = ", ".join(repr(name) for name in row)
            raise ValueError(
                f"{where()}EarlyStopping: no metric {self.metric!r}; the history has {columns}. "
                "Pass eval_data=, or another metric."
            )
        return row[self.metric]
