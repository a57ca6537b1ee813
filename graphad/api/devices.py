"""Devices and arrays on them, as users see them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from graphad.api.placement import memories_of, named, on_device
from graphad.api.stages import available_devices
from graphad.config import config
from graphad.device import Device
from graphad.errors import ConcretizationError
from graphad.trace.array import Array, to_array
from graphad.trace.bind import type_of
from graphad.trace.device_array import DeviceArray
from graphad.trace.pytree import flatten, path_text, tree_map, unflatten
from graphad.trace.source import where
from graphad.trace.tracer import Tracer


def devices() -> list[Device]:
    """The devices there are: the CPU, each GPU that has a driver, and the emulated one.

    Examples
    --------
    >>> import graphad
    >>> graphad.devices()  # doctest: +ELLIPSIS
    [Device('cpu'), ...Device('cuda:emulated')]
    """
    return available_devices()


def default_device(device: str | Device) -> AbstractContextManager[None]:
    """A ``with`` block in which compiled functions run on ``device`` where their arguments belong to none.

    The same as ``config.override(default_device=device)``; ``config.update("default_device", ...)`` is for the whole
    process. Operations outside compiled functions run where their operands are.

    Examples
    --------
    >>> import graphad
    >>> with graphad.default_device("cuda:emulated"):
    ...     graphad.config.default_device
    'cuda:emulated'
    """
    return config.override(default_device=device)


def device_put(tree: Any, device: str | Device | None = None) -> Any:
    """The arrays of a pytree on ``device``, committed to it.

    A computation runs on the device that its operands are committed to, and operands of different devices are refused.
    Arrays on a GPU are committed. All other arrays on the CPU, NumPy's, and numbers are not: they are copied to the
    device of the operands they are used with. Results of computations with an array that is committed to the CPU are
    not committed.

    Parameters
    ----------
    tree
        Arrays, numbers, and containers of these.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"cuda:emulated"``; by default ``config.default_device``.

    Raises
    ------
    DeviceError
        The device, its driver or what serves it is missing.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.device_put({"w": gnp.ones(2)}, "cpu")
    {'w': Array([1., 1.], dtype=float32)}
    """
    place = named(config.default_device if device is None else device)
    leaves, treedef = flatten(tree)
    for k, x in enumerate(leaves):
        if isinstance(x, Tracer):
            path = path_text(tree, k)
            raise ConcretizationError(
                f"{where()}device_put: the array{path and ' at ' + path} is a traced value of type {x.aval}: it is "
                "where the program will run. Put the arguments of the compiled function, or write jit(..., device=...)."
            )
    return unflatten(treedef, [_put(x, place) for x in leaves])


def _put(x: Any, device: Device) -> Array:
    array = x if type(x) is DeviceArray else to_array(x)
    if device.is_host:
        placed = Array(array._value, array.weak_type)
        placed._committed = True
        return placed
    if array.device == device:
        return array
    aval, weak, _ = type_of(array)
    return on_device(memories_of([array._value], [aval], device, "device_put"), [aval], [weak])[0]


def device_get(tree: Any) -> Any:
    """A pytree with each Array, on whatever device, as a read-only NumPy array. Other leaves stay what they are.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.device_get([gnp.ones(2), 3.0])
    [array([1., 1.], dtype=float32), 3.0]
    """
    return tree_map(lambda x: np.asarray(x) if isinstance(x, Array) else x, tree)


def block_until_ready(tree: Any) -> Any:
    """Wait for the arrays of a pytree: programs on a GPU are queued; on the CPU every result is ready at once.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.block_until_ready({"x": gnp.array([1.0])})
    {'x': Array([1.], dtype=float32)}
    """
    for leaf in flatten(tree)[0]:
        if hasattr(leaf, "block_until_ready"):
            leaf.block_until_ready()
    return tree
