"""The user's loss as a step calls it: with its arguments assigned, in the chosen precision, and its results checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.api.functions import check_callable, name_of
from graphad.trace.pytree import Tree, flatten, path_text, structure_text, unflatten
from graphad.trace.semantics import as_operand, dtype_and_weakness
from graphad.trace.source import where
from graphad.train._data import of_list
from graphad.train._scale import Precision, narrow_dtype, narrowed
from graphad.train._unrounded import unrounded, unrounded_scalars

Loss = Callable[..., Any]


class Outcome(NamedTuple):
    """What a loss gives for a batch.

    Attributes
    ----------
    loss
        In float32 or wider.
    aux
        What it passes along, else None.
    state
        The model's next state, else None.
    """

    loss: Any
    aux: Tree
    state: Tree


class LossFunction:
    """A loss, and how it wants to be called."""

    def __init__(self, loss: Loss, precision: Precision | None, has_state: bool, has_aux: bool) -> None:
        check_callable(loss, "make_step")
        self.fun = loss
        self.name = name_of(loss)
        self.has_state, self.has_aux = has_state, has_aux
        self.takes_key = _takes_key(loss)
        self._narrow = narrow_dtype(precision)

    def __call__(self, params: Tree, state: Tree, batch: Tree, key: Any) -> Outcome:
        """The loss at one batch; the state stays in its own precision."""
        named = {"key": key} if self.takes_key else {}
        model = (params, state) if self.has_state else (params,)
        check_call(self.fun, len(model), batch, named)
        arguments = as_arguments(narrowed(batch, self._narrow))
        loss, new_state, aux = self._unpacked(self.fun(narrowed(params, self._narrow), *model[1:], *arguments, **named))
        aval = as_operand(loss, self.name).aval
        if aval.shape or not aval.is_float:
            raise TypeError(
                f"{where()}the loss of a training is one float, but {self.name} returns {aval}. "
                + ("Average it: return gnp.mean(loss)." if aval.shape else "Convert it: loss.astype(float).")
            )
        loss = unrounded(loss) if aval.dtype.bits < 32 else loss
        aux = aux if self._narrow is None else unrounded_scalars(aux)
        return Outcome(loss, aux, self._as_before(new_state, state) if self.has_state else None)

    def _unpacked(self, result: Any) -> tuple[Any, Tree, Tree]:
        """Loss, state and aux out of what the function returns."""
        wanted = ("loss", *["state"] * self.has_state, *["aux"] * self.has_aux)
        if len(wanted) == 1:
            if len(flatten(result)[0]) != 1 or isinstance(result, (tuple, list, dict)):
                raise TypeError(
                    f"{where()}the loss of a training is one float, but {self.name} returns a {type(result).__name__}. "
                    "To pass other results along: make_step(loss, optimizer, has_aux=True); for a state that the model "
                    "updates: has_state=True, or fit(..., state=initial)."
                )
            return result, None, None
        if not isinstance(result, tuple) or len(result) != len(wanted):
            options = [f"has_{name}=True" for name in wanted[1:]]
            found = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
            raise TypeError(
                f"{where()}make_step({self.name}, {', '.join(options)}): {self.name} must return "
                f"({', '.join(wanted)}), but returns {found}."
            )
        return result[0], result[1] if self.has_state else None, result[-1] if self.has_aux else None

    def _as_before(self, new: Tree, old: Tree) -> Tree:
        """The new state, in the structure, shapes and dtypes of the old one: a step must be able to follow a step."""
        (found, new_treedef), (held, treedef) = flatten(new), flatten(old)
        if new_treedef != treedef:
            raise TypeError(
                f"{where()}{self.name} must return its state in the structure that it is given, "
                f"{structure_text(treedef)}, but it returns {structure_text(new_treedef)}."
            )
        pairs = enumerate(zip(found, held, strict=True))
        return unflatten(treedef, [self._leaf_as_before(k, x, y, old) for k, (x, y) in pairs])

    def _leaf_as_before(self, k: int, new: Any, old: Any, tree: Tree) -> Any:
        weak = dtype_and_weakness(new)[1]
        new, old = as_operand(new, self.name), as_operand(old, self.name)
        before, after = old.aval, new.aval
        exact = (weak and (before.is_float or not after.is_float)) or np.can_cast(new.dtype, old.dtype, "safe")
        if before.shape != after.shape or not exact:
            raise TypeError(
                f"{where()}{self.name} is given a state whose {path_text(tree, k) or 'array'} is {before}, and returns "
                f"{after} for it. Return it in the same shape and dtype, new.astype(old.dtype), or begin with {after}."
            )
        return gnp.astype(new, old.dtype)


def as_arguments(batch: Tree) -> tuple[Any, ...]:
    """What a function of a batch is called with: the parts of a tuple are arguments of their own."""
    return tuple(batch) if isinstance(batch, tuple) else (batch,)


def check_call(fun: Loss, n_model: int, batch: Tree, named: Mapping[str, Any] | None = None) -> None:
    """Refuse a function that does not take the parameters, the state where ``n_model`` is 2, and such a batch."""
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):  # a builtin without a signature
        return
    parts = [f"batch[{k}]" for k in range(len(batch))] if isinstance(batch, tuple) else ["batch"]
    words = [*("params", "state")[:n_model], *parts]
    try:
        signature.bind(*words, **(named or {}))
    except TypeError as error:
        words += [f"{name}={name}" for name in named or {}]
        raise TypeError(
            f"{where()}{name_of(fun)} is called as {name_of(fun)}({', '.join(words)}), and takes {signature}: {error}. "
            f"A batch that is a tuple is passed as so many arguments, any other as one; this one is a "
            f"{type(batch).__name__}. {of_list(batch, 'fit')}".rstrip()
        ) from None


def _takes_key(loss: Loss) -> bool:
    try:
        return "key" in inspect.signature(loss).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False
