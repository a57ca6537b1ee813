"""Blocks at computed positions against JAX, and how they are compiled."""

from __future__ import annotations

import numpy as np
from jax import lax

from graphad.backends.cpu.executable import compile_graph
from graphad.backends.loops.ir import Load, LoopNest, Store
from graphad.backends.loops.visit import walk
from graphad.ir.types import f32
from graphad.primitives.dynamic import dynamic_slice, dynamic_update_slice
from tests.primitives.cases import samples_of
from tests.primitives.test_shape_oracles import gradients, graph_of, jax_gradients


def clipped(shape, sizes, starts):
    """JAX takes negative starts from the end; ours are moved to 0."""
    return [np.maximum(s, 0) for s in starts] if shape else []


def test_slices_are_those_of_jax():
    for sample in samples_of(dynamic_slice, f32):
        (x, *starts), params = sample.operands, sample.params
        if params["batch"]:
            continue
        starts, sizes = clipped(x.shape, params["sizes"], starts), params["sizes"]
        got = dynamic_slice(x, *starts, **params)
        np.testing.assert_array_equal(got, lax.dynamic_slice(x, starts, sizes), err_msg=str(sample))
        (ours,) = gradients(dynamic_slice, x, *starts, **params)
        (theirs,) = jax_gradients(lambda v, at=starts, n=sizes: lax.dynamic_slice(v, at, n), x)
        np.testing.assert_array_equal(ours, theirs, err_msg=str(sample))


def test_updates_are_those_of_jax():
    for sample in samples_of(dynamic_update_slice, f32):
        (x, update, *starts), params = sample.operands, sample.params
        if params["batch"]:
            continue
        starts = clipped(x.shape, update.shape, starts)
        got = dynamic_update_slice(x, update, *starts, **params)
        np.testing.assert_array_equal(got, lax.dynamic_update_slice(x, update, starts), err_msg=str(sample))
        ours = gradients(dynamic_update_slice, x, update, *starts, **params)
        theirs = jax_gradients(lambda v, u, at=starts: lax.dynamic_update_slice(v, u, at), x, update)
        for g, e in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(g, e, err_msg=str(sample))


def test_batch_elements_are_separate_calls(rng):
    x, starts = rng.normal(size=(4, 9)), np.array([0, 3, 20, -1], np.int32)
    got = dynamic_slice(x, starts, sizes=(4,), batch=1)
    np.testing.assert_array_equal(got, [dynamic_slice(r, s, sizes=(4,), batch=0) for r, s in zip(x, starts)])


def test_a_block_is_copied_in_lanes(rng):
    """The position is worked out once, outside the loop, which then runs along contiguous memory."""
    x, update, at = rng.normal(size=(1000,)), rng.normal(size=(400,)), np.array(7, np.int32)
    for graph in (
        graph_of(dynamic_slice, x, at, sizes=(400,), batch=0),
        graph_of(dynamic_update_slice, x, update, at, batch=0),
    ):
        steps = [s for s in compile_graph(graph, engine="llvm").program.steps if isinstance(s, LoopNest)]
        loops = [loop for s in steps for loop in s.body if hasattr(loop, "vector") and loop.extent == 400]
        assert loops
        assert all(loop.vector for loop in loops)
        inside = [s for loop in loops for s in walk(loop.body)]
        assert any(getattr(s, "dynamic", None) for s in inside)
        assert all(isinstance(s, (Load, Store)) for s in inside)
