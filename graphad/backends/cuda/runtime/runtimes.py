"""One runtime, and one allocator, for each device of the process; opened when first asked for."""

from __future__ import annotations

from typing import Final

from graphad.backends.cuda.runtime.allocator import Allocator
from graphad.backends.cuda.runtime.emulated import Emulated
from graphad.backends.cuda.runtime.nvidia.driver import Driver
from graphad.device import Device
from graphad.ir.forks import compiling

_allocators: Final[dict[Device, Allocator]] = {}


def allocator(device: Device) -> Allocator:
    """The allocator of a device that is not the CPU; it holds the ``runtime``.

    Raises
    ------
    DeviceError
        If a driver, GPU or package is missing.
    """
    found = _allocators.get(device)
    if found is None:
        with compiling:
            found = _allocators.get(device)
            if found is None:
                found = _allocators[device] = Allocator(Emulated() if device.is_emulated else Driver(device))
    return found
