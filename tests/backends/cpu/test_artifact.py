"""Programs on disk: what is kept, under which name, and that a process that finds it compiles nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

import graphad
import graphad.numpy as gnp
from graphad.api.abstract import make_graph
from graphad.backends.artifact import Artifact
from graphad.backends.cache import ObjectCache
from graphad.backends.cpu.executable import compile_graph
from graphad.backends.lower import fuse
from graphad.backends.outcome import GuardFailure, GuardOutput, PrintOutput
from graphad.backends.sources import installed, sources
from graphad.config import config
from graphad.ir.digest import encode
from graphad.ir.primitive import PRIMITIVES, Primitive
from graphad.ir.text import parse_graph
from graphad.ir.types import aval, b1, f32, f64, i64, literal
from graphad.primitives.elementwise import cos, sin
from tests import strategies

ROOT = Path(__file__).parents[3]


@pytest.fixture
def disk(tmp_path):
    """A cache of its own, and the settings of users: programs are looked for on disk."""
    with config.override(cache_dir=str(tmp_path / "cache"), verify=1):
        yield tmp_path / "cache"


def files(folder):
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def python(code, folder, root=ROOT, **environment):
    path = os.pathsep.join([str(root), str(root / "kernels")])
    env = {**os.environ, "GRAPHAD_CACHE": str(folder), "GRAPHAD_VERIFY": "1", "PYTHONPATH": path, **environment}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, env=env, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- the bytes


ARTIFACTS = [
    Artifact(b"", "f"),
    Artifact(
        b"\x7fELF\n\n\0{}\n",
        "ga_program",
        functions=("ga_sin_f32x8", "ga_exp_f64x1"),
        routines=("dgemm", "gk_argsort_f32"),
        inputs=(aval((2, 3), f32), aval((), b1), aval((0,), i64)),
        outputs=(aval((), f64), aval((1,), f32), aval((), f32), aval((), b1)),
        results=1,
        guards=(GuardOutput(3, literal(True, b1)), GuardOutput(2, literal(float("nan"), f32))),
        prints=(PrintOutput('"{}" is\n{:8.3f} ß', 2, (1, 2)),),
        arena_bytes=1 << 40,
    ),
]


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_to_bytes_and_back(artifact):
    assert Artifact.from_bytes(artifact.to_bytes()) == artifact


@pytest.mark.parametrize("damaged", [b"", b"\n", b"no JSON\ncode", b"{}\ncode", ARTIFACTS[1].to_bytes()[:90]])
def test_other_bytes_are_an_error(damaged):
    with pytest.raises((ValueError, KeyError)):
        Artifact.from_bytes(damaged)


# --- the key


@given(strategies.random_graphs(), strategies.random_graphs(max_steps=2))
def test_graphs_are_encoded_alike_if_they_are_equal(one, other):
    assert encode(one) == encode(parse_graph(repr(one)))
    assert (encode(one) == encode(other)) == (replaced_weak(one) == replaced_weak(other))


def replaced_weak(graph):
    return type(graph)(graph.avals, graph.n_inputs, graph.eqns, graph.outputs)


def test_whatever_is_computed_is_in_the_key():
    x, y = np.ones(3), np.ones(3)
    functions = [
        lambda x, y: x * y + 1,
        lambda x, y: x * x + 1,
        lambda x, y: (x + y) + 1,
        lambda x, y: x * y + 2,
        lambda x, y: x * y,
        lambda x, y: x * y + 0.0,
        lambda x, y: x * y + (-0.0),
        lambda x, y: (x * y, x * y + 1),
        lambda x, y: (x * y + 1, x * y),
    ]
    graphs = [make_graph(f)(x, y) for f in functions]
    graphs += [make_graph(functions[0])(a, a) for a in (np.ones(4), np.ones((3, 1)), np.ones(3, np.float32))]
    assert len({encode(graph) for graph in graphs}) == len(graphs)


def test_params_and_regions_are_in_the_key():
    x = np.arange(6.0).reshape(2, 3)
    functions = [
        lambda x: gnp.sum(x, 0),
        lambda x: gnp.sum(x, 1),
        lambda x: graphad.jit(gnp.sin)(x),
        lambda x: graphad.jit(gnp.cos)(x),
        lambda x: graphad.checkpoint(gnp.sin)(x),
        lambda x: gnp.astype(x, np.float32),
    ]
    encoded = {encode(make_graph(f)(x)) for f in functions}
    assert len(encoded) == len(functions)


def test_names_lines_and_rules_are_not(disk):
    def made(name):
        @graphad.custom_jvp
        def square(x):
            return x * x

        square.defjvp(lambda primals, tangents: (square(primals[0]), 2 * primals[0] * tangents[0]))
        f = lambda x: gnp.sin(square(x)) + 1.5
        f.__name__ = name
        return f

    x = np.arange(3, dtype=np.float32)
    graphs = [make_graph(made(name))(x) for name in ("one", "other")]
    executables = [compile_graph(g, passes="inline{custom=True},simplify") for g in graphs]
    assert executables[0]._code is executables[1]._code
    assert ("def one" in executables[0].source, "def other" in executables[1].source) == (True, True)
    before = files(disk)
    compile_graph(graphs[0], passes="inline{custom=True},simplify{fast_math=True}")
    assert len(files(disk)) == len(before) + 1, "settings are part of the key"


def test_keys_are_the_same_in_every_process(tmp_path):
    code = (
        "import numpy as np, graphad.numpy as gnp; from graphad.api.abstract import make_graph; "
        "from graphad.ir.digest import encode; "
        "print(encode(make_graph(lambda x: gnp.sort(gnp.sum(x, axis=(0, 2)) * 0.1))(np.ones((2, 3, 4)))).hex())"
    )
    assert len({python(code, tmp_path, PYTHONHASHSEED=seed) for seed in ("1", "2")}) == 1


# --- finding it


PROGRAM = """
import sys
import numpy as np, graphad, graphad.numpy as gnp
rng = np.random.default_rng(0)

def loss(p, x, y):
    h = gnp.tanh(x @ p["w"] + p["b"])
    graphad.debug.print("h {} {}", h[0, 0], gnp.sum(h))
    return gnp.mean((gnp.sort(gnp.exp(h) @ p["v"]) - y) ** 2)

@graphad.jit
def step(p, x, y, rate):
    value, slopes = graphad.value_and_grad(loss)(p, x, y)
    if value > 0.5:
        rate = rate / 2
    return value, {k: p[k] - rate * slopes[k] for k in p}

p = {"w": rng.normal(size=(3, 5)), "b": rng.normal(size=5).astype(np.float32), "v": rng.normal(size=5)}
for y in (0.0, 10.0):
    value, new = step(p, rng.normal(size=(7, 3)), np.full(7, y), 0.1)
    print(float(value).hex(), *[np.asarray(new[k]).tobytes().hex() for k in new])
compilers = ("graphad.backends.lower", "graphad.passes", "llvmlite.binding", "numba", "importlib.metadata")
print([name for name in compilers if name in sys.modules])
"""


def test_a_second_process_compiles_nothing(tmp_path):
    said = []
    for _ in range(2):
        *printed, imported = python(PROGRAM, tmp_path).splitlines()
        said.append((printed, imported, files(tmp_path)))
    assert "graphad.backends.lower" in said[0][1]
    assert said[1] == (said[0][0], "[]", said[0][2])


def test_with_a_llvmlite_that_is_not_known(tmp_path):
    code = (
        "import sys, numpy as np, graphad, graphad.numpy as gnp\n"
        "from graphad.backends.llvm import library\n"
        "{}\n"
        "f = graphad.jit(lambda x: gnp.sum(gnp.sin(x)))\n"
        "print(library.host(), float(f(np.arange(5.0))).hex(), file=sys.stdout)\n"
    )
    plain = python(code.format("pass"), tmp_path / "one")
    other = python(code.format("library.KNOWN = ('0.1.',)"), tmp_path / "other")
    again = python(code.format("library.KNOWN = ('0.1.',)"), tmp_path / "one")
    assert plain == other == again
    assert files(tmp_path / "one") == files(tmp_path / "other")


def test_another_program_under_this_name_is_not_run(disk):
    one, other = (make_graph(f)(np.ones(3)) for f in (gnp.sin, gnp.cos))
    sizes = {}
    for graph in (one, other):
        before = files(disk)
        compile_graph(graph)
        sizes[graph] = max(files(disk) - before, key=lambda name: (disk / name).stat().st_size)
    cache = ObjectCache(str(disk))
    cache.put(sizes[one][:-2], cache.get(sizes[other][:-2]))
    np.testing.assert_array_equal(compile_graph(one)(np.ones(3))[0], np.sin(np.ones(3)))


def test_guards_and_their_lines(disk):
    @graphad.jit
    def f(x):
        return x + 1 if gnp.sum(x) > 0 else x - 1

    f(np.ones(3))
    (graph,) = [path.graph for tree in f._trees.values() for path in tree.paths()]
    for _ in range(2):
        executable = compile_graph(graph)
        failure = executable.run((np.full(3, -1.0),))
        assert type(failure) is GuardFailure
        with pytest.raises(graphad.errors.GuardError, match="test_artifact"):
            executable(np.full(3, -1.0))
        del executable


# --- what must not be found


def test_a_lowering_that_was_exchanged(disk, monkeypatch):
    graph = make_graph(gnp.sin)(np.ones(3))
    np.testing.assert_allclose(compile_graph(graph)(np.ones(3))[0], np.sin(1))
    monkeypatch.setattr(sin, "lowering", cos.lowering)
    np.testing.assert_allclose(compile_graph(graph)(np.ones(3))[0], np.cos(1))
    monkeypatch.undo()
    np.testing.assert_allclose(compile_graph(graph)(np.ones(3))[0], np.sin(1))


def test_a_primitive_of_somebody_else(disk):
    """Two processes may mean different things by one name: what they compile is known by its text."""
    x = np.ones(3)
    results = []
    for like in (sin, cos):
        mine = Primitive("mine", "", like.type_rule, like.numpy, lowering=like.lowering, elementwise=True)
        try:
            graph = make_graph(mine)(gnp.asarray(x))
            results.append(compile_graph(graph)(x)[0][0])
        finally:
            del PRIMITIVES["mine"]
    np.testing.assert_allclose(results, [np.sin(1), np.cos(1)])


def test_an_edited_lowering_in_a_checkout(tmp_path):
    for folder in ("graphad", "kernels"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    code = (
        "import numpy as np, graphad, graphad.numpy as gnp; print(float(graphad.jit(lambda x: x * 0.5)(np.ones(()))))"
    )
    assert python(code, tmp_path / "cache", tmp_path).strip() == "0.5"
    assert python(code, tmp_path / "cache", tmp_path).strip() == "0.5"
    place = tmp_path / "graphad" / "backends" / "llvm" / "scalar.py"
    text = place.read_text()
    assert '"fmul"' in text
    place.write_text(text.replace("fmul", "fadd"))
    assert python(code, tmp_path / "cache", tmp_path).strip() == "1.5"


def test_a_wheel_is_known_by_its_version(monkeypatch):
    monkeypatch.setattr("os.path.exists", lambda path: False)
    sources.cache_clear()
    assert sources() == graphad.__version__
    monkeypatch.undo()
    sources.cache_clear()
    assert sources() != graphad.__version__
    assert installed("numba") != installed("llvmlite") != installed("no_such_package") == ""


def test_what_is_checked_as_it_is_made_is_made(tmp_path, monkeypatch):
    graph = make_graph(lambda x: gnp.sin(x) + 0.25)(np.ones(3))
    checked = []
    monkeypatch.setattr(fuse, "check_program", checked.append)
    for verify, times in ((1, 0), (1, 0), (2, 1)):
        with config.override(cache_dir=str(tmp_path), verify=verify):
            compile_graph(graph)
        assert len(checked) == times
