"""`compile_grad`: the compiled gradient of a scalar function, with everything to look inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, overload

from graphad.api.functions import Function, check_callable, name_of
from graphad.api.grad import grad, value_and_grad
from graphad.api.jit import Jit
from graphad.api.pickling import reduced
from graphad.api.placement import named
from graphad.device import Device
from graphad.ir.graph import Graph
from graphad.trace.tracebacks import boundary

if TYPE_CHECKING:
    from graphad.backends.loops.explanation import Explanation

P = ParamSpec("P")
R = TypeVar("R")
G = TypeVar("G")


class CompiledGrad(Generic[P, G]):
    """The compiled gradient of a scalar function; made by `compile_grad`.

    Attributes
    ----------
    fun
        The function itself.
    value_and_grad
        A compiled function that returns the value as well.
    """

    def __init__(
        self,
        fun: Callable[P, Any],
        argnums: int | Sequence[int],
        has_aux: bool,
        with_value: bool,
        static_argnums: int | Sequence[int],
        max_residual_bytes: int | None = None,
        **settings: Any,
    ) -> None:
        check_callable(fun, "compile_grad")
        update_wrapper(self, fun)
        self.fun = fun
        self.name = name_of(fun)
        self._options = {"argnums": argnums, "has_aux": has_aux, "with_value": with_value} | settings
        self._options |= {"static_argnums": static_argnums, "max_residual_bytes": max_residual_bytes}
        self._value = Jit(fun, static_argnums, **settings)
        limit: dict[str, Any] = {"max_residual_bytes": max_residual_bytes}
        self._grad = Jit(grad(fun, argnums, has_aux, **limit), static_argnums, **settings)
        self.value_and_grad = Jit(value_and_grad(fun, argnums, has_aux, **limit), static_argnums, **settings)
        self._main: Jit[P, Any] = self.value_and_grad if with_value else self._grad

    @boundary
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> G:
        return self._main(*args, **kwargs)

    @boundary
    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The function itself as a simplified graph, at these arguments."""
        return self._value.graph(*args, **kwargs)

    @boundary
    def adjoint(self, *args: Any, **kwargs: Any) -> Graph:
        """The graph of the gradient (with the value, if ``with_value``), simplified, at these arguments."""
        return self._main.graph(*args, **kwargs)

    @boundary
    def kernel_source(self, *args: Any, **kwargs: Any) -> str:
        """The compiled program at these arguments as readable, runnable Numba source."""
        return self._main.kernel_source(*args, **kwargs)

    @boundary
    def explain(
        self, *args: Any, device: str | Device | None = None, architecture: str | None = None, **kwargs: Any
    ) -> Explanation:
        """What the compiled program does at these arguments: see `jit`'s ``explain``."""
        return self._main.explain(*args, device=device, architecture=architecture, **kwargs)

    def __repr__(self) -> str:
        return f"<compiled gradient of {self.name}>"

    def _repr_html_(self) -> str:
        return self._main._repr_html_()

    def __reduce__(self) -> str | tuple[Any, ...]:
        return reduced(self, type(self), self.fun, self._options)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: Any) -> Self:
        return self


class _Decorator(Protocol):
    """What ``@compile_grad(with_value=True)`` decorates with."""

    def __call__(self, fun: Callable[P, R], /) -> CompiledGrad[P, tuple[R, Any]]: ...


@overload
def compile_grad(
    fun: Callable[P, Any],
    *,
    argnums: int = ...,
    has_aux: Literal[False] = ...,
    with_value: Literal[False] = ...,
    static_argnums: int | Sequence[int] = ...,
    device: str | Device | None = ...,
    fast_math: bool | None = ...,
    max_residual_bytes: int | None = ...,
) -> CompiledGrad[P, Any]: ...
@overload
def compile_grad(
    fun: Callable[P, R],
    *,
    argnums: int | Sequence[int] = ...,
    has_aux: bool = ...,
    with_value: Literal[True],
    static_argnums: int | Sequence[int] = ...,
    device: str | Device | None = ...,
    fast_math: bool | None = ...,
    max_residual_bytes: int | None = ...,
) -> CompiledGrad[P, tuple[R, Any]]: ...
@overload
def compile_grad(
    fun: Callable[P, Any],
    *,
    argnums: int | Sequence[int] = ...,
    has_aux: bool = ...,
    with_value: bool = ...,
    static_argnums: int | Sequence[int] = ...,
    device: str | Device | None = ...,
    fast_math: bool | None = ...,
    max_residual_bytes: int | None = ...,
) -> CompiledGrad[P, Any]: ...
@overload
def compile_grad(
    fun: None = None,
    *,
    argnums: int | Sequence[int] = ...,
    has_aux: bool = ...,
    with_value: Literal[True],
    static_argnums: int | Sequence[int] = ...,
    device: str | Device | None = ...,
    fast_math: bool | None = ...,
    max_residual_bytes: int | None = ...,
) -> _Decorator: ...
@overload
def compile_grad(
    fun: None = None,
    *,
    argnums: int | Sequence[int] = ...,
    has_aux: bool = ...,
    with_value: bool = ...,
    static_argnums: int | Sequence[int] = ...,
    device: str | Device | None = ...,
    fast_math: bool | None = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[[Callable[P, Any]], CompiledGrad[P, Any]]: ...
@boundary
def compile_grad(
    fun: Function | None = None,
    *,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    with_value: bool = False,
    static_argnums: int | Sequence[int] = (),
    device: str | Device | None = None,
    fast_math: bool | None = None,
    max_residual_bytes: int | None = None,
) -> Any:
    """Compile the gradient of a scalar function into one program per signature. Use it as a decorator.

    Parameters
    ----------
    fun
        A function of arrays, numbers and containers of these, with a scalar float result.
    argnums
        The positional argument or arguments to differentiate.
    has_aux
        ``fun`` returns ``(value, aux)``.
    with_value
        Calls return ``(value, gradient)``, as SciPy's optimisers want with ``jac=True``.
    static_argnums
        Arguments that are Python values compiled in.
    device
        Where it runs, as for `jit`.
    fast_math
        Allow rewrites that change rounding; the default is ``config.fast_math``.
    max_residual_bytes
        How much loops may store for reverse mode, as for `grad`.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> @graphad.compile_grad
    ... def loss(w, x):
    ...     return ((x @ w) ** 2).sum()
    >>> loss(gnp.array([1.0, 2.0]), gnp.array([[1.0, 0.0], [0.0, 3.0]]))
    Array([ 2., 36.], dtype=float32)
    """
    settings: dict[str, Any] = {"default_device": device and named(device).name, "fast_math": fast_math}

    def wrap(f: Function) -> CompiledGrad[..., Any]:
        return CompiledGrad(f, argnums, has_aux, with_value, static_argnums, max_residual_bytes, **settings)

    return wrap if fun is None else wrap(fun)
