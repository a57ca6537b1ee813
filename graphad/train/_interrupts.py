"""Deferred handling of Ctrl-C: it takes effect between steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from graphad.train._result import FitResult


class TrainingInterrupted(KeyboardInterrupt):
    """`fit` was interrupted by Ctrl-C.

    Remedy: call `fit` with the same checkpoints to go on, or use what there is of the result.

    Attributes
    ----------
    result : FitResult
        As if the training had been stopped after its last whole step.
    """

    def __init__(self, message: str, result: FitResult) -> None:
        super().__init__(message)
        self.result = result


class Interrupts:
    """Ctrl-C while this is entered: it waits for the end of what is `held`; pressed again, it waits no longer.

    Only Python's own handler in the main thread is replaced: whoever has another way to be interrupted keeps it.
    """

    def __init__(self) -> None:
        self.held = _Held()
        self._before: Any = None

    def __enter__(self) -> None:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._interrupt)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.held.active and not self.held.pending:
            self.held.pending = True
        else:
            signal.default_int_handler(number, frame)


class _Held:
    """``with held:`` what must happen as a whole."""

    def __init__(self) -> None:
        self.active = self.pending = False

    def __enter__(self) -> None:
        self.active = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.active = False
        if self.pending:
            self.pending = False
            if error is None:
                raise KeyboardInterrupt
