"""One runtime, and one allocator, for each device of the process; opened when first asked for."""

from __future__ import annotations

import threading
from typing import Final

from graphad.backends.cuda.allocator import Allocator
from graphad.backends.cuda.driver import Driver
from graphad.backends.cuda.emulated import Emulated
from graphad.device import Device

_allocators: Final[dict[Device, Allocator]] = {}
_lock: Final = threading.Lock()


def allocator(device: Device) -> Allocator:
    """The memory of a device that is not the CPU; its ``runtime`` does the rest.

    Raises
    ------
    DeviceError
        If a driver, GPU or package is missing.
    """
    found = _allocators.get(device)
    if found is None:
        with _lock:
            found = _allocators.get(device)
            if found is None:
                found = _allocators[device] = Allocator(Emulated() if device.is_emulated else Driver(device))
    return found
