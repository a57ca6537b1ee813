"""Small immutable values: what `Frozen` promises is what ``@dataclass(frozen=True)`` does."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field, replace

import pytest

from graphad.ir.frozen import Frozen, light
from graphad.ir.lowering import AffineDim, Effect, Inline, Pieces, parse_scalar


@dataclass(frozen=True)
class DataInterval:
    low: int
    high: int = 10
    name: str = ""


class Interval(Frozen):
    low: int
    high: int = 10
    name: str = ""


ARGUMENTS = [((3,), {}), ((3, 4), {}), ((3,), {"name": "x"}), ((), {"high": 1, "low": 0}), ((1, 2, "y"), {})]


@pytest.mark.parametrize(("values", "named"), ARGUMENTS)
def test_values_are_those_of_a_dataclass(values, named):
    ours, theirs = Interval(*values, **named), DataInterval(*values, **named)
    assert repr(ours) == repr(theirs).replace("DataInterval", "Interval")
    assert ours == Interval(theirs.low, theirs.high, theirs.name)
    assert hash(ours) == hash(Interval(theirs.low, theirs.high, theirs.name))
    match ours:
        case Interval(low, high, name):
            assert (low, high, name) == (theirs.low, theirs.high, theirs.name)


@pytest.mark.parametrize(
    ("values", "named"), [((), {}), ((1, 2, "x", 4), {}), ((1,), {"low": 2}), ((1,), {"width": 2}), ((), {"high": 2})]
)
def test_what_a_dataclass_refuses_is_refused(values, named):
    for cls in (Interval, DataInterval):
        with pytest.raises(TypeError):
            cls(*values, **named)


def test_values_of_two_classes_differ():
    assert Inline() != Effect()
    assert len({Inline(), Effect(), Inline()}) == 2
    assert bool(Inline())
    assert AffineDim(0) != Pieces((), 0)


def test_values_do_not_change():
    value = Interval(1)
    for change in (lambda: setattr(value, "low", 2), lambda: setattr(value, "new", 2), lambda: delattr(value, "low")):
        with pytest.raises(AttributeError, match="Interval is immutable"):
            change()
    assert value == Interval(1)


def test_values_are_pickled_and_copied():
    scalar = parse_scalar("select({0} > 0, exp({0}), -1.5)")
    assert hash(scalar) == hash(copy.deepcopy(scalar))
    assert pickle.loads(pickle.dumps(scalar)) == copy.deepcopy(scalar) == scalar
    assert b"_hash" not in pickle.dumps(scalar)  # which differs from process to process


def test_light_values_are_values():
    @light
    class Point:
        x: int
        y: int = 2
        note: str = field(default="", compare=False)

    assert Point(1) == Point(1, 2, "here") != Point(2)
    assert hash(Point(1)) == hash(Point(1, note="here"))
    assert replace(Point(1), y=3) == Point(1, 3)
    assert not hasattr(Point(1), "__dict__")
