"""`graphad.errors`: the classes derive from what a user would catch, and say when they are raised and the remedy."""

from __future__ import annotations

import inspect

import pytest

from graphad import errors

CLASSES = [obj for obj in vars(errors).values() if inspect.isclass(obj) and obj.__module__ == errors.__name__]
ERRORS = [cls for cls in CLASSES if issubclass(cls, errors.GraphadError) and cls is not errors.GraphadError]


@pytest.mark.parametrize("cls", ERRORS)
def test_errors_say_the_remedy(cls):
    assert "Remedy: " in cls.__doc__


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.ConcretizationError, TypeError),
        (errors.TracerBoolError, TypeError),
        (errors.TracerLeakError, RuntimeError),
        (errors.AxisNameError, NameError),
        (errors.KeyOperandError, TypeError),
        (errors.DifferentiationError, TypeError),
        (errors.GuardError, RuntimeError),
        (errors.TooManyPathsError, RuntimeError),
        (errors.EndlessTraceError, RuntimeError),
        (errors.DeletedArrayError, RuntimeError),
        (errors.LoweringError, RuntimeError),
        (errors.DeviceError, RuntimeError),
        (errors.ConvergenceError, RuntimeError),
        (errors.CallbackError, ValueError),
        (errors.RuleError, RuntimeError),
        (errors.IntegrationError, RuntimeError),
        (errors.NonFiniteError, ArithmeticError),
        (errors.VerifyError, ValueError),
        (errors.ParseError, ValueError),
    ],
)
def test_errors_are_what_a_user_would_catch(cls, builtin):
    with pytest.raises(builtin, match=r"model\.py:3: no"):
        raise cls(errors.at("model.py:3", "no"))
    assert issubclass(cls, errors.GraphadError)


def test_the_table_above_is_whole():
    table = next(mark for mark in test_errors_are_what_a_user_would_catch.pytestmark if mark.name == "parametrize")
    assert {cls for cls, _ in table.args[1]} == set(ERRORS)


def test_warnings_are_user_warnings():
    warnings = [cls for cls in CLASSES if issubclass(cls, Warning)]
    assert errors.GraphadWarning in warnings
    assert all(issubclass(cls, errors.GraphadWarning) and issubclass(cls, UserWarning) for cls in warnings)


def test_at_without_a_location_is_the_message():
    assert errors.at("", "no") == "no"


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("sn", ["sin", "cos"], "Did you mean 'sin'?"),
        ("zzz", ["sin", "cos"], "Known: cos, sin."),
        ("zzz", [f"name{i:02}" for i in range(40)], "name11, ... (40 in all)."),
        ("cosh", ["cos", "acosh", "cosh_"], " or "),
    ],
)
def test_did_you_mean(name, known, expected):
    assert expected in errors.did_you_mean(name, known)
