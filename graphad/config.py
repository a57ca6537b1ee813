"""Settings: one object, `config`, read as attributes.

`config.update` sets a value for the whole process, `config.override` for a block in this thread. Every setting can be
given at start-up as an environment variable: its name in capitals after ``GRAPHAD_`` (``GRAPHAD_VERIFY=2``), and
``GRAPHAD_CACHE`` for `cache_dir`. JAX's names for switches that both libraries have are accepted too.

>>> from graphad.config import config
>>> config.warn_paths
8
>>> with config.override(warn_paths=2, default_dtype_bits=64):
...     config.warn_paths, config.default_dtype_bits, config.jax_enable_x64
(2, 64, True)
>>> config.warn_paths
8
>>> config.update("warn_path", 2)
Traceback (most recent call last):
    ...
AttributeError: config has no setting 'warn_path'. Did you mean 'warn_paths' or 'max_paths'?
>>> config.update("engine", "xla")
Traceback (most recent call last):
    ...
ValueError: config.engine cannot be 'xla'; allowed: 'llvm', 'numba'.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from graphad.device import Device, parse
from graphad.errors import did_you_mean

__all__ = ["SETTINGS", "Config", "Setting", "config", "watch"]


class Setting(NamedTuple):
    """Declaration of one setting: its default, what it may be, and whether compiled code depends on it."""

    default: Any
    allowed: tuple[Any, ...] | Literal["count", "count or None", "path", "device"]
    doc: str
    in_trace_key: bool = False
    env: str | None = None  # default: GRAPHAD_ and the name in capitals


class Alias(NamedTuple):
    """A name that JAX gives to one of the settings; `values` maps JAX's values to ours where they differ."""

    name: str
    values: Mapping[Any, Any] | None = None


def _user_cache_dir() -> str:
    """Where this platform keeps what may be deleted at any time."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return os.path.join(base, "graphad")


SETTINGS: dict[str, Setting] = {
    "default_dtype_bits": Setting(
        default=32,
        allowed=(32, 64),
        doc="Width of new arrays made from Python numbers: float32/int32 or float64/int64.",
        in_trace_key=True,
    ),
    "default_device": Setting(
        default="cpu",
        allowed="device",
        doc="Where compiled programs run whose arguments are not on a device already.",
        in_trace_key=True,
    ),
    "engine": Setting(
        default="llvm",
        allowed=("llvm", "numba"),
        doc="What turns a program into machine code; numba goes through readable source.",
        in_trace_key=True,
    ),
    "fast_math": Setting(
        default=False,
        allowed=(True, False),
        doc="Allow rewrites and flags that change rounding, or assume no NaNs.",
        in_trace_key=True,
    ),
    "deterministic": Setting(
        default=False,
        allowed=(True, False),
        doc="On a GPU, add floats that are scattered to one place in a fixed order, not as they come.",
        in_trace_key=True,
    ),
    "flush_denormals": Setting(
        default=True,
        allowed=(True, False),
        doc="Treat denormal numbers as zero in the arithmetic of compiled programs; routines of LAPACK keep them.",
        in_trace_key=True,
    ),
    "one_blas_thread": Setting(
        default=True,
        allowed=(True, False),
        doc="Keep SciPy's BLAS to one thread in compiled programs, but for what is so large that more always gain.",
        in_trace_key=True,
    ),
    "threefry_partitionable": Setting(
        default=False,
        allowed=(True, False),
        doc="Layout of random bits: JAX's newer one if true, the one its tutorials print if not.",
        in_trace_key=True,
    ),
    "reroll": Setting(
        default=True,
        allowed=(True, False),
        doc="Make loops again of Python's loops, which tracing unrolls.",
        in_trace_key=True,
    ),
    "disable_jit": Setting(
        default=False,
        allowed=(True, False),
        doc="Run what jit wraps eagerly, one primitive at a time.",
        in_trace_key=True,
    ),
    "debug_nans": Setting(
        default=False,
        allowed=(True, False),
        doc="Look for nan in what programs return, and name the line and the equation that made it.",
        in_trace_key=True,
    ),
    "debug_infs": Setting(
        default=False,
        allowed=(True, False),
        doc="The same for infinities, but for those that were arguments or constants.",
        in_trace_key=True,
    ),
    "verify": Setting(
        default=1,
        allowed=(0, 1, 2, 3),
        doc="Check graphs: 0 never, 1 at a pipeline's ends, 2 after each pass, and programs too, 3 also by evaluating.",
    ),
    "warn_paths": Setting(
        default=8,
        allowed="count",
        doc="Paths through Python branches at which a compiled function warns.",
    ),
    "max_paths": Setting(
        default=64,
        allowed="count",
        doc="Paths through Python branches at which a compiled function gives up.",
    ),
    "hide_frames": Setting(
        default=True,
        allowed=(True, False),
        doc="Leave this library's own frames out of tracebacks: they end at your line.",
    ),
    "max_equations": Setting(
        default=300_000,
        allowed="count",
        doc="Equations of one trace, or turns of one Python loop in it, at which tracing gives up.",
    ),
    "kept_bytes": Setting(
        default=1 << 28,
        allowed="count",
        doc="Bytes of large results and temporaries, freed, that are kept for later ones; read as a program is made.",
    ),
    "num_threads": Setting(
        default=None,
        allowed="count or None",
        doc="Threads of the CPU that share the work of a program; None: all CPUs that this process may keep busy.",
    ),
    "cache_dir": Setting(
        default=_user_cache_dir(),
        allowed="path",
        doc="Directory of compiled code; None keeps it in memory only.",
        env="GRAPHAD_CACHE",
    ),
}
"""Every setting, by name."""

_ALIASES: dict[str, Alias] = {
    "jax_enable_x64": Alias("default_dtype_bits", {True: 64, False: 32}),
    "jax_disable_jit": Alias("disable_jit"),
    "jax_debug_nans": Alias("debug_nans"),
    "jax_debug_infs": Alias("debug_infs"),
    "jax_threefry_partitionable": Alias("threefry_partitionable"),
    "jax_default_device": Alias("default_device", {None: "cpu", "cpu": "cpu", "cuda": "cuda:0", "gpu": "cuda:0"}),
    "jax_compilation_cache_dir": Alias("cache_dir"),
}

_LOOKS = ("debug_nans", "debug_infs")
_read_always = attrgetter(*(name for name, s in SETTINGS.items() if s.in_trace_key and name not in _LOOKS))
update_lock = threading.Lock()
_watchers: dict[str, Callable[[Any], None]] = {}


def _derived(settings: Any) -> dict[str, Any]:
    """The attributes that follow from the settings. Looks that are off leave the key as short as it is without them."""
    looks = tuple([name for name in _LOOKS if getattr(settings, name)])
    return {"looks": looks, "trace_key": _read_always(settings) + looks}


class Config(threading.local):
    """The settings; there is one instance, `config`.

    Values for the process are attributes of the class, so that every thread sees an `update`; inside an `override` a
    thread holds a copy of all of them as its own attributes, and sees updates by other threads when it leaves. Reading
    is therefore one plain attribute look-up, for `trace_key` as well.
    """

    default_dtype_bits: int
    default_device: str
    engine: str
    fast_math: bool
    deterministic: bool
    flush_denormals: bool
    one_blas_thread: bool
    threefry_partitionable: bool
    reroll: bool
    disable_jit: bool
    debug_nans: bool
    debug_infs: bool
    verify: int
    warn_paths: int
    max_paths: int
    max_equations: int
    hide_frames: bool
    kept_bytes: int
    num_threads: int | None
    cache_dir: str | None

    trace_key: tuple[Hashable, ...]
    """The settings that compiled code depends on: part of every cache key."""

    looks: tuple[str, ...]
    """Which of `debug_nans` and `debug_infs` are on."""

    def update(self, name: str, value: Any) -> None:
        """Set `name` to `value` for the whole process."""
        name, value = _resolve(name, value)
        if self.__dict__:
            raise RuntimeError(
                f"config.update({name!r}, ...) inside a config.override block would stay hidden until the block ends. "
                "Update before the block, or nest another override."
            )
        with update_lock:
            setattr(Config, name, value)
            _set_derived()
            _tell(name, value)

    @contextmanager
    def override(self, **values: Any) -> Generator[None]:
        """Give settings other values inside a ``with`` block, in this thread only.

        What is one for the whole process, the pool of `num_threads`, has the new value in all threads meanwhile.
        """
        resolved = dict(_resolve(name, value) for name, value in values.items())
        outer = dict(self.__dict__)
        self.__dict__.update({name: getattr(self, name) for name in SETTINGS} | resolved)
        self.__dict__.update(_derived(self))
        try:
            for name, value in resolved.items():
                _tell(name, value)
            yield
        finally:
            self.__dict__.clear()
            self.__dict__.update(outer)
            for name in resolved:
                _tell(name, getattr(self, name))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"config.{name} is not set by assignment. Write config.update({name!r}, {value!r}).")

    def __repr__(self) -> str:
        return "\n".join(f"{name} = {getattr(self, name)!r}  # {setting.doc}" for name, setting in SETTINGS.items())


def watch(name: str, function: Callable[[Any], None]) -> None:
    """Call ``function`` with each new value that a setting has in some thread; it must not wait, nor set settings."""
    _watchers[name] = function


def _tell(name: str, value: Any) -> None:
    if name in _watchers:
        _watchers[name](value)


def _set_derived() -> None:
    for name, value in _derived(Config).items():
        setattr(Config, name, value)


def _resolve(name: str, value: Any) -> tuple[str, Any]:
    """Our name and value for what may be JAX's, checked."""
    alias = _ALIASES.get(name)
    if alias is not None:
        if alias.values is not None:
            if not any(_same(value, theirs) for theirs in alias.values):
                raise ValueError(f"config.{name} cannot be {value!r}; allowed: {_listed(alias.values)}.")
            value = alias.values[value]
        name = alias.name
    if name not in SETTINGS:
        raise AttributeError(f"config has no setting {name!r}. {did_you_mean(name, [*SETTINGS, *_ALIASES])}")
    return name, _checked(f"config.{name}", SETTINGS[name], value)


def _checked(what: str, setting: Setting, value: Any) -> Any:
    """`value` if the setting may have it, else an error that lists what it may have."""
    match setting.allowed:
        case "count" | "count or None" as kind:
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
            if value is None and kind == "count or None":
                return None
            allowed = "a positive int" if kind == "count" else "a positive int, or None"
        case "path":
            if value is None or isinstance(value, str | os.PathLike):
                return None if value is None else os.path.abspath(os.path.expanduser(os.fspath(value)))
            allowed = "a path, or None"
        case "device":
            if isinstance(value, str | Device):
                return _named_device(what, value)
            allowed = "the name of a device, such as 'cpu', 'cuda:0' or 'cuda:emulated'"
        case choices:
            if any(_same(value, choice) for choice in choices):
                return value
            allowed = _listed(choices)
    raise ValueError(f"{what} cannot be {value!r}; allowed: {allowed}.")


def _named_device(what: str, value: str | Device) -> str:
    try:
        return parse(value).name
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def _same(value: Any, choice: Any) -> bool:
    """Equal and of one type: True is not 1 here."""
    return type(value) is type(choice) and value == choice


def _listed(values: Any) -> str:
    return ", ".join(repr(value) for value in values)


def _from_environment(name: str, setting: Setting) -> Any:
    """The value that the environment gives to a setting, or its default."""
    variable = setting.env or f"GRAPHAD_{name.upper()}"
    text = os.environ.get(variable)
    if text is None:
        return setting.default
    value: Any = text
    if isinstance(setting.default, bool):
        value = {"1": True, "true": True, "0": False, "false": False}.get(text.lower(), text)
    elif (isinstance(setting.default, int) or setting.allowed == "count or None") and text.isdecimal():
        value = int(text)
    elif setting.allowed in ("path", "count or None") and not text:
        value = None
    return _checked(f"the environment variable {variable}", setting, value)


def _alias_property(alias: Alias) -> property:
    """Reads a setting under JAX's name, as JAX's value."""
    back = {ours: theirs for theirs, ours in (alias.values or {}).items()}

    def read(self: Config) -> Any:
        value = getattr(self, alias.name)
        return back.get(value, value)

    return property(read, doc=f"JAX's name for `{alias.name}`.")


for _name, _setting in SETTINGS.items():
    setattr(Config, _name, _from_environment(_name, _setting))
for _name, _alias in _ALIASES.items():
    setattr(Config, _name, _alias_property(_alias))
_set_derived()

config = Config()
"""The settings of this process."""
