"""`odeint`: what users call, of the integrators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np

from graphad.errors import IntegrationError, did_you_mean
from graphad.solve._ode_adjoint import with_continuous_adjoint
from graphad.solve._ode_control import NOT_FINITE, NOT_MONOTONIC, OK, STEP_TOO_SMALL, TOO_MANY_STEPS, Tolerance
from graphad.solve._ode_event import up_to_event
from graphad.solve._ode_integrate import ADAPTIVE, ODEInfo, Options, integrated
from graphad.solve._ode_problem import Problem, posed
from graphad.trace.bind import any_tracer, type_of
from graphad.trace.pytree import Tree, TreeDef, unflatten
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary

_MESSAGES: Final = {
    TOO_MANY_STEPS: "{steps} steps did not lead from one time to the next. The equation may be stiff, or the next time "
    "far: take method='rodas5p', or give a larger mxstep, wider tolerances, or times in between.",
    STEP_TOO_SMALL: "the step size became too small to change the time. The solution may be singular there, or the "
    "tolerance finer than rounding errors are: end earlier, widen rtol and atol, or integrate in float64.",
    NOT_FINITE: "the state or its derivative is nan or infinite. Begin with a finite state, end before the solution "
    "grows without bounds, or look in func for a division by zero, a logarithm or a root.",
    NOT_MONOTONIC: "the times neither increase nor decrease throughout. Sort t, as by graphad.numpy.sort(t).",
}


@boundary
def odeint(
    func: Callable[..., Tree],
    y0: Tree,
    t: Any,
    *args: Any,
    rtol: Any = 1.4e-8,
    atol: Any = 1.4e-8,
    mxstep: float = 100_000,
    hmax: Any = math.inf,
    method: Literal["dopri5", "rodas5p", "rk4"] = "dopri5",
    substeps: int = 1,
    adjoint: Literal["discrete", "continuous"] = "discrete",
    event: Callable[[Tree, Any], Any] | None = None,
    full_output: bool = False,
) -> Any:
    """Integrate a system of ordinary differential equations, ``dy/dt = func(y, t, *args)``.

    Positional arguments and results are those of `jax.experimental.ode.odeint`. The integration is one compiled loop
    and can be transformed by all that graphad has. Outside of `jit`, ``func`` is traced at each call.

    Parameters
    ----------
    func
        ``func(y, t, *args)`` gives the derivative of ``y`` with respect to time, in the containers and shapes of
        ``y0``; for an array it may also be a list of its elements. Derivatives of the solution by what ``func`` closes
        over are right, too.
    y0
        The state at the time ``t[0]``: a number, an array of any shape, or containers of these. float32 and float64
        stay what they are; numbers and integers take the widest of the default dtype, the dtype of ``t``, and that of
        the derivative. Time is float64 if any of the state is, else float32.
    t
        The times, of shape ``(n,)``, at which the state is wanted: all increasing or all decreasing, equal ones
        allowed.
    *args
        Further arguments of ``func``, of any kind.
    rtol, atol
        The error of a step is kept below ``atol + rtol * |y|``, as the root of the mean of squares over all elements of
        the state.
    mxstep
        Steps at most from one time to the next; with ``event=``, in all.
    hmax
        The longest step, in units of ``t``.
    method
        ``"dopri5"``: the pair of orders 5 and 4 of Dormand and Prince [1]_ with steps chosen by the tolerance [2]_. Its
        states at ``t`` are from a polynomial of degree 4 in each step, so that many times do not mean small steps.
        ``"rodas5p"``: for stiff equations, the Rosenbrock method of order 5 of Steinebach [4]_, with such a polynomial
        and the same choice of steps. Each step computes the Jacobian of ``func`` by forward mode, a matrix of the size
        of the whole state squared, and solves systems with it. Of stiff equations take the discrete adjoint: followed
        backwards they are unstable.
        ``"rk4"``: the classical method of order 4, with steps of equal size between times.
    substeps
        The number of steps of ``"rk4"`` between two times.
    adjoint
        How the solution is differentiated. ``"discrete"``: through the steps as they were made, their sizes taken as
        constants, in all modes. The derivative is as exact as the solution; reverse mode stores the state at each of
        the times, and the steps between two of them while it is there. ``"continuous"``: by the adjoint equation,
        integrated backwards with the same tolerance [3]_. It stores no steps, has no forward mode, and loses digits
        where the equation, followed backwards, is unstable.
    event
        ``event(y, t)``, a float. The integration ends where it is zero first: at ``t[0]``, or where it has changed its
        sign from one step to the next, not with "rk4" or "continuous". Times between the first and the last do not
        matter. The time and the state have derivatives of first to third order.
    full_output
        Return also how the integration went, and do not raise if it failed.

    Returns
    -------
    Tree or ODEEvent
        As ``y0``, each array with a first axis that counts the times; ``y0`` itself is the first. With ``event=`` a
        named tuple of ``time``, ``state``, and ``found``, which says whether there was an event; if not, the time is
        ``t[-1]``.
    ODEInfo
        With ``full_output``: a named tuple of ``nsteps`` (steps tried), ``naccepted``, ``nfev`` (evaluations of
        ``func``), and ``status``, each an int32. The status is 0 if all is well, 1 if ``mxstep`` did not suffice, 2 if
        the step size became too small to change the time, 3 if the state or its derivative was nan or infinite, 4 if
        the times were not in order.

    Raises
    ------
    IntegrationError
        If the status is not 0, outside of transformations. Compiled, results are nan from the time on at which it
        failed.
    TypeError
        If ``func`` returns other containers, shapes or a wider dtype than those of the state, or if that has 16 bits.
    ValueError
        For unknown options, or ``t`` without exactly one axis.

    References
    ----------
    .. [1] J. R. Dormand, P. J. Prince, "A family of embedded Runge-Kutta formulae", J. Comput. Appl. Math. 6, 1980.
    .. [2] E. Hairer, S. P. Nørsett, G. Wanner, "Solving Ordinary Differential Equations I", 2nd edition, 1993, II.4-6.
    .. [3] R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud, "Neural ordinary differential equations", NeurIPS
       2018.
    .. [4] G. Steinebach, "Construction of Rosenbrock-Wanner method Rodas5P and numerical benchmarks within the Julia
       Differential Equations package", BIT Numerical Mathematics 63:27, 2023.

    Examples
    --------
    >>> import numpy as np, graphad
    >>> t = np.linspace(0.0, 2.0, 3)
    >>> odeint(lambda y, t, rate: -rate * y, 1.0, t, 0.5)  # exp(-t / 2)
    Array([1.        , 0.60653066, 0.36787944], dtype=float64)

    The derivative of the last value with respect to the rate is -t exp(-rate t):

    >>> graphad.grad(lambda rate: odeint(lambda y, t: -rate * y, 1.0, t)[-1])(np.float64(0.5))
    Array(-0.73575887, dtype=float64, weak_type=True)

    A stone falls from 20 m; when it arrives, in seconds, and how much later it does for each metre more:

    >>> def arrival(height):
    ...     fall = lambda y, t: (y[1], -9.81)
    ...     return odeint(fall, (height, 0.0), np.array([0.0, 10.0]), event=lambda y, t: y[0]).time
    >>> graphad.value_and_grad(arrival)(np.float64(20.0))
    (Array(2.01927511, dtype=float64), Array(0.05048188, dtype=float64, weak_type=True))
    """
    _check_options(method, substeps, adjoint, event)
    problem = posed(func, y0, t, args)
    max_steps = int(min(mxstep, np.iinfo(np.int32).max))
    options = Options(method, Tolerance(rtol, atol, hmax), max_steps, substeps)
    result, info = _run(problem, options, adjoint, event)
    if not full_output and not any_tracer([info.status]):
        _check_status(int(info.status), max_steps)
    return (result, info) if full_output else result


def _run(
    problem: Problem, options: Options, adjoint: str, event: Callable[[Tree, Any], Any] | None
) -> tuple[Any, ODEInfo]:
    rate, captures, treedef, state, times = (
        problem.rate,
        problem.captures,
        problem.treedef,
        problem.state,
        problem.times,
    )
    if event is not None:
        found, info = up_to_event(rate, captures, _on_leaves(event, treedef), state, times, options)
        return found._replace(state=unflatten(treedef, found.state)), info
    if adjoint == "continuous":
        states, info = with_continuous_adjoint(problem, options)
    else:
        states, info = integrated(rate, captures, state, times, options)
    return unflatten(treedef, states), info


def _on_leaves(event: Callable[[Tree, Any], Any], treedef: TreeDef) -> Callable[[list[Any], Any], Any]:
    def value_of(state: list[Any], time: Any) -> Any:
        value = event(unflatten(treedef, state), time)
        found = type_of(value).aval
        if found.shape or not found.is_float:
            raise TypeError(
                f"{where()}odeint: event must return one float, which is zero when the event happens, not {found}."
            )
        return value

    return value_of


def _check_options(method: str, substeps: Any, adjoint: str, event: Any) -> None:
    for name, value, known in (
        ("method", method, (*ADAPTIVE, "rk4")),
        ("adjoint", adjoint, ("discrete", "continuous")),
    ):
        if value not in known:
            raise ValueError(f"{where()}odeint has no {name}={value!r}. {did_you_mean(str(value), known)}")
    if not isinstance(substeps, int) or substeps < 1:
        raise ValueError(f"{where()}odeint takes substeps as a positive int, the number of steps between two times.")
    if substeps != 1 and method != "rk4":
        raise ValueError(
            f"{where()}odeint: substeps is for method='rk4'; {method!r} chooses its steps by rtol and atol."
        )
    if event is not None and (method not in ADAPTIVE or adjoint != "discrete"):
        raise ValueError(
            f"{where()}odeint finds events with steps that it chooses and adjoint='discrete' alone: leave method='rk4' "
            "and adjoint out."
        )


def _check_status(status: int, max_steps: int) -> None:
    if status != OK:
        raise IntegrationError(
            f"{where()}odeint: {_MESSAGES[status].format(steps=max_steps)} The results up to there are returned with "
            "full_output=True."
        )
