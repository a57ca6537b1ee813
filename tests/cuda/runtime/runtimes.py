"""The runtimes that there are: that of the emulated device, and the driver's where there is a GPU."""

from __future__ import annotations

from graphad.backends.cuda.driver import Driver
from graphad.backends.cuda.emulated import Emulated
from graphad.device import Device
from tests.cuda.devices import DEVICES

#: Of each device what makes a new one.
RUNTIMES = {"cuda:emulated": Emulated}
if "cuda:0" in [device.name for device in DEVICES]:
    RUNTIMES["cuda:0"] = lambda: Driver(Device("cuda:0"))
