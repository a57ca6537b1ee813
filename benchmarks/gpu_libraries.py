"""graphad, JAX and PyTorch on one device, each made to run the programs of `gpu_programs` as its users would.

Matrix products and convolutions are in float32 everywhere: JAX and PyTorch would round operands to TF32 if they were
not told.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or JAX takes most of the memory at once

import numpy as np

import graphad
import graphad.numpy as gnp
from gpu_programs import Names, Program

RATE, MOMENTUM = 0.1, 0.9

Call = Callable[[], Any]


class Missing(Exception):
    """A library is not here, or has no such device; says which and why."""


def momentum_step(library: Any, loss: Callable[..., Any]) -> Callable[..., Any]:
    """A step of gradient descent with momentum, in graphad or JAX."""

    def step(params, velocities, *batch):
        value, slopes = library.value_and_grad(loss)(params, *batch)
        velocities = library.tree.map(lambda v, g: MOMENTUM * v + g, velocities, slopes)
        params = library.tree.map(lambda p, v: p - RATE * v, params, velocities)
        return params, velocities, value

    return step


def traced_names(numpy: Any, lax: Any) -> Names:
    """Those of graphad and JAX."""

    def pick(rows, numbers):
        return numpy.take_along_axis(rows, numbers[:, None], 1)[:, 0]

    def pool(x):
        return lax.reduce_window(x, -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    return Names(
        numpy=numpy,
        row_max=lambda x: x.max(-1, keepdims=True),
        pick=pick,
        relu=lambda x: numpy.maximum(x, 0),
        conv=lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME"),
        pool=pool,
        sort=lambda x: numpy.sort(x, -1),
    )


class Traced:
    """A library that compiles functions of arrays: graphad or JAX.

    Parameters
    ----------
    name
        For the table.
    library, numpy, lax
        Its modules.
    device
        What its ``device_put`` takes.
    """

    def __init__(self, name: str, library: Any, numpy: Any, lax: Any, device: Any) -> None:
        self.name = name
        self.library = library
        self.names = traced_names(numpy, lax)
        self.device = device

    def prepare(self, program: Program, arguments: tuple[Any, ...]) -> Call:
        """A call that queues the program; a training step goes on from the last one."""
        function, library = program.function(self.names), self.library
        if not program.trains:
            placed = library.device_put(arguments, self.device)
            wanted = library.value_and_grad(function, program.wrt) if program.wrt else function
            self.compiled, self.example = library.jit(wanted), arguments
            return lambda: self.compiled(*placed)
        params, *batch = arguments
        self.compiled = library.jit(momentum_step(library, function), donate_argnums=(0, 1))
        self.example = (params, library.tree.map(np.zeros_like, params), *batch)
        *state, images, numbers = library.device_put(self.example, self.device)

        def step() -> Any:
            *state[:], value = self.compiled(*state, images, numbers)
            return state[0], value

        return step

    def wait(self, result: Any) -> None:
        self.library.block_until_ready(result)

    def leaves(self, result: Any) -> list[np.ndarray]:
        return [np.asarray(x) for x in self.library.tree.leaves(result)]


class Torch:
    """PyTorch, eager or through ``torch.compile``."""

    def __init__(self, torch: Any, device: str, *, compiled: bool) -> None:
        self.name = "torch.compile" if compiled else "torch"
        self.torch = torch
        self.device = device
        self.compiled = compiled
        functional = torch.nn.functional
        self.names = Names(
            numpy=torch,
            row_max=lambda x: x.amax(-1, keepdim=True),
            pick=lambda rows, numbers: torch.gather(rows, 1, numbers[:, None])[:, 0],
            relu=torch.relu,
            conv=lambda x, k: functional.conv2d(x, k, padding="same"),
            pool=lambda x: functional.max_pool2d(x, 2),
            sort=lambda x: torch.sort(x, -1).values,
        )

    def put(self, x: Any) -> Any:
        """An array, or the arrays in lists and tuples, on the device; labels as PyTorch wants them, in 64 bits."""
        if isinstance(x, (list, tuple)):
            return type(x)([self.put(y) for y in x])
        tensor = self.torch.from_numpy(np.array(x)).to(self.device)
        return tensor.long() if x.dtype.kind == "i" else tensor

    def prepare(self, program: Program, arguments: tuple[Any, ...]) -> Call:
        """A call that queues the program; a training step goes on from the last one."""
        torch = self.torch
        function, placed = program.function(self.names), self.put(arguments)
        if self.compiled:
            torch.compiler.reset()
            function = torch.compile(function)
        if program.trains:
            tensors = [t.requires_grad_() for layer in placed[0] for t in layer]
            optimizer = torch.optim.SGD(tensors, RATE, MOMENTUM, foreach=True)

            def step() -> Any:
                optimizer.zero_grad()
                value = function(*placed)
                value.backward()
                optimizer.step()
                return [t.detach() for t in tensors], value.detach()

            return step
        if not program.wrt:
            return lambda: function(*placed)
        wanted = [placed[k].requires_grad_() for k in program.wrt]

        def gradient() -> Any:
            value = function(*placed)
            return value.detach(), torch.autograd.grad(value, wanted)

        return gradient

    def wait(self, result: Any) -> None:
        if self.device != "cpu":
            self.torch.cuda.synchronize(self.device)

    def leaves(self, result: Any) -> list[np.ndarray]:
        flat = result if isinstance(result, (list, tuple)) else [result]
        return [a for x in flat for a in (self.leaves(x) if isinstance(x, (list, tuple)) else [x.cpu().numpy()])]


Library = Traced | Torch


class Reference(Traced):
    """The same programs in float64 by NumPy, which computes what is not compiled."""

    def __init__(self) -> None:
        super().__init__("NumPy", graphad, gnp, graphad.lax, "cpu")

    def prepare(self, program: Program, arguments: tuple[Any, ...]) -> Call:
        wide = graphad.tree.map(lambda x: x.astype(np.float64) if x.dtype.kind == "f" else x, arguments)
        with graphad.config.override(disable_jit=True):
            return super().prepare(program, wide)


def open_graphad(device: str) -> Traced:
    """graphad on a device of its own naming."""
    return Traced("graphad", graphad, gnp, graphad.lax, device)


def open_jax(device: str) -> Traced:
    """JAX on the GPU of the same number, or beside an emulated one on the CPU."""
    jax = _module("jax")
    jax.config.update("jax_default_matmul_precision", "float32")
    place = graphad.device.parse(device)
    platform = "gpu" if _is_real(device) else "cpu"
    try:
        found = jax.devices(platform)
    except RuntimeError:
        raise Missing(f"jax {jax.__version__} sees no GPU") from None
    if place.index >= len(found):
        raise Missing(f"jax {jax.__version__} sees {len(found)} GPUs only")
    return Traced("jax", jax, jax.numpy, jax.lax, found[place.index])


def open_torch(device: str, *, compiled: bool) -> Torch:
    """PyTorch on the same GPU, or beside an emulated one on the CPU."""
    torch = _module("torch")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    place = graphad.device.parse(device)
    if not _is_real(device):
        return Torch(torch, "cpu", compiled=compiled)
    if place.index >= torch.cuda.device_count():
        raise Missing(f"torch {torch.__version__} does not see {place}")
    return Torch(torch, place.name, compiled=compiled)


#: By the names on the command line.
PEERS: dict[str, Callable[[str], Library]] = {
    "torch": lambda device: open_torch(device, compiled=False),
    "torch.compile": lambda device: open_torch(device, compiled=True),
    "jax": open_jax,
}


def _is_real(device: str) -> bool:
    place = graphad.device.parse(device)
    return place.kind == "cuda" and not place.is_emulated


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Missing(f"{name} is not installed") from None
