"""The house's laws that no type checker knows: imports go down, files and functions stay short, imports stay cheap."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.thinned import EVERY

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("graphad/**/*.py"), *ROOT.glob("kernels/**/*.py")])
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in SOURCES}
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef

FILE_LINES, FILE_LINES_AT_MOST, FUNCTION_LINES = 400, 600, 60

# Files between the two limits, each with the reason why it is not two files.
LONG_FILES: dict[str, str] = {}

# Packages that cost start-up time or need not be there: where they may be imported, and whether only late, that is
# inside a function. Elsewhere, the module named is called.
HEAVY: dict[str, dict[str, str]] = {
    "numba": {"kernels/graphad_kernels/": "any"},
    "llvmlite": {"graphad/backends/": "late", "kernels/graphad_kernels/": "any"},
    "scipy": {"kernels/graphad_kernels/cpu/library.py": "late"},
    "rich": {"graphad/inspection/": "late"},
    "matplotlib": {"graphad/train/_result.py": "late"},
    "safetensors": {"graphad/train/_files.py": "late"},
    "cuda": {"graphad/backends/cuda/toolkit.py": "late"},
    "opt_einsum": {"graphad/numpy/linalg/_einsum.py": "late"},
    "graphad_kernels": {"graphad/primitives/reference.py": "late", "graphad/backends/": "any", "kernels/": "any"},
    "html": {"graphad/api/": "late", "graphad/backends/": "any", "graphad/ir/html.py": "any", "graphad/train/": "any"},
}

# Our own modules that are imported inside a function, each with the reason.
LATE: dict[tuple[str, str], str] = {
    ("graphad/ir/graph.py", "graphad.ir.text"): "a Graph prints itself, and the printer is about Graphs",
    ("graphad/ir/graph.py", "graphad.ir.html"): "start-up time: only notebooks need it",
    ("graphad/api/check_grads.py", "graphad.check.report"): "start-up time: only a derivative that is wrong needs it",
    ("graphad/api/check_vmap.py", "graphad.check.report"): "start-up time: only a batch that differs needs it",
    ("graphad/api/finite.py", "graphad.check.results"): "start-up time: only a result that is not finite needs it",
    ("graphad/trace/trace_limits.py", "graphad.trace.rewritten.loops"): "start-up time: only endless loops need it",
    ("graphad/trace/guards.py", "graphad.trace.rewritten.branches"): "start-up time: only wrong branches need it",
    ("graphad/api/stages.py", "graphad.passes"): "start-up time: eager code needs no passes",
    ("graphad/api/tracing.py", "graphad.passes"): "start-up time: short functions need no passes",
    **{
        ("graphad/backends/targets.py", f"graphad.backends.{kind}.target"): "start-up time: one target is used, if any"
        for kind in ("cpu", "cuda")
    },
    **{
        ("graphad/backends/cpu/target.py", module): "start-up time: not for code found on disk"
        for module in (
            "graphad.backends.cpu.executable",
            "graphad.backends.cpu.compiler",
            "graphad.backends.loops.explanation",
            "graphad.backends.loops.text",
            "graphad.passes",
        )
    },
    **{
        ("graphad/backends/cuda/target.py", f"graphad.{module}"): "start-up time: each call needs its part alone"
        for module in (
            "backends.cuda.inspection.cross",
            "backends.cuda.inspection.explanation",
            "backends.cuda.run.executable",
            "backends.cuda.runtime.pointers",
            "backends.cuda.runtime.runtimes",
            "passes",
        )
    },
    ("graphad/backends/cpu/executable.py", "graphad.backends.cpu"): "start-up time: not for code found on disk",
    (
        "graphad/backends/cpu/externals.py",
        "graphad.backends.cpu.pool",
    ): "start-up time: only programs with blocks need it",
    ("graphad/backends/cpu/entry/make.py", "graphad.backends.llvm"): "start-up time: not for code found on disk",
    ("graphad/backends/llvm/loader.py", "graphad.backends.llvm"): "start-up time: not for code found on disk",
    ("graphad/backends/routines/compiled.py", "graphad.backends.llvm"): "start-up time: not for code found on disk",
}

# What the library itself never imports.
NEVER = {"jax", "torch", "sklearn", "pytest", "hypothesis"}


def imports(tree):
    """Pairs of the module imported and whether that happens inside a function."""

    def walk(node, late):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, late) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield child.module or "", late
            else:
                if isinstance(child, ast.Call) and ast.unparse(child.func) == "importlib.import_module":
                    yield from ((name.value, late) for name in child.args if isinstance(name, ast.Constant))
                yield from walk(child, late or isinstance(child, FUNCTION))

    return list(walk(tree, late=False))


def test_imports_go_down_only():
    """The contracts of ``[tool.importlinter]`` in pyproject.toml.

    In a process of its own, for the linter configures logging, which closes whatever handlers there are.
    """
    code = "from importlinter import cli; raise SystemExit(cli.lint_imports(no_cache=True, no_logo=True))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    assert run.returncode == 0, run.stdout + run.stderr


@cache
def trees():
    return {name: ast.parse(text, name) for name, text in TEXTS.items()}


def test_files_are_short():
    lines = {name: len(text.splitlines()) for name, text in TEXTS.items()}
    assert not {name: n for name, n in lines.items() if n > FILE_LINES_AT_MOST}, "split these files"
    unexplained = {name: n for name, n in lines.items() if n > FILE_LINES and name not in LONG_FILES}
    assert not unexplained, "split these files, or give the reason in LONG_FILES"
    stale = [name for name in LONG_FILES if lines.get(name, 0) <= FILE_LINES]
    assert not stale, "these need no entry in LONG_FILES any more"


def test_functions_are_short():
    """Not counting their docstrings."""

    def length(function):
        doc = function.body[0] if ast.get_docstring(function) is not None else None
        return function.end_lineno - function.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)

    lines = {
        f"{name}:{node.lineno} {node.name}": length(node)
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTION)
    }
    assert not {name: n for name, n in lines.items() if n > FUNCTION_LINES}, "split these functions"


def test_heavy_packages_are_imported_where_they_may_be():
    places = {place for places in HEAVY.values() for place in places}
    assert not [p for p in places if not (ROOT / p).exists()], "HEAVY names places that there are not"
    wrong = []
    for name, tree in trees().items():
        for module, late in imports(tree):
            package = module.split(".")[0]
            places = HEAVY.get(package, {})
            when = [when for place, when in places.items() if name.startswith(place)]
            if package in NEVER:
                wrong.append(f"{name} imports {package}, which is for tests, examples and benchmarks")
            elif places and not when:
                wrong.append(f"{name} imports {package}; it may call {' or '.join(places)}")
            elif places and not late and "any" not in when:
                wrong.append(f"{name} imports {package} at its top; import it in the function that needs it")
    assert not wrong, "\n".join(wrong)


def test_our_own_modules_are_imported_at_the_top():
    """An import inside a function would hide an upward edge, or a cycle, from readers."""
    found = {
        (name, module)
        for name, tree in trees().items()
        for module, late in imports(tree)
        if late and module.split(".")[0] == "graphad"
    }
    assert not found - set(LATE), "move these imports to the top, or the code to its floor"
    assert not set(LATE) - found, "these need no entry in LATE any more"


def rooms(page):
    """The modules that the trees of a page name, by folder: a line is ``folder/  module (words) · module``."""
    found, folder = {}, None
    for line in (line for block in page.split("```")[1::2] for line in block.splitlines()):
        begun = re.match(r"\s*((?:\w+/)+)\s+(?:\d\s+)?(.*)", line)
        folder, rest = begun.groups() if begun else (folder, line)
        found.setdefault(folder, set()).update(re.findall(r"\w+", re.sub(r"\([^)]*\)", "", rest)))
    return found


def test_the_architecture_names_every_module():
    """Of the floors, in its folder; the faces keep theirs to themselves."""
    named = rooms((ROOT / "docs/architecture.md").read_text(encoding="utf-8"))
    floors = ("ir", "primitives", "transforms", "passes", "check", "backends", "trace", "api")
    modules = [Path(name) for name in TEXTS if name.startswith(tuple(f"graphad/{floor}/" for floor in floors))]
    missing = [
        str(path)
        for path in modules
        if path.stem != "__init__" and path.stem not in named.get(f"{path.parent.relative_to('graphad')}/", ())
    ]
    assert not missing, "say in docs/architecture.md what these are for"


def test_thinned_tests_exist():
    gone = [
        f"{path}::{name}"
        for path, names in EVERY.items()
        for name in names
        if not (ROOT / path).exists() or f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")
    ]
    assert not gone, "take these out of tests/thinned.py"


def test_no_drawer_for_everything():
    assert not [name for name in TEXTS if Path(name).stem in {"utils", "util", "misc"}]


def test_import_graphad_is_cheap():
    """No heavy package comes with ``import graphad``; `benchmarks/import_time.py` measures the time."""
    code = "import sys, json, graphad; print(json.dumps([sorted(sys.modules), dir(graphad)]))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    modules, names = json.loads(run.stdout)
    loaded = {name.split(".")[0] for name in modules}
    assert "graphad" in loaded
    assert not loaded & (set(HEAVY) | NEVER)
    faces = ("debug", "flatten_util", "lax", "nn", "optim", "random", "scipy", "solve", "train")
    late = [name for name in faces if name in names]
    assert len(late) == 9
    assert not {f"graphad.{name}" for name in late} & set(modules)
    assert not [name for name in modules if name.startswith(("graphad.backends.cuda", "graphad.passes"))]
