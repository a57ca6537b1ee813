"""Errors and warnings of graphad.

Every message says where (``model.py:14: ``), what went wrong, and what to do. Wrong arguments raise the built-in
``TypeError``, ``ValueError`` or ``IndexError``; the classes here are for what is particular to tracing, transforming
and compiling. Each also derives from the built-in class a user would have expected.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class GraphadError(Exception):
    """Base of all errors that only graphad raises."""


class ConcretizationError(GraphadError, TypeError):
    """A tracer was used where Python needs a number (``float(t)``, ``math.sin(t)``, ``np.asarray(t)``, ``t.item()``).

    Going on would cut the derivative silently. Remedy: the function of the same name in `graphad.numpy`, or
    `stop_gradient` and a compiled function's output where the number is only to be looked at.
    """


class TracerBoolError(ConcretizationError):
    """Python branched on a tracer that has no example value (a value batched by `vmap`, a tangent in a custom rule, a
    type alone).

    Remedy: `graphad.numpy.where`, which computes both sides; or branch outside of the transformed function.
    """


class TracerLeakError(GraphadError, RuntimeError):
    """A tracer was used after its trace had ended: it was kept in a global, a closure or an attribute.

    Remedy: return the value from the traced function instead of storing it.
    """


class AxisNameError(GraphadError, NameError):
    """A collective (`lax.psum` and its like) is over a batch axis that has no such name where it is called.

    Remedy: ``vmap(f, axis_name=...)`` with that name around the call, or a name that the message lists.
    """


class KeyOperandError(GraphadError, TypeError):
    """Random keys stand where numbers are wanted, or something else where keys are.

    Remedy: a function of `graphad.random` that draws numbers from the key, or the key's words: `random.key_data`.
    """


class DifferentiationError(GraphadError, TypeError):
    """A derivative was asked of something that has none (an integer input, a sort key, a custom rule of one mode).

    Remedy: named in the message; mostly `stop_gradient`, `nondiff_argnums`, or another mode of differentiation.
    """


class GuardError(GraphadError, RuntimeError):
    """Python's own control flow cannot be followed here: what it branched on cannot become a guard.

    Remedy: move the branch out of the transformed region, or write `graphad.numpy.where`.
    """


class TooManyPathsError(GuardError):
    """A compiled function has taken more different ways through its Python branches than ``config.max_paths``.

    Remedy: `graphad.numpy.where`, as the message says, or a higher ``config.max_paths``.
    """


class EndlessTraceError(GraphadError, RuntimeError):
    """A trace has grown beyond ``config.max_equations``: mostly a Python ``while`` that does not end.

    Remedy: the message names the line and the number of turns; limit these, or compare with a wider tolerance.
    """


class DeletedArrayError(GraphadError, RuntimeError):
    """An Array was used after its buffer had been donated to a compiled function.

    Remedy: use what that function returned, or do not donate the argument.
    """


class LoweringError(GraphadError, RuntimeError):
    """An equation has no lowering to the chosen backend, or the backend cannot run it for these types.

    Remedy: another ``engine`` or dtype, as the message says; a primitive of your own needs its ``lowering`` slot.
    """


class DeviceError(GraphadError, RuntimeError):
    """A device cannot be used: a driver, a GPU or a package is missing, or the device reported a failure.

    Remedy: what the message says is missing; ``device="cuda:emulated"`` runs the same kernels and needs none of it.
    """


class VerifyError(GraphadError, ValueError):
    """A graph breaks a rule of the IR; the message prints the graph with the guilty line marked.

    Remedy: correct the graph if it was built or parsed by hand; otherwise this is a bug in the last pass: report it.
    """


class NonFiniteError(GraphadError, FloatingPointError):
    """A result is nan or infinite: of a training step, or under ``config.debug_nans`` or ``debug_infs`` of a program.

    Remedy: the message names the line and the equation; mostly a form of the expression that stays finite, in training
    also a lower learning rate or `optim.clip_by_global_norm`.

    Attributes
    ----------
    step : int or None
        In training, the number of the step.
    params, batch
        In training, the parameters before that step, and the batch it was given.
    """

    def __init__(self, message: str, step: int | None = None, params: Any = None, batch: Any = None) -> None:
        super().__init__(message)
        self.step, self.params, self.batch = step, params, batch


class ConvergenceError(GraphadError, RuntimeError):
    """A solver of `graphad.solve` has stopped without a solution.

    Remedy: named in the message; mostly more steps, another start or bracket, or a wider tolerance. ``throw=False``
    returns what has been found, with its ``status``.

    Attributes
    ----------
    solution
        What had been found, as ``throw=False`` returns it.
    """

    def __init__(self, message: str, solution: Any = None) -> None:
        super().__init__(message)
        self.solution = solution


class CallbackError(GraphadError, ValueError):
    """A callback to the host was transformed in a way that nobody has defined for it.

    Remedy: under `vmap`, say how it is called with a batch (``vmap_method``); under `checkpoint`, call it outside.
    """


class RuleError(GraphadError, RuntimeError):
    """A rule of a primitive (derivative, transpose, batching) raised, or gave results of wrong number or types.

    Remedy: mend the rule that the message names; in a primitive of graphad itself it is a bug: report it.
    """


class ParseError(GraphadError, ValueError):
    """A text (a graph, a pipeline, an argument of the command line) does not follow its grammar.

    Remedy: the message gives line and column and what was expected there.
    """


class IntegrationError(GraphadError, RuntimeError):
    """A differential equation could not be integrated to the last of the times.

    Remedy: named in the message; mostly a wider tolerance, more steps, or an equation that stays finite.
    """


class GraphadWarning(UserWarning):
    """Base of all warnings that graphad gives."""


class PathsWarning(GraphadWarning):
    """A compiled function has taken ``config.warn_paths`` ways through its Python branches, each compiled anew."""


class GrowthWarning(GraphadWarning):
    """A trace has very many equations: a Python loop that is traced runs long, or does not end."""


class CacheWarning(GraphadWarning):
    """The on-disk cache cannot be used; compiled code is kept in memory only."""


class PrecisionWarning(GraphadWarning):
    """Numbers were written into an array whose element type cannot hold all their digits."""


class SingularJacobianWarning(GraphadWarning):
    """The Jacobian, or Hessian, at a solution is singular: derivatives of the solution are those of least squares."""


class EngineWarning(GraphadWarning):
    """A faster way of running a program is missing on this platform; a slower one that is equally right is used."""


def at(loc_text: str, message: str) -> str:
    """Prefix `message` with the user's line, where it is known.

    >>> at("model.py:14", "mul got f32[8,3] and f32[8].")
    'model.py:14: mul got f32[8,3] and f32[8].'
    >>> at("", "mul got f32[8,3] and f32[8].")
    'mul got f32[8,3] and f32[8].'
    """
    return f"{loc_text}: {message}" if loc_text else message


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End of a sentence about an unknown `name`: the closest of the `known` ones, or all where they are few.

    >>> did_you_mean("simplfy", ["simplify", "reroll"])
    "Did you mean 'simplify'?"
    >>> did_you_mean("x", ["simplify", "reroll"])
    'Known: reroll, simplify.'
    """
    names = sorted(set(known))
    if close := difflib.get_close_matches(name, names, n=3):
        return f"Did you mean {' or '.join(repr(match) for match in close)}?"
    shown = ", ".join(names[:12])
    return f"Known: {shown}, ... ({len(names)} in all)." if len(names) > 12 else f"Known: {shown}."
