"""Conditions as one boolean: Python's ``and``, ``or``, ``not`` and chains of comparisons would branch on values."""

from __future__ import annotations

import ast

from graphad.trace.rewritten.user_source import UserSource


def truth(source: UserSource, test: ast.expr) -> str:
    """A condition as an expression that gives one boolean."""
    match test:
        case ast.BoolOp():
            operator = " & " if isinstance(test.op, ast.And) else " | "
            return operator.join([_operand(source, value) for value in test.values])
        case ast.UnaryOp(op=ast.Not()):
            return f"{source.spelled('graphad.numpy', 'logical_not')}({source.text(test.operand)})"
        case ast.Compare(ops=[_, _, *_]):
            values = [test.left, *test.comparators]
            pairs = zip(values[:-1], test.ops, values[1:], strict=True)
            return " & ".join([f"({ast.unparse(ast.Compare(a, [op], [b]))})" for a, op, b in pairs])
        case ast.Compare() | ast.Call() | ast.Constant() | ast.UnaryOp(op=ast.Invert()):
            return source.text(test)
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr() | ast.BitXor()):
            return source.text(test)
        case ast.Name() | ast.Attribute() | ast.Subscript():
            return f"{source.text(test)} != 0"
        case _:
            return f"({source.text(test)}) != 0"


def _operand(source: UserSource, value: ast.expr) -> str:
    text = truth(source, value)
    return text if isinstance(value, ast.Call) else f"({text})"
