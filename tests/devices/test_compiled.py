"""Compiled functions on devices: where they run, their paths, donation, and calls in short."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.config import config
from graphad.errors import DeletedArrayError, DeviceError, PathsWarning
from tests.compose.tools import path_count

V = np.array([0.5, -1.5, 2.0, 4.0], np.float32)
REAL = "cuda:0"


def model(params, x):
    return gnp.tanh(x @ params["w"] + params["b"])


def make_params():
    return {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), "b": np.zeros(3, np.float32)}


def test_it_runs_where_its_arguments_are(device):
    compiled = graphad.jit(model)
    params = graphad.device_put(make_params(), device)
    got = compiled(params, V)  # the NumPy array follows
    assert got.device.name == device
    np.testing.assert_allclose(got, np.tanh(V @ make_params()["w"]), rtol=1e-5)
    again = compiled(params, graphad.device_put(V, device))
    assert path_count(compiled) == 1 or device == "cpu"
    np.testing.assert_array_equal(got, again)


def test_one_function_on_several_devices(gpu):
    compiled = graphad.jit(lambda x: gnp.sin(x) * 2)
    for name in ("cpu", gpu, "cpu", gpu):
        got = compiled(graphad.device_put(V, name))
        assert got.device.name == name
        np.testing.assert_allclose(got, np.sin(V) * 2, rtol=1e-6)
    assert compiled(V).device.name == "cpu"


@pytest.mark.parametrize("wrap", [graphad.jit, graphad.compile_grad], ids=["jit", "compile_grad"])
def test_the_device_of_the_function(device, wrap):
    compiled = wrap(lambda w, x: ((w * x) ** 2).sum(), device=device)
    for _ in range(2):
        got = compiled(V, 2.0)
        assert got.device.name == device
    wanted = (V * 2) ** 2
    np.testing.assert_allclose(got, wanted.sum() if wrap is graphad.jit else 8 * V, rtol=1e-6)
    on_device = compiled(graphad.device_put(V, device), 2.0)
    np.testing.assert_array_equal(got, on_device)


def test_a_device_object_will_do(gpu):
    place = graphad.device_put(1.0, gpu).device
    assert graphad.jit(lambda x: x, device=place)(1.0).device == place
    with graphad.default_device(place):
        assert config.default_device == gpu
        assert graphad.device_put(1.0).device == place


def test_the_default_device(gpu):
    compiled = graphad.jit(lambda x: x * 2)
    for _ in range(2):
        assert compiled(V).device.name == "cpu"
        with graphad.default_device(gpu):
            assert compiled(V).device.name == gpu
            assert compiled(gnp.asarray(V)).device.name == gpu
            assert compiled(2.0).device.name == gpu
            assert compiled(graphad.device_put(V, "cpu")).device.name == "cpu"
            assert compiled(gnp.asarray(V)).device.name == gpu
            assert graphad.jit(lambda x: x, device="cpu")(V).device.name == "cpu"
    config.update("default_device", gpu)
    assert compiled(V).device.name == gpu
    config.update("default_device", "cpu")
    assert compiled(V).device.name == "cpu"


def test_what_it_closes_over_decides_too(gpu):
    weights = graphad.device_put(V, gpu)
    compiled = graphad.jit(lambda x: (weights * x).sum())
    for _ in range(2):
        got = compiled(2.0)
        assert got.device.name == gpu
        np.testing.assert_allclose(got, 2 * V.sum(), rtol=1e-6)


def test_constants_go_to_the_device(gpu):
    table = np.arange(4, dtype=np.float32)
    compiled = graphad.jit(lambda x: x + gnp.asarray(table) + gnp.ones(4), device=gpu)
    np.testing.assert_array_equal(compiled(V), V + table + 1)


def test_results_that_are_arguments_numbers_or_nothing(device):
    compiled = graphad.jit(lambda x: {"x": x, "n": 3.0, "none": None, "zeros": gnp.zeros((0, 2))}, device=device)
    got = compiled(V)
    assert {y.device.name for y in graphad.tree.leaves(got)} == {device}
    np.testing.assert_array_equal(got["x"], V)
    assert (float(got["n"]), got["n"].weak_type, got["none"], got["zeros"].shape) == (3.0, True, None, (0, 2))


def test_static_and_keyword_arguments(device):
    compiled = graphad.jit(lambda x, n, *, scale: x[:n] * scale, static_argnums=1, device=device)
    for n in (2, 3, 2):
        np.testing.assert_array_equal(compiled(V, n, scale=np.float32(3)), V[:n] * 3)


def test_weak_types_come_through(device):
    compiled = graphad.jit(lambda x: x * 2, device=device)
    assert compiled(1.0).weak_type
    assert compiled(1).dtype == np.int32
    assert not compiled(np.float32(1)).weak_type


def test_paths(device):
    def f(x):
        if x.sum() > 3:
            return x
        for _ in range(int(x[2])):
            x = x * 2
        return -x

    compiled = graphad.jit(f)
    for _ in range(2):
        np.testing.assert_array_equal(compiled(graphad.device_put(V, device)), V)
        np.testing.assert_array_equal(compiled(graphad.device_put(V - 2, device)), -(V - 2))
        np.testing.assert_array_equal(compiled(graphad.device_put(V - 1, device)), -2 * (V - 1))
    assert path_count(compiled) == 3


def test_a_new_path_in_each_call_is_warned_of(gpu):
    compiled = graphad.jit(lambda n: n * int(n), device=gpu)
    with config.override(warn_paths=2):
        assert [int(compiled(np.int32(n))) for n in range(2)] == [0, 1]
        with pytest.warns(PathsWarning, match=r"graphad\.numpy\.where"):
            assert int(compiled(np.int32(2))) == 4


def test_calls_in_short(gpu, monkeypatch):
    compiled = graphad.jit(lambda x, y, s: x * y + s)
    x, y = graphad.device_put(V, gpu), gnp.asarray(V)
    for arguments in ((x, x, 2.0), (x, V, 2.0), (V, x, 3.0), (x, y, x), (x, V.astype(np.float64), 1.0)):
        first = compiled(*arguments)
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "_bind", None)
            again = compiled(*arguments)
        assert again.device.name == gpu
        assert (again.dtype, again.weak_type) == (first.dtype, first.weak_type)
        np.testing.assert_array_equal(first, again)
    with pytest.raises(TypeError, match="is on cpu"):
        compiled(x, graphad.device_put(V, "cpu"), 2.0)


def test_a_path_by_numpy(gpu):
    compiled = graphad.jit(lambda x: (x if x.sum() > 0 else -x) * np.arange(4, dtype=np.float32), device=gpu)
    wanted = compiled(V)
    (path,) = [p for tree in compiled._trees.values() for p in tree.paths()]
    got = path.pack(path.evaluate(path.place([V])))
    assert got.device.name == gpu
    np.testing.assert_array_equal(got, wanted)


def test_deterministic_scatter(gpu):
    rng = np.random.default_rng(0)
    at, added = rng.integers(0, 5, 200), rng.normal(size=200).astype(np.float32)
    scatter = graphad.jit(lambda i, v: gnp.zeros(5).at[i].add(v), device=gpu)
    loose = scatter(at, added)
    with config.override(deterministic=True):
        results = {np.asarray(scatter(at, added)).tobytes() for _ in range(3)}
    assert len(results) == 1
    np.testing.assert_allclose(np.frombuffer(results.pop(), np.float32), loose, rtol=1e-5)


def test_a_branch_that_nothing_depends_on_costs_no_download(gpu, no_download):
    compiled = graphad.jit(lambda x: x * 2)
    x = graphad.device_put(V, gpu)
    with no_download():
        for _ in range(3):
            x = compiled(x)
    np.testing.assert_array_equal(x, V * 8)


def test_training_stays_on_the_device(gpu, no_download):
    @graphad.jit
    def step(params, x, y):
        value, slopes = graphad.value_and_grad(lambda p: ((model(p, x) - y) ** 2).mean())(params)
        return graphad.tree.map(lambda p, g: p - 0.1 * g, params, slopes), value

    x, y = np.stack([V, V[::-1]]), np.zeros((2, 3), np.float32)
    final = {}
    for name in ("cpu", gpu):
        params, *data = graphad.device_put((make_params(), x, y), name)
        if name == gpu:
            with no_download():
                for _ in range(3):
                    params, value = step(params, *data)
        else:
            for _ in range(3):
                params, value = step(params, *data)
        final[name] = graphad.device_get((params, value))
    for a, b in zip(*[graphad.tree.leaves(final[name]) for name in ("cpu", gpu)], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_donation(device):
    compiled = graphad.jit(lambda p, x: graphad.tree.map(lambda w: w + x, p), donate_argnums=0)
    params = graphad.device_put({"a": V, "b": 2 * V}, device)
    new = compiled(params, 1.0)
    assert all(w.is_deleted() for w in params.values())
    np.testing.assert_array_equal(new["b"], 2 * V + 1)
    with pytest.raises(DeletedArrayError, match="donate_argnums"):
        compiled(params, 1.0)
    x = graphad.device_put(V, device)
    with pytest.raises(ValueError, match="a second time"):
        compiled({"a": x, "b": x}, 1.0)
    assert not x.is_deleted()


def test_donated_where_it_comes_out_again(device):
    compiled = graphad.jit(lambda x: (x, x), donate_argnums=0)
    for x in compiled(graphad.device_put(V, device)):
        np.testing.assert_array_equal(x, V)


def test_inside_of_another(device):
    inner = graphad.jit(lambda x: gnp.sin(x), device=device)
    x = graphad.device_put(V, device)
    got = graphad.jit(lambda x: inner(x) * 2 + inner(V))(x)
    assert got.device.name == device
    np.testing.assert_allclose(got, np.sin(V) * 3, rtol=1e-6)
    outer = graphad.jit(lambda s: s * inner(x).sum())  # run while tracing: nothing of it is traced
    np.testing.assert_allclose(outer(2.0), 2 * np.sin(V).sum(), rtol=1e-6)


def test_prints(device, capsys):
    def f(x):
        graphad.debug.print("x = {}", x)
        return x * 2

    graphad.jit(f, device=device)(np.float32(1.5))
    assert capsys.readouterr().out == "x = 1.5\n"


def test_pickled(gpu):
    again = pickle.loads(pickle.dumps(graphad.jit(model, device=gpu)))
    assert again.device.name == gpu
    assert again(make_params(), V).device.name == gpu
    gradient = pickle.loads(pickle.dumps(graphad.compile_grad(total, device=gpu)))
    assert gradient(V).device.name == gpu


def total(x):
    return (x * x).sum()


@pytest.mark.skipif(any(d.name == REAL for d in graphad.devices()), reason="there is a GPU")
def test_a_missing_gpu_is_one_clear_error():
    for use in (
        lambda: graphad.device_put(V, "cuda"),
        lambda: graphad.jit(lambda x: x, device="cuda:0")(V),
        lambda: graphad.jit(lambda x: x, device="cuda:7")(V),
    ):
        said = r"This machine has no NVIDIA driver\. Looked for .*pip install graphad\[cuda\].*cuda:emulated"
        with pytest.raises(DeviceError, match=rf"(?s)^test_compiled\.py:\d+: {said}"):
            use()
    assert REAL not in [d.name for d in graphad.devices()]
