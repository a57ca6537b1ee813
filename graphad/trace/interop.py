"""Protocols of arrays and tracers for other libraries: NumPy's dispatch, DLPack, the array API standard.

- Operators with a graphad operand are ours, also where a NumPy array is on the left: ``np_array * x`` is an `Array`,
  or traced. NumPy hands such an operator over as the ufunc it is made of, so that ``np.multiply(a, x)`` is the same.
- Every other function of NumPy, and of what is built on its protocols, computes with NumPy: ``np.sin(x)`` and
  ``np.mean(x)`` of an `Array` are NumPy's own arrays and numbers.
- On a traced value these raise, for they would cut the derivative, and name the function of `graphad.numpy` to use.
  Functions that only call a method (``np.sum(x)``) are traced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final

import numpy as np

from graphad.errors import ConcretizationError
from graphad.ir.types import aval, dtype_of
from graphad.trace import dlpack, hints
from graphad.trace.source import quoted, user_loc, where

NDArray = np.ndarray[Any, Any]

#: The ufuncs that Python's binary operators of a NumPy array are made of, and the methods of the left and of the right
#: operand that mean the same.
_COMPARISONS: Final = {
    "equal": ("__eq__", "__eq__"), "not_equal": ("__ne__", "__ne__"), "less": ("__lt__", "__gt__"),
    "less_equal": ("__le__", "__ge__"), "greater": ("__gt__", "__lt__"), "greater_equal": ("__ge__", "__le__"),
}  # fmt: skip
_ARITHMETIC: Final = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "floor_divide": "floordiv",
    "remainder": "mod", "divmod": "divmod", "power": "pow", "matmul": "matmul", "bitwise_and": "and",
    "bitwise_or": "or", "bitwise_xor": "xor", "left_shift": "lshift", "right_shift": "rshift",
}  # fmt: skip
_OPERATORS: Final = _COMPARISONS | {name: (f"__{op}__", f"__r{op}__") for name, op in _ARITHMETIC.items()}
_ASKING: Final = (np.ndim, np.shape, np.size)  # these need no values, and so no download
_ARRAY_API: Final = ("2021.12", "2022.12", "2023.12", "2024.12")
CPU: Final = (1, 0)  # DLPack's name of the device

_namespace: list[ModuleType] = []


def set_namespace(module: ModuleType) -> None:
    """Register the module `graphad.numpy`; it calls this itself, for it is on a higher floor."""
    _namespace[:] = [module]
    hints.set_namespace(module)


def array_namespace(x: Any, *, api_version: str | None = None) -> ModuleType:
    """``x.__array_namespace__()`` of the array API standard: `graphad.numpy`.

    It has most names of the standard; what is missing, such as functions whose result has a shape that depends on
    values, raises when it is used.
    """
    if api_version is not None and api_version not in _ARRAY_API:
        raise ValueError(f"{where()}there is no array API {api_version!r}; known: {', '.join(_ARRAY_API)}")
    return _namespace[0]


# ---------------------------------------------------------------------------------------------------------------------
# NumPy's dispatch


class Dispatch:
    """NumPy's two protocols, for `Array` and `Tracer`."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs:
            result = _operator(ufunc, inputs)
            if result is not NotImplemented:
                return result
        operands = (*inputs, *_outputs(kwargs))
        if (traced := _first_tracer(operands)) is not None:
            raise numpy_refused(traced, ufunc, in_place=traced is not inputs[0] and "out" in kwargs)
        if any(isinstance(y, Dispatch) for y in _outputs(kwargs)) or (
            method == "at" and isinstance(inputs[0], Dispatch)
        ):
            raise TypeError(f"{where()}np.{ufunc.__name__} cannot write into an Array: arrays are immutable")
        return getattr(ufunc, method)(*to_numpy(inputs), **to_numpy(kwargs))

    def __array_function__(
        self, function: Any, types: Sequence[type], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        # NumPy's own code of the function, without its dispatch: it calls our methods, or np.asarray.
        if function not in _ASKING and not any(getattr(t, "is_tracer", False) for t in types):
            return function(*to_numpy(args), **to_numpy(kwargs))
        try:
            return function._implementation(*args, **kwargs)
        except ConcretizationError as error:
            if type(error) is not ConcretizationError:
                raise
            traced = _first_tracer((*args, *kwargs.values()))
            raise (error if traced is None else numpy_refused(traced, function)) from None


def _operator(ufunc: np.ufunc, inputs: tuple[Any, ...]) -> Any:
    """``inputs[0] op inputs[1]`` as our own operators have it; NotImplemented where ``ufunc`` is no operator."""
    methods = _OPERATORS.get(ufunc.__name__)
    if methods is None or len(inputs) != 2 or getattr(np, ufunc.__name__) is not ufunc:
        return NotImplemented
    x, y = inputs
    forward, reflected = methods
    return getattr(y, reflected)(x) if isinstance(y, Dispatch) else getattr(x, forward)(y)


def _outputs(kwargs: dict[str, Any]) -> tuple[Any, ...]:
    out = kwargs.get("out", ())
    return out if isinstance(out, tuple) else (out,)


def _first_tracer(operands: Any) -> Any:
    """The first tracer among ``operands`` and what they contain, or None."""
    for x in operands:
        if getattr(type(x), "is_tracer", False):
            return x
        if isinstance(x, (list, tuple)) and (found := _first_tracer(x)) is not None:
            return found
    return None


def to_numpy(x: Any) -> Any:
    """``x`` with NumPy's arrays for those of ours, in lists, tuples and dicts as well."""
    if isinstance(x, Dispatch):
        return np.asarray(x)
    if type(x) is tuple or type(x) is list:
        return type(x)([to_numpy(y) for y in x])
    if type(x) is dict:
        return {k: to_numpy(v) for k, v in x.items()}
    return x


def numpy_refused(x: Any, function: Callable[..., Any], in_place: bool = False) -> Exception:
    """The error for a function of NumPy on the traced value ``x``; it names what to write."""
    what, instead = hints.of_function(function)
    if in_place:
        what, instead = "an in-place operator on a NumPy array", "Write a = a + x for a += x."
    loc = user_loc(2)
    return ConcretizationError(
        f"{where(loc)}{what} needs the numbers behind a traced value of type {x.aval}, and would cut its derivative."
        f"{quoted(loc)}{instead}"
    )


# ---------------------------------------------------------------------------------------------------------------------
# DLPack


def export_dlpack(
    value: NDArray, *, stream: None = None, max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None, copy: bool | None = None,
) -> Any:  # fmt: skip
    """``__dlpack__`` of an array over ``value``.

    The memory is shared where the protocol can say that it is read-only (DLPack 1.0); an older consumer gets a copy,
    which it may write to.
    """
    if stream is not None:
        raise BufferError(f"{where()}__dlpack__: arrays are on the CPU, which has no streams; pass stream=None")
    if dl_device not in (None, CPU):
        raise BufferError(f"{where()}__dlpack__: arrays are on the CPU, {CPU}, and are not copied to {dl_device}")
    if value.dtype.kind == "V":
        return _export_bfloat16(value, max_version, copy)
    if max_version is None or max_version < (1, 0):
        if copy is False:
            raise _cannot_share()
        return value.copy().__dlpack__(max_version=max_version)
    view = value.view()
    view.flags.writeable = False
    return view.__dlpack__(max_version=max_version, dl_device=dl_device, copy=copy)


def _export_bfloat16(value: NDArray, max_version: tuple[int, int] | None, copy: bool | None) -> Any:
    """The capsule of a dtype that NumPy does not know."""
    versioned = max_version is not None and max_version >= (1, 0)
    if not versioned and copy is False:
        raise _cannot_share()
    dense = np.array(value, order="C") if copy or not versioned else np.asarray(value, order="C")
    return dlpack.capsule(dense.ctypes.data, CPU, dtype_of(dense.dtype), dense.shape, dense, versioned=versioned)


def _cannot_share() -> BufferError:
    return BufferError(
        f"{where()}__dlpack__(copy=False): DLPack before 1.0 cannot say that the memory is read-only, "
        "as that of an Array is. Let it be copied, or update the library that asks."
    )


def import_dlpack(x: Any, copy: bool | None) -> NDArray:
    """The memory behind ``x`` as a NumPy array: shared if nobody can write to it, or if ``copy`` is False."""
    try:
        value = np.from_dlpack(x, copy=True) if copy else np.from_dlpack(x)
    except AttributeError:
        raise TypeError(f"{where()}from_dlpack: a {type(x).__name__} has no __dlpack__ method") from None
    except (RuntimeError, BufferError):  # before NumPy 2.5 and since: a dtype that it does not know, maybe bfloat16
        value = _read(x).copy() if copy else _read(x)
    wanted = dtype_of(value.dtype).numpy  # refuses what has no dtype of ours
    shareable = value.flags.c_contiguous and value.flags.aligned
    if copy is False and not shareable:
        raise ValueError(
            f"{where()}from_dlpack(copy=False): {aval(value.shape, dtype_of(wanted))} has gaps or another order, and "
            "programs read arrays without. Let it be copied."
        )
    if copy is False or (shareable and (copy or not value.flags.writeable)):
        return value
    return np.array(value, wanted, order="C")


def _read(x: Any) -> NDArray:
    """The memory behind ``x``, on the CPU, whatever its dtype; as writable, for the capsule need not say."""
    try:
        tensor = dlpack.take(x.__dlpack__(max_version=(1, 0)))
    except TypeError:  # older than DLPack 1.0
        tensor = dlpack.take(x.__dlpack__())
    except BufferError as error:
        raise BufferError(f"{where()}from_dlpack: {error}") from None
    return tensor.on_host()
