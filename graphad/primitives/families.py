"""Families: constructors that fill most slots of a primitive from a few facts.

`elementwise` covers the scalar functions; the families of shape operations, reductions and the like are in
`graphad.primitives.families_shape`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import ml_dtypes
import numpy as np

from graphad.ir.lowering import Arg, Call, Lowering, Map, Scalar, parse_scalar
from graphad.ir.params import ParamKind
from graphad.ir.primitive import PRIMITIVES, ErrorSample, Primitive, Sample, SampleMaker
from graphad.ir.ref import Ref
from graphad.ir.types import DTYPES, Aval, DType, Literal, OperandType, aval, b1, f32, i32, u32
from graphad.primitives.layout import all_batched

Domain = tuple[float, float]

#: The dtype that a message proposes, or a sample uses, where several would do: the first one allowed.
USUAL: Final[tuple[DType, ...]] = (f32, i32, u32, b1)
#: The shapes every elementwise primitive is tried on.
SAMPLE_SHAPES: Final[tuple[tuple[int, ...], ...]] = ((), (0,), (1,), (7,), (2, 3))


def elementwise(
    name: str,
    *,
    doc: str,
    numpy: Callable[..., Any],
    scalar: str | tuple[str, ...] = "",
    lowering: Callable[..., Lowering] | None = None,
    arity: int = 0,
    jvp: tuple[Callable[..., Any] | None, ...] | Callable[..., Any] | None = None,
    nondifferentiable: str = "",
    linear: tuple[int, ...] = (),
    transpose: Mapping[int, Callable[..., Any]] | None = None,
    dtypes: str | tuple[DType, ...] = "f",
    out: DType | Callable[..., DType] | None = None,
    check: Callable[..., None] | None = None,
    params: Mapping[str, ParamKind] | None = None,
    param_samples: Callable[[DType], Sequence[dict[str, Any]]] | None = None,
    domain: Domain | tuple[Domain, ...] = (-3.0, 3.0),
    differentiable: bool = True,
    errors: tuple[ErrorSample, ...] = (),
    tolerance: float = 4.0,
    commutative: bool = False,
    scalars_from: int = 0,
) -> Primitive:
    """Register a primitive that acts on each element alone.

    Parameters
    ----------
    name, doc, numpy, jvp, nondifferentiable, linear, transpose, params, errors, tolerance, commutative, scalars_from
        As in `Primitive`. Operands before ``scalars_from`` are conditions: they are boolean.
    scalar
        The lowering as a scalar expression, see `parse_scalar`; a tuple for several results.
    lowering
        Instead of ``scalar``, where the expression depends on dtypes or params; ``arity`` must then be given.
    dtypes
        The element types it takes: kinds, letters out of ``fiub``, or the types themselves.
    out
        The dtype of the results: None for that of the operands, or a function ``(dtype, **params) -> dtype``.
    check
        ``(dtype, **params)``, raising where the type rule needs more than equal shapes and dtypes.
    param_samples
        The params that the samples of a dtype are taken with.
    domain
        Where floating-point samples are drawn from, one interval or one per operand.
    differentiable
        False where the derivative is by intent not the limit of differences, so that samples cannot show it.
    """
    texts = (scalar,) if isinstance(scalar, str) else scalar
    results = tuple(parse_scalar(t) for t in texts) if lowering is None else ()
    n = arity or 1 + max(map(_last_operand, results))
    allowed = tuple([d for d in DTYPES.values() if d.kind in dtypes]) if isinstance(dtypes, str) else dtypes
    domains = _per_operand(domain, n)
    return Primitive(
        name=name,
        doc=doc,
        type_rule=_type_rule(name, n, allowed, out, check, scalars_from, len(texts)),
        numpy=numpy,
        params=params or {},
        jvp=jvp,
        nondifferentiable=nondifferentiable,
        linear=linear,
        transpose=transpose,
        batch=_batch_rule(name),
        lowering=lowering or Map(results),
        samples=_samples(n, allowed, domains, param_samples, scalars_from, differentiable),
        errors=errors + _errors(n, allowed, (param_samples or _no_params)(f32)[0], scalars_from),
        tolerance=tolerance,
        commutative=commutative,
        elementwise=True,
        multiple=len(texts) > 1,
        scalars_from=scalars_from,
    )


def _per_operand(domain: Domain | tuple[Domain, ...], n: int) -> tuple[Domain, ...]:
    """One interval for each operand."""
    return tuple([d for d in domain if isinstance(d, tuple)]) or (domain,) * n  # pyright: ignore[reportReturnType]


def _last_operand(scalar: Scalar) -> int:
    """The highest operand number in an expression, -1 if it has none."""
    if isinstance(scalar, Arg):
        return scalar.index
    return max(map(_last_operand, scalar.args)) if isinstance(scalar, Call) else -1


def _no_params(_dtype: DType) -> Sequence[dict[str, Any]]:
    return ({},)


# ---------------------------------------------------------------------------------------------------------------------
# Type rule


def _type_rule(
    name: str,
    arity: int,
    dtypes: tuple[DType, ...],
    out: DType | Callable[..., DType] | None,
    check: Callable[..., None] | None,
    conditions: int,
    n_results: int,
) -> Callable[..., Any]:
    def type_rule(*types: OperandType, **params: Any) -> Aval | tuple[Aval, ...]:
        expect_operands(name, types, arity)
        dtype = common_dtype(name, types[conditions:], dtypes)
        for t in types[:conditions]:
            if t.dtype is not b1:
                raise TypeError(f"{name} got {listed(types)}; its condition must be bool. Write ne(c, 0) for c.")
        if check is not None:
            check(dtype, **params)
        shape = common_shape(name, types)
        result = aval(shape, out(dtype, **params) if callable(out) else out or dtype)
        return result if n_results == 1 else (result,) * n_results

    return type_rule


def listed(types: Sequence[OperandType]) -> str:
    """``f32[3] and f32[4]``."""
    *head, last = map(repr, types) if types else ["no operands"]
    return f"{', '.join(head)} and {last}" if head else last


def expect_operands(name: str, types: Sequence[OperandType], n: int) -> None:
    """Raise unless there are ``n`` operands."""
    if len(types) != n:
        raise TypeError(f"{name} takes {n} operand{'s' * (n != 1)}, got {len(types)}: {listed(types)}.")


def common_dtype(name: str, types: Sequence[OperandType], allowed: Sequence[DType]) -> DType:
    """The dtype of all ``types``; raises if they differ or it is not among ``allowed``."""
    dtype = types[0].dtype
    for t in types:
        if t.dtype is not dtype:
            raise TypeError(
                f"{name} got {listed(types)}; its operands must have one dtype. "
                f"Cast one of them: x.astype('{max(dtype, t.dtype, key=lambda d: d.bits).numpy}')."
            )
    if dtype not in allowed:
        example = next((d for d in USUAL if d in allowed), allowed[0])
        raise TypeError(
            f"{name} got {listed(types)}; it takes {', '.join(d.name for d in allowed)}. "
            f"Cast first: x.astype('{example.numpy}')."
        )
    return dtype


def common_shape(name: str, types: Sequence[OperandType]) -> tuple[int, ...]:
    """The shape of all operands that are not literals; raises if they differ."""
    shapes = [t.shape for t in types if type(t) is Aval]
    for s in shapes:
        if s != shapes[0]:
            big = max(s, shapes[0], key=len)
            fix = f"Repeat one: broadcast(x, shape={big}, dims=...)."
            if len(s) == len(shapes[0]):
                fix = "Cut or pad one of them."
            raise TypeError(f"{name} got {listed(types)}; elementwise operands must have one shape. {fix}")
    return shapes[0] if shapes else ()


# ---------------------------------------------------------------------------------------------------------------------
# Batching


def literal_of(x: Any) -> Literal | None:
    """The constant that an operand of a rule is, if it is one."""
    atom = x.atom if isinstance(x, Ref) else x
    return atom if isinstance(atom, Literal) else None


def batched_or_literal(size: int, batched: Sequence[bool], operands: Sequence[Any]) -> list[Any]:
    """As `all_batched`, but a literal fits any shape and stays as it is."""
    fits = [b or literal_of(x) is not None for x, b in zip(operands, batched, strict=True)]
    return all_batched(size, fits, operands)


def _batch_rule(name: str) -> Callable[..., Any]:
    def batch(size: int, batched: Sequence[bool], *operands: Any, **params: Any) -> Any:
        return PRIMITIVES[name](*batched_or_literal(size, batched, operands), **params)

    return batch


# ---------------------------------------------------------------------------------------------------------------------
# Samples


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, domain: Domain = (-3.0, 3.0)) -> np.ndarray:
    """A random array; integers are small, and reach below zero where the dtype does."""
    if dtype is b1:
        return np.asarray(rng.integers(0, 2, shape), np.bool_)
    if dtype.is_integer:
        return np.asarray(rng.integers(0 if dtype.kind == "u" else -20, 21, shape), dtype.numpy)
    return np.asarray(rng.uniform(*domain, shape)).astype(dtype.numpy)


def special_values(dtype: DType) -> np.ndarray:
    """The values where arithmetic has its corners: zeros, infinities, nan, a denormal, the ends of the range."""
    if dtype is b1:
        return np.array([False, True])
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        below = [-1, -7] if info.min < 0 else []
        return np.array([info.min, info.max, 0, 1, 7, info.bits - 1, info.bits, *below], dtype.numpy)
    limits = ml_dtypes.finfo(dtype.numpy)
    big, denormal = float(limits.max), float(limits.tiny) / 4
    return np.array([0.0, -0.0, np.inf, -np.inf, np.nan, denormal, -big, 1.0, -1.0, 0.5, -2.5, 1.5], dtype.numpy)


def _samples(
    arity: int,
    dtypes: tuple[DType, ...],
    domains: tuple[Domain, ...],
    param_samples: Callable[[DType], Sequence[dict[str, Any]]] | None,
    conditions: int,
    differentiable: bool,
) -> SampleMaker:
    def samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
        if dtype not in dtypes:
            return
        types = [b1] * conditions + [dtype] * (arity - conditions)
        for params in (param_samples or _no_params)(dtype):
            for shape in SAMPLE_SHAPES:
                yield Sample(tuple(map(draw, [rng] * arity, [shape] * arity, types, domains)), params, differentiable)
            for k in range(arity):
                operands: list[Any] = list(map(draw, [rng] * arity, [(3,)] * arity, types, domains))
                operands[k] = draw(rng, (), types[k], domains[k]).item()
                yield Sample(tuple(operands), params, differentiable)
            yield Sample(_all_pairs(types), params, differentiable=False)

    return samples


def _all_pairs(types: Sequence[DType]) -> tuple[np.ndarray, ...]:
    """Special values of each operand against those of the others."""
    tables = [special_values(t) for t in types]
    if len(tables) > 2:  # each against the next; all combinations would be thousands
        n = max(map(len, tables))
        return tuple(np.resize(np.repeat(t, 1 + k), n * 2) for k, t in enumerate(tables))
    return tuple(np.ascontiguousarray(g.ravel()) for g in np.meshgrid(*tables, indexing="ij"))


def _errors(arity: int, dtypes: tuple[DType, ...], params: dict[str, Any], conditions: int) -> tuple[ErrorSample, ...]:
    """The wrong calls that every elementwise primitive must refuse."""
    good = next(d for d in USUAL if d in dtypes)
    lead = (aval((3,), b1),) * conditions
    rest = (aval((3,), good),) * (arity - conditions)
    found = [ErrorSample((*lead, *rest, aval((3,), good)), params, f"takes {arity} operand")]
    if arity > 1:
        found.append(ErrorSample((*lead, *rest[:-1], aval((4,), good)), params, "must have one shape"))
    if arity - conditions > 1:
        other = next(d for d in DTYPES.values() if d is not good)
        found.append(ErrorSample((*lead, *rest[:-1], aval((3,), other)), params, "must have one dtype"))
    wrong = [d for d in USUAL if d not in dtypes]
    if wrong:
        found.append(ErrorSample((*lead, *(aval((3,), wrong[0]),) * len(rest)), params, "it takes"))
    if conditions:
        found.append(ErrorSample((aval((3,), i32), *lead[1:], *rest), params, "must be bool"))
    return tuple(found)
