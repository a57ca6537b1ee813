"""The second IR: loop nests over flat buffers of static size. Plain data, the same for every target.

``Graph -> KernelProgram`` is `lower.fuse`; ``KernelProgram -> text`` is `cpu.emit` and `numba.source`. A program is one
function over a table of raw pointers: inputs, outputs, then the scratch arena (see `memory`).

Walk of one example, ``sum(tanh(x) * w, axis=1)`` for ``x: f32[4,3]``, ``w: f32[3]``::

    nest                                           ; model.py:6
      for i in 4:
        for j in 3 vector, s0: f32 = sum(0.0, t3):
          t1: f32 = x[3*i + j]
          t2: f32 = w[j]
          t3: f32 = mul(tanh(t1), t2)
        y[i] = s0
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from typing import Literal as OneOf

from graphad.ir.frozen import light
from graphad.ir.loc import Loc
from graphad.ir.types import EXTENT, DType, Literal, bf16, f16, f32, f64

Role = OneOf["input", "output", "temporary", "window"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """``size`` elements of ``dtype`` in row-major order. Booleans are stored as bytes 0 and 1.

    A ``private`` temporary holds values of one iteration of a vector loop: each of its lanes has a copy.
    """

    name: str
    dtype: DType
    size: int
    role: Role
    private: bool = False

    @property
    def per_turn(self) -> int:
        """Of a temporary of a `Counted` step, how many elements it has for each turn; 0 for others."""
        return self.size // EXTENT


@light
class Index:
    """An affine position, in elements: ``offset + sum(stride * loop variable)``."""

    offset: int = 0
    terms: tuple[tuple[str, int], ...] = ()  # (loop variable, stride)


Operand = str | Literal  # the name of a value defined earlier in scope, or a constant


@light
class Let:
    """``name: dtype = op(args)``, ``op`` from `graphad.ir.lowering.SCALAR_OPS`. For comparisons ``dtype`` is bool.

    A two-result operator (``threefry2x32``) is bound to a name that only ``pair0``/``pair1`` read.
    """

    name: str
    dtype: DType
    op: str
    args: tuple[Operand, ...]
    loc: Loc = field(default=None, compare=False)


@light
class Position:
    """``name: dtype = value of index``: a loop coordinate as a number."""

    name: str
    dtype: DType
    index: Index
    loc: Loc = field(default=None, compare=False)


@light
class Load:
    """``name = buffer[index + dynamic]``; ``dynamic`` is an i64 value, already within bounds."""

    name: str
    buffer: str
    index: Index
    dynamic: str | None = None
    loc: Loc = field(default=None, compare=False)


@light
class Store:
    """``buffer[index + dynamic] = value``, only where ``mask`` (a bool value) holds, if one is given."""

    buffer: str
    index: Index
    value: Operand
    dynamic: str | None = None
    mask: str | None = None
    loc: Loc = field(default=None, compare=False)


Combine = OneOf["sum", "prod", "max", "min", "and", "or", "last"]


@dataclass(frozen=True, slots=True)
class Carry:
    """A value that runs through a loop: ``name`` inside the body, its final value after the loop under the same name.

    ``last`` makes the next value ``update`` itself; the others combine ``name`` with ``update`` and may be reordered
    (``sum`` and ``prod`` in several accumulators; ``max`` and ``min`` return nan if any update is nan), so the body
    reads the running value of a ``last`` carry only. A loop with a ``last`` carry is not a vector loop.

    With a ``factor``, a ``sum`` of f32 or f64 adds ``update * factor``, the product and the sum rounded once (``fma``).
    """

    name: str
    dtype: DType
    combine: Combine
    init: Operand
    update: Operand
    factor: Operand | None = None

    @property
    def reads(self) -> tuple[Operand, ...]:
        """What it combines at the end of the body."""
        return (self.update,) if self.factor is None else (self.update, self.factor)


@dataclass(frozen=True, slots=True)
class Loop:
    """``for var in range(extent)``, backwards if ``reverse``.

    ``vector`` says that the iterations are independent but for reordering carries, so that an emitter may run them in
    lanes. A vector loop may hold inner loops that are not vector; those run with every value widened to the lanes.
    """

    var: str
    extent: int
    body: tuple[Statement, ...]
    carries: tuple[Carry, ...] = ()
    vector: bool = False
    reverse: bool = False
    loc: Loc = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class While:
    """Runs its body as long as ``condition``, a ``last`` carry of bool, is True; all carries are ``last``.

    Where the condition goes on as the literal False, it is a branch. In the lanes of a vector loop each of them keeps
    its carries once its condition is False, and the body, which has no stores then, runs while any condition is True.
    """

    condition: str
    body: tuple[Statement, ...]
    carries: tuple[Carry, ...]
    loc: Loc = field(default=None, compare=False)

    @property
    def is_branch(self) -> bool:
        """Whether the body runs once at most."""
        (update,) = [c.update for c in self.carries if c.name == self.condition]
        return not isinstance(update, str) and not update.item()


Statement = Let | Position | Load | Store | Loop | While


@dataclass(frozen=True, slots=True)
class LoopNest:
    """A step: statements that run once, most of them loops. Values do not outlive the nest."""

    body: tuple[Statement, ...]
    loc: Loc = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A row-major matrix in a buffer: where it starts and how far apart its rows are. ``transposed``: read as A^T."""

    buffer: str
    offset: int
    row_stride: int
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Gemm:
    """A step: ``c[m,n] = a[m,k] @ b[k,n]``, ``batch`` times, each ``*_step`` elements further.

    ``dtype`` is that of ``a`` and ``b``, and of ``c`` where ``result`` is None. On the CPU all three are f32 or f64; a
    device has products of the 16-bit floats as well, summed in f32, with results of their own dtype or of f32.

    A device's may have an epilogue as well: ``relu(a @ b + bias)``, with an element of ``bias``, which has the dtype of
    ``c``, for each column, the same for all of the batch. nan stays nan, and only the result of all that is rounded.

    A ``symmetric`` product is that of a matrix with its transpose, of which a CPU computes one triangle and mirrors it.
    """

    dtype: DType
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    c: Matrix
    batch: int = 1
    a_step: int = 0
    b_step: int = 0
    c_step: int = 0
    loc: Loc = field(default=None, compare=False)
    result: DType | None = None
    bias: str | None = None
    bias_offset: int = 0
    relu: bool = False
    symmetric: bool = False

    @property
    def c_dtype(self) -> DType:
        """The dtype of ``c``."""
        return self.dtype if self.result is None else self.result

    @property
    def is_fused(self) -> bool:
        """Whether it has an epilogue."""
        return self.bias is not None or self.relu

    @property
    def alone(self) -> Gemm:
        """The product without its epilogue."""
        return replace(self, bias=None, bias_offset=0, relu=False)

    @property
    def has_vector(self) -> bool:
        """Whether it is a product of a matrix with a vector."""
        return 1 in (self.m, self.n)


@dataclass(frozen=True, slots=True)
class RoutineCall:
    """A step: the ``routine`` of that name in `graphad_kernels.routines`, for elements of ``dtype``.

    Its arguments are the buffers that it reads, then those that it writes, its workspace among them, then the sizes.
    """

    routine: str
    dtype: DType
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    sizes: tuple[int, ...]
    loc: Loc = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Copy:
    """A step: ``target[:] = source[:]``; the buffers have equal sizes and dtypes."""

    target: str
    source: str
    loc: Loc = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class GuardStep:
    """A step: leave the program with status ``ordinal + 1`` unless ``buffer[0]`` is ``expected``.

    The program's status is 0 if it ran to its end. The observed value stays readable in ``buffer``, an output.
    """

    ordinal: int
    buffer: str
    expected: Literal
    loc: Loc = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Window:
    """``name`` is ``buffer[offset + stride * turn :]`` in the body of a `Repeat`; the buffer ``name`` says how much."""

    name: str
    buffer: str
    offset: int
    stride: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """Steps that run ``extent`` times, for ``var`` in range(extent), backwards if ``reverse``.

    After each turn, the two buffers of each of ``swaps`` trade places: what was written to the second is read from the
    first in the next turn, and after the loop. In a device program ``body`` has the steps of that.

    Turns of a ``parallel`` one do not depend on each other: they may run in any order, and several at once. None of
    them can end the program, and nothing is swapped. Each has temporaries of its own, ``private`` ones, and nests in
    it may have ``var`` in their indices.
    """

    var: str
    extent: int
    windows: tuple[Window, ...]
    swaps: tuple[tuple[str, str], ...]
    body: tuple[Any, ...]
    reverse: bool = False
    parallel: bool = False
    private: tuple[str, ...] = ()
    loc: Loc = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RepeatWhile:
    """Steps that run as long as ``condition[0]`` is True, which they write anew; at most once if ``once``."""

    condition: str
    swaps: tuple[tuple[str, str], ...]
    body: tuple[Any, ...]
    once: bool = False
    loc: Loc = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Counted:
    """Steps in which `EXTENT` stands for ``count[0]``, in the extents of loops and in the sizes of temporaries.

    Those temporaries are allocated when the number is known, and freed behind the steps.
    """

    count: str
    body: tuple[Any, ...]
    loc: Loc = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class HostCall:
    """A step: function number ``slot`` of the host is given copies of some buffers, and its results fill others.

    ``name`` is for people. If the function raises, the program ends with status `HOST_ERROR`.
    """

    slot: int
    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    loc: Loc = field(default=None, compare=False)


Step = LoopNest | Gemm | RoutineCall | Copy | GuardStep | HostCall | Repeat | RepeatWhile | Counted


@dataclass(frozen=True, slots=True)
class KernelProgram:
    """Steps in order over buffers; ``buffers`` lists inputs first, then outputs, each in the program's order."""

    name: str
    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]


def index_range(index: Index, extents: Mapping[str, int]) -> tuple[int, int]:
    """Least and greatest value of ``index`` while each loop variable runs over ``range(extents[var])``."""
    spans = [stride * (extents[var] - 1) for var, stride in index.terms]
    return index.offset + sum(min(s, 0) for s in spans), index.offset + sum(max(s, 0) for s in spans)


def stride_of(index: Index, var: str | None) -> int:
    """How far ``index`` moves when the loop variable ``var`` moves by one."""
    return sum(stride for name, stride in index.terms if name == var)


def is_fusible(dtype: DType) -> bool:
    """True for the dtypes that have ``fma``."""
    return dtype is f32 or dtype is f64


def is_half(dtype: DType) -> bool:
    """True for the 16-bit floats, whose operations are computed in f32 and rounded each."""
    return dtype is f16 or dtype is bf16
