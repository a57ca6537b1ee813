"""Where arrays live: the names of devices, and memory on one. Nothing here needs a GPU or its driver.

What compiles programs for a device is found by its kind: `graphad.backends.targets`, where kinds are registered.

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


@dataclass(frozen=True, slots=True)
class Kind:
    """How the devices of a kind are named, and where their arrays are.

    Attributes
    ----------
    numbered
        Whether there are several, ``kind:0``, ``kind:1`` and so on, of which the kind alone names the first; else the
        kind is the name of the one device.
    named
        What else may stand behind the colon.
    is_host
        Whether programs work on arrays of the host; else devices have memory of their own.
    """

    numbered: bool = False
    named: tuple[str, ...] = ()
    is_host: bool = False


#: The kinds of devices that have names.
KINDS: Final[dict[str, Kind]] = {"cpu": Kind(is_host=True), "cuda": Kind(numbered=True, named=("emulated",))}


@dataclass(frozen=True, slots=True, repr=False)
class Device:
    """A place for arrays and programs.

    Attributes
    ----------
    name
        ``"cpu"``, ``"cuda:0"`` and so on, ``"cuda:emulated"``, or of another kind that is registered.
    """

    name: str

    @property
    def kind(self) -> str:
        """What stands before the colon, such as ``"cpu"`` or ``"cuda"``: it says what compiles programs for it."""
        return self.name.partition(":")[0]

    @property
    def is_host(self) -> bool:
        """Whether its programs work on arrays of the host, NumPy's; else it has memory of its own."""
        return KINDS[self.kind].is_host

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
    """Memory on a device that is not the host; it is freed when this object is collected."""

    @property
    def device(self) -> Device: ...

    @property
    def dlpack_device(self) -> tuple[int, int] | None:
        """Where it is in the words of DLPack, its type and number; None if no other library can address it."""
        ...

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


class Allocator(Protocol):
    """What gives out the memory of a device."""

    def upload(self, array: NDArray, /) -> Memory:
        """Memory that holds a copy of an array of the host, in row-major order."""
        ...


CPU: Final = Device("cpu")


@lru_cache
def parse(name: str | Device) -> Device:
    """The device of this name; one device is one object."""
    if isinstance(name, Device):
        return parse(name.name)
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a device is named by a text such as 'cuda', not {name!r}")
    if name == "cpu":
        return CPU
    kind, colon, which = name.partition(":")
    known = KINDS.get(kind)
    if known is not None and not colon:
        return parse(f"{kind}:0") if known.numbered else Device(kind)
    if known is not None and (which in known.named or (known.numbered and re.fullmatch(r"0|[1-9]\d*", which))):
        return Device(name)
    meant = re.fullmatch(r"(cpu)|(?:gpu|cuda|nvidia)(:(?:0|[1-9]\d*))?", name, re.IGNORECASE)
    write = f"write {'cpu' if meant[1] else 'cuda' + (meant[2] or '')!r}; " if meant else ""
    raise ValueError(f"there is no device {name!r}; {write}devices are {_names()}")


def _names() -> str:
    """How devices are named, in words."""
    shown: list[str] = []
    for kind, naming in KINDS.items():
        shown += [repr(kind), *([f"'{kind}:1' (a number)"] if naming.numbered else [])]
        shown += [repr(f"{kind}:{name}") for name in naming.named]
    return ", ".join(shown)
