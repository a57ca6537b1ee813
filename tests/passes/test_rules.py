"""Each rewrite rule is its own test: where it says that it is exact, it keeps every bit, and derivatives too."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from graphad.ir.builder import Builder
from graphad.ir.evaluate import evaluate
from graphad.ir.ref import Ref
from graphad.ir.types import BY_NUMPY, aval, b1, bf16, f16, f32, f64, i8, i32, literal, u8
from graphad.ir.verify import verify
from graphad.passes.pattern import Op, Param, Var
from graphad.passes.rewrite import Rule, RuleSet, rewrite
from graphad.passes.simplify import RULES
from graphad.primitives.families import special_values
from graphad.transforms.linearize import jvp_graph

PATTERN_RULES = [r for r in RULES if isinstance(r, Rule)]
DTYPES = [f32, f64, f16, bf16, i32, i8, u8, b1]
CONSTANTS = {"f": [2.0, -3.0, 0.1, 0.0, -0.0, np.inf, np.nan], "i": [3, -1, 0], "u": [3, 0], "b": [True, False]}
TANGENT_VALUES = [0.0, -0.0, 1.0, -2.5, 0.75]


def variables_of(rule):
    return {v.name: v for v in rule.pattern.variables()}


def cases_of(rule):
    """(dtype, bindings of all variables: shapes, constants, params) for which the pattern has a type."""
    variables = variables_of(rule)
    for example in rule.examples or [{}]:
        for dtype in DTYPES:
            choices = []
            for v in variables.values():
                if isinstance(v, Param):
                    choices.append([example[v.name]])
                elif v.constant:
                    choices.append([example[v.name]] if v.name in example else CONSTANTS[kind_of(v, dtype)])
                else:
                    choices.append([example.get(v.name, None)])
            for values in itertools.product(*choices):
                yield dtype, dict(zip(variables, values, strict=True))


def kind_of(v, dtype):
    return dtype.kind if dtype.kind in v.kinds else v.kinds[0]


def dtype_of_variable(v, dtype):
    return dtype if dtype.kind in v.kinds else b1 if "b" in v.kinds else None


def build_case(rule, dtype, bindings, make_values):
    """The pattern as a graph, and arguments for it; None where it has no type."""
    variables = variables_of(rule)
    operands = [v for v in variables.values() if isinstance(v, Var) and not v.constant]
    dtypes = {v.name: dtype_of_variable(v, dtype) for v in variables.values() if isinstance(v, Var)}
    if None in dtypes.values():
        return None
    tables = [make_values(dtypes[v.name]) for v in operands]
    grids = [g.ravel() for g in np.meshgrid(*tables, indexing="ij")]
    args, found, builder = [], {}, Builder()
    for k, v in enumerate(operands):
        shape = bindings[v.name]
        arg = grids[k] if shape is None else np.resize(np.roll(tables[k], k), shape)
        args.append(np.asarray(arg, dtypes[v.name].numpy))
    for v, arg in zip(operands, args, strict=True):
        found[v.name] = builder.input_ref(aval_of(arg)).atom
    for v in variables.values():
        if isinstance(v, Param):
            found[v.name] = bindings[v.name]
        elif v.constant:
            found[v.name] = literal(bindings[v.name], dtypes[v.name])
    try:
        result = build_pattern(rule.pattern, builder, found, dtype)
    except (TypeError, ValueError, AssertionError):
        return None
    return builder.close([result.atom]), args


def build_pattern(op, builder, found, dtype):
    """As `Op.build`, but constants where no operand has a type take this dtype."""
    operands = [
        build_pattern(p, builder, found, dtype) if isinstance(p, Op) else p.build(builder, found) for p in op.operands
    ]
    if not any(isinstance(x, Ref) for x in operands[op.primitive.scalars_from :]):
        operands = [x if isinstance(x, Ref) else literal(x, dtype) for x in operands]
    params = [found[p.name] if isinstance(p, Param) else p for p in op.params]
    if not any(isinstance(x, Ref) for x in operands):
        raise TypeError("no typed operand")
    return op.primitive(*operands, **dict(zip(op.primitive.params, params, strict=True)))


def aval_of(array):
    return aval(array.shape, BY_NUMPY[array.dtype])


def rewritten(graph, rule):
    """The graph after this rule alone, and whether the rule was used."""
    used = []
    result = rewrite(graph, RuleSet([rule]), on_rewrite=lambda name, _loc: used.append(name))
    assert set(used) <= {rule.name, "fold-constants"}
    return result, rule.name in used


def same_bits(x, y):
    if x.dtype.kind in "biu":
        return np.array_equal(x, y)
    unsigned = f"u{x.dtype.itemsize}"
    nan = np.isnan(x.astype(np.float64)) & np.isnan(y.astype(np.float64))
    return bool(np.all((x.view(unsigned) == y.view(unsigned)) | nan))


def values_for(rule):
    if rule.reorders_sums:
        return lambda dtype: np.array([1, 0, 2, 3, 1]).astype(dtype.numpy)
    return special_values


@pytest.mark.parametrize("rule", [r for r in PATTERN_RULES if r.exact], ids=lambda r: r.name)
def test_an_exact_rule_keeps_every_bit(rule):
    used_for = []
    for dtype, bindings in cases_of(rule):
        try:
            case = build_case(rule, dtype, bindings, values_for(rule))
        except OverflowError:  # there is no -1 of this dtype
            continue
        if case is None:
            continue
        graph, args = case
        after, used = rewritten(graph, rule)
        if not used:
            continue
        used_for.append(dtype)
        verify(after, 2)
        (expected,), (got,) = evaluate(graph, args), evaluate(after, args)
        assert same_bits(expected, got), f"{dtype}, {bindings}\n{args}\n{graph}\n{expected}\n{after}\n{got}"
    assert used_for, "the rule was never used: give it examples"


@pytest.mark.parametrize("rule", [r for r in PATTERN_RULES if r.exact], ids=lambda r: r.name)
def test_an_exact_rule_keeps_derivatives(rule):
    for dtype, bindings in cases_of(rule):
        if dtype is not f64:
            continue
        case = build_case(rule, dtype, bindings, lambda d: np.array(TANGENT_VALUES).astype(d.numpy))
        if case is None or not case[0].out_avals[0].is_float:
            continue
        graph, args = case
        after, used = rewritten(graph, rule)
        if not used:
            continue
        mask = tuple(a.is_float for a in graph.in_avals)
        tangents = [np.full(a.shape, 1.0 + k) for k, a in enumerate(a for a in graph.in_avals if a.is_float)]
        assert_same_tangents(graph, after, mask, args, tangents, bindings)


def assert_same_tangents(before, after, mask, args, tangents, context):
    results = []
    for graph in (before, after):
        joint, nonzero = jvp_graph(graph, mask)
        values = evaluate(joint, [*args, *tangents])
        results.append(values[1] if nonzero[0] else np.zeros(graph.out_avals[0].shape))
    np.testing.assert_allclose(*results, rtol=1e-12, err_msg=f"{context}\n{before}\n{after}")


@pytest.mark.parametrize("rule", [r for r in PATTERN_RULES if not r.exact], ids=lambda r: r.name)
def test_an_inexact_rule_is_right_up_to_rounding_and_not_exact(rule):
    used, differs = False, False
    for dtype, bindings in cases_of(rule):
        if dtype in (f16, bf16):
            continue
        ordinary = build_case(rule, dtype, bindings, lambda d: np.array([0.5, 1.5, 2.0, 3.0]).astype(d.numpy))
        special = build_case(rule, dtype, bindings, special_values)
        if ordinary is None or special is None:
            continue
        after, fits = rewritten(ordinary[0], rule)
        used |= fits
        if fits and all(np.isfinite(v) for v in bindings.values() if isinstance(v, float)):
            expected, got = evaluate(*ordinary)[0], evaluate(after, ordinary[1])[0]
            np.testing.assert_allclose(got.astype(float), expected.astype(float), rtol=1e-5, atol=1e-6)
        differs |= not same_bits(evaluate(*special)[0], evaluate(rewritten(special[0], rule)[0], special[1])[0])
    assert used, "the rule was never used: give it examples"
    assert differs, "the rule keeps every bit: declare it exact"


def test_names_are_unique_and_plain():
    names = [r.name for r in RULES]
    assert len(set(names)) == len(names)
    assert all(n == n.lower() and " " not in n for n in names)
