"""The generic tests notice what is wrong: each is run on a primitive with one slot spoiled."""

from __future__ import annotations

import pytest

from graphad.ir.types import f64
from graphad.primitives.elementwise import cos, mul, neg, sin, stop_gradient
from graphad.primitives.families import batched_or_literal
from graphad.primitives.shape import rev
from tests.primitives import test_batching, test_derivatives, test_registry
from tests.primitives.cases import cases


def test_a_wrong_jvp_rule_is_noticed(monkeypatch, rng):
    monkeypatch.setattr(sin, "jvp", (lambda t, x, y: mul(t, neg(cos(x))),))
    with pytest.raises(AssertionError):
        test_derivatives.test_forward_is_the_limit_of_differences(sin, f64, rng)


def test_a_derivative_left_out_is_noticed(monkeypatch, rng):
    monkeypatch.setattr(mul, "jvp", (mul.jvp[0], None))
    with pytest.raises(AssertionError):
        test_derivatives.test_forward_is_the_limit_of_differences(mul, f64, rng)


def test_a_wrong_transpose_rule_is_noticed(monkeypatch, rng):
    monkeypatch.setattr(neg, "transpose", {0: lambda ct, x: ct})
    with pytest.raises(AssertionError):
        test_derivatives.test_reverse_is_the_transpose_of_forward(neg, f64, rng)


def test_a_derivative_right_in_the_first_order_only_is_noticed(monkeypatch, rng):
    """The rule computes the right number from a constant: a second derivative of zero."""
    monkeypatch.setattr(sin, "jvp", (lambda t, x, y: mul(t, cos(stop_gradient(x))),))
    test_derivatives.test_forward_is_the_limit_of_differences(sin, f64, rng)
    with pytest.raises(AssertionError):
        test_derivatives.test_second_order(sin, f64, rng)


def test_a_wrong_batching_rule_is_noticed(monkeypatch):
    def unbatched_repeated_backwards(size, batched, x, y):
        lifted = batched_or_literal(size, batched, (x, y))
        return mul(*[v if b or v.ndim < 2 else rev(v, axes=(1,)) for b, v in zip(batched, lifted)])

    monkeypatch.setattr(mul, "batch", unbatched_repeated_backwards)
    with pytest.raises(AssertionError):
        test_batching.test_batch_is_a_loop(mul, f64)


@pytest.mark.parametrize("slot", ["doc", "numpy", "batch", "lowering", "samples", "errors", "jvp", "transpose"])
def test_an_empty_slot_is_named(monkeypatch, slot):
    monkeypatch.setattr(mul, slot, "" if slot == "doc" else None)
    (named,) = test_registry.empty_slots(mul)
    assert slot in named


def test_every_float_primitive_is_differentiated():
    """No primitive slips through for want of a sample that may be differentiated."""
    names = {p.name for p, _ in cases((f64,), lambda p: p.jvp is not None)}
    assert {"add", "pow", "select", "erf_inv", "dot_general", "reduce_max", "gather"} <= names
