"""Hints for errors: what to write where Python, or another library, needs the value of a tracer."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from opcode import opmap
from types import CodeType, ModuleType
from typing import Any, Final

import numpy as np

from graphad.ir.loc import Loc, line_text
from graphad.trace.source import user_loc

_LOOK: Final = "To look at the value use graphad.debug.print, or return it."
ASSIGNED: Final = "an element of a NumPy array, out[i] = x,"
ARRAY: Final = "a NumPy function, or np.asarray(x),"
FLOAT: Final = "float(x)"

#: The instructions of ``out[i] = x``; slices have their own from Python 3.12 on.
_STORES: Final = {opmap[name] for name in ("STORE_SUBSCR", "STORE_SLICE") if name in opmap}

#: What needs the value, and what to write instead.
_REMEDIES: Final = {
    FLOAT: f"Leave float(...) out: x computes as a number does; for math.sin(x) write graphad.numpy.sin(x). {_LOOK}",
    ARRAY: f"Write the graphad.numpy function of the same name, or graphad.numpy.stack for np.array([x, y]). {_LOOK}",
    ASSIGNED: (
        "Write out = out.at[i].set(x) with an array of graphad.numpy, or collect the values in a list and write "
        "graphad.numpy.stack(values)."
    ),
    "complex(x)": "Complex numbers are not supported; leave x real.",
    "x.item()": f"Leave .item() out: x computes as a number does. {_LOOK}",
    "x.tolist()": f"Iterate over x itself, or read its elements, x[i]: they compute as numbers do. {_LOOK}",
    "x.tobytes()": "What depends on the bytes belongs outside the traced function, or is a static argument of jit.",
    "x.__dlpack__()": (
        "Another library can have the array once the traced function has returned it; what it computes within one "
        "has no derivative here."
    ),
    "the format": 'Write graphad.debug.print("{:.3f}", x), which prints the number once it is known, or return it.',
}

#: Functions of SciPy, and of Python's `math`, whose twins are not in `graphad.numpy`.
_ELSEWHERE: Final = {
    "erf": "graphad.lax.erf", "erfc": "graphad.lax.erfc", "erfinv": "graphad.lax.erf_inv",
    "expit": "graphad.nn.sigmoid", "log_expit": "graphad.nn.log_sigmoid", "softmax": "graphad.nn.softmax",
    "log_softmax": "graphad.nn.log_softmax", "logsumexp": "graphad.nn.logsumexp",
}  # fmt: skip

_namespace: list[ModuleType] = []


def set_namespace(module: ModuleType) -> None:
    """Set the module `graphad.numpy`, which is on a higher floor."""
    _namespace[:] = [module]


def hint(what: str, loc: Loc) -> tuple[str, str, Loc]:
    """What needs the value, as far as the user's line tells, what to write instead, and that line."""
    if what in (FLOAT, ARRAY):
        called = _through_scipy()
        if called is not None:
            loc, name = called
            if name is None:
                return "SciPy", f"Write it with functions of graphad.numpy, or call SciPy outside. {_LOOK}", loc
            return f"scipy.special.{name}", _instead(name, "scipy.special"), loc
        if _assigns(loc):
            return ASSIGNED, _REMEDIES[ASSIGNED], loc
    if what == FLOAT:
        named = re.findall(r"\bmath\.(\w+)\(", line_text(loc))
        if len(set(named)) == 1:
            return f"math.{named[0]}", _instead(named[0], "math"), loc
    return what, _REMEDIES["the format" if what.startswith("the format") else what], loc


def of_function(function: Callable[..., Any]) -> tuple[str, str]:
    """The name of a function of NumPy or SciPy that was called, and what to write instead."""
    name = function.__name__
    module = getattr(function, "__module__", None)
    if module is None:  # a ufunc, which does not say whose it is
        module = "numpy" if getattr(np, name, None) is function else _module_with(function, name)
    full = f"{module}.{name}".removeprefix("numpy.")
    if module.partition(".")[0] != "numpy":
        return full, _instead(name, module)
    if twin(full) is None:
        return f"numpy.{full}", f"Write it with functions of graphad.numpy, which has no {name} itself. {_LOOK}"
    arguments = "x" if isinstance(function, np.ufunc) and function.nin == 1 else "..."
    return f"np.{full}", f"Write graphad.numpy.{full}({arguments}). {_LOOK}"


def twin(full: str) -> str | None:
    """The function of `graphad.numpy` that has the name ``full`` in NumPy."""
    found: Any = _namespace[0] if _namespace else None
    for part in full.split("."):
        found = vars(found).get(part) if isinstance(found, ModuleType) else None
    return f"graphad.numpy.{full}" if callable(found) else None


def _instead(name: str, library: str) -> str:
    found = twin(name) or _ELSEWHERE.get(name)
    if found is None:
        return f"Write it with functions of graphad.numpy and graphad.lax, which have no {name} themselves. {_LOOK}"
    return f"Write {found}(x) for {library}.{name}(x). {_LOOK}"


def _module_with(function: Callable[..., Any], name: str) -> str:
    """The module of a ufunc: SciPy's, or that of an unknown library."""
    special = sys.modules.get("scipy.special")
    return "scipy.special" if getattr(special, name, None) is function else "another library"


def _assigns(loc: Loc) -> bool:
    """Whether the user's code at ``loc`` is an assignment to an element."""
    head, at = loc if isinstance(loc, tuple) else (None, None)
    return isinstance(head, CodeType) and isinstance(at, int) and head.co_code[at] in _STORES


def _through_scipy() -> tuple[Loc, str | None] | None:
    """The user's line, and the function of scipy.special called there, if SciPy needs the value."""
    special: Any = sys.modules.get("scipy.special")
    if special is None:
        return None
    folder = os.path.dirname(os.path.dirname(special.__file__)) + os.sep
    loc: Any = user_loc(2)
    frame: Any = sys._getframe(1)
    while frame is not None and not (isinstance(loc, tuple) and frame.f_code is loc[0]):
        frame = frame.f_back
    name, inside = None, False
    while frame is not None and frame.f_code.co_filename.startswith(folder):
        own, inside = frame.f_code.co_name, True
        name = own if callable(getattr(special, own, None)) else name
        frame = frame.f_back
    return ((frame.f_code, frame.f_lasti), name) if inside and frame is not None else None
