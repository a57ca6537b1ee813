"""Memory and streams of other libraries: asking the driver about them, and waiting for their work."""

from __future__ import annotations

from graphad.backends.cuda import toolkit
from graphad.backends.cuda.runtime.runtime import Runtime
from graphad.device import Device, parse
from graphad.errors import DeviceError


def device_of(address: int) -> Device:
    """The GPU that has this address."""
    driver = toolkit.driver()
    wanted = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    status, number = driver.cuPointerGetAttribute(wanted, address)
    if int(status):
        raise ValueError(f"address {address:#x} is not in the memory of a GPU")
    return parse(f"cuda:{int(number)}")


def wait_for(runtime: Runtime, stream: int) -> None:
    """Wait for all work on a stream: its address, or 1 for the default one."""
    driver = toolkit.driver()
    with runtime.lock:
        (status,) = driver.cuStreamSynchronize(stream)
    if int(status):
        raise ValueError(f"{runtime.device}: waiting for the stream {stream:#x} of another library failed: {status}")


def wait_for_all(runtime: Runtime) -> None:
    """Wait for all work on the device, that of other libraries included."""
    driver = toolkit.driver()
    with runtime.lock:
        (status,) = driver.cuCtxSynchronize()
    if int(status):
        raise DeviceError(f"{runtime.device}: waiting for the work of other libraries failed: {status}")
