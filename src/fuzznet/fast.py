"""The training step with fewer passes over memory (chapter 18): the numbers of `forward` and `backpropagate`, sooner.

With t = tanh(a / 2) the sigmoid is (1 + t) / 2. So only t is computed, and the halves and the ones go into the weights.
One array a layer holds, row by row, all that meets in a product: K delayed copies of x, the oldest first, a row of ones, the
output so far, and N rows of t.
"""

import itertools
from typing import Any, NamedTuple

from fuzznet.arrays import check_signal, in_place, namespace, on_gpu, recorded
from fuzznet.loss import target_energy
from fuzznet.network import Parameters, check_parameters

CACHE_SAMPLES = 8000  # on a processor, of the clips of a part together: so few that a layer's rows stay in its cache
RECORDED_SAMPLES = 50_000  # on a GPU: up to so many, starting operations takes longer than doing them


class Weights(NamedTuple):
    """The parameters in the form in which they meet a layer's rows, and from the other side its gradients.

    t = tanh(kernels_l @ [copies; 1]), x_{l+1} = to_x_l @ [x_l; 1; y_l; t], y_{l+1} = to_y_l @ [x_l; 1; y_l; t], where y is
    the output so far, dt = upstream_l @ [dy; dx_{l+1}], and the gradient of the copies is transposed_l @ da

    kernels: (L, N, K + 1); to_x, to_y: (L, N + 3), where the last to_x is not used; upstream: (L, N, 2);
    transposed: (L, K, N).
    """

    kernels: Any
    to_x: Any
    to_y: Any
    upstream: Any
    transposed: Any


def stacked_weights(parameters):
    """Weights for rows, from parameters with one bias a kernel.

    Kernels and biases are halved, for t = tanh(a / 2). Weights w of a sum of sigmoids become w / 2 for the rows of t, and
    the sum of w / 2 for the row of ones, because sigma(a) = (1 + t) / 2. The residual, and the output so far, have weight 1.

    Returns: Weights. Source: `network.forward`, rewritten.
    """
    xp = namespace(parameters.kernels)
    kernels, output = 0.5 * xp.flip(parameters.kernels, axis=-1), 0.5 * parameters.output
    mixing = xp.concat([0.5 * parameters.mixing, xp.zeros_like(output[:1, :])])
    one, zero = xp.ones_like(output[:, :1]), xp.zeros_like(output[:, :1])
    return Weights(
        kernels=xp.concat([kernels, 0.5 * parameters.biases], axis=-1),
        to_x=xp.concat([one, xp.sum(mixing, axis=-1, keepdims=True), zero, mixing], axis=-1),
        to_y=xp.concat([zero, xp.sum(output, axis=-1, keepdims=True), one, output], axis=-1),
        upstream=xp.stack([output, mixing], axis=-1),
        transposed=xp.matrix_transpose(kernels),
    )


class Layer(NamedTuple):
    """Views of one layer's memory for the forward pass, made once.

    copies: (K + 1, S), the ones included; t: (N, S); mixed: (N + 3, S), the undelayed copy, ones, y and t; x, y: (S,), where
    the layer's input and the output so far are written; delays: pairs (to, from), which bring them into the other rows.
    """

    copies: Any
    t: Any
    mixed: Any
    x: Any
    y: Any
    delays: list


def layer_views(rows, taps, x, y, delays):
    """Layer for rows (K + 2 + N, S)."""
    return Layer(rows[: taps + 1, :], rows[taps + 2 :, :], rows[taps - 1 :, :], x, y, delays)


def rows_of_layers(kernels, columns):
    """Rows (L, K + 2 + N, S) for kernels (L, N, K) and S columns, all zeros but for the ones."""
    layers, n, taps = kernels.shape
    rows = namespace(kernels).zeros((layers, taps + 2 + n, columns), dtype=kernels.dtype, device=kernels.device)
    rows[:, taps, :] = 1
    return rows


def forward_pass(weights, layers, y_hat, do):
    """From layers[0].x, and zeros in layers[0].y, to y_hat (S,), leaving the rows of every layer."""
    for l, layer in enumerate(layers):
        for place, source in layer.delays:
            place[...] = source
        do.matmul(weights.kernels[l, ...], layer.copies, out=layer.t)
        do.tanh(layer.t, out=layer.t)
        if l + 1 < len(layers):
            do.matmul(weights.to_x[l, :], layer.mixed, out=layers[l + 1].x)
            do.matmul(weights.to_y[l, :], layer.mixed, out=layers[l + 1].y)
    do.matmul(weights.to_y[-1, :], layers[-1].mixed, out=y_hat)


class _Part:
    """Memory for some clips of a batch, side by side in S = clips * samples columns, used again at every step."""

    def __init__(self, kernels, dilations, clips, samples):
        xp, (layers, n, taps), columns = namespace(kernels), kernels.shape, clips * samples

        def zeros(*shape):
            return xp.zeros(shape, dtype=kernels.dtype, device=kernels.device)

        def in_clips(row):
            return xp.reshape(row, (clips, samples), copy=False)

        rows = rows_of_layers(kernels, columns)
        self.rows = xp.reshape(rows, (-1, columns), copy=False)
        self.y_hat, self.upstream = zeros(columns), zeros(2, columns)
        self.da, self.scratch, self.dcopies = zeros(n, columns), zeros(n, columns), zeros(taps, columns)
        self.dkernels, self.dmixing = zeros(layers, taps + 1, n), zeros(layers, n + 2)
        self.dy, self.dx = self.upstream[0, :], self.upstream[1, :]
        self.layers, self.backwards = [], []
        for l, dilation in enumerate(dilations):
            x, delays, advances = rows[l, taps - 1, :], [], [(self.dx, self.dcopies[-1, :])]
            for tau in range(1, taps):
                delay, row = min(tau * dilation, samples), taps - 1 - tau
                delays.append((in_clips(rows[l, row, :])[:, delay:], in_clips(x)[:, : samples - delay]))
                advances.append((in_clips(self.dx)[:, : samples - delay], in_clips(self.dcopies[row, :])[:, delay:]))
            self.layers.append(layer_views(rows[l, ...], taps, x, rows[l, taps + 1, :], delays))
            self.backwards.append((rows[l, taps:, :], self.dkernels[l, ...], self.dmixing[l, :], advances))
        self.x_clips, self.y_clips, self.dy_clips = map(in_clips, (self.layers[0].x, self.y_hat, self.dy))


def _backward_pass(weights, part, do):
    """From part.dy and the rows to part.dkernels and part.dmixing."""
    transpose, last = namespace(part.rows).matrix_transpose, len(part.layers) - 1
    part.dx[...] = 0
    for l in reversed(range(last + 1)):
        layer, (from_ones, dkernels, dmixing, advances) = part.layers[l], part.backwards[l]
        if l < last:
            do.matmul(from_ones, part.dx, out=dmixing)
        do.matmul(weights.upstream[l, ...], part.upstream, out=part.da)
        do.times_slope(part.da, layer.t, part.scratch)
        do.matmul(layer.copies, transpose(part.da), out=dkernels)
        if l > 0:
            do.matmul(weights.transposed[l, ...], part.da, out=part.dcopies)
            for place, source in advances:
                place += source


class Step:
    """The ESR of a batch and its exact gradients, in place of forward, esr, esr_gradient and backpropagate.

    It keeps its memory from call to call, for batches of the same shape, and so serves one thread at a time. NumPy takes a few
    clips at a time, so that what one layer leaves is still in the cache when the next one asks for it. CuPy takes all; a small
    batch is one CUDA graph.

    warm_up: samples at the start of each clip that are heard but not judged. A call takes parameters with one bias a kernel,
    and clips x, y (B, T); it returns the ESR of each clip, (B,), and the gradients of their mean, Parameters.
    Raises ValueError as `forward` and `esr` do, for a bias over time, and for a warm_up as long as a clip.
    """

    def __init__(self, warm_up=0):
        self._warm_up, self._plans = warm_up, {}  # of two shapes at most: the usual batch, and the last one of an epoch

    def __getstate__(self):  # for a copy or a pickle, which makes memory of its own
        return {**vars(self), "_plans": {}}

    def __call__(self, parameters, x, y):
        check_clips(x, y, self._warm_up)
        check_parameters(parameters, x)
        if parameters.biases.shape[-1] != 1:
            raise ValueError('got a bias over time: use bias="kernel", or `forward` and `backpropagate`')
        xp, own_type, cast = namespace(x, y, parameters.kernels), parameters.kernels.dtype, parameters.astype(x.dtype)
        plan = (x.shape, x.dtype, cast.kernels.shape, tuple(cast.dilations), xp)
        if plan not in self._plans:
            if len(self._plans) == 2:
                self._plans.clear()
            self._plans[plan] = _plan(cast.kernels, cast.dilations, x.shape, self._warm_up)
        energy = target_energy(y[:, self._warm_up :], y[:, self._warm_up :])
        losses, *gradients = self._plans[plan](*(getattr(cast, name) for name in Parameters.NAMES), x, y, energy)
        return losses, Parameters(*gradients, cast.dilations).astype(own_type)


def check_clips(x, y, warm_up):
    """Raise ValueError unless x and y are clips of the same shape, with more samples than the warm-up."""
    check_signal(x, "x", ndim=2)
    check_signal(y, "y", ndim=2)
    if x.shape != y.shape:
        raise ValueError(f"x has shape {tuple(x.shape)}, y {tuple(y.shape)}: expected the same shape")
    if not 0 <= warm_up < x.shape[-1]:
        raise ValueError(f"warm_up={warm_up}: expected at least 0 and below the clip's {x.shape[-1]} samples")


def _plan(kernels, dilations, shape, warm_up):
    """What `Step` runs, with its memory: from the parameters' arrays, x, y and y's energy (B,) to the ESR and the gradients."""
    xp, (clips, samples), (layers, _, taps) = namespace(kernels), shape, kernels.shape
    small = clips * samples <= RECORDED_SAMPLES
    do = in_place(xp, recordable=small)
    parts = 1 if on_gpu(xp) else -(-clips // max(1, CACHE_SAMPLES // samples))
    bounds = [clips * k // parts for k in range(parts + 1)]
    memory = {size: _Part(kernels, dilations, size, samples) for size in {b - a for a, b in itertools.pairwise(bounds)}}

    def run(*arrays):
        *own, x, y, energy = arrays
        weights = stacked_weights(Parameters(*own, dilations))
        losses, sums = [], [0, 0, 0]
        for a, b in itertools.pairwise(bounds):
            part = memory[b - a]
            part.x_clips[...] = x[a:b, :]
            forward_pass(weights, part.layers, part.y_hat, do)
            error = part.y_clips[:, warm_up:] - y[a:b, warm_up:]
            losses.append(xp.sum(error**2, axis=-1) / energy[a:b])
            part.dy_clips[:, warm_up:] = error * (2 / (clips * energy[a:b]))[:, None]
            _backward_pass(weights, part, do)
            sums = [total + new for total, new in zip(sums, (part.dkernels, part.dmixing, do.matmul(part.rows, part.dy)))]
        dkernels, dmixing, doutput = 0.5 * xp.matrix_transpose(sums[0]), 0.5 * sums[1][:-1, :], 0.5 * sums[2]
        doutput = xp.reshape(doutput, (layers, -1))[:, taps:]
        return (
            xp.concat(losses),
            xp.flip(dkernels[..., :taps], axis=-1),
            dkernels[..., taps:],
            dmixing[:, :1] + dmixing[:, 2:],  # what the ones give, and the rows of t; between them stands y
            doutput[:, :1] + doutput[:, 2:],
        )

    return recorded(run, xp) if small else run
