"""What `fit` returns."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any, Final

import numpy as np

from graphad.trace.pytree import Tree
from graphad.trace.source import where
from graphad.train._callbacks import Row

NDArray = np.ndarray[Any, Any]

_MOST_ROWS: Final = 20


@dataclass(frozen=True, repr=False)
class FitResult:
    """The outcome of a training.

    Attributes
    ----------
    params
        The trained parameters: those after the last step, or of the best epoch with
        ``EarlyStopping(restore_best=True)``.
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
    state
        The model's, which belongs to the parameters; None if it has none.
    best_epoch
        The epoch whose parameters these are; None if they are those after the last step.
    """

    params: Tree
    opt_state: Any
    history: list[Row]
    steps: int
    stopped_because: str
    losses: NDArray
    state: Tree = None
    best_epoch: int | None = None

    def __repr__(self) -> str:
        epochs = len(self.history)
        parts = [length_text(self.steps, self.history)]
        if epochs:
            first, last = self.history[0], self.history[-1]
            names = [name for name in last if name not in ("epoch", "step", "seconds")]
            parts += [
                f"{name} {first[name]:.4g} -> {last[name]:.4g}"
                if epochs > 1 and name in first
                else f"{name} {last[name]:.4g}"
                for name in names
            ]
        best = "" if self.best_epoch is None else f"; parameters of epoch {self.best_epoch}"
        return f"FitResult({', '.join(parts)}{best}; stopped because {self.stopped_because})"

    def _repr_html_(self) -> str:
        """A table of the epochs, for notebooks; of many, the first and the last."""
        names = list(self.history[-1]) if self.history else []
        rows = [[_cell(name, row.get(name)) for name in names] for row in self.history]
        if len(rows) > _MOST_ROWS:
            rows[_MOST_ROWS // 2 : -_MOST_ROWS // 2] = [["..."] * len(names)]
        cells = [_html_row("th", names), *[_html_row("td", row) for row in rows]]
        return f"<p>{escape(repr(self))}</p><table>{''.join(cells) if names else ''}</table>"

    def plot(self, axes: Any = None) -> Any:
        """Draw the loss of each step and what was evaluated; returns matplotlib's axes.

        Parameters
        ----------
        axes
            Where to draw; by default in a new figure, ``result.plot().figure``, which a notebook shows where it is what
            a cell gives.
        """
        if axes is None:
            try:
                axes = _new_axes()
            except ImportError as error:
                raise ImportError(f"{where()}plot needs matplotlib: pip install graphad[plot]") from error
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


def length_text(steps: int, history: list[Row]) -> str:
    """How long a training is; the history has the epochs that were finished.

    >>> length_text(240, 4 * [{"step": 240.0}]), length_text(245, 4 * [{"step": 240.0}]), length_text(1, [])
    ('240 steps in 4 epochs', '245 steps: 4 epochs and 5 steps of the next', '1 step of the first epoch')
    """
    more = steps - int(history[-1]["step"]) if history else steps
    if not more:
        return f"{_counted(steps, 'step')} in {_counted(len(history), 'epoch')}"
    if not history:
        return f"{_counted(steps, 'step')} of the first epoch"
    return f"{_counted(steps, 'step')}: {_counted(len(history), 'epoch')} and {_counted(more, 'step')} of the next"


def _new_axes() -> Any:
    """Axes in a figure of their own, unknown to `matplotlib.pyplot`: a notebook shows them once, as a cell's value."""
    from matplotlib.axes import Axes  # late: it need not be installed
    from matplotlib.figure import Figure

    class Shown(Axes):
        def _repr_png_(self) -> bytes:
            image = BytesIO()
            figure: Any = self.figure
            figure.savefig(image, format="png")
            return image.getvalue()

    return Figure(layout="constrained").add_subplot(axes_class=Shown)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if name in ("epoch", "step") else f"{value:.4g}"


def _html_row(tag: str, cells: list[str]) -> str:
    return f"<tr>{''.join([f'<{tag}>{escape(text)}</{tag}>' for text in cells])}</tr>"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
