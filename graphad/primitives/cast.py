"""Changes of dtype: `convert` (the value), `bitcast` (the bits)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from graphad.ir.lowering import Lowering, Map, parse_scalar
from graphad.ir.params import DTYPE
from graphad.ir.primitive import ErrorSample
from graphad.ir.ref import Ref
from graphad.ir.rounding import converted
from graphad.ir.types import DTYPES, DType, OperandType, aval, b1, f32, f64
from graphad.primitives.families import elementwise


def _convert_lowering(types: tuple[OperandType, ...], params: dict[str, Any]) -> Lowering:
    dtype: DType = params["dtype"]
    if dtype is types[0].dtype:
        return Map((parse_scalar("{0}"),))
    return Map((parse_scalar("{0} != 0" if dtype is b1 else "cast({0})"),))


def _convert_jvp(tangents: Sequence[Any], _operands: Any, _outputs: Any, dtype: DType) -> list[Any]:
    return [convert(tangents[0], dtype=dtype) if dtype.is_float else None]


convert = elementwise(
    "convert",
    doc="""The nearest value of another dtype. A float becomes an integer toward zero, saturating, nan as 0; an integer
    wraps around; what is not 0 is true.""",
    numpy=lambda x, dtype: converted(np.asarray(x), dtype.numpy),
    lowering=_convert_lowering,
    arity=1,
    params={"dtype": DTYPE},
    out=lambda _, dtype: dtype,
    param_samples=lambda _: [{"dtype": d} for d in DTYPES.values()],
    jvp=_convert_jvp,
    linear=(0,),
    transpose={0: lambda ct, x, dtype: convert(ct, dtype=x.dtype)},
    dtypes="fiub",
    domain=(-40.0, 40.0),
    tolerance=1,
)


def in_f32(jvp: Callable[..., Ref]) -> Callable[..., Ref]:
    """A jvp rule computed in f32 where the tangent has 16 bits: counts fit, and there is one rounding at the end."""

    @wraps(jvp)
    def wide(t: Ref, *values: Ref, **params: Any) -> Ref:
        dtype = t.dtype
        if dtype.bits >= 32:
            return jvp(t, *values, **params)
        return convert(jvp(*[convert(v, dtype=f32) for v in (t, *values)], **params), dtype=dtype)

    return wide


def _reinterpretations(source: DType) -> list[DType]:
    """The types that `bitcast` goes to: of the same width, and not from float to float."""
    width = [d for d in DTYPES.values() if d.bits == source.bits and d is not b1]
    return [d for d in width if not (d.is_float and source.is_float)]


def _bitcast_check(source: DType, dtype: DType) -> None:
    if dtype not in _reinterpretations(source):
        raise TypeError(
            f"bitcast of {source} to {dtype}: it goes to {', '.join(map(repr, _reinterpretations(source)))}. "
            f"For the nearest value: convert(x, dtype={dtype})."
        )


bitcast = elementwise(
    "bitcast",
    doc="The value of another dtype of the same width that has the same bits. One of the two is no float: no tangents.",
    numpy=lambda x, dtype: np.asarray(x).view(dtype.numpy),
    lowering=lambda types, params: Map((parse_scalar("{0}" if types[0].dtype is params["dtype"] else "bitcast({0})"),)),
    arity=1,
    params={"dtype": DTYPE},
    out=lambda _, dtype: dtype,
    check=_bitcast_check,
    param_samples=lambda source: [{"dtype": d} for d in _reinterpretations(source)],
    jvp=(None,),
    dtypes="fiu",
    errors=(
        ErrorSample((aval((3,), f32),), {"dtype": f64}, "it goes to i32, u32"),
        ErrorSample((aval((3,), f32),), {"dtype": b1}, "For the nearest value: convert"),
    ),
    tolerance=0,
)
