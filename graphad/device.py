"""Where arrays live: the names of devices, and memory on one. Nothing here needs a GPU or its driver.

>>> parse("cuda")
Device('cuda:0')
>>> parse("cuda:emulated").kind
'cuda'
>>> parse("tpu")
Traceback (most recent call last):
    ...
ValueError: there is no device 'tpu'; devices are 'cpu', 'cuda', 'cuda:1' (a number), 'cuda:emulated'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np

NDArray = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, repr=False)
class Device:
    """A place for arrays and programs.

    Attributes
    ----------
    name
        ``"cpu"``, ``"cuda:0"`` and so on, or ``"cuda:emulated"``.
    """

    name: str

    @property
    def kind(self) -> str:
        """``"cpu"`` or ``"cuda"``."""
        return self.name.partition(":")[0]

    @property
    def is_emulated(self) -> bool:
        """Whether a program on the CPU stands in for it."""
        return self.name == "cuda:emulated"

    @property
    def index(self) -> int:
        """Which of the real devices of its kind."""
        number = self.name.partition(":")[2]
        return int(number) if number.isdigit() else 0

    def __repr__(self) -> str:
        return f"Device({self.name!r})"

    def __str__(self) -> str:
        return self.name


class Memory(Protocol):
    """Memory on a device that is not the CPU; it is freed when this object is collected."""

    @property
    def device(self) -> Device: ...

    @property
    def address(self) -> int:
        """The device's address of the first byte."""
        ...

    @property
    def nbytes(self) -> int: ...

    def download(self, target: NDArray) -> None:
        """Fill ``target``, C-contiguous and of as many bytes, once all work that writes to this memory has ended."""
        ...

    def synchronize(self) -> None:
        """Wait until all work that was queued on the device has ended."""
        ...

    def lend(self) -> None:
        """Note that another library has the address: its work may continue after this object is collected."""
        ...


CPU: Final = Device("cpu")


@lru_cache
def parse(name: str | Device) -> Device:
    """The device of this name; one device is one object."""
    if isinstance(name, Device):
        return parse(name.name)
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a device is named by a text such as 'cuda', not {name!r}")
    if name == "cuda":
        return parse("cuda:0")
    if name == "cpu":
        return CPU
    if name == "cuda:emulated" or re.fullmatch(r"cuda:(0|[1-9]\d*)", name):
        return Device(name)
    known = "'cpu', 'cuda', 'cuda:1' (a number), 'cuda:emulated'"
    meant = re.fullmatch(r"(cpu)|(?:gpu|cuda|nvidia)(:(?:0|[1-9]\d*))?", name, re.IGNORECASE)
    write = f"write {'cpu' if meant[1] else 'cuda' + (meant[2] or '')!r}; " if meant else ""
    raise ValueError(f"there is no device {name!r}; {write}devices are {known}")
