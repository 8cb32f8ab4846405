"""The same training step in other people's terms: PyTorch twice, loops by definition, C, and neural-amp-modeler for scale."""

import ctypes
import functools
import math
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from compare import log

from fuzznet import Parameters


class Conv(torch.nn.Module):
    """The network as a PyTorch user writes it: one conv1d a convolution, over (clips, channels, samples)."""

    def __init__(self, parameters, dtype=torch.float32, device="cpu"):
        super().__init__()

        def learned(array):
            return torch.nn.Parameter(torch.tensor(np.ascontiguousarray(array), dtype=dtype, device=device))

        self.kernels = learned(parameters.kernels[:, :, None, ::-1])  # conv1d is a correlation: its last tap is the present
        self.biases, self.mixing, self.output = map(
            learned, (parameters.biases[..., 0], parameters.mixing, parameters.output)
        )
        self.dilations = parameters.dilations

    def forward(self, x):
        x, y, taps = x[:, None, :], 0, self.kernels.shape[-1]
        for l, dilation in enumerate(self.dilations):
            padded = F.pad(x, ((taps - 1) * dilation, 0))
            z = torch.sigmoid(F.conv1d(padded, self.kernels[l], self.biases[l], dilation=dilation))
            y = y + F.conv1d(z, self.output[l][None, :, None])
            if l + 1 < len(self.dilations):
                x = F.conv1d(z, self.mixing[l][None, :, None]) + x
        return y[:, 0]


class Rows(Conv):
    """The same in the layout of fuzznet.fast: all clips side by side, delayed copies as rows, one product a layer."""

    def forward(self, x):
        (clips, samples), taps, y = x.shape, self.kernels.shape[-1], 0
        for l, dilation in enumerate(self.dilations):
            padded = F.pad(x, ((taps - 1) * dilation, 0))
            copies = torch.stack([padded[:, tap * dilation : tap * dilation + samples] for tap in range(taps)])
            a = torch.addmm(self.biases[l][:, None], self.kernels[l, :, 0], copies.reshape(taps, -1))
            z = torch.sigmoid(a)
            if l + 1 < len(self.dilations):
                both = torch.stack([self.output[l], self.mixing[l]]) @ z
                y, x = y + both[0], both[1].reshape(clips, samples) + x
            else:
                y = y + self.output[l] @ z
        return y.reshape(clips, samples)


def torch_step(network, x, y, call=None):
    """Mean ESR and its gradients, which are left in .grad; call: the network or a compiled form of it. Returns: the loss."""
    output = network(x) if call is None else call(x)
    loss = (((y - output) ** 2).sum(-1) / (y * y).sum(-1)).mean()
    for parameter in network.parameters():
        parameter.grad = None
    loss.backward()
    return loss


def gradients_of(network):
    """What torch_step left, as fuzznet Parameters in NumPy."""
    kernels, biases, mixing, output = (
        getattr(network, name).grad.cpu().numpy() for name in ("kernels", "biases", "mixing", "output")
    )
    return Parameters(kernels[:, :, 0, ::-1], biases[..., None], mixing, output, network.dilations)


def amp_modeler(channels, last_channels, first, second):
    """A WaveNet of neural-amp-modeler with random parameters; its sizes are those of its "standard" and "nano" models."""
    from nam.models.wavenet import WaveNet

    def array(inputs, width, out, dilations, bias):
        head = {"out_channels": out, "kernel_size": 1, "bias": bias}
        sizes = {"input_size": inputs, "condition_size": 1, "channels": width, "kernel_size": 3}
        return {**sizes, "dilations": dilations, "activation": "Tanh", "gated": False, "head": head}

    layers = [array(1, channels, last_channels, first, False), array(channels, last_channels, 1, second, True)]
    return WaveNet.init_from_config({"layers_configs": layers, "head_scale": 0.02})


def amp_modelers():
    """{"NAM nano": network, "NAM standard": network}."""
    once = [2**layer for layer in range(10)]
    return {"NAM nano": amp_modeler(4, 2, once[:7], once[7:] + once), "NAM standard": amp_modeler(16, 8, once, once)}


def step_by_definition(parameters, x, y):
    """ESR of one clip and its gradients, sample by sample in plain Python, as the equations say it."""
    layers, kernels, taps = parameters.kernels.shape
    k, b, w, o = (np.asarray(array).tolist() for array in map(parameters.__getattribute__, Parameters.NAMES))
    dk, db, dw, do = (np.zeros_like(getattr(parameters, name)).tolist() for name in Parameters.NAMES)
    samples, inputs, outputs, y_hat = len(x), [list(map(float, x))], [], [0.0] * len(x)
    for l, d in enumerate(parameters.dilations):
        x_l, z, following = inputs[l], [[0.0] * samples for _ in range(kernels)], list(inputs[l])
        for t in range(samples):
            for i in range(kernels):
                a = b[l][i][0]
                for tau in range(taps):
                    if t >= tau * d:
                        a += k[l][i][tau] * x_l[t - tau * d]
                z[i][t] = 1 / (1 + math.exp(-a))
                y_hat[t] += o[l][i] * z[i][t]
                if l + 1 < layers:
                    following[t] += w[l][i] * z[i][t]
        inputs.append(following)
        outputs.append(z)
    energy = sum(value * value for value in y)
    dy = [2 * (found - wanted) / energy for found, wanted in zip(y_hat, y)]
    dx_next = [0.0] * samples
    for l in reversed(range(layers)):
        x_l, z, d, dx = inputs[l], outputs[l], parameters.dilations[l], list(dx_next)
        for t in range(samples):
            for i in range(kernels):
                do[l][i] += dy[t] * z[i][t]
                dz = o[l][i] * dy[t]
                if l + 1 < layers:
                    dw[l][i] += dx_next[t] * z[i][t]
                    dz += w[l][i] * dx_next[t]
                da = dz * z[i][t] * (1 - z[i][t])
                db[l][i][0] += da
                for tau in range(taps):
                    if t >= tau * d:
                        dk[l][i][tau] += da * x_l[t - tau * d]
                        dx[t - tau * d] += da * k[l][i][tau]
        dx_next = dx
    loss = sum((found - wanted) ** 2 for found, wanted in zip(y_hat, y)) / energy
    return loss, Parameters(*map(np.array, (dk, db, dw, do)), parameters.dilations)


@functools.cache
def compiled_c():
    """The step as plain loops in C (limit.c), compiled here, or None where gcc can't: what NumPy's form leaves undone.

    Returns: a function of float32 parameters, x and y (B, T), to the ESR of each clip and the gradients.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "limit.so"
        command = ["gcc", "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-o", target]
        try:
            subprocess.run([*command, Path(__file__).with_name("limit.c"), "-lm"], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            log(f"no race against C: {error}")
            return None
        library = ctypes.CDLL(str(target))

    def pointer(array):
        return array.ctypes.data_as(ctypes.c_void_p)

    def step(parameters, x, y):
        layers, kernels, taps = parameters.kernels.shape
        arrays = [np.ascontiguousarray(getattr(parameters, name), np.float32) for name in Parameters.NAMES]
        gradients = [np.zeros_like(array) for array in arrays]
        losses, dilations = np.zeros(len(x), np.float32), np.array(parameters.dilations, np.int32)
        sizes = (layers, kernels, taps, *x.shape)
        library.step(*map(ctypes.c_int, sizes), *map(pointer, (dilations, *arrays, x, y, losses, *gradients)))
        return losses, Parameters(*gradients, parameters.dilations)

    return step
