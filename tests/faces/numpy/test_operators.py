"""The operators that type checkers are told of are those that arrays have."""

from __future__ import annotations

import ast
from pathlib import Path

import graphad.trace.operators
from graphad.numpy import _methods
from graphad.trace.array import Array
from graphad.trace.tracer import Tracer


def declared():
    tree = ast.parse(Path(graphad.trace.operators.__file__).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def installed():
    binary = [name for name, *_ in _methods._BINARY]
    operators = [f"__{name}__" for name in binary] + [f"__r{name}__" for name in binary]
    comparisons = [f"__{name}__" for name, *_ in _methods._COMPARISONS]
    return {*operators, *comparisons, *_methods._METHODS, *_methods._PROPERTIES}


def test_declared_operators_are_those_installed():
    assert declared() == installed()


def test_both_kinds_of_array_have_them_all():
    for cls in (Array, Tracer):
        assert not [name for name in installed() if name not in vars(cls)]
