"""Training: a loop that you would keep, and the parts it is made of, which also work alone.

>>> import numpy as np, graphad, graphad.numpy as gnp
>>> x = np.linspace(-1, 1, 32, dtype=np.float32)
>>> def loss(params, x, y):
...     return gnp.mean((params["a"] * x - y) ** 2)
>>> graphad.train.fit(loss, {"a": 0.0}, (x, 2 * x), graphad.optim.sgd(0.5), epochs=20, batch_size=8, progress=False)
FitResult(80 steps in 20 epochs, loss ... -> ...; stopped because all 20 epochs are done)

By hand, from the same parts:

>>> step = graphad.train.make_step(loss, graphad.optim.sgd(0.5))
>>> state = step.init({"a": 0.0})
>>> for epoch in range(20):
...     for batch in graphad.train.batches((x, 2 * x), 8, key=0, epoch=epoch):
...         state, value = step(state, batch)
>>> print(f"{state.params['a']:.3f}")
2.000

A model with a state that is not trained, such as the running averages of batch normalisation, takes it after the
parameters and returns it with the loss:

>>> def loss(params, state, x, y):
...     z, mean, variance = graphad.nn.batch_norm(x[:, None])
...     state = graphad.optim.incremental_update({"mean": mean, "variance": variance}, state, 0.1)
...     return gnp.mean((params["a"] * z[:, 0] - y) ** 2), state
>>> def error(params, state, x, y):
...     z, _, _ = graphad.nn.batch_norm(x[:, None], **state)
...     return gnp.mean(gnp.abs(params["a"] * z[:, 0] - y))
>>> start = {"mean": gnp.zeros(1), "variance": gnp.ones(1)}
>>> result = graphad.train.fit(loss, {"a": 0.0}, (x + 3, 2 * x), graphad.optim.sgd(0.5), state=start, epochs=40,
...                            batch_size=16, eval_data=(x + 3, 2 * x), evaluate=error, progress=False)
>>> result
FitResult(80 steps in 40 epochs, loss ... -> ..., eval_error ... -> 0.0...; stopped because all 40 epochs are done)
>>> print(f"{result.state['mean'][0]:.2f}")
3.00
"""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.errors import NonFiniteError as NonFiniteError
from graphad.train._callbacks import Callback as Callback
from graphad.train._callbacks import EarlyStopping as EarlyStopping
from graphad.train._callbacks import Training as Training
from graphad.train._checkpoint import Checkpoint as Checkpoint
from graphad.train._checkpoint import CheckpointWarning as CheckpointWarning
from graphad.train._data import batches as batches
from graphad.train._data import prefetch as prefetch
from graphad.train._data import to_device as to_device
from graphad.train._files import CheckpointError as CheckpointError
from graphad.train._files import load as load
from graphad.train._files import save as save
from graphad.train._fit import fit as fit
from graphad.train._interrupts import TrainingInterrupted as TrainingInterrupted
from graphad.train._result import FitResult as FitResult
from graphad.train._scale import LossScale as LossScale
from graphad.train._step import Step as Step
from graphad.train._step import TrainState as TrainState
from graphad.train._step import make_step as make_step

__dir__ = _listing(globals())
