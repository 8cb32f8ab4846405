"""The training loop (chapter 10)."""

import dataclasses
import functools
import math
import os
import time
from typing import NamedTuple

from tqdm.auto import tqdm

from fuzznet.arrays import check_signal, namespace
from fuzznet.fast import Step, check_clips
from fuzznet.gradients import backpropagate
from fuzznet.loss import esr, esr_gradient, target_energy
from fuzznet.network import Parameters, check_parameters, forward
from fuzznet.optimizers import check_positive

_EXACT = (backpropagate,)  # has a faster step of its own; kept here, so that a wrapper put in its place is not taken for it


class Training(NamedTuple):
    """parameters: the learned ones; losses: the mean ESR of each step's batch, measured before the step, as floats."""

    parameters: Parameters
    losses: list


class DivergenceError(ArithmeticError):
    """The loss became infinite or NaN. `.training` holds the last good parameters, and the losses until then."""

    def __init__(self, message, training):
        super().__init__(message)
        self.training = training


def train(
    parameters, x, y, *, optimizer, rng, epochs=5, batch_size=5, gradient=backpropagate, frozen=(), warm_up=0,
    max_seconds=math.inf, final_learning_rate=None, progress=True,
):
    """Mini-batch training: each epoch meets every clip once, in a new random order.

    A step: forward pass, ESR, gradient of its mean over the batch, optimizer.

    x, y: clips (B, T), clean and distorted; optimizer: one of `fuzznet.optimizers`; rng: a numpy.random.Generator, for the
    order; gradient: `backpropagate` or `local_gradients`; frozen: names of arrays that do not learn, such as ("mixing",);
    warm_up: how many samples at the start of each clip are heard but not judged, to fill the network's memory;
    max_seconds: stop after the step in which this time is up; final_learning_rate: where the optimizer's learning rate
    ends, falling by the same factor in equal parts of the training. Returns: Training. Raises ValueError for clips that do
    not match or settings out of range, and DivergenceError when the loss is no longer finite.
    """
    _check_settings(x, y, epochs, batch_size, frozen, warm_up, max_seconds, final_learning_rate)
    xp, step = namespace(x, y), functools.partial(_step, gradient=gradient, warm_up=warm_up)
    check_parameters(parameters, x)
    if gradient is _EXACT[0] and parameters.biases.shape[-1] == 1:
        step = Step(warm_up)
    steps, start = epochs * math.ceil(x.shape[0] / batch_size), time.monotonic()
    good, losses, first_learning_rate = parameters, [], optimizer.learning_rate
    with progress_bar(total=100, desc="training", unit="%", disable=not progress) as bar:
        for batch in _batches(rng, x.shape[0], batch_size, epochs):
            share_done = max(len(losses) / steps, (time.monotonic() - start) / max_seconds)
            if losses and share_done >= 1:
                break
            if final_learning_rate is not None:
                fall = float(final_learning_rate) / first_learning_rate
                optimizer.learning_rate = first_learning_rate * fall**share_done
            indices = xp.asarray(batch, device=x.device)
            x_batch, y_batch = xp.take(x, indices, axis=0), xp.take(y, indices, axis=0)
            errors, gradients = step(parameters, x_batch, y_batch)
            loss = float(xp.mean(errors))
            _check_loss(loss, good, losses)
            good = parameters
            losses.append(loss)
            learned = optimizer(parameters, gradients)
            parameters = dataclasses.replace(learned, **{name: getattr(parameters, name) for name in frozen})
            bar.set_postfix(esr=f"{loss:.4f}", refresh=False)
            bar.update(round(100 * share_done, 1) - bar.n)
        bar.update(100 - bar.n)
    last = forward(parameters, x_batch)[0][:, warm_up:]
    _check_loss(float(xp.mean(esr(output=last, target=y_batch[:, warm_up:]))), good, losses)
    return Training(parameters, losses)


def _step(parameters, x, y, gradient, warm_up):
    """The ESR of each clip and the gradients of their mean, for any kind of gradient. `fast.Step` does it for the exact one."""
    y_hat, activations = forward(parameters, x)
    judged = {"output": y_hat[:, warm_up:], "target": y[:, warm_up:]}
    dy = namespace(y_hat).zeros_like(y_hat)
    dy[:, warm_up:] = esr_gradient(**judged)
    return esr(**judged), gradient(parameters, activations, dy)


def _check_loss(loss, good, losses):
    if not math.isfinite(loss):
        raise DivergenceError(
            f"the loss became {loss} after {len(losses)} steps: use a smaller learning_rate, and check x for NaN; "
            "the last good parameters are in this error's .training.parameters",
            Training(good, losses),
        )


def progress_bar(iterable=None, disable=False, **settings):
    """A tqdm progress bar for a terminal or a notebook; none where the environment variable TQDM_DISABLE is set."""
    return tqdm(iterable, disable=disable or "TQDM_DISABLE" in os.environ, **settings)


def _check_settings(x, y, epochs, batch_size, frozen, warm_up, max_seconds, final_learning_rate):
    check_clips(x, y, warm_up)
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size}: expected each at least 1")
    if final_learning_rate is not None:
        check_positive("final_learning_rate", final_learning_rate)
    if not max_seconds > 0:
        raise ValueError(f"max_seconds={max_seconds}: expected above 0")
    if set(frozen) - set(Parameters.NAMES):
        raise ValueError(f"frozen={tuple(frozen)}: expected names out of {Parameters.NAMES}")
    target_energy(y[:, warm_up:], y[:, warm_up:])  # raises where a target is silent: now, not in the middle of an epoch


def _batches(rng, clips, batch_size, epochs):
    """The indices of the clips of each step, in a new random order each epoch."""
    for _ in range(epochs):
        order = rng.permutation(clips)
        for start in range(0, clips, batch_size):
            yield order[start : start + batch_size]


def fit_output(parameters, x, y):
    """The best output mixer for the kernels, biases and mixing weights as they are, by least squares in one step.

    output = argmin of the mean ESR, each clip weighted by the inverse of its target's energy

    x, y: clips (B, T). Returns: Parameters with a new output. Raises ValueError as `forward` and `esr` do.
    Source: Eq. (7), (8), solved for W_Z.
    """
    xp = namespace(x, y)
    check_signal(x, "x", ndim=2)
    y_hat, activations = forward(parameters, x)
    weight = 1 / xp.sqrt(target_energy(y_hat, y))[:, None]
    rows = xp.concat(activations.outputs, axis=1) * weight[:, None, :]
    features = xp.reshape(xp.matrix_transpose(rows), (-1, rows.shape[1]))
    basis, triangle = xp.linalg.qr(features)
    best = xp.linalg.pinv(triangle) @ (xp.matrix_transpose(basis) @ xp.reshape(y * weight, (-1,)))
    return dataclasses.replace(parameters, output=xp.reshape(best, parameters.output.shape))
