"""Runs device programs on the emulator, their kernels compiled from Numba source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

from graphad.backends.cuda.emulator import Module
from graphad.backends.cuda.numba import adapter as numba_adapter
from graphad.backends.cuda.numba.kernel import dynamic_shared
from graphad.backends.cuda.program.ir import DeviceProgram
from graphad.backends.cuda.ptx.emit import KernelLaunch, emit
from tests.backends.loop_harness import Arrays
from tests.cuda.emit import harness


def run(p: DeviceProgram, inputs: Sequence[Any] = (), *, architecture: str = "sm_90", **options: Any) -> Arrays:
    """The outputs. Matrix products, which are no kernels of the program, are those of `ptx.emit`."""
    module = emit(p, architecture=architecture, **options)
    shared = {k.name: dynamic_shared(k) for k in p.launches}
    launches = [replace(s, shared_bytes=shared[s.entry]) if _is_kernel(s, shared) else s for s in module.launches]
    products = Module(module.ptx).kernels
    kernels = {k.name: _kernel(p, k.name, architecture, options) for k in p.launches if k.blocks}
    loaded = SimpleNamespace(kernels=products | kernels)
    with mock.patch.object(harness, "Module", return_value=loaded):
        return harness.run_module(p, replace(module, launches=tuple(launches)), inputs)


def _is_kernel(step: Any, kernels: dict[str, int]) -> bool:
    return isinstance(step, KernelLaunch) and step.entry in kernels


def _kernel(p: DeviceProgram, name: str, architecture: str, options: dict[str, Any]) -> Any:
    return Module(numba_adapter.ptx(p, name, architecture, **options)).kernels[name]
