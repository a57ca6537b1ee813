"""`print` and `callback`: looking at values from inside traced functions."""

from __future__ import annotations

from string import Formatter
from typing import Any

from graphad.api.callbacks import debug_callback as callback
from graphad.api.names import listing
from graphad.primitives.effects import debug_print, printed_lines
from graphad.trace.recording import current, lift
from graphad.trace.semantics import as_operand
from graphad.trace.source import located, user_loc, where

__all__ = ["callback", "print"]

# `print` is this module's public name, as in JAX; the built-in one stays reachable here.
_print_line = print


def print(fmt: str, *args: Any, **kwargs: Any) -> None:  # noqa: A001
    """Print values through ``fmt`` each time the program runs, compiled or not.

    Parameters
    ----------
    fmt
        A format string for `str.format`: ``"x = {}, loss = {loss:.3f}"``.
    *args, **kwargs
        The values; traced ones are printed when the program runs.

    Raises
    ------
    TypeError
        A field has no value, or a format specification is given for an array.

    Examples
    --------
    >>> import graphad
    >>> def f(x):
    ...     graphad.debug.print("x = {}", x)
    ...     return x * 2
    >>> graphad.jit(f)(3.0)
    x = 3.0
    Array(6., dtype=float32, weak_type=True)
    """
    positions = {name: str(len(args) + k) for k, name in enumerate(kwargs)}
    values = [*args, *kwargs.values()]
    fmt = _positional(fmt, positions)
    operands = [as_operand(x, "debug.print") for x in values]
    trace = current()
    if trace is None:
        for line in printed_lines(operands, fmt=fmt, batch_axes=0):
            _print_line(line)
        return
    # Also without a traced value: it prints when the program runs, not when it is traced.
    trace.loc = user_loc()
    try:
        trace.emit(debug_print, tuple([lift(trace, x) for x in operands]), (fmt, 0))
    except TypeError as error:
        raise located(error) from None


def _positional(fmt: str, positions: dict[str, str]) -> str:
    """``fmt`` with every field numbered: ``{} {b:.2f}`` becomes ``{0} {1:.2f}``."""
    parts: list[str] = []
    count = 0
    for text, field, spec, conversion in Formatter().parse(fmt):
        parts.append(text.replace("{", "{{").replace("}", "}}"))
        if field is None:
            continue
        if field == "":
            field, count = str(count), count + 1
        elif not field.isdigit():
            if field not in positions:
                raise TypeError(f"{where()}debug.print: no value for {{{field}}} in {fmt!r}; pass {field}=...")
            field = positions[field]
        parts.append("{" + field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "") + "}")
    return "".join(parts)


__dir__ = listing(globals(), "callback")
