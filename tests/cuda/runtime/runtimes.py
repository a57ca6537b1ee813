"""The runtimes that there are: that of the emulated device, and the driver's where there is a GPU; arrays to them and
from them."""

from __future__ import annotations

import numpy as np

from graphad.backends.cuda.runtime.emulated import Emulated
from graphad.backends.cuda.runtime.nvidia.driver import Driver
from graphad.device import Device
from tests.cuda.devices import DEVICES

#: Of each device what makes a new one.
RUNTIMES = {"cuda:emulated": Emulated}
if "cuda:0" in [device.name for device in DEVICES]:
    RUNTIMES["cuda:0"] = lambda: Driver(Device("cuda:0"))


def put(runtime, array):
    """The address of a copy of ``array`` on the device."""
    address = runtime.allocate(array.nbytes)
    runtime.upload(address, array)
    return address


def got(runtime, address, like):
    """The array at an address, which is like another one."""
    result = np.empty_like(like)
    runtime.download(result, address)
    return result
