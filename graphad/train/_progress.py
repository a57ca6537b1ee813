"""The line that shows how a training goes: rewritten in place on a terminal, one per epoch elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from typing import Final, TextIO

_BAR: Final = 20
_HIDDEN: Final = ("epoch", "step", "seconds")
_SILENCE: Final = 30.0  # seconds without a line, where there is no terminal, before one is written amid an epoch


class Progress:
    """What `fit` reports on standard error.

    Parameters
    ----------
    epochs
        How many there will be.
    per_epoch
        Steps of an epoch; None if unknown.
    batch_size
        Examples of a batch; None if unknown.
    enabled
        Whether to show anything.
    stream
        Where to write; standard error by default.
    """

    def __init__(
        self, epochs: int, per_epoch: int | None, batch_size: int | None, enabled: bool, stream: TextIO | None = None
    ) -> None:
        self.epochs, self.per_epoch, self.batch_size = epochs, per_epoch, batch_size
        self.stream = sys.stderr if stream is None else stream
        self.enabled = enabled
        self.live = enabled and self.stream.isatty()
        self._begun, self._first = time.perf_counter(), 0.0
        self._written = self._begun
        self._steps = 0

    def begin_epoch(self) -> None:
        """Start measuring again."""
        self._begun, self._first, self._steps = time.perf_counter(), 0.0, 0

    def count(self) -> None:
        """One more step was started. The first, which compiles, does not count for the rate."""
        self._steps += 1
        if self._steps == 1:
            self._first = time.perf_counter()

    def rate(self) -> float:
        """Steps a second in this epoch."""
        now = time.perf_counter()
        if self._steps > 1:
            return (self._steps - 1) / max(now - self._first, 1e-9)
        return self._steps / max(now - self._begun, 1e-9)

    def update(self, epoch: int, batch: int, loss: float) -> None:
        """Rewrite the line; where there is no terminal, write one now and then."""
        if not self.live and not (self.enabled and time.perf_counter() - self._written > _SILENCE):
            return
        where_in_epoch = f"step {batch}"
        if self.per_epoch:
            done = _BAR * batch // self.per_epoch
            where_in_epoch = f"[{'#' * done}{'.' * (_BAR - done)}] {batch}/{self.per_epoch}"
        line = f"epoch {epoch}/{self.epochs} {where_in_epoch}  loss {loss:.4g}  {self._rates()}"
        if self.live:
            self._rewrite(line)
        else:
            self.note(line)

    def end_epoch(self, row: Mapping[str, float]) -> None:
        """The line of a finished epoch, which stays."""
        if not self.enabled:
            return
        metrics = "  ".join([f"{name} {value:.4g}" for name, value in row.items() if name not in _HIDDEN])
        line = f"epoch {row['epoch']:.0f}/{self.epochs}  step {row['step']:.0f}  {metrics}  {self._rates()}"
        if self.live:
            self._rewrite("")
        self.note(line)

    def note(self, text: str) -> None:
        """A line of its own."""
        if self.enabled:
            self.stream.write(text + "\n")
            self.stream.flush()
            self._written = time.perf_counter()

    def close(self) -> None:
        """Leave the terminal at the start of a line."""
        if self.live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def _rates(self) -> str:
        rate = self.rate()
        examples = f"  {_short(rate * self.batch_size)} examples/s" if self.batch_size else ""
        return f"{_short(rate)} steps/s{examples}"

    def _rewrite(self, line: str) -> None:
        width = shutil.get_terminal_size().columns
        self.stream.write(f"\r\x1b[K{line[: width - 1]}")
        self.stream.flush()


def _short(x: float) -> str:
    """Three digits: ``12.3k``.

    >>> _short(12345.0), _short(0.5)
    ('12.3k', '0.5')
    """
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= factor:
            return f"{x / factor:.3g}{suffix}"
    return f"{x:.3g}"
