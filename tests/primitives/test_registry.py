"""Every slot of every primitive is filled, types and texts agree, and wrong calls say what to do."""

from __future__ import annotations

import numpy as np
import pytest
from graphad_kernels.routines import ROUTINES

from graphad.ir.text import format_graph, parse_graph
from graphad.ir.types import DTYPES, aval, dtype_of
from graphad.ir.verify import verify
from tests.primitives.cases import all_primitives, case_id, each, operand_values, program, pure, samples_of

each_primitive = pytest.mark.parametrize("primitive", all_primitives(), ids=case_id)


def empty_slots(primitive):
    """The names of the slots that a primitive should fill and does not."""
    if primitive.region_rules is not None or primitive.resolve is not None:
        # These are covered by the tests of what makes regions, and of collectives (tests/faces/lax).
        return [] if primitive.doc.strip() else ["doc"]
    filled = {
        "doc": primitive.doc.strip(),
        "numpy": primitive.numpy,
        "batch": primitive.batch,
        "lowering": primitive.lowering,
        "samples": primitive.samples,
        "errors": primitive.errors,
        "jvp or nondifferentiable": primitive.jvp is not None or primitive.nondifferentiable,
        "transpose": primitive.transpose or not primitive.linear,
    }
    return [name for name, value in filled.items() if not value]


@each_primitive
def test_every_slot_is_filled(primitive):
    assert empty_slots(primitive) == []


@each_primitive
def test_slots_agree(primitive):
    if isinstance(primitive.transpose, dict):
        assert set(primitive.transpose) == set(primitive.linear)
    if primitive.nondifferentiable:
        assert primitive.jvp is None


@each_primitive
def test_wrong_calls_say_what_to_do(primitive):
    for sample in primitive.errors:
        with pytest.raises((TypeError, ValueError, IndexError)) as caught:
            primitive.infer(sample.operands, tuple(sample.params[n] for n in primitive.params), ())
        assert sample.message in str(caught.value), f"{sample} gives {caught.value}"


@each_primitive
def test_there_are_samples(primitive):
    if primitive.region_rules is None and primitive.resolve is None:
        assert any(samples_of(primitive, d) for d in DTYPES.values())


@pytest.mark.parametrize(**each(keep=pure))
def test_the_type_rule_is_what_the_reference_returns(primitive, dtype):
    for sample in samples_of(primitive, dtype):
        graph, _ = program(primitive, sample, dtype)
        values = operand_values(sample, dtype)
        with np.errstate(all="ignore"):
            results = primitive.evaluate(tuple(values), graph.eqns[0].params)
        found = [np.asarray(r) for r in (results if primitive.multiple else [results])]
        assert [aval(r.shape, dtype_of(r.dtype)) for r in found] == list(graph.out_avals), sample


@pytest.mark.parametrize(**each(keep=lambda p: p.alone is not None))
def test_what_can_be_had_alone_is_the_same(primitive, dtype):
    """By the reference of those results, which are those of a routine of their own in programs."""
    kept, reference = primitive.alone
    for sample in samples_of(primitive, dtype):
        graph, _ = program(primitive, sample, dtype)
        values, params = operand_values(sample, dtype), graph.eqns[0].params
        whole = primitive.evaluate(tuple(values), params)
        lowering = primitive.lower(tuple(graph.in_avals), params)
        rows = [ROUTINES[name] for name in (lowering.name, lowering.alone)]
        together, alone = [r.extents(*lowering.sizes)[r.reads : r.reads + r.results] for r in rows]
        assert [together[k] for k in kept] == list(alone)
        limit = primitive.tolerance * np.finfo(dtype.numpy).eps
        for k, found in zip(kept, reference(*values, **primitive.named(params)), strict=True):
            np.testing.assert_allclose(found, whole[k], rtol=limit, atol=limit, strict=True)


@pytest.mark.parametrize(**each())
def test_text_reads_back(primitive, dtype):
    for sample in samples_of(primitive, dtype):
        graph, _ = program(primitive, sample, dtype)
        verify(graph, 1)
        functions = {}
        text = format_graph(graph, functions)
        assert parse_graph(text, functions) == graph, text
