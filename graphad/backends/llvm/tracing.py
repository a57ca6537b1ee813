"""Tracing of the elementary functions: symbolic vectors that write LLVM text, on which `mathlib` runs them.

Each operation of a `Vector` becomes one line of a `Writer`. Constants must have the type of the vector that they are
combined with, as Numba would otherwise promote them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from graphad_kernels.math import helpers as vocabulary

from graphad.ir.types import f64, float_bits

LLVM_TYPES: Final = {"f32": "float", "f64": "double", "i32": "i32", "u32": "i32", "i64": "i64", "bool": "i1"}
_WIDTHS: Final = {"f32": 32, "f64": 64, "i32": 32, "u32": 32, "i64": 64}


def vector_type(element: str, lanes: int) -> str:
    """LLVM's name of a vector of ``lanes`` elements, of a scalar if that is 1."""
    return element if lanes == 1 else f"<{lanes} x {element}>"


class Writer:
    """The lines of one function, and the declarations that it needs.

    Parameters
    ----------
    lanes
        Of every vector.
    fma
        Whether the target has fused multiply-add instructions.
    slow_path
        Symbol and declaration of the scalar function that `patch` calls.
    """

    def __init__(self, lanes: int, fma: bool, slow_path: Callable[[str, str], tuple[str, str]] | None = None) -> None:
        self.lanes = lanes
        self.fma = fma
        self.slow_path = slow_path
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.outside: set[str] = set()
        self.block = "entry"
        self._names: dict[str, str] = {}
        self._count = 0

    def type(self, dtype: str) -> str:
        return vector_type(LLVM_TYPES[dtype], self.lanes)

    def line(self, instruction: str) -> str:
        """Append a pure instruction, unless there is an equal one, and name its value."""
        name = self._names.get(instruction)
        if name is None:
            name = self._names[instruction] = self.fresh()
            self.lines.append(f"  {name} = {instruction}")
        return name

    def fresh(self) -> str:
        self._count += 1
        return f"%v{self._count}"

    def call(self, intrinsic: str, dtype: str, operands: Sequence[str], result: str | None = None) -> str:
        """Call an LLVM intrinsic that is overloaded on one vector type."""
        kind = self.type(dtype)
        suffix = LLVM_TYPES[dtype].replace("float", "f32").replace("double", "f64")
        name = f"@llvm.{intrinsic}.{suffix if self.lanes == 1 else f'v{self.lanes}{suffix}'}"
        self.outside.add(f"declare {result or kind} {name}({', '.join([kind] * len(operands))})")
        return self.line(f"call {result or kind} {name}({', '.join(f'{kind} {o}' for o in operands)})")

    def constant(self, value: Any, dtype: str) -> str:
        """The text of a constant, which must be of that dtype."""
        if dtype in ("f32", "f64"):
            if (type(value) is np.float32) != (dtype == "f32") or not isinstance(value, float | np.floating):
                raise TypeError(f"constant {value!r} meets a vector of {dtype}; write it in that type")
            # LLVM writes a float as the bits of the double with the same value
            quiet = value if value == value else abs(float("nan"))
            text = f"0x{float_bits(float(quiet), f64):016X}"
        elif isinstance(value, int) and dtype != "bool":
            width = _WIDTHS[dtype]
            text = str((value + (1 << (width - 1))) % (1 << width) - (1 << (width - 1)))
        else:
            raise TypeError(f"constant {value!r} meets a vector of {dtype}")
        return text if self.lanes == 1 else f"splat ({LLVM_TYPES[dtype]} {text})"


def _operator(float_op: str | None, integer_op: str, unsigned_op: str | None = None) -> Any:
    """The methods of a binary operator and of the reflected one."""

    def instruction(dtype: str) -> str:
        if dtype[0] == "f":
            if float_op is None:
                raise TypeError(f"{integer_op} of {dtype}")
            return float_op
        return unsigned_op if unsigned_op is not None and dtype[0] == "u" else integer_op

    def forward(self: Vector, other: Any) -> Vector:
        return self.binary(instruction(self.dtype), self.text, self.operand(other))

    def reflected(self: Vector, other: Any) -> Vector:
        return self.binary(instruction(self.dtype), self.operand(other), self.text)

    return forward, reflected


def _comparison(float_op: str, integer_op: str) -> Any:
    def compare(self: Vector, other: Any) -> Vector:
        text = f"{float_op if self.dtype[0] == 'f' else integer_op} {self.kind} {self.text}, {self.operand(other)}"
        return Vector(self.writer, self.writer.line(text), "bool")

    return compare


class Vector(vocabulary.Symbolic):
    """A value of the function being traced: its name in the text and its element type."""

    __slots__ = ("dtype", "text", "writer")

    def __init__(self, writer: Writer, text: str, dtype: str) -> None:
        self.writer = writer
        self.text = text
        self.dtype = dtype

    @property
    def kind(self) -> str:
        return self.writer.type(self.dtype)

    def operand(self, other: Any) -> str:
        """The text of the other operand of an operator on this value."""
        if not isinstance(other, Vector):
            return self.writer.constant(other, self.dtype)
        if other.dtype != self.dtype:
            raise TypeError(f"{self.dtype} meets {other.dtype}")
        return other.text

    def binary(self, instruction: str, left: str, right: str) -> Vector:
        return Vector(self.writer, self.writer.line(f"{instruction} {self.kind} {left}, {right}"), self.dtype)

    __add__, __radd__ = _operator("fadd", "add")
    __sub__, __rsub__ = _operator("fsub", "sub")
    __mul__, __rmul__ = _operator("fmul", "mul")
    __truediv__, __rtruediv__ = _operator("fdiv", "no division")
    __and__, __rand__ = _operator(None, "and")
    __or__, __ror__ = _operator(None, "or")
    __xor__, __rxor__ = _operator(None, "xor")
    __lshift__, __rlshift__ = _operator(None, "shl")
    __rshift__, __rrshift__ = _operator(None, "ashr", "lshr")
    __lt__ = _comparison("fcmp olt", "icmp slt")
    __le__ = _comparison("fcmp ole", "icmp sle")
    __gt__ = _comparison("fcmp ogt", "icmp sgt")
    __ge__ = _comparison("fcmp oge", "icmp sge")
    __eq__ = _comparison("fcmp oeq", "icmp eq")
    __ne__ = _comparison("fcmp une", "icmp ne")
    __hash__ = None  # pyright: ignore[reportAssignmentType] - equality is recorded

    def __neg__(self) -> Vector:
        if self.dtype[0] == "f":
            return Vector(self.writer, self.writer.line(f"fneg {self.kind} {self.text}"), self.dtype)
        return 0 - self

    def __bool__(self) -> bool:
        raise TypeError("an elementary function must not branch on its operands; write select or patch")

    def record(self, helper: str, arguments: tuple[Any, ...]) -> Any:
        return _RECORDERS[helper](self.writer, *arguments)


# ---------------------------------------------------------------------------------------------------------------------
# The helpers, one by one


def _first(operands: Sequence[Any]) -> Vector:
    return next(operand for operand in operands if isinstance(operand, Vector))


def _intrinsic(name: str) -> Callable[..., Vector]:
    def record(writer: Writer, *operands: Any) -> Vector:
        beside = _first(operands)
        texts = [beside.operand(operand) for operand in operands]
        return Vector(writer, writer.call(name, beside.dtype, texts), beside.dtype)

    return record


def _fma(writer: Writer, *operands: Any) -> Vector:
    return _intrinsic("fma" if writer.fma else "fmuladd")(writer, *operands)


def _two_product(writer: Writer, a: Any, b: Any) -> Any:
    if not writer.fma:
        a, b = (x if isinstance(x, Vector) else Vector(writer, writer.constant(x, "f64"), "f64") for x in (a, b))
        return vocabulary.two_product.__wrapped__(a, b)  # pyright: ignore[reportFunctionMemberAccess]
    product = a * b
    return product, _fma(writer, a, b, -product)


def _horner(writer: Writer, x: Vector, coefficients: Sequence[Any]) -> Vector:
    value = _fma(writer, x, coefficients[0], coefficients[1])
    for coefficient in coefficients[2:]:
        value = _fma(writer, value, x, coefficient)
    return value


def _select(writer: Writer, condition: Vector, a: Any, b: Any) -> Vector:
    vectors = [v for v in (a, b) if isinstance(v, Vector)]
    dtype = vectors[0].dtype if vectors else "f64" if isinstance(a, float) else "f32"
    beside = vectors[0] if vectors else Vector(writer, "", dtype)
    texts = ", ".join(f"{beside.kind} {beside.operand(v)}" for v in (a, b))
    return Vector(writer, writer.line(f"select {condition.kind} {condition.text}, {texts}"), dtype)


def _convert(target: str) -> Callable[..., Vector]:
    """Numeric conversion to a dtype; among integers, extension or the low bits."""

    def record(writer: Writer, x: Vector) -> Vector:
        source = x.dtype
        if LLVM_TYPES[source] == LLVM_TYPES[target]:
            return Vector(writer, x.text, target)
        match source[0], target[0]:
            case "f", "f":
                instruction = "fpext" if target == "f64" else "fptrunc"
            case ("i", "f"):
                instruction = "sitofp"
            case ("u", "f"):
                instruction = "uitofp"
            case ("i" | "u", "i" | "u") if _WIDTHS[target] < _WIDTHS[source]:
                instruction = "trunc"
            case _:
                raise TypeError(f"conversion of {source} to {target}")
        return Vector(writer, writer.line(f"{instruction} {x.kind} {x.text} to {writer.type(target)}"), target)

    return record


def _bitcast(writer: Writer, x: Vector, target: str) -> Vector:
    return Vector(writer, writer.line(f"bitcast {x.kind} {x.text} to {writer.type(target)}"), target)


def _bits(writer: Writer, x: Vector) -> Vector:
    return _bitcast(writer, x, "i32" if x.dtype == "f32" else "i64")


def _lookup(writer: Writer, table: np.ndarray, index: Vector) -> Vector:
    if writer.lanes != 1:
        raise TypeError("a table is read one lane at a time, in a function that patch calls")
    data = ", ".join(f"i64 {value}" for value in table.tolist())
    name = f"@table{len(table)}"
    writer.outside.add(f"{name} = internal constant [{len(table)} x i64] [{data}]")
    place = writer.line(f"getelementptr i64, ptr {name}, i64 {index.text}")
    return Vector(writer, writer.line(f"load i64, ptr {place}"), "i64")


def _patch(writer: Writer, condition: Vector, function: Callable[..., Any], x: Vector, otherwise: Vector) -> Vector:
    """Branch around the slow path, which runs lane by lane."""
    assert writer.slow_path is not None
    scalar, declaration = writer.slow_path(function.__name__.removesuffix(f"_{x.dtype}"), x.dtype)
    writer.outside.add(declaration)
    tag, lanes, kind, element = writer.fresh()[1:], writer.lanes, x.kind, LLVM_TYPES[x.dtype]
    before = writer.block
    writer.block = f"done_{tag}"
    if lanes == 1:
        body = [f"  %new_{tag} = call {kind} @{scalar}({kind} {x.text})", f"  br label %done_{tag}"]
        some, end = condition.text, f"slow_{tag}"
    else:
        some = writer.call("vector.reduce.or", "bool", [condition.text], "i1")
        for what in ("in", "out"):
            writer.allocas.append(f"  %{what}_{tag} = alloca {kind}")
        writer.allocas.append(f"  %mask_{tag} = alloca <{lanes} x i8>")
        body = _LANE_LOOP.format(
            tag=tag, kind=kind, element=element, lanes=lanes, x=x.text, y=otherwise.text, c=condition.text, f=scalar
        ).splitlines()
        end = f"after_{tag}"
    writer.lines += [f"  br i1 {some}, label %slow_{tag}, label %done_{tag}", f"slow_{tag}:", *body, f"done_{tag}:"]
    return Vector(writer, writer.line(f"phi {kind} [ {otherwise.text}, %{before} ], [ %new_{tag}, %{end} ]"), x.dtype)


_LANE_LOOP: Final = """\
  store {kind} {x}, ptr %in_{tag}
  store {kind} {y}, ptr %out_{tag}
  %bytes_{tag} = zext <{lanes} x i1> {c} to <{lanes} x i8>
  store <{lanes} x i8> %bytes_{tag}, ptr %mask_{tag}
  br label %lane_{tag}
lane_{tag}:
  %i_{tag} = phi i64 [ 0, %slow_{tag} ], [ %j_{tag}, %next_{tag} ]
  %m_{tag} = getelementptr i8, ptr %mask_{tag}, i64 %i_{tag}
  %b_{tag} = load i8, ptr %m_{tag}
  %t_{tag} = icmp ne i8 %b_{tag}, 0
  br i1 %t_{tag}, label %one_{tag}, label %next_{tag}
one_{tag}:
  %p_{tag} = getelementptr {element}, ptr %in_{tag}, i64 %i_{tag}
  %x_{tag} = load {element}, ptr %p_{tag}
  %y_{tag} = call {element} @{f}({element} %x_{tag})
  %q_{tag} = getelementptr {element}, ptr %out_{tag}, i64 %i_{tag}
  store {element} %y_{tag}, ptr %q_{tag}
  br label %next_{tag}
next_{tag}:
  %j_{tag} = add i64 %i_{tag}, 1
  %more_{tag} = icmp ult i64 %j_{tag}, {lanes}
  br i1 %more_{tag}, label %lane_{tag}, label %after_{tag}
after_{tag}:
  %new_{tag} = load {kind}, ptr %out_{tag}
  br label %done_{tag}
"""

_RECORDERS: Final[dict[str, Callable[..., Any]]] = {
    "fma": _fma,
    "two_product": _two_product,
    "horner": _horner,
    "sqrt": _intrinsic("sqrt"),
    "absolute": _intrinsic("fabs"),
    "copysign": _intrinsic("copysign"),
    "rint": _intrinsic("rint"),
    "select": _select,
    "patch": _patch,
    "lookup": _lookup,
    "bits": _bits,
    "to_f32_bits": lambda writer, i: _bitcast(writer, _convert("i32")(writer, i), "f32"),
    "to_f64_bits": lambda writer, i: _bitcast(writer, i, "f64"),
    "to_f32": _convert("f32"),
    "to_f64": _convert("f64"),
    "to_i32": _convert("i32"),
    "to_u32": _convert("u32"),
}
