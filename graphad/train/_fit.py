"""`fit`: the loop of training, from its public parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from graphad.config import config
from graphad.optim import GradientTransformation
from graphad.trace.array import Array
from graphad.trace.pytree import Tree, flatten
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary
from graphad.train._callbacks import Callback, EarlyStopping, Training, as_callback
from graphad.train._checkpoint import Checkpoint
from graphad.train._data import Key, check_integer, key_words
from graphad.train._files import PathLike
from graphad.train._loop import Loop, Options
from graphad.train._loss import Loss
from graphad.train._result import FitResult
from graphad.train._scale import Precision
from graphad.train._source import Evaluate, Evaluation, Source
from graphad.train._step import Step, make_step

OnNan = Literal["raise", "stop", "ignore"]
Resume = bool | Literal["auto"]


@boundary
def fit(
    loss_or_step: Loss | Step,
    params: Tree,
    data: Tree | Callable[[int], Iterable[Tree]],
    optimizer: GradientTransformation | None = None,
    *,
    state: Tree = None,
    epochs: int = 1,
    batch_size: int | None = None,
    shuffle: bool = True,
    drop_last: bool = True,
    key: Key | None = None,
    device: str | None = None,
    eval_data: Tree = None,
    evaluate: Evaluate | None = None,
    callbacks: Sequence[Callback | Callable[[Training], Any]] | Callable[[Training], Any] = (),
    accumulate: int = 1,
    precision: Precision | None = None,
    checkpoint: PathLike | Checkpoint | None = None,
    resume: Resume = "auto",
    progress: bool = True,
    early_stopping: EarlyStopping | int | None = None,
    on_nan: OnNan = "raise",
) -> FitResult:
    """Train parameters on data.

    Each step, with loss, gradient and update, is one compiled program. With a key and the data given, the trained
    parameters are determined to the last bit, however often the training was killed and resumed.

    Parameters
    ----------
    loss_or_step
        ``loss(params, *batch)`` where the data are a tuple, else ``loss(params, batch)``: an average over examples. If
        it has a parameter named ``key``, that is a new key of `graphad.random` each step. Or what `make_step` returns.
    params
        The initial parameters: floats in any containers. They are copied.
    data
        Arrays in any containers, whose first axes count the examples; or a function from the number of the epoch (from
        1) to its batches.
    optimizer
        From `graphad.optim`; a step has its own.
    state
        The initial state of a model that has one, such as running averages: arrays of any dtypes. Then the loss is
        ``loss(params, state, *batch)``, returns ``(loss, state)``, and ``evaluate`` takes the state too.
    epochs
        How often to go through the data.
    batch_size
        Examples of a step; None for all of them.
    shuffle
        Take the examples in a new order each epoch.
    drop_last
        Leave out the examples of an epoch that do not fill a batch; otherwise they are a step of their own, for which
        another program is compiled.
    key
        A seed or a key that decides all that is random; None is 0.
    device
        Where to train: ``"cpu"``, ``"cuda"``, ...; by default where the parameters are, else `config.default_device`.
    eval_data, evaluate
        After each epoch ``evaluate(params, *batch)`` is averaged over these data, by default the loss; it gives a
        number or a dict of them. Without data ``evaluate(params)`` is called.
    callbacks
        Each a `Callback`, or a function of a `Training`, called after each epoch; a function alone will do.
    accumulate, precision
        As for `make_step`.
    checkpoint
        A `Checkpoint`, or a folder to keep one after each epoch in.
    resume
        Go on from the newest checkpoint: ``"auto"`` if there is one; True if there must be one; with False there must
        be none. Going on with other data (unless a function gives them) or another optimizer is a `CheckpointWarning`.
    progress
        Report on standard error: a line that is rewritten, or one per epoch where there is no terminal.
    early_stopping
        An `EarlyStopping`, or so many epochs to wait for a better ``eval_loss`` (``loss`` if nothing is evaluated).
    on_nan
        What to do when the loss or its gradient is not finite: ``"raise"`` a `NonFiniteError` that names the line,
        ``"stop"`` with the parameters before that step, or ``"ignore"`` it, as a step made with ``halt=False`` does.

    Returns
    -------
    FitResult
        ``params``, ``state``, ``opt_state``, ``history``, ``steps``, ``stopped_because``.

    Examples
    --------
    >>> import numpy as np, graphad, graphad.numpy as gnp
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)
    >>> def loss(params, x, y):
    ...     return gnp.mean((params["a"] * x + params["b"] - y) ** 2)
    >>> result = graphad.train.fit(loss, {"a": 0.0, "b": 0.0}, (x, 3 * x + 1), graphad.optim.sgd(0.3),
    ...                            epochs=40, batch_size=16, progress=False)
    >>> f"{result.params['a']:.3f} {result.params['b']:.3f}"
    '3.000 1.000'
    """
    _check_choice("on_nan", on_nan, ("raise", "stop", "ignore"))
    _check_choice("resume", resume, (True, False, "auto"))
    check_integer("epochs", epochs, "fit")
    if epochs < 1:
        raise ValueError(f"{where()}fit: epochs={epochs}; there must be at least one.")
    with config.override(default_device=device or _device_of(params)):
        step = _as_step(loss_or_step, optimizer, accumulate, precision, state is not None, on_nan)
        words = key_words(key)
        source = Source.of(data, batch_size, words if shuffle else None, drop_last)
        evaluation = Evaluation(step, evaluate, eval_data, source.batch_size)
        if early_stopping is not None and not isinstance(early_stopping, EarlyStopping):
            check_integer("early_stopping", early_stopping, "fit")
            early_stopping = EarlyStopping(early_stopping, "eval_loss" if eval_data is not None else "loss")
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        options = Options(epochs, resume, progress, on_nan)
        observers = [as_callback(c) for c in ([callbacks] if callable(callbacks) else callbacks)]
        loop = Loop(
            step, step.init(params, words, state), source, evaluation, observers, checkpoint, early_stopping, options
        )
        return loop.run()


def _as_step(
    loss_or_step: Loss | Step,
    optimizer: GradientTransformation | None,
    accumulate: int,
    precision: Precision | None,
    has_state: bool,
    on_nan: OnNan,
) -> Step:
    """The step that is given, or made of a loss."""
    if not isinstance(loss_or_step, Step):
        if optimizer is None:
            raise TypeError(f"{where()}fit needs an optimizer besides the loss, such as graphad.optim.adam(1e-3).")
        options: dict[str, Any] = {"accumulate": accumulate, "precision": precision, "has_state": has_state}
        return make_step(loss_or_step, optimizer, halt=on_nan != "ignore", **options)
    if optimizer not in (None, loss_or_step.optimizer) or accumulate != 1 or precision is not None:
        raise ValueError(
            f"{where()}fit: a step has its own optimizer, accumulate and precision. Pass them to make_step alone."
        )
    return loss_or_step


def _device_of(params: Tree) -> str:
    """The device that some parameter belongs to, else the default one."""
    places = [x.device for x in flatten(params)[0] if isinstance(x, Array)]
    return next((place.name for place in places if not place.is_host), config.default_device)


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if not any(value is c or (isinstance(c, str) and value == c) for c in choices):
        listed = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{where()}fit: {name}={value!r}; it is one of {listed}.")
