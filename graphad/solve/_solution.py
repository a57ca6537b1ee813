"""What a solver returns, and the words for how it ended."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.errors import ConvergenceError, SingularJacobianWarning
from graphad.solve._dense import is_singular
from graphad.trace.source import where
from graphad.trace.tracer import Tracer


class Status:
    """Why a solver stopped: integers, for they are compared with arrays. Up to 3 they are those of SciPy's BFGS.

    Attributes
    ----------
    CONVERGED
        It has found what it looked for.
    MAXITER
        It has made all steps that ``maxiter`` allows.
    PRECISION
        No step makes the value less: what is left is rounding, or the gradient is wrong.
    NOT_FINITE
        A value of the function is nan or infinite.
    NO_SIGN_CHANGE
        The function has the same sign at both ends of the bracket.
    FLAT
        The slope is zero where the value is not.
    """

    CONVERGED: Final = 0
    MAXITER: Final = 1
    PRECISION: Final = 2
    NOT_FINITE: Final = 3
    NO_SIGN_CHANGE: Final = 4
    FLAT: Final = 5


_MESSAGES: Final[dict[int, str]] = {
    Status.CONVERGED: "converged",
    Status.MAXITER: "it has made all steps that maxiter allows",
    Status.PRECISION: "no step makes the value less: what is left is rounding, or the gradient is wrong",
    Status.NOT_FINITE: "a value of the function is nan or infinite",
    Status.NO_SIGN_CHANGE: "the function has the same sign at both ends of the bracket",
    Status.FLAT: "the slope is zero where the value is not",
}
_REMEDIES: Final[dict[int, str]] = {
    Status.MAXITER: "Begin nearer, allow more by maxiter, or ask for less by the tolerances.",
    Status.PRECISION: "Ask for less by gtol, compute in float64, or begin elsewhere.",
    Status.NOT_FINITE: "Begin elsewhere, or keep the function finite where the search may come.",
    Status.NO_SIGN_CHANGE: "Give ends between which it changes its sign.",
    Status.FLAT: "Begin elsewhere, or give a bracket.",
}


class Solution(NamedTuple):
    """What a solver has found. A pytree: it passes through `jit` and `vmap`, which gives each member its own.

    Attributes
    ----------
    x
        The solution, in the structure of the start.
    fun
        The value at ``x``: of the function, of a fixed point ``f(x) - x``.
    status
        Why the solver stopped, an integer of `Status`; 0 if it has converged.
    nit, nfev
        The number of steps, and of values of the function (each with its gradient, where that is used).
    jac
        Of `minimize`, the gradient at ``x`` in the structure of the start; of `least_squares`, the Jacobian at ``x``.
    condition
        Of `root` for systems and of `least_squares`, the condition number, in the 1-norm, of the matrix that systems
        for derivatives of the solution have: the Jacobian at ``x``, or the Hessian. Infinite where it is singular.
    """

    x: Any
    fun: Any
    status: Any
    nit: Any
    nfev: Any
    jac: Any = None
    condition: Any = None

    @property
    def success(self) -> Any:
        """Whether the solver has converged: a boolean array."""
        return self.status == Status.CONVERGED

    @property
    def singular(self) -> Any:
        """Whether ``condition`` is so large that derivatives are regularised: a boolean array, or None if not known."""
        return None if self.condition is None else is_singular(self.condition)

    @property
    def message(self) -> str:
        """The status in words; of a batch, how many of its members ended how."""
        if isinstance(self.status, Tracer):
            return "not run yet"
        codes = np.asarray(self.status)
        if not codes.ndim:
            return _MESSAGES[int(codes)]
        counts = [(int(c), int((codes == c).sum())) for c in np.unique(codes)]
        return "; ".join([f"{n} of {codes.size}: {_MESSAGES[code]}" for code, n in counts])

    def __repr__(self) -> str:
        fields = [f"{name}={value!r}" for name, value in self._asdict().items() if value is not None]
        return f"Solution({', '.join([*fields, f'message={self.message!r}'])})"


def checked(found: Solution, name: str, throw: bool, place: Callable[[], str]) -> Solution:
    """``found``, or the error that says why it is no solution; in a trace only its status says so.

    A warning says if derivatives of the solution will be regularised.

    ``place`` gives the words for where the solver has ended.
    """
    if throw and not isinstance(found.status, Tracer):
        status = int(found.status)
        if status != Status.CONVERGED:
            n = int(found.nit)
            text = f"{where()}{name} stopped after {n} step{'s' * (n != 1)} {place()}: {_MESSAGES[status]}."
            raise ConvergenceError(f"{text} {_REMEDIES[status]} With throw=False its result has the status.", found)
    if found.condition is not None and not isinstance(found.condition, Tracer) and found.success and found.singular:
        matrix = "Jacobian" if found.jac is None else "Hessian"
        message = (
            f"{where()}{name}: the {matrix} at the solution is singular, of condition {float(found.condition):.2g}. "
            "Derivatives of the solution are those of least length, for it is not the only one nearby, or moves "
            "without bounds. Look for an equation that follows from the others, or an unknown that none depends on."
        )
        warnings.warn(message, SingularJacobianWarning, stacklevel=4)
    return found
