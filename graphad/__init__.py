"""graphad: derivatives of ordinary numerical code, compiled, with a compiler you can read.

A Python function is traced once into a graph; every transformation (derivative, batching, simplification) is a pure
function from graph to graph; the final graph becomes one compiled program.

>>> import graphad
>>> graphad.grad(lambda x: x**2)(3.0)
Array(6., dtype=float32, weak_type=True)
"""

from __future__ import annotations

import typing as _t
from importlib import import_module as _import_module

from graphad.ir.collector import paused as _paused

with _paused():  # a fifth of the time
    from graphad import numpy as numpy  # first: it gives Array and Tracer their operators
    from graphad import tree as tree
    from graphad import tree_util as tree_util
    from graphad.api.abstract import ShapeDtypeStruct as ShapeDtypeStruct
    from graphad.api.abstract import eval_shape as eval_shape
    from graphad.api.abstract import make_graph as make_graph
    from graphad.api.callbacks import pure_callback as pure_callback
    from graphad.api.check_grads import check_grads as check_grads
    from graphad.api.check_vmap import check_vmap as check_vmap
    from graphad.api.checkpoint import checkpoint as checkpoint
    from graphad.api.compile_grad import compile_grad as compile_grad
    from graphad.api.custom import custom_jvp as custom_jvp
    from graphad.api.custom import custom_vjp as custom_vjp
    from graphad.api.devices import block_until_ready as block_until_ready
    from graphad.api.devices import default_device as default_device
    from graphad.api.devices import device_get as device_get
    from graphad.api.devices import device_put as device_put
    from graphad.api.devices import devices as devices
    from graphad.api.grad import grad as grad
    from graphad.api.grad import value_and_grad as value_and_grad
    from graphad.api.jacobian import hessian as hessian
    from graphad.api.jacobian import hvp as hvp
    from graphad.api.jacobian import jacfwd as jacfwd
    from graphad.api.jacobian import jacobian as jacobian
    from graphad.api.jacobian import jacrev as jacrev
    from graphad.api.jit import jit as jit
    from graphad.api.linear_maps import jvp as jvp
    from graphad.api.linear_maps import linear_transpose as linear_transpose
    from graphad.api.linear_maps import linearize as linearize
    from graphad.api.linear_maps import vjp as vjp
    from graphad.api.names import listing as _listing
    from graphad.api.stop_gradient import stop_gradient as stop_gradient
    from graphad.api.vmap import vmap as vmap
    from graphad.config import config as config
    from graphad.trace.array import Array as Array
    from graphad.trace.float0 import float0 as float0
    from graphad.trace.tracebacks import install as _install
    from graphad.version import __version__ as __version__

if _t.TYPE_CHECKING:
    from graphad import debug as debug
    from graphad import dtypes as dtypes
    from graphad import experimental as experimental
    from graphad import flatten_util as flatten_util
    from graphad import lax as lax
    from graphad import nn as nn
    from graphad import optim as optim
    from graphad import random as random
    from graphad import solve as solve
    from graphad import train as train

_install()

#: Imported when first used: start-up time.
_LATER = ("debug", "dtypes", "experimental", "flatten_util", "lax", "nn", "optim", "random", "solve", "train")


if not _t.TYPE_CHECKING:  # it would give every misspelt name a type

    def __getattr__(name: str) -> _t.Any:
        if name in _LATER:
            return _import_module(f"graphad.{name}")
        raise AttributeError(f"module 'graphad' has no attribute {name!r}")


__dir__ = _listing(globals(), "errors", "numpy", "tree", "tree_util", *_LATER)
