"""Hypothesis strategies: random well-typed graphs over the whole registry, and arguments for them.

A graph grows by steps. A step picks a primitive and one of its samples, picks values for its operands, and fits them to
the sample's dtypes and shapes (`_Grower.fit`), so that every primitive that is registered takes part at once.
"""

from __future__ import annotations

from functools import lru_cache, partial
from math import prod
from random import Random

import numpy as np
from graphad_kernels.routines import ROUTINES
from hypothesis import strategies as st

import graphad.primitives  # fills the registry
from graphad.ir.builder import Builder
from graphad.ir.params import HOST
from graphad.ir.primitive import PRIMITIVES
from graphad.ir.ref import Ref
from graphad.ir.types import aval, b1, dtype_of, f32, f64, i32, literal
from graphad.primitives.cast import convert
from graphad.primitives.control import jit, remat
from graphad.primitives.effects import debug_print, guard
from graphad.primitives.elementwise import add, mul, tanh
from graphad.primitives.families import special_values
from graphad.primitives.layout import positions, reshape, zeros_like_aval
from graphad.primitives.shape import pad, slice_

assert graphad.primitives
SHAPES = ((3,), (), (2, 3), (1,), (0,), (3, 2), (2, 1, 3))
MAX_SIZE = 64


@lru_cache
def catalogue(dtypes, differentiable, names):
    """(primitive, its small samples on these dtypes) of all primitives, or those in ``names``."""
    groups = []
    for primitive in sorted(PRIMITIVES.values(), key=lambda p: p.name):
        if names and primitive.name not in names:
            continue
        # Functions of the host have no text that reads back by itself, and no key.
        if primitive.samples is None or primitive.effect or HOST in primitive.params.values():
            continue
        if differentiable and primitive.jvp is None:
            continue
        # Factorizations of any matrices are ill-conditioned as often as not, and GPUs have none of larger ones.
        if primitive.name in ROUTINES and not ROUTINES[primitive.name].on_gpus and not names:
            continue
        samples = [s for d in dtypes for s in primitive.samples(np.random.default_rng(0), d)]
        fitting = [s for s in samples if _fits(primitive, s, dtypes, differentiable)]
        if fitting:
            groups.append((primitive, fitting))
    return groups


def _fits(primitive, sample, dtypes, differentiable):
    types = [_type_of(x) for x in sample.operands]
    arrays = [a for a in types if a is not None]
    if any(a.dtype not in dtypes or a.size > MAX_SIZE for a in arrays) or (types and not arrays):
        return False
    if differentiable and not (sample.differentiable and any(a.is_float for a in arrays)):
        return False
    builder = Builder()
    atoms = [
        literal(x, _scalar_dtype(x, arrays)) if a is None else builder.input(a) for x, a in zip(sample.operands, types)
    ]
    outputs = builder.emit(primitive, tuple(atoms), tuple(sample.params[n] for n in primitive.params))
    return all(builder.avals[o].dtype in dtypes and builder.avals[o].size <= MAX_SIZE for o in outputs)


def _type_of(x):
    return aval(x.shape, dtype_of(x.dtype)) if isinstance(x, np.ndarray) else None


def _scalar_dtype(x, arrays):
    """A scalar operand has the dtype of the arrays beside it, unless it is a condition."""
    if isinstance(x, (bool, np.bool_)):
        return b1
    return next((a.dtype for a in arrays if a.dtype is not b1), b1)


class _Grower:
    """Builds one graph."""

    def __init__(self, dtypes, differentiable, names, rng):
        self.dtypes = dtypes
        self.names = names
        self.differentiable = differentiable
        self.rng = rng
        self.builder = Builder()
        self.values = []

    def pick(self, options):
        return self.rng.choice(options)

    def input(self, a):
        self.values.append(self.builder.input_ref(a))

    def fit(self, x, shape, dtype):
        """``x`` cast, cut or padded, and reshaped to this type."""
        if self.differentiable and not dtype.is_float:
            return self.integers(shape, dtype)
        if x.dtype is not dtype:
            x = convert(x, dtype=dtype)
        if x.shape == shape:
            return x
        size, wanted = prod(x.shape), prod(shape)
        if size == wanted:
            return reshape(x, shape=shape)
        x = x if x.ndim == 1 else reshape(x, shape=(size,))
        if size > wanted:
            x = slice_(x, start=(size - wanted,), stop=(size,), step=(1,))
        else:
            x = pad(x, 1, low=(0,), high=(wanted - size,), interior=(0,))
        return x if shape == (wanted,) else reshape(x, shape=shape)

    def operand(self, shape, dtype):
        """A value of this type: one that is there, for the most part, or one that is made fit."""
        ready = [v for v in self.values if v.shape == shape and v.dtype is dtype]
        if ready and self.rng.random() < 0.7:
            return self.pick(ready)
        return self.fit(self.pick(self.values), shape, dtype)

    def scalar(self, x, dtype):
        """A literal operand: that of the sample, or one that rewrite rules look for."""
        if dtype is b1 or self.differentiable or self.rng.random() < 0.3:
            return literal(x, dtype)
        least = 0 if dtype.kind == "u" else -1
        return literal(self.pick((0, 1, least, -0.0, 2)), dtype)

    def integers(self, shape, dtype):
        """Integers that depend on no float."""
        if not shape or dtype is b1:
            return zeros_like_aval(self.builder, aval(shape, dtype))
        return positions(self.builder, shape, self.rng.randrange(len(shape)), dtype)

    def step(self):
        """One more equation, or a few."""
        primitive, samples = self.pick(catalogue(self.dtypes, self.differentiable, self.names))
        sample = self.pick(samples)
        types = [_type_of(x) for x in sample.operands]
        shape = self.pick(self.values).shape if primitive.elementwise else None
        operands = []
        for k, (x, a) in enumerate(zip(sample.operands, types, strict=True)):
            if a is None:
                operands.append(self.scalar(x, _scalar_dtype(x, [t for t in types if t is not None])))
                continue
            value = self.operand(a.shape if shape is None else shape, a.dtype)
            if self.differentiable and a.is_float:
                value = into(value, *domain(primitive, a.dtype, k))
            operands.append(value)
        atoms = tuple(x.atom if isinstance(x, Ref) else x for x in operands)
        params = tuple(sample.params[n] for n in primitive.params)
        for o in self.builder.emit(primitive, atoms, params):
            result = Ref(self.builder, o)
            if self.differentiable:
                if not result.dtype.is_float:
                    continue
                result = tanh(result)  # all values stay between -1 and 1
            self.values.append(result)

    def region(self, n_steps):
        """A ``jit`` or ``remat`` of a graph that is grown in the same way."""
        inner = _Grower(self.dtypes, self.differentiable, self.names, self.rng)
        operands = [self.pick(self.values) for _ in range(self.rng.randint(1, 2))]
        for x in operands:
            inner.input(x.aval)
        for _ in range(n_steps):
            inner.step()
        primitive = self.pick([jit, remat])
        graph = inner.close("inner")
        params = ("inner",) if primitive is jit else ()
        outputs = self.builder.emit(primitive, tuple(x.atom for x in operands), params, (graph,))
        self.values += [Ref(self.builder, o) for o in outputs]

    def effect(self):
        x = self.pick(self.values)
        if self.rng.random() < 0.5:
            debug_print(x, fmt="{}", batch_axes=0)
        else:
            guard(self.fit(x, (), b1), expect=literal(True, b1))

    def close(self, name):
        n_outputs = self.rng.randint(1, 3)
        outputs = [v.atom for v in self.values[-n_outputs:]]
        return self.builder.close(outputs, [self.rng.random() < 0.2 for _ in outputs], name=name)


@lru_cache
def domain(primitive, dtype, k):
    """Where the samples of a primitive have their operand ``k``."""
    samples = [s for s in primitive.samples(np.random.default_rng(0), dtype) if s.differentiable]
    operands = [s.operands[k] for s in samples if k < len(s.operands) and isinstance(s.operands[k], np.ndarray)]
    numbers = np.concatenate([x.ravel() for x in operands if x.dtype == dtype.numpy])
    return float(numbers.min()), float(numbers.max())


def into(x, low, high):
    """A value between -1 and 1 moved to between ``low`` and ``high``, not to the very ends."""
    return add(mul(x, 0.45 * (high - low)), (low + high) / 2)


def _grown(dtypes, differentiable, names, kinds, seed, shapes, n_steps):
    grower = _Grower(dtypes, differentiable, names, Random(seed))
    for k, shape in enumerate(shapes):
        grower.input(aval(shape, dtypes[k % len(dtypes)]))
    for k in range(n_steps):
        grower.builder.loc = f"model.py:{k + 1}"
        kind = grower.pick(kinds)
        if kind == "step":
            grower.step()
        elif kind == "region":
            grower.region(grower.rng.randint(1, 3))
        else:
            grower.effect()
    return grower.close("random")


def random_graphs(dtypes=(f32, i32, b1), max_steps=10, regions=True, effects=True, shapes=SHAPES, names=()):
    """Graphs of any primitives on these dtypes, or of those in ``names`` (and what fits values to one another)."""
    kinds = ["step"] * 8 + ["region"] * regions + ["effect"] * effects
    return _strategy((dtypes, False, names, kinds), max_steps, shapes, 3)


def random_differentiable_graphs(dtype=f64, max_steps=6, regions=True, shapes=((3,), (), (2, 3), (1,))):
    """Graphs of one float dtype whose values stay where they have derivatives; inputs belong between -1 and 1."""
    kinds = ["step"] * 8 + ["region"] * regions
    return _strategy(((dtype, i32, b1), True, (), kinds), max_steps, shapes, 1)


def _strategy(settings, max_steps, shapes, max_inputs):
    # What shrinks is the number of steps and inputs; the steps themselves come from a seed, which is varied and fast.
    return st.builds(
        partial(_grown, *settings),
        st.integers(0, 2**32),
        st.lists(st.sampled_from(shapes), min_size=1, max_size=max_inputs),
        st.integers(1, max_steps),
    )


def arguments(graph, seed=0, special=False):
    """Random arrays for the inputs of ``graph``: floats between -1 and 1, or the corners of the dtype."""
    rng = np.random.default_rng(seed)
    return [_argument(rng, a, special) for a in graph.in_avals]


def _argument(rng, a, special):
    if special:
        return rng.choice(special_values(a.dtype), size=a.shape)
    if a.is_float:
        return np.asarray(rng.uniform(-1, 1, a.shape)).astype(a.dtype.numpy)
    return np.asarray(rng.integers(0, 2 if a.dtype is b1 else 5, a.shape)).astype(a.dtype.numpy)
