"""What is computed in one loop, what goes through a buffer, and in which order."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
import graphad.primitives  # fills the registry
from graphad import lax
from graphad.backends.loops.check import check_program
from graphad.backends.loops.ir import Copy, Gemm, GuardStep, Let, Load, Loop, LoopNest, Position, Store
from graphad.backends.loops.text import format_program
from graphad.backends.loops.visit import walk
from graphad.backends.lower.fuse import lower
from graphad.backends.lower.registers.nest import spaces
from graphad.backends.routines.host import HostRun
from graphad.errors import LoweringError
from graphad.ir.builder import Builder
from graphad.ir.evaluate import evaluate
from graphad.ir.lowering import Routine
from graphad.ir.primitive import PRIMITIVES, Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import aval, b1, f32, f64, i32, literal
from graphad.primitives.contract import dot_general
from graphad.primitives.control import jit, remat
from graphad.primitives.effects import debug_print, guard
from graphad.primitives.elementwise import add, div, exp, log, lt, maximum, mul, neg, sin, sub, tanh
from graphad.primitives.indexing import gather, scatter_add, scatter_set
from graphad.primitives.layout import broadcast, reshape, transpose
from graphad.primitives.reduce import argmax, cumsum, reduce_max, reduce_sum
from graphad.primitives.shape import concatenate, pad, rev, slice_
from tests.backends.interpreted_target import Run

assert graphad.primitives
MATMUL = {"contract": ((1,), (0,)), "batch": ((), ())}


class Case:
    """A graph of a function of Refs, lowered, with what there is to ask about it."""

    def __init__(self, function, *types):
        builder = Builder()
        results = function(*[builder.input_ref(a) for a in types])
        results = results if isinstance(results, (tuple, list)) else [results]
        atoms = [r.atom if isinstance(r, Ref) else r for r in results]
        self.graph = builder.close(atoms, name=function.__name__)
        self.lowered = lower(self.graph)
        self.program = self.lowered.program
        check_program(self.program)
        self.steps = self.program.steps
        self.nests = [s for s in self.steps if isinstance(s, LoopNest)]
        self.gemms = [s for s in self.steps if isinstance(s, Gemm)]
        self.text = format_program(self.program)

    def statements(self, kind):
        return [s for nest in self.nests for s in walk(nest.body) if isinstance(s, kind)]

    @property
    def loops(self):
        return self.statements(Loop)

    @property
    def temporaries(self):
        return [b for b in self.program.buffers if b.role == "temporary"]

    def ops(self):
        return [s.op for s in self.statements(Let)]

    def check(self, seed=0):
        """The interpreter and the reference agree."""
        rng = np.random.default_rng(seed)
        args = [
            rng.normal(size=a.shape).astype(a.dtype.numpy)
            if a.is_float
            else rng.integers(0, 3, a.shape).astype(a.dtype.numpy)
            for a in self.graph.in_avals
        ]
        ran = Run(self.program, [a.reshape(-1) for a in args], HostRun(self.lowered.calls))
        assert ran.failed is None
        for got, expected in zip(ran.outputs, evaluate(self.graph, args), strict=False):
            np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=2e-5, atol=2e-5)
        return self


def matrix(n, m, dtype=f32):
    return aval((n, m), dtype)


def vector(n, dtype=f32):
    return aval((n,), dtype)


def over_rows(x, like, axis=1):
    kept = tuple(a for a in range(like.ndim) if a != axis)
    return broadcast(x, shape=like.shape, dims=kept)


def softmax(x, axis=1):
    e = exp(sub(x, over_rows(reduce_max(x, axes=(axis,)), x, axis)))
    return div(e, over_rows(reduce_sum(e, axes=(axis,)), x, axis))


def column_softmax(x):
    return softmax(x, axis=0)


def logsumexp(x):
    m = reduce_max(x, axes=(0,))
    total = reduce_sum(exp(sub(x, broadcast(m, shape=x.shape, dims=()))), axes=(0,))
    return add(m, log(total))


def gelu(x):
    inner = mul(add(x, mul(mul(mul(x, x), x), 0.044715)), 0.7978845608)
    return mul(mul(x, 0.5), add(tanh(inner), 1.0))


# ---------------------------------------------------------------------------------------------------------------------
# Maps and reductions


def test_softmax_is_one_nest_over_rows(golden):
    case = Case(softmax, matrix(8, 64)).check()
    assert len(case.nests) == len(case.steps) == 1
    (rows,) = case.nests[0].body
    assert (rows.extent, rows.vector) == (8, False)
    assert [(s.extent, s.vector) for s in rows.body] == [(64, True)] * 3
    assert [t.size for t in case.temporaries] == [64], "the exponentials of one row, used anew for each"
    assert case.ops().count("exp") == 1
    golden("loops_softmax.txt", case.text)


def test_softmax_over_columns_runs_the_columns_in_lanes():
    case = Case(column_softmax, matrix(50, 40)).check()
    (columns,) = case.nests[0].body
    assert (columns.extent, columns.vector) == (40, True)
    assert [(s.extent, s.vector) for s in columns.body] == [(50, False)] * 3
    assert [t.size for t in case.temporaries] == [2000], "lanes must not share the buffer of one column"


def test_a_chain_of_maps_is_one_loop_over_all_elements():
    case = Case(gelu, matrix(8, 64)).check()
    (loop,) = case.loops
    assert (loop.extent, loop.vector) == (512, True)
    assert not case.temporaries
    assert len(case.statements(Load)) == len(case.statements(Store)) == 1


def test_logsumexp_is_one_nest_with_registers_between_its_loops():
    case = Case(logsumexp, vector(37)).check()
    assert len(case.nests) == 1
    assert [type(s) for s in case.nests[0].body] == [Loop, Loop, Let, Let, Store]
    assert not case.temporaries


def test_layer_norm_is_one_nest():
    def layer_norm(x, gain, bias):
        mean = mul(reduce_sum(x, axes=(1,)), 1 / 64)
        centred = sub(x, over_rows(mean, x))
        variance = mul(reduce_sum(mul(centred, centred), axes=(1,)), 1 / 64)
        scaled = mul(centred, over_rows(div(1.0, exp(mul(log(add(variance, 1e-5)), 0.5))), x))
        spread = [broadcast(v, shape=x.shape, dims=(1,)) for v in (gain, bias)]
        return add(mul(scaled, spread[0]), spread[1])

    case = Case(layer_norm, matrix(8, 64), vector(64), vector(64)).check()
    assert len(case.steps) == 1
    assert not case.temporaries, "the centred row costs a subtraction: it is computed again"


def test_reductions_of_one_operand_share_their_loop():
    def moments(x):
        return reduce_sum(x, axes=(1,)), reduce_sum(mul(x, x), axes=(1,)), reduce_max(x, axes=(1,))

    case = Case(moments, matrix(6, 33)).check()
    _, inner = case.loops
    assert [c.combine for c in inner.carries] == ["sum", "sum", "max"]
    assert len(case.statements(Load)) == 1


def test_a_full_reduction_runs_over_all_elements_at_once():
    case = Case(lambda x: reduce_sum(mul(x, x), axes=(0, 1)), matrix(6, 33)).check()
    (loop,) = case.loops
    assert (loop.extent, loop.vector, len(loop.carries)) == (198, True, 1)


def test_a_column_sum_keeps_its_columns_in_lanes():
    case = Case(lambda x: reduce_sum(tanh(x), axes=(0,)), matrix(30, 20)).check()
    outer, inner = case.loops
    assert (outer.extent, outer.vector, inner.extent, inner.vector) == (20, True, 30, False)


def test_a_reduction_of_rows_goes_on_into_a_scalar():
    def loss(x):
        return mul(reduce_sum(log(reduce_sum(exp(x), axes=(1,))), axes=(0,)), 0.125)

    case = Case(loss, matrix(8, 20)).check()
    assert len(case.steps) == 1
    outer, inner = case.loops
    assert (len(outer.carries), len(inner.carries)) == (1, 1)
    assert not case.temporaries


def test_an_expensive_operand_is_not_computed_for_every_row():
    def costly(x, w):
        return mul(x, broadcast(tanh(w), shape=x.shape, dims=(1,)))

    def cheap(x, w):
        return mul(x, broadcast(neg(w), shape=x.shape, dims=(1,)))

    assert [t.size for t in Case(costly, matrix(8, 64), vector(64)).check().temporaries] == [64]
    assert not Case(cheap, matrix(8, 64), vector(64)).check().temporaries


def test_an_expensive_operand_of_rows_stays_in_a_register():
    def costly(x, w):
        return mul(x, broadcast(tanh(w), shape=x.shape, dims=(0,)))

    long, short = Case(costly, matrix(8, 64), vector(8)).check(), Case(costly, matrix(64, 3), vector(64)).check()
    assert not long.temporaries
    assert [t.size for t in short.temporaries] == [64], "short rows do not pay for doing without lanes"


def test_what_two_nests_read_is_computed_once_if_it_costs_much():
    def sums(x):
        y = tanh(x)
        return reduce_sum(y, axes=(0,)), reduce_sum(y, axes=(1,))

    case = Case(sums, matrix(30, 20)).check()
    assert case.ops().count("tanh") == 1


# ---------------------------------------------------------------------------------------------------------------------
# Scalars


def test_a_program_of_scalars_has_no_loops():
    def f(x, y):
        z = mul(sin(x), y)
        return z, mul(tanh(z), y), add(z, x), literal(2.0, f32)

    case = Case(f, aval((), f32), aval((), f32)).check()
    assert len(case.steps) == 1
    assert not case.loops
    assert not case.temporaries
    assert [type(s) for s in case.nests[0].body].count(Load) == 2


def test_long_programs_need_no_deep_stack():
    def chain(x):
        for _ in range(3000):
            x = add(tanh(x), x)
        return x

    assert len(Case(chain, aval((), f32)).ops()) == 6000
    assert len(Case(chain, vector(4)).ops()) == 6000


# ---------------------------------------------------------------------------------------------------------------------
# Views


def test_views_move_nothing():
    def f(x):
        y = rev(slice_(transpose(x, perm=(1, 0)), start=(1, 0), stop=(7, 4), step=(2, 1)), axes=(0,))
        return add(y, 1.0)

    case = Case(f, matrix(4, 7)).check()
    assert len(case.steps) == 1
    assert not case.temporaries
    (load,) = case.statements(Load)
    assert load.index.offset == 5
    assert sorted(load.index.terms) == [("i", -2), ("j", 7)]


def test_a_reshape_that_merges_axes_shares_the_memory():
    def f(x):
        return exp(reshape(tanh(x), shape=(12,)))

    case = Case(f, matrix(3, 4)).check()
    assert [t.size for t in case.temporaries] == [12]
    assert not any(isinstance(s, Copy) for s in case.steps)


def test_a_reshape_that_splits_axes_is_fused():
    assert not Case(lambda x: exp(reshape(tanh(x), shape=(3, 1, 4))), vector(12)).check().temporaries


def test_a_returned_reshape_is_the_memory_of_what_it_reshapes():
    case = Case(lambda x: reshape(tanh(x), shape=(6, 2)), matrix(3, 4)).check()
    assert len(case.steps) == 1
    assert not case.temporaries


def test_pieces_are_written_where_they_belong():
    def f(x, y):
        joined = concatenate(tanh(x), mul(y, 2.0), axis=1)
        return pad(joined, 7.0, low=(1, -1), high=(0, 2), interior=(0, 1))

    case = Case(f, matrix(3, 4), matrix(3, 5)).check()
    assert len(case.statements(Store)) == 4


def test_positions_are_loop_variables():
    case = Case(lambda x: argmax(x, axis=1, dtype=i32), matrix(5, 9)).check()
    assert len(case.steps) == 1
    assert len(case.statements(Position)) == 1
    assert [loop.vector for loop in case.loops] == [False, True, True]


def test_running_sums_carry_the_last_value():
    rows = Case(lambda x: cumsum(exp(x), axis=1, reverse=True), matrix(5, 9)).check()
    assert [(s.reverse, s.vector) for s in rows.loops] == [(False, False), (True, False)]
    columns = Case(lambda x: cumsum(exp(x), axis=0, reverse=False), matrix(5, 9)).check()
    assert [(s.extent, s.vector) for s in columns.loops] == [(9, True), (5, False)]


# ---------------------------------------------------------------------------------------------------------------------
# Contractions


def test_an_mlp_step_is_matrix_products_and_few_nests(golden):
    def step(x, y, w1, b1_, w2, b2):
        hidden = tanh(add(dot_general(x, w1, **MATMUL), broadcast(b1_, shape=(128, 32), dims=(1,))))
        logits = add(dot_general(hidden, w2, **MATMUL), broadcast(b2, shape=(128, 10), dims=(1,)))
        d_logits = mul(sub(softmax(logits), y), 1 / 128)
        d_hidden = dot_general(d_logits, w2, contract=((1,), (1,)), batch=((), ()))
        d_before = mul(d_hidden, sub(1.0, mul(hidden, hidden)))
        gradients = (
            dot_general(x, d_before, contract=((0,), (0,)), batch=((), ())),
            reduce_sum(d_before, axes=(0,)),
            dot_general(hidden, d_logits, contract=((0,), (0,)), batch=((), ())),
            reduce_sum(d_logits, axes=(0,)),
        )
        return [sub(p, mul(g, 0.1)) for p, g in zip((w1, b1_, w2, b2), gradients, strict=True)]

    shapes = ((128, 64), (128, 10), (64, 32), (32,), (32, 10), (10,))
    case = Case(step, *[aval(s, f32) for s in shapes]).check()
    assert len(case.gemms) == 5
    assert len(case.nests) == 7
    assert [g.a.transposed for g in case.gemms].count(True) == 2, "transposes are flags"
    golden("loops_mlp_step.txt", case.text)


def test_transposed_and_merged_operands_are_read_in_place():
    def f(x, w):
        return dot_general(transpose(reshape(x, shape=(60, 16)), perm=(1, 0)), w, contract=((1,), (1,)), batch=((), ()))

    case = Case(f, aval((4, 15, 16), f32), matrix(20, 60)).check()
    assert len(case.steps) == 1
    (gemm,) = case.gemms
    assert (gemm.m, gemm.n, gemm.k) == (16, 20, 60)
    assert (gemm.a.transposed, gemm.b.transposed) == (True, True)


def test_batched_products_step_through_memory():
    heads = {"contract": ((3,), (3,)), "batch": ((0, 1), (0, 1))}
    case = Case(lambda q, k: dot_general(q, k, **heads), aval((2, 3, 16, 8), f32), aval((2, 3, 16, 8), f32)).check()
    (gemm,) = case.gemms
    assert (gemm.batch, gemm.a_step, gemm.b_step, gemm.c_step) == (6, 128, 128, 256)
    assert gemm.b.transposed


def test_an_operand_whose_strides_fit_no_matrix_is_copied():
    def f(x, w):
        every_other = slice_(x, start=(0, 0), stop=(40, 60), step=(1, 2))
        return dot_general(every_other, w, **MATMUL)

    case = Case(f, matrix(40, 60), matrix(30, 20)).check()
    assert [t.size for t in case.temporaries] == [1200]


@pytest.mark.parametrize(
    ("left", "right", "params"),
    [
        (matrix(40, 30), vector(30), MATMUL),  # matrix and vector
        (vector(30), matrix(30, 40), {"contract": ((0,), (0,)), "batch": ((), ())}),
        (vector(300), vector(300), {"contract": ((0,), (0,)), "batch": ((), ())}),
        (vector(30), vector(40), {"contract": ((), ()), "batch": ((), ())}),
        (matrix(4, 4), matrix(4, 4), MATMUL),
        (matrix(20, 30, i32), matrix(30, 20, i32), MATMUL),
    ],
)
def test_vectors_small_matrices_and_integers_are_loops(left, right, params):
    case = Case(lambda x, y: dot_general(x, y, **params), left, right).check()
    assert not case.gemms
    assert len(case.nests) == 1
    assert any(loop.vector for loop in case.loops)


def test_a_product_of_a_vector_and_a_matrix_runs_along_its_rows():
    case = Case(
        lambda x, w: dot_general(x, w, contract=((0,), (0,)), batch=((), ())), vector(30, f64), matrix(30, 40, f64)
    )
    outer, inner = case.loops
    assert (outer.extent, outer.vector, inner.extent, inner.vector) == (40, True, 30, False)


# ---------------------------------------------------------------------------------------------------------------------
# Indices


def test_a_gather_is_part_of_the_loop_that_reads_it():
    def f(x, i):
        rows = gather(x, reshape(i, shape=(6, 1)), axes=(0,), batch=0, mode="fill")
        return reduce_sum(mul(rows, 2.0), axes=(1,))

    case = Case(f, matrix(3, 8), vector(6, i32)).check()
    assert len(case.steps) == 1
    assert not case.temporaries
    (dynamic,) = [s for s in case.statements(Load) if s.dynamic]
    assert dynamic.index.terms == (("j", 1),), "the row is looked up once, its elements lie side by side"


def test_scatters_of_one_target_work_in_its_only_copy():
    def f(x, i, u):
        at = reshape(i, shape=(4, 1))
        once = scatter_set(x, at, u, axes=(0,), batch=0, mode="clip")
        return scatter_add(once, at, u, axes=(0,), batch=0, mode="drop")

    case = Case(f, vector(9), vector(4, i32), vector(4)).check()
    assert len(case.nests) == 3
    assert not case.temporaries
    assert not any(loop.vector for nest in case.nests[1:] for loop in walk(nest.body) if isinstance(loop, Loop))


def test_a_scatter_leaves_alone_what_others_read():
    def f(x, i):
        y = exp(x)
        z = scatter_set(y, reshape(i, shape=(1,)), literal(0.0, f32), axes=(0,), batch=0, mode="clip")
        return z, mul(y, 2.0)

    case = Case(f, vector(5), aval((), i32)).check()
    assert case.program.buffers[-1].size == 5


# ---------------------------------------------------------------------------------------------------------------------
# Outputs and effects


def test_outputs_may_be_inputs_literals_repeats_and_empty():
    def f(x, y):
        z = tanh(x)
        return (
            x,
            z,
            z,
            reshape(z, shape=(3, 1)),
            literal(1.5, f64),
            mul(y, 2.0),
            broadcast(sub(x, x), shape=(2, 3), dims=(1,)),
        )

    case = Case(f, vector(3), aval((0, 4), f32)).check()
    assert [s.target for s in case.steps if isinstance(s, Copy)] == ["out0", "out2", "out3"]
    assert [a.shape for a in case.lowered.outputs] == [(3,), (3,), (3,), (3, 1), (), (0, 4), (2, 3)]


def test_before_a_guard_runs_only_what_it_needs():
    def f(x, w):
        product = dot_general(w, w, **MATMUL)
        total = reduce_sum(x, axes=(0,))
        guard(lt(total, 100.0), expect=literal(True, b1))
        y = exp(x)
        guard(lt(reduce_max(y, axes=(0,)), 200.0), expect=literal(True, b1))
        return product, y, total

    case = Case(f, vector(5), matrix(20, 20)).check()
    assert [type(s) for s in case.steps] == [LoopNest, GuardStep, LoopNest, GuardStep, Gemm]
    assert [g.ordinal for g in case.steps if isinstance(g, GuardStep)] == [0, 1]
    assert case.lowered.n_outputs == 3
    assert [g.output for g in case.lowered.guards] == [3, 4]


def test_a_guard_on_an_input_shows_it():
    def f(flag, x):
        guard(flag, expect=literal(True, b1))
        return neg(x)

    case = Case(f, aval((), b1), vector(3))
    assert [type(s) for s in case.steps] == [Copy, GuardStep, LoopNest]
    ran = Run(case.program, [np.zeros(1, bool), np.ones(3, np.float32)], None)
    assert ran.failed.ordinal == 0
    assert not ran.outputs[1][0]


def test_what_is_printed_is_returned_beside_the_outputs():
    def f(x):
        y = mul(x, 2.0)
        debug_print(y, reduce_sum(y, axes=(0,)), fmt="y = {}, sum = {}", batch_axes=0)
        return y

    case = Case(f, vector(3)).check()
    (printed,) = case.lowered.prints
    assert (printed.fmt, printed.outputs) == ("y = {}, sum = {}", (0, 1))
    assert case.lowered.n_outputs == 1


def test_regions_are_inlined_and_keep_what_they_compute_again():
    inner = Builder()
    x = inner.input_ref(vector(8))
    region = inner.close([tanh(x).atom])

    def f(x):
        (once,) = Ref.__emit__(x, jit, (x,), ("inner",), (region,))
        (again,) = Ref.__emit__(x, remat, (x,), (), (region,))
        return reduce_sum(once, axes=(0,)), add(again, x)

    case = Case(f, vector(8)).check()
    assert len(case.steps) == 1
    assert not case.temporaries, "neither result waits in a buffer for the other's readers"


def test_an_equation_without_a_lowering_is_named_with_its_line():
    name = "test_unlowered"
    unlowered = Primitive(name, "", lambda x: x, lambda x: x, lowering=Routine("nowhere", ()))
    try:
        builder = Builder()
        x = builder.input_ref(vector(3))
        builder.loc = "model.py:14"
        graph = builder.close([unlowered(x).atom])
        with pytest.raises(
            LoweringError, match=r"^model\.py:14: test_unlowered has no lowering .*graphad\.ir\.lowering"
        ):
            lower(graph)
    finally:
        del PRIMITIVES[name]


@pytest.mark.parametrize(("name", "identifier"), [("<lambda>", "lambda_"), ("f.g", "f_g"), ("2x", "f2x"), ("", "main")])
def test_program_names_are_identifiers(name, identifier):
    builder = Builder()
    x = builder.input_ref(vector(3))
    assert lower(builder.close([maximum(x, 0.0).atom], name=name)).program.name == identifier


def test_nothing_is_no_batch():
    """Its loops are run all the same: how often they turn is known of no lane."""

    def f(x):
        return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, gnp.tanh(c[1])), (0, x))

    graph = graphad.jit(f).graph(np.zeros((0, 40)))
    (loop,) = [e for e in graph.eqns if e.regions]
    results = [graph.avals[o] for o in loop.outputs]
    assert spaces(loop, loop.primitive.lower((), loop.params), results) == [()]
    turns, x = graphad.jit(f)(np.zeros((0, 40)))
    assert (turns, x.shape) == (3, (0, 40))
