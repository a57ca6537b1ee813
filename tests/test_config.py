"""`graphad.config`: update, override, threads, the environment, JAX's names, and what wrong uses say."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import get_type_hints

import pytest

from graphad.config import SETTINGS, Config, _watchers, config

JAX_VALUES = [
    ("jax_enable_x64", True, "default_dtype_bits", 64),
    ("jax_enable_x64", False, "default_dtype_bits", 32),
    ("jax_disable_jit", True, "disable_jit", True),
    ("jax_threefry_partitionable", True, "threefry_partitionable", True),
    ("jax_default_device", None, "default_device", "cpu"),
    ("jax_compilation_cache_dir", None, "cache_dir", None),
]
OTHER_VALUE = {
    "default_dtype_bits": 64,
    "default_device": "cuda:emulated",
    "deterministic": True,
    "engine": "numba",
    "fast_math": True,
    "flush_denormals": False,
    "one_blas_thread": False,
    "threefry_partitionable": True,
    "reroll": False,
    "disable_jit": True,
    "verify": 3,
    "warn_paths": 3,
    "max_paths": 5,
    "num_threads": 3,
    "cache_dir": None,
}


@pytest.fixture
def updates():
    """Lets a test use `config.update` and takes it back."""
    before = {name: getattr(config, name) for name in SETTINGS}
    yield
    for name, value in before.items():
        config.update(name, value)


def in_new_process(code, **environment):
    """What `code` prints in a fresh interpreter, or the last line of its error."""
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    return run.stdout.strip() if run.returncode == 0 else run.stderr.strip().splitlines()[-1]


def test_every_setting_is_an_annotated_attribute():
    annotated = set(get_type_hints(Config)) - {"trace_key", "looks"}
    assert annotated == set(SETTINGS)
    assert all(setting.doc.endswith(".") for setting in SETTINGS.values())


@pytest.mark.parametrize(("name", "value"), OTHER_VALUE.items())
def test_update_and_the_trace_key(name, value, updates):
    key = config.trace_key
    config.update(name, value)
    assert getattr(config, name) == value
    assert (config.trace_key != key) == SETTINGS[name].in_trace_key


@pytest.mark.parametrize(("name", "value"), OTHER_VALUE.items())
def test_override_and_the_trace_key(name, value):
    before, key = getattr(config, name), config.trace_key
    with config.override(**{name: value}):
        assert getattr(config, name) == value
        assert (config.trace_key != key) == SETTINGS[name].in_trace_key
    assert (getattr(config, name), config.trace_key) == (before, key)


def test_overrides_nest_and_end_with_an_exception():
    with config.override(verify=0):
        with contextlib.suppress(ZeroDivisionError), config.override(verify=3, max_paths=5):
            assert (config.verify, config.max_paths) == (3, 5)
            raise ZeroDivisionError
        assert (config.verify, config.max_paths) == (0, SETTINGS["max_paths"].default)


def test_nothing_changes_if_one_of_several_values_is_wrong():
    before = config.verify
    with pytest.raises(ValueError, match="max_paths"), config.override(verify=0, max_paths=0):
        pass
    assert config.verify == before


def test_an_update_reaches_other_threads_and_an_override_does_not(updates):
    seen = []

    def read():
        seen.append((config.warn_paths, config.max_paths, config.trace_key))

    config.update("warn_paths", 3)
    with config.override(max_paths=5, fast_math=True):
        outside = Config.trace_key
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert seen == [(3, SETTINGS["max_paths"].default, outside)]


def test_a_thread_inside_an_override_sees_updates_when_it_leaves(updates):
    with config.override(max_paths=5):
        thread = threading.Thread(target=config.update, args=("fast_math", True))
        thread.start()
        thread.join()
        assert config.fast_math is False
        inside = config.trace_key
    assert config.fast_math is True
    assert config.trace_key != inside


def test_whoever_watches_a_setting_is_told(updates, monkeypatch):
    told = []
    monkeypatch.setitem(_watchers, "num_threads", told.append)
    config.update("num_threads", 3)
    config.update("verify", 0)
    with config.override(num_threads=5, verify=1), config.override(verify=2):
        pass
    with contextlib.suppress(ValueError), config.override(num_threads=0):
        pass
    assert told == [3, 5, 3]


@pytest.mark.parametrize(("theirs", "their_value", "ours", "our_value"), JAX_VALUES)
def test_names_of_jax(theirs, their_value, ours, our_value, updates):
    with config.override(**{theirs: their_value}):
        assert getattr(config, ours) == our_value
        assert getattr(config, theirs) == (their_value if their_value is not None else our_value)
    config.update(theirs, their_value)
    assert getattr(config, ours) == our_value


def test_names_of_jax_are_jax_names():
    jax = pytest.importorskip("jax")
    for name, *_ in JAX_VALUES:
        assert hasattr(jax.config, name)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("default_dtype_bits", 16, ValueError, "config.default_dtype_bits cannot be 16; allowed: 32, 64."),
        ("verify", True, ValueError, "config.verify cannot be True; allowed: 0, 1, 2, 3."),
        ("fast_math", 1, ValueError, "config.fast_math cannot be 1; allowed: True, False."),
        ("max_paths", 0, ValueError, "config.max_paths cannot be 0; allowed: a positive int."),
        ("max_paths", True, ValueError, "config.max_paths cannot be True; allowed: a positive int."),
        ("max_paths", "many", ValueError, "config.max_paths cannot be 'many'; allowed: a positive int."),
        ("num_threads", 0, ValueError, "config.num_threads cannot be 0; allowed: a positive int, or None."),
        ("cache_dir", 3, ValueError, "config.cache_dir cannot be 3; allowed: a path, or None."),
        ("jax_enable_x64", 64, ValueError, "config.jax_enable_x64 cannot be 64; allowed: True, False."),
        ("jax_enable_x64", [], ValueError, "config.jax_enable_x64 cannot be []; allowed: True, False."),
        ("fastmath", True, AttributeError, "config has no setting 'fastmath'. Did you mean 'fast_math'?"),
        ("xyzzy", True, AttributeError, "config has no setting 'xyzzy'. Known: cache_dir, "),
    ],
)
def test_wrong_names_and_values(name, value, error, message):
    with pytest.raises(error) as raised:
        config.update(name, value)
    assert str(raised.value).startswith(message)
    with pytest.raises(error) as raised, config.override(**{name: value}):
        pass
    assert str(raised.value).startswith(message)


def test_assignment_names_update():
    with pytest.raises(AttributeError, match=r"Write config\.update\('verify', 0\)"):
        config.verify = 0


def test_update_inside_an_override_is_refused():
    with config.override(verify=0), pytest.raises(RuntimeError, match="stay hidden until the block ends"):
        config.update("verify", 2)


def test_reading_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_setting"):
        _ = config.no_such_setting


def test_repr_lists_every_setting_with_its_doc():
    lines = repr(config).splitlines()
    assert [line.split(" = ")[0] for line in lines] == list(SETTINGS)
    assert any(line.endswith(SETTINGS["verify"].doc) for line in lines)


def test_a_cache_directory_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with config.override(cache_dir="here"):
        assert config.cache_dir == str(tmp_path / "here")
    with config.override(cache_dir=tmp_path):
        assert config.cache_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("variable", "text", "name", "expected"),
    [
        ("GRAPHAD_VERIFY", "3", "verify", "3"),
        ("GRAPHAD_ENGINE", "numba", "engine", "'numba'"),
        ("GRAPHAD_FAST_MATH", "true", "fast_math", "True"),
        ("GRAPHAD_FLUSH_DENORMALS", "0", "flush_denormals", "False"),
        ("GRAPHAD_NUM_THREADS", "3", "num_threads", "3"),
        ("GRAPHAD_NUM_THREADS", "", "num_threads", "None"),
        ("GRAPHAD_CACHE", "", "cache_dir", "None"),
        ("GRAPHAD_CACHE", "/nowhere/at/all", "cache_dir", repr(os.path.abspath("/nowhere/at/all"))),
    ],
)
def test_the_environment(variable, text, name, expected):
    code = f"from graphad.config import config; print(repr(config.{name}))"
    assert in_new_process(code, **{variable: text}) == expected


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        (
            "GRAPHAD_VERIFY",
            "9",
            "ValueError: the environment variable GRAPHAD_VERIFY cannot be 9; allowed: 0, 1, 2, 3.",
        ),
        ("GRAPHAD_VERIFY", "all", "cannot be 'all'; allowed: 0, 1, 2, 3."),
        ("GRAPHAD_ENGINE", "xla", "cannot be 'xla'; allowed: 'llvm', 'numba'."),
    ],
)
def test_a_wrong_environment_names_the_variable(variable, text, message):
    assert in_new_process("import graphad.config", **{variable: text}).endswith(message)
