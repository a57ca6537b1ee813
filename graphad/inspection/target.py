"""What a target names: ``path/to/file.py:function``, ``package.module:function``, or a ``path/to/file.graph``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from graphad.api.abstract import ShapeDtypeStruct
from graphad.api.stages import run_on
from graphad.errors import GraphadError, did_you_mean
from graphad.ir.graph import Graph
from graphad.ir.text import parse_graph
from graphad.ir.verify import verify

#: What is in these folders is not the user's own code: graphad, the standard library, installed packages.
_FOREIGN: Final = (
    str(Path(__file__).resolve().parent.parent),
    *[sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")],
    "<frozen ",
)


class TargetError(GraphadError, ImportError):
    """A target names no function: the file, the module or the name in it is missing, or importing it failed.

    Remedy: the message says which part of the target; it is written ``file.py:function``, ``module:function`` or
    ``file.graph``.
    """


def load_function(target: str) -> Callable[..., Any]:
    """The function that ``target`` names, or that the graph in the file ``target`` computes.

    The file's folder, or for a module the current one, can be imported from, as for ``python file.py``.

    Raises
    ------
    TargetError
        If there is no such file, module or function, or importing it raises.

    Examples
    --------
    >>> load_function("graphad.numpy:tanh").__name__
    'tanh'
    """
    if target.endswith(".graph"):
        return GraphFunction(_read_graph(Path(target)))
    place, colon, name = target.rpartition(":")
    if not (place and colon and name):
        raise TargetError(f"{target!r} is no target; write file.py:function or package.module:function, or file.graph")
    is_file = place.endswith(".py") or "/" in place
    module = _import_file(Path(place)) if is_file else _import_module(place)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n, x in vars(found).items() if callable(x) and not n.startswith("_")]
            raise TargetError(f"{place} has no function {name}. {did_you_mean(name, names)}")
        found = getattr(found, part)
    if not callable(found):
        raise TargetError(f"{target} is a {type(found).__name__}, not a function")
    return found


class GraphFunction:
    """The function that a graph computes, of arrays as its inputs are.

    Attributes
    ----------
    graph
        The graph.
    arguments
        The types of its inputs.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.arguments = tuple([ShapeDtypeStruct(a.shape, a.dtype) for a in graph.in_avals])
        self.__name__ = graph.name

    def __call__(self, *args: Any) -> Any:
        if len(args) != len(self.arguments):
            raise TypeError(f"@{self.graph.name} takes {len(self.arguments)} arguments, not {len(args)}")
        results = run_on(self.graph, args)
        return results[0] if len(results) == 1 else tuple(results)


def _read_graph(path: Path) -> Graph:
    if not path.is_file():
        raise TargetError(f"there is no file {path}")
    graph = parse_graph(path.read_text(encoding="utf-8"))
    verify(graph)
    return graph


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TargetError(f"there is no file {path}")
    path = path.resolve()
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    _make_importable(path.parent)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Under its name, as `import` would: dataclasses and pickle look there.
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if before is None:
            del sys.modules[path.stem]
        else:
            sys.modules[path.stem] = before
        raise TargetError(f"importing {path.name} failed: {describe_error(error)}") from error
    return module


def _import_module(name: str) -> ModuleType:
    _make_importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(f"there is no module {error.name}") from error
        raise TargetError(f"importing {name} failed: {describe_error(error)}") from error
    except (Exception, SystemExit) as error:
        raise TargetError(f"importing {name} failed: {describe_error(error)}") from error


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def describe_error(error: BaseException) -> str:
    """One line about an exception out of the user's code: type, line and message."""
    message = " ".join(str(error).split())
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_FOREIGN)]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    if isinstance(error, SyntaxError) and error.filename:
        place, message = f"{Path(error.filename).name}:{error.lineno}", error.msg
    if place and not message.startswith(place):
        message = f"{place}: {message}" if message else place
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
