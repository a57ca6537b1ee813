"""`Array`: the immutable array of graphad, a thin wrapper of one NumPy array."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphad.device import CPU, Device
from graphad.errors import DeletedArrayError
from graphad.ir.evaluate import conform
from graphad.ir.graph import Graph
from graphad.ir.primitive import Primitive
from graphad.ir.types import BY_NUMPY, Aval, DType, Literal, OperandType, aval, dtype_of
from graphad.trace.interop import CPU as DLPACK_CPU
from graphad.trace.interop import Dispatch, export_dlpack
from graphad.trace.operators import Operators
from graphad.trace.scalars import is_scalar, number, scalar_array
from graphad.trace.source import located, where

NDArray = np.ndarray[Any, Any]


def _read_only(value: NDArray) -> NDArray:
    view = value.view()
    view.setflags(write=False)
    return view


class ArrayType(type):
    """Metaclass of `Array`: a tracer is an Array to ``isinstance``, so that user code cannot tell them apart."""

    def __instancecheck__(cls, instance: object) -> bool:
        kind: Any = type(instance)
        return kind is cls or (cls is Array and getattr(kind, "is_tracer", None) is not None)


class Array(Operators, Dispatch, metaclass=ArrayType):
    """An immutable n-dimensional array. This class itself holds those on the CPU.

    Made by `graphad.numpy.array`, `asarray` and every function of `graphad.numpy`; ``x[i] = v`` is written
    ``x = x.at[i].set(v)``. ``np.asarray(x)`` is a read-only view of the same memory.

    Attributes
    ----------
    weak_type : bool
        The dtype came from Python scalars alone, and gives way to that of other operands in promotion.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> gnp.array([1.0, 2.0])
    Array([1., 2.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_committed", "_value", "weak_type")
    __array_priority__ = 100
    is_tracer = False
    takes_over = False  # whether a primitive with such an operand is run by that operand's class
    __hash__: Any

    _committed: bool  # set, to True, by `graphad.device_put` alone
    _value: NDArray
    weak_type: bool

    def __init__(self, value: NDArray, weak_type: bool = False) -> None:
        self._value = value
        self.weak_type = weak_type

    # --- what it is

    @property
    def aval(self) -> Aval:
        value = self._value
        return aval(value.shape, BY_NUMPY[value.dtype])

    @property
    def shape(self) -> tuple[int, ...]:
        return self._value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._value.dtype

    @property
    def ndim(self) -> int:
        return self._value.ndim

    @property
    def size(self) -> int:
        return self._value.size

    @property
    def nbytes(self) -> int:
        return self._value.nbytes

    @property
    def itemsize(self) -> int:
        return self._value.itemsize

    @property
    def device(self) -> Device:
        """The device that it is on."""
        return CPU

    def devices(self) -> set[Device]:
        """The set of its device, as in JAX."""
        return {self.device}

    def __emit__(
        self, primitive: Primitive, operands: Sequence[Any], params: tuple[Any, ...], regions: tuple[Graph, ...] = ()
    ) -> Any:
        for x in operands:
            if getattr(type(x), "takes_over", False):
                return x.__emit__(primitive, operands, params, regions)
        return run_reference(primitive, operands, params)

    def as_weak(self, weak_type: bool) -> Array:
        """The same memory, its dtype marked weak or not."""
        return Array(self._value, weak_type)

    # --- out to Python and NumPy

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        value = self._value
        if dtype is not None and np.dtype(dtype) != value.dtype:
            if copy is False:
                raise ValueError(f"np.asarray(..., copy=False) cannot change dtype {value.dtype} to {np.dtype(dtype)}")
            return value.astype(dtype)
        if copy:
            return value.copy()
        return _read_only(value)

    @property
    def __array_struct__(self) -> Any:  # NumPy asks for this first, and takes it in a tenth of the time
        value = self._value
        if value.dtype.kind == "V":  # bfloat16: the protocols have no word for it, so NumPy goes by __array__
            raise AttributeError("__array_struct__")
        return _read_only(value).__array_struct__

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if self._value.dtype.kind == "V":
            raise AttributeError("__array_interface__")
        return self.__array__().__array_interface__

    def __dlpack__(self, **options: Any) -> Any:
        return export_dlpack(self._value, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return DLPACK_CPU

    def __bool__(self) -> bool:
        if self._value.size != 1:
            raise ValueError(
                f"{where()}the truth value of an array of shape {self.shape} is ambiguous. Use x.any() or x.all()."
            )
        return bool(self._value.item())

    def __int__(self) -> int:
        return int(self._only_element("int"))

    def __float__(self) -> float:
        return float(self._only_element("float"))

    def __complex__(self) -> complex:
        return complex(self._only_element("complex"))

    def __index__(self) -> int:
        if not np.issubdtype(self.dtype, np.integer) or self.ndim:
            raise TypeError(f"{where()}only integer scalars can be an index, not {self.aval}. Write int(x).")
        return int(self._value)

    def _only_element(self, kind: str) -> Any:
        if self._value.size != 1:
            raise TypeError(f"{where()}{kind}() takes an array of one element, not one of shape {self._value.shape}")
        return self._value.item()

    def item(self, *args: int) -> Any:
        return self._value.item(*args)

    def tolist(self) -> Any:
        return self._value.tolist()

    def tobytes(self) -> bytes:
        return self._value.tobytes()

    def __len__(self) -> int:
        if not self._value.ndim:
            raise TypeError(f"{where()}len() of an array without axes")
        return self._value.shape[0]

    def delete(self) -> None:
        """Free the memory now; any later use of the array raises `DeletedArrayError`."""
        if not self.is_deleted():
            del self._value

    def is_deleted(self) -> bool:
        """Whether `delete` was called, or the array was donated to a compiled function."""
        try:
            _ = self._value
        except DeletedArrayError:
            return True
        return False

    if not TYPE_CHECKING:  # it would give every misspelt name a type

        def __getattr__(self, name: str) -> Any:  # only of what is not there
            if name == "_value":
                raise deleted()
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def block_until_ready(self) -> Array:
        """The array itself: on the CPU every result is ready when it is returned."""
        return self

    # --- text

    def __repr__(self) -> str:
        return "Array(deleted)" if self.is_deleted() else array_repr(self._value, self.weak_type, self.device)

    def __str__(self) -> str:
        return str(self._value)

    def __format__(self, spec: str) -> str:
        # A scalar formats as the Python number it holds, as a NumPy scalar does.
        return format(self._value[()], spec) if not self._value.ndim else format(self._value, spec)

    # --- what it refuses

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(where() + refuse_assignment(index))

    def __copy__(self) -> Array:
        return self

    def __deepcopy__(self, _memo: Any) -> Array:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpickle, (self._value, self.weak_type))


def refuse_hash(self: object) -> int:
    """``__hash__`` of arrays and tracers."""
    raise TypeError(
        f"{where()}unhashable: an Array compares elementwise, so it cannot be a dictionary key or a static argument. "
        "Use x.tobytes(), x.item() or tuple(x.tolist())."
    )


# Set from outside the class: __eq__ comes later, with the operators of graphad.numpy, and must not undo it.
Array.__hash__ = refuse_hash


def _unpickle(value: NDArray, weak_type: bool) -> Array:
    return Array(value, weak_type)


def deleted() -> DeletedArrayError:
    """The error for the use of a deleted array."""
    return DeletedArrayError(
        f"{where()}this array is deleted: it was donated to a compiled function. Use what that function "
        "returned, or take the argument out of its donate_argnums."
    )


def refuse_assignment(index: Any) -> str:
    """The message for ``x[index] = value``."""
    shown = {int: repr, slice: _slice_text}.get(type(index), lambda _: "i")(index)
    return (
        f"arrays are immutable: x[{shown}] = v would change every value computed from x. "
        f"Write x = x.at[{shown}].set(v) instead."
    )


def _slice_text(s: slice) -> str:
    text = f"{'' if s.start is None else s.start}:{'' if s.stop is None else s.stop}"
    return text if s.step is None else f"{text}:{s.step}"


def array_repr(value: NDArray, weak_type: bool, device: Device = CPU) -> str:
    """``Array([2., 36.], dtype=float32)``, with ``weak_type=True`` and ``device=cuda:0`` where they hold."""
    head = "Array("
    suffix = f", dtype={value.dtype.name}" + (", weak_type=True" if weak_type else "")
    suffix += ")" if device.is_host else f", device={device})"
    if value.size == 0:
        return f"{head}[], shape={value.shape}{suffix}"
    body = np.array2string(value, separator=", ", prefix=head, suffix=",")
    last_line = len(body) - (body.rfind("\n") + 1)
    if last_line + len(suffix) > np.get_printoptions()["linewidth"]:
        suffix = "," + "\n" + " " * len(head) + suffix[2:]
    return head + body + suffix


# ---------------------------------------------------------------------------------------------------------------------
# From Python and NumPy values


def to_array(x: Any) -> Array:
    """An `Array` of a Python scalar, a NumPy scalar or array, or anything with ``__array__``.

    Python scalars become weakly typed. A writable NumPy array is copied: no Array aliases memory the caller can change.

    Raises
    ------
    TypeError
        For lists and tuples (write ``graphad.numpy.array``), for None, strings and objects.
    """
    kind = type(x)
    if kind is Array or issubclass(kind, Array):
        return x
    if is_scalar(x):
        return Array(scalar_array(x), kind is not bool)
    if isinstance(x, np.generic):
        return Array(np.asarray(x, dtype_of(x.dtype).numpy))
    if isinstance(x, np.ndarray):
        return Array(snapshot(x))
    if not isinstance(x, (list, tuple, str, bytes, dict, set)) and hasattr(x, "__array__"):
        return Array(snapshot(np.asarray(x)))
    if isinstance(x, complex):
        raise TypeError("complex numbers are not supported; graphad differentiates real arithmetic")
    raise TypeError(
        f"expected an array or a number, not {kind.__name__}"
        + (": write graphad.numpy.array(...) around it" if isinstance(x, (list, tuple)) else as_container(x))
    )


def as_container(x: Any) -> str:
    """For messages: how to make the object ``x`` a container of arrays, where that is known."""
    fields = getattr(type(x), "__dataclass_fields__", None)
    if not fields:
        return ""
    name, parts = type(x).__name__, ", ".join([f"p.{field}" for field in fields])
    return (
        f": a dataclass is a container of arrays once it is registered. Write graphad.tree_util.register_pytree_node("
        f"{name}, lambda p: (({parts},), None), lambda _, parts: {name}(*parts)) below the class"
    )


def snapshot(x: NDArray) -> NDArray:
    """``x`` if nobody can change it, else a copy; in native byte order and without gaps, as programs read it."""
    refuse_masked(x)
    native = dtype_of(x.dtype).numpy
    base: Any = x
    while isinstance(base, np.ndarray) and not base.flags.writeable and base.base is not None:
        base = base.base
    frozen = isinstance(base, (np.ndarray, bytes)) and not getattr(getattr(base, "flags", None), "writeable", False)
    usable = frozen and x.dtype == native and x.flags.c_contiguous and type(x) is np.ndarray
    return x if usable else np.array(x, native, order="C")


def refuse_masked(x: Any) -> None:
    """Raise for a masked array of NumPy, whose mask would be lost silently."""
    if type(x) is np.ndarray:
        return
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(x, masked.MaskedArray):
        raise TypeError(
            f"{where()}a masked array would lose its mask here. Hand over x.filled(0) and the mask itself: functions "
            "such as graphad.numpy.mean take where=~np.ma.getmaskarray(x)."
        )


def run_reference(primitive: Primitive, operands: Sequence[Any], params: tuple[Any, ...]) -> Any:
    """Evaluate a primitive on concrete operands with NumPy; Arrays out."""
    values: list[Any] = []
    types: list[OperandType] = []
    for x in operands:
        if type(x) is Array:
            x = x._value
        elif not isinstance(x, np.ndarray):
            lit = x if type(x) is Literal else number(x, dtype_of_scalars(primitive, operands))
            values.append(lit.value)
            types.append(lit.type)
            continue
        values.append(x)
        types.append(aval(x.shape, BY_NUMPY[x.dtype]))
    try:
        avals = primitive.infer(tuple(types), params, ())
    except (TypeError, ValueError) as error:
        raise located(error) from None
    with np.errstate(all="ignore"):
        results = primitive.evaluate(tuple(values), params)
    if primitive.multiple:
        return [Array(conform(r, a)) for r, a in zip(results, avals, strict=True)]
    return Array(conform(results, avals[0]))


def dtype_of_scalars(primitive: Primitive, operands: Sequence[Any]) -> DType:
    """The dtype to which Python scalars among ``operands`` are converted."""
    for x in operands[primitive.scalars_from :]:
        if isinstance(x, (Array, np.ndarray)):
            return BY_NUMPY[x.dtype]
        if type(x) is Literal:
            return x.dtype
    raise AssertionError(f"{primitive.name}: no typed operand beside the Python scalars")
