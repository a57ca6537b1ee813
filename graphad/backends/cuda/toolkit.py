"""NVIDIA's driver, its Python bindings and its libraries: found here, imported here, and nowhere else.

Nothing is looked for until it is needed. What is missing is one error, which lists all that was looked for.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import sys
from functools import lru_cache
from typing import Any, Final, NoReturn

from graphad.device import CPU, Device
from graphad.errors import DeviceError

#: What ``pip install graphad[cuda]`` brings, and what each is for.
PACKAGES: Final = {
    "cuda-core": "the driver's objects",
    "cuda-bindings": "calls of the driver",
    "nvidia-nvjitlink": "the assembler",
    "nvidia-cublas": "matrix products",
    "nvidia-cuda-nvdisasm": "the disassembler",
}
_DRIVER: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def available() -> tuple[Device, ...]:
    """The devices of this machine. Fast, and it never raises.

    >>> [device.name for device in available() if not device.index]
    ['cpu', ...'cuda:emulated']
    """
    gpus = [Device(f"cuda:{k}") for k in range(gpu_count())]
    return (CPU, *gpus, Device("cuda:emulated"))


@lru_cache
def gpu_count() -> int:
    """How many GPUs the driver shows; 0 if there is no driver."""
    try:
        library = ctypes.CDLL(_DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def version_of(package: str) -> str | None:
    """The installed version of a package, if any."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@lru_cache
def driver() -> Any:
    """The module ``cuda.bindings.driver``, its driver there and initialised."""
    if not gpu_count():
        unavailable("A GPU")
    try:
        module = importlib.import_module("cuda.bindings.driver")
    except ImportError:
        unavailable("The driver of a GPU")
    (status,) = module.cuInit(0)
    if status:
        unavailable("A GPU")
    return module


@lru_cache
def core() -> Any:
    """The module ``cuda.core``."""
    try:
        return importlib.import_module("cuda.core")
    except ImportError:
        unavailable("The driver of a GPU")


@lru_cache
def nvjitlink() -> Any:
    """The module ``cuda.bindings.nvjitlink``; needs no GPU."""
    try:
        module = importlib.import_module("cuda.bindings.nvjitlink")
        module.version()  # loads the library
    except (ImportError, RuntimeError):
        unavailable("The assembler")
    return module


@lru_cache
def cublaslt() -> ctypes.CDLL:
    """The cuBLASLt library; needs no GPU until a handle is made."""
    path = cublaslt_path()
    if path is None:
        unavailable("cuBLASLt")
    return ctypes.CDLL(path)


@lru_cache
def cublaslt_path() -> str | None:
    """Where the cuBLASLt library is, if anywhere."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        return pathfinder.load_nvidia_dynamic_lib("cublasLt").abs_path
    except (ImportError, RuntimeError):
        return None


@lru_cache
def disassembler() -> str:
    """Path of ``nvdisasm``."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        path = pathfinder.find_nvidia_binary_utility("nvdisasm")
    except (ImportError, RuntimeError):
        path = None
    if path is None:
        unavailable("The disassembler")
    return path


def unavailable(what: str) -> NoReturn:
    """Raise the one error for all that is missing."""
    raise DeviceError(f"{what} is not available. {report()}")


def report() -> str:
    """What was looked for, what was found, and what to do."""
    found = [f"the driver ({_DRIVER}): {_driver_state()}"]
    for package, use in PACKAGES.items():
        found.append(f"{package} ({use}): {version_of(package) or 'not installed'}")
    return (
        "Looked for " + "; ".join(found) + ". `pip install graphad[cuda]` brings all but the driver, which comes with "
        "a GPU and must be of release 580 or later. device='cuda:emulated' runs the same kernels on the CPU and needs "
        "none of these."
    )


def _driver_state() -> str:
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return "not found"
    gpus = gpu_count()
    return f"found, with {gpus} GPU{'' if gpus == 1 else 's'}"
