"""Errors in emulated kernels, with the place: user's line, kernel, PTX line, block and thread."""

from __future__ import annotations

from graphad.errors import GraphadError, at


class EmulatorError(GraphadError, RuntimeError):
    """A kernel on the emulated device broke a rule of the GPU, or used what the emulator does not support.

    Bad accesses, data races, barriers that not all threads reach, unsupported instructions. Remedy: correct the kernel
    at the PTX line that the message quotes; for an unsupported instruction, the remedy is in the message.
    """


class Fault(Exception):  # noqa: N818 (never seen by users)
    """Raised by the code of an instruction, which does not know the place; becomes an `EmulatorError`.

    Parameters
    ----------
    what
        What is wrong, as the end of a sentence that begins with the place.
    lane
        Index of the first faulty thread among those that execute, if the fault is of a thread.
    """

    def __init__(self, what: str, lane: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.lane = lane


def locate(what: str, kernel: str, line: int, text: str, user_line: str = "", thread: str = "") -> EmulatorError:
    """The error for `what`, found at a PTX line of a kernel."""
    place = f"kernel {kernel}, {thread}PTX line {line}: `{' '.join(text.split())}`"
    return EmulatorError(at(user_line, f"{place}: {what}"))
