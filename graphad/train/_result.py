"""What `fit` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphad.trace.pytree import Tree
from graphad.trace.source import where
from graphad.train._callbacks import Row

NDArray = np.ndarray[Any, Any]


@dataclass(frozen=True, repr=False)
class FitResult:
    """The outcome of a training.

    Attributes
    ----------
    params
        The trained parameters.
    opt_state
        The optimiser's state after the last step.
    history
        One row for each epoch: its number, the steps done by then, the mean loss, what was evaluated, the seconds.
    steps
        Steps done in all, those before a resume included.
    stopped_because
        Why the training ended.
    losses
        The loss of each step that this call did: before a resume only `history` reaches back.
    """

    params: Tree
    opt_state: Any
    history: list[Row]
    steps: int
    stopped_because: str
    losses: NDArray

    def __repr__(self) -> str:
        epochs = len(self.history)
        parts = [f"{_counted(self.steps, 'step')} in {_counted(epochs, 'epoch')}"]
        if epochs:
            first, last = self.history[0], self.history[-1]
            names = [name for name in last if name not in ("epoch", "step", "seconds")]
            parts += [
                f"{name} {first[name]:.4g} -> {last[name]:.4g}"
                if epochs > 1 and name in first
                else f"{name} {last[name]:.4g}"
                for name in names
            ]
        return f"FitResult({', '.join(parts)}; stopped because {self.stopped_because})"

    def plot(self, axes: Any = None) -> Any:
        """Draw the loss of each step and what was evaluated; returns matplotlib's axes.

        Parameters
        ----------
        axes
            Where to draw; by default in a new figure, ``result.plot().figure``.
        """
        if axes is None:
            try:
                from matplotlib.figure import Figure  # late: it need not be installed
            except ImportError as error:
                raise ImportError(f"{where()}plot needs matplotlib: pip install graphad[plot]") from error
            axes = Figure(layout="constrained").subplots()
        steps = [row["step"] for row in self.history]
        if len(self.losses):
            axes.plot(np.arange(self.steps - len(self.losses), self.steps) + 1, self.losses, linewidth=0.6, alpha=0.5)
        for name in self.history[-1] if self.history else ():
            if name not in ("epoch", "step", "seconds"):
                axes.plot(steps, [row.get(name, np.nan) for row in self.history], marker="o", markersize=3, label=name)
        axes.set(xlabel="step", title=f"stopped because {self.stopped_because}")
        if self.history:
            axes.legend()
        return axes


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
