"""A number beside an array keeps its digits: in every function, each argument, eager and compiled alike.

The calls are those of `tests.faces.numpy.number_cases`. Numbers have more digits than float32, or more bits than int32,
so that one which is converted by way of these shows.
"""

from __future__ import annotations

import ast
import importlib
import inspect

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.random import key
from tests.faces.numpy.number_cases import ARRAYS, NUMPY, OTHERS, ROUNDED, UPDATES
from tests.faces.oracle import names_in
from tests.test_coverage_table import script

#: A test compiles so many calls as one program.
SIZE = 24
#: These look at values, or take long to compile and do nothing with their numbers that the others do not.
EAGER = (
    "array_equiv(", "beta(", "chisquare(", "f(key", "gamma(", "loggamma(", "t(key", "generalized_normal(", "ball(",
    "dirichlet(", "multivariate_normal(",
)  # fmt: skip
#: Arguments that are no numbers beside an array: positions, conditions, arrays alone.
NOT_NUMBERS = {
    "where", "condition", "indices", "sorter", "cond", "pred", "operand", "on_true", "xp", "fp", "bins", "mask", "key",
}  # fmt: skip


#: Functions of arrays alone, and those whose numbers are positions, counts or lengths.
ARRAYS_ALONE = {
    "average", "bincount", "choice", "corrcoef", "correlate", "cov", "cross", "matmul", "matvec", "savez", "trapezoid",
    "vecdot", "vecmat", "conv", "conv_general_dilated", "conv_transpose", "conv_with_general_padding", "argwhere",
    "flatnonzero", "nonzero", "dynamic_update_slice_in_dim",
}  # fmt: skip
#: Arguments of others that are arrays.
ARRAYS_OF = {
    "histogram": {"weights"}, "histogram2d": {"y", "weights"}, "histogramdd": {"weights"}, "put": {"ind"},
    "histogram_bin_edges": {"weights"}, "dropout": {"x"},
    "dot_product_attention": {"value", "query_seq_lengths", "key_value_seq_lengths"},
}  # fmt: skip


def evaluate(text, module, arrays):
    names = {**vars(module), "np": np, "key": key(3), **arrays}
    return eval(compile(text, text, "eval"), names)


def used(text):
    return {name: ARRAYS[name] for name in ARRAYS if name in names_in(text)}


def in_both_ways(texts, module):
    """For each text what it gives eagerly and compiled, many in one program."""
    eager = [evaluate(text, module, {n: gnp.asarray(a) for n, a in used(text).items()}) for text in texts]
    traced = [text for text in texts if not text.startswith(EAGER)]
    program = graphad.jit(lambda arrays: [evaluate(text, module, arrays) for text in traced])
    compiled = dict(zip(traced, program(ARRAYS), strict=True))
    for text, found in zip(texts, eager, strict=True):
        yield text, found
        if text in compiled:
            yield f"jit: {text}", compiled[text]


def leaves(x):
    return [leaf for y in x for leaf in leaves(y)] if isinstance(x, (list, tuple)) else [np.asarray(x)]


def differences(label, found, expected, ulp):
    """What is wrong with a result, as text: the dtype of floats, and values by so many units in the last place.

    That of each element, or if several are allowed, that of the largest.
    """
    pairs = list(zip(leaves(found), leaves(expected), strict=True))
    for x, y in pairs:
        if y.dtype.kind == "f" and x.dtype != y.dtype and y.dtype == np.float64 and x.dtype != np.int32:
            yield f"{label}: {x.dtype}, not {y.dtype}"
        elif y.dtype.kind == "f":
            unit = np.spacing(np.abs(y) if ulp <= 1 else np.abs(y).max())
            if not np.all((x == y) | (np.isnan(x) & np.isnan(y)) | (np.abs(x - y) <= ulp * unit)):
                yield f"{label}: {x}, not {y}"
        elif not np.array_equal(x, y):
            yield f"{label}: {x}, not {y}"


@pytest.mark.parametrize("first", range(0, len(NUMPY), SIZE), ids=lambda k: NUMPY[k])
def test_as_numpy_has_it(first):
    wrong = []
    with np.errstate(all="ignore"):
        for label, found in in_both_ways(NUMPY[first : first + SIZE], gnp):
            expected = evaluate(label.removeprefix("jit: "), np, ARRAYS)
            wrong += differences(label, found, expected, 1)
    assert not wrong, "\n".join(wrong)


def test_functions_that_round():
    wrong = []
    for label, found in in_both_ways(list(ROUNDED), gnp):
        text = label.removeprefix("jit: ")
        wrong += differences(label, found, evaluate(text, np, ARRAYS), ROUNDED[text])
    assert not wrong, "\n".join(wrong)


def test_updates():
    wrong = []
    for label, found in in_both_ways(list(UPDATES), gnp):
        text = label.removeprefix("jit: ")
        x = ARRAYS[next(name for name in ARRAYS if f"({name}," in text or text.startswith(f"{name}."))].copy()
        names = {"np": np, "x": x, **ARRAYS}
        exec(UPDATES[text], names)
        wrong += differences(label, found, names["x"], 1)
    assert not wrong, "\n".join(wrong)


class Named(ast.NodeTransformer):
    """Floats as the elements of a list ``numbers``."""

    def __init__(self, numbers):
        self.numbers = numbers

    def generic_visit(self, node):
        if isinstance(node, (ast.Constant, ast.BinOp, ast.UnaryOp)):
            value = constant(node)
            if type(value) is float:
                self.numbers.append(value)
                return ast.parse(f"numbers[{len(self.numbers) - 1}]", mode="eval").body
        return super().generic_visit(node)


def constant(node):
    """The value of a text without names, else None."""
    try:
        return eval(compile(ast.fix_missing_locations(ast.Expression(node)), "constant", "eval"), {})
    except NameError:
        return None


def with_named_numbers(texts):
    """The texts that have floats in them, and the same with ``numbers[0]``, ... in their place, and these numbers."""
    numbers = []
    named = [ast.unparse(ast.fix_missing_locations(Named(numbers).visit(ast.parse(t, mode="eval")))) for t in texts]
    return [(text, new) for text, new in zip(texts, named, strict=True) if new != text], numbers


#: What counts out a shape needs numbers that are known.
COUNTED = "arange("


def test_scalars_of_numpy_have_all_their_digits():
    """np.float64 is a Python float, and as exact."""
    texts, numbers = with_named_numbers([*NUMPY, *ROUNDED])
    arrays, scalars = {n: gnp.asarray(a) for n, a in ARRAYS.items()}, [np.float64(x) for x in numbers]
    wrong = []
    with np.errstate(all="ignore"):
        for text, new in texts:
            found = evaluate(new, gnp, {**arrays, "numbers": scalars})
            wrong += differences(text, found, evaluate(text, np, ARRAYS), ROUNDED.get(text, 1))
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [float, np.float64])
def test_arguments_of_a_compiled_function(kind):
    wrong, every = [], [text for text in [*NUMPY, *ROUNDED] if not text.startswith((COUNTED, *EAGER))]
    with np.errstate(all="ignore"):
        for first in range(0, len(every), SIZE):
            texts, numbers = with_named_numbers(every[first : first + SIZE])
            program = graphad.jit(lambda arrays, numbers, texts=texts: [
                evaluate(new, gnp, {**arrays, "numbers": numbers}) for _, new in texts
            ])  # fmt: skip
            for (text, _), found in zip(texts, program(ARRAYS, [kind(x) for x in numbers]), strict=True):
                wrong += differences(text, found, evaluate(text, np, ARRAYS), ROUNDED.get(text, 1))
    assert not wrong, "\n".join(wrong)


class Wide(ast.NodeTransformer):
    """Numbers as arrays of float64 or int64."""

    def generic_visit(self, node):
        if isinstance(node, (ast.Constant, ast.BinOp, ast.UnaryOp, ast.List)):
            value = constant(node)
            kind = np.asarray(value).dtype.kind if value != [] else ""
            if kind == "f" or (kind == "i" and abs(np.asarray(value)).max() > 2**31):
                return ast.parse(f"np.asarray({ast.unparse(node)})", mode="eval").body
        return super().generic_visit(node)


@pytest.mark.parametrize("face", OTHERS)
def test_as_in_an_array(face):
    module, wrong = importlib.import_module(f"graphad.{face}"), []
    for label, found in in_both_ways(OTHERS[face], module):
        text = label.removeprefix("jit: ")
        wide = ast.unparse(ast.fix_missing_locations(Wide().visit(ast.parse(text, mode="eval"))))
        expected = evaluate(wide, module, {name: gnp.asarray(a) for name, a in used(text).items()})
        wrong += differences(label, found, expected, 8 if label.startswith("jit") else 0)
    assert not wrong, "\n".join(wrong)


def given_numbers(texts, module):
    """For each function called in ``texts`` the places and names of its arguments that have a number in them."""
    found = {}
    for text in texts:
        for node in ast.walk(ast.parse(text, mode="eval")):
            function = getattr(module, node.func.id, None) if _is_call_by_name(node) else None
            if function is not None:
                places = [*enumerate(node.args), *[(k.arg, k.value) for k in node.keywords]]
                found.setdefault(function, set()).update(place for place, value in places if _has_number(value))
    return found


def test_dropout():
    kept = graphad.random.bernoulli(key(3), 0.7, (4,))  # drawn in float32, whatever is dropped
    expected = np.where(kept, ARRAYS["F"] / 0.7, 0)
    for dropped in (graphad.nn.dropout, graphad.jit(graphad.nn.dropout, static_argnums=1)):
        np.testing.assert_allclose(dropped(key(3), 0.3, ARRAYS["F"]), expected, rtol=4e-16)


def _is_call_by_name(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def _has_number(node):
    return any(isinstance(n, ast.Constant) and isinstance(n.value, (int, float)) for n in ast.walk(node))


@pytest.mark.parametrize("face", ["numpy", *OTHERS])
def test_none_is_left_out(face):
    module = importlib.import_module(f"graphad.{face}")
    given = given_numbers([*NUMPY, *ROUNDED, *UPDATES] if face == "numpy" else OTHERS[face], module)
    missing, looked_at = {}, 0
    for name in script().public(module):
        function = getattr(module, name)
        if not callable(function) or isinstance(function, type) or name in ARRAYS_ALONE:
            continue
        taken = [
            (place, p.name)
            for place, p in enumerate(inspect.signature(function).parameters.values())
            if any(kind in str(p.annotation) for kind in ("ArrayLike", "float")) and p.name not in NOT_NUMBERS
        ]
        looked_at += len(taken)
        numbers = given.get(function, set()) | ARRAYS_OF.get(name, set())
        without = [p for place, p in taken if not {place, p} & numbers]
        if len(without) > 1 and len(taken) > 1:  # one of them is the array that the numbers stand beside
            missing[name] = without
    assert not missing, "\n".join(f"{name}: {without}" for name, without in missing.items())
    assert looked_at > {"numpy": 300, "lax": 30, "nn": 40, "random": 30}[face]
