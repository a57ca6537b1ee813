"""NVIDIA's driver, its Python bindings and its libraries: found here, imported here, and nowhere else.

Nothing is looked for until it is needed. If anything is missing, one error lists all that was looked for.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import sys
from functools import lru_cache
from typing import Any, Final, NoReturn

from graphad.device import Device
from graphad.errors import DeviceError

#: What ``pip install graphad[cuda]`` brings, and what each is for.
PACKAGES: Final = {
    "cuda-core": "the driver's objects",
    "cuda-bindings": "calls of the driver",
    "nvidia-nvjitlink": "the assembler",
    "nvidia-cublas": "matrix products",
    "nvidia-cuda-nvdisasm": "the disassembler",
}
#: Enough to assemble kernels, and what a GPU needs besides; with their sizes on an x86-64 Linux.
_ASSEMBLE, _ALL = "`pip install graphad[cuda-assemble]` (150 MB)", "`pip install graphad[cuda]` (970 MB)"
_DRIVER: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def available() -> tuple[Device, ...]:
    """The GPUs of this machine, and the emulated one. Fast, and it never raises.

    >>> [device.name for device in available()]
    [...'cuda:emulated']
    """
    gpus = [Device(f"cuda:{k}") for k in range(gpu_count())]
    return (*gpus, Device("cuda:emulated"))


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
        _no_gpu()
    try:
        module = importlib.import_module("cuda.bindings.driver")
    except ImportError:
        unavailable("The driver of a GPU")
    (status,) = module.cuInit(0)
    if status:
        _no_gpu()
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
        unavailable("The assembler", assembling=True)
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
        unavailable("The disassembler", assembling=True)
    return path


def unavailable(what: str, *, assembling: bool = False) -> NoReturn:
    """Raise the one error for all that is missing; what only reads and writes machine code needs less."""
    raise DeviceError(f"{what} is not available. {report(assembling)}")


def _no_gpu() -> NoReturn:
    """Raise the error for a machine that has none, its own words first."""
    problem = (
        "The NVIDIA driver of this machine shows no GPU" if _driver_found() else "This machine has no NVIDIA driver"
    )
    raise DeviceError(f"{problem}. {report()}")


def report(assembling: bool = False) -> str:
    """What was looked for, what was found, and what to do."""
    found = [f"the driver ({_DRIVER}): {_driver_state()}"]
    for package, use in PACKAGES.items():
        found.append(f"{package} ({use}): {version_of(package) or 'not installed'}")
    enough = f"{_ASSEMBLE} is enough for it. To run on a GPU, " if assembling else ""
    return (
        f"Looked for {'; '.join(found)}. {enough}{_ALL} brings all but the driver, which comes with a GPU and must be "
        "of release 580 or later. device='cuda:emulated' runs the same kernels on the CPU and needs none of these."
    )


def _driver_found() -> bool:
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True


def _driver_state() -> str:
    if not _driver_found():
        return "not found"
    gpus = gpu_count()
    return f"found, with {gpus} GPU{'' if gpus == 1 else 's'}"
