"""Calls from a compiled program to functions of the host.

A program calls one C function, `address`, with the number of the call and a table of buffers. It takes the GIL, which
programs run without, hands copies of the buffers to the function, and copies back what that returns. Which function a
number means is known to the `HostRun` that is entered around the program: the code itself knows none, and is shared.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from graphad.backends.outcome import Answers, HostSlot

#: The name of the C function among the external routines of a program.
HOST_CALL: Final = "host_call"

Array = np.ndarray[Any, Any]


class HostRun:
    """One run of a program that calls the host.

    Parameters
    ----------
    slots
        What its calls mean.
    given
        The answers of a run that this one takes the place of, in the order of the calls that do something: so many of
        those calls are not made again.

    Attributes
    ----------
    answers
        Of the calls that do something, in order.
    error
        What a function has raised.
    """

    __slots__ = ("answers", "error", "given", "slots")

    def __init__(self, slots: Sequence[HostSlot], given: Sequence[Sequence[Array]] = ()) -> None:
        self.slots = slots
        self.given = given
        self.answers: list[Sequence[Array]] = []
        self.error: BaseException | None = None

    def answer(self, slot: int, arrays: Sequence[Array]) -> Sequence[Array]:
        """The results of call number ``slot`` for ``arrays``, which are its own."""
        called = self.slots[slot]
        place = len(self.answers)
        if called.effect and place < len(self.given):
            results = self.given[place]
        else:
            results = called.function.call(arrays, called.outputs)
        if called.effect:
            self.answers.append(results)
        return results

    @contextmanager
    def entered(self) -> Generator[None]:
        """While a program runs in this thread; then the error of a function is raised."""
        _state.runs.append(self)
        try:
            yield
        finally:
            _state.runs.pop()
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # its traceback has the frames that hold this run


class _State(threading.local):
    """The runs in this thread; a function that is called may run programs in turn."""

    def __init__(self) -> None:
        self.runs: list[HostRun] = []


_state: Final = _State()


def answers_so_far() -> Answers:
    """Those of the run in this thread."""
    return tuple(_state.runs[-1].answers)


def flat_function(slot: int) -> Callable[..., list[Array]]:
    """Call number ``slot`` of the run in this thread, as Numba source has it: flat arrays, 16-bit floats as bits."""

    def call(*flat: Array) -> list[Array]:
        run = _state.runs[-1]
        given = run.slots[slot].inputs
        arrays = [x.view(a.dtype.numpy).reshape(a.shape).copy() for x, a in zip(flat, given, strict=True)]
        results = [x.reshape(-1) for x in run.answer(slot, arrays)]
        return [x.view(np.uint16) if x.itemsize == 2 and x.dtype.kind in "fV" else x for x in results]

    return call


def _called(slot: int, buffers: Any) -> int:
    run = _state.runs[-1]
    try:
        given = run.slots[slot].inputs
        arrays: list[Array] = []
        for k, a in enumerate(given):
            copied = ctypes.string_at(buffers[k], a.size * a.dtype.numpy.itemsize)
            arrays.append(np.ndarray(a.shape, a.dtype.numpy, copied))  # read-only, as bytes are
        for k, result in enumerate(run.answer(slot, arrays), len(given)):
            ctypes.memmove(buffers[k], result.ctypes.data, result.nbytes)
    except BaseException as error:  # noqa: BLE001 - also an interrupt goes to who called the program
        run.error = error
        return 1
    return 0


_trampoline: Final = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.POINTER(ctypes.c_void_p))(_called)


def address() -> int:
    """Of ``i64 (i64 slot, ptr buffers)``, for the life of the process; the result is 0 unless a function has raised."""
    return ctypes.cast(_trampoline, ctypes.c_void_p).value or 0
