"""The gradients by an independent tool, HIPS autograd: the network anew from Eq. (2) to (8), at the report's sizes."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import fuzznet

pytestmark = pytest.mark.usefixtures("library")

# Table I, with dilations 1, 2, 4 ... 2^(layers - 1): layers, kernels, clips
SIZES = {"single_note": (8, 10, 5), "proof_of_concept": (9, 6, 1)}
TAPS, SAMPLES = 3, 1000
every_problem = pytest.mark.parametrize(("size", "bias"), [(size, bias) for size in SIZES for bias in ("kernel", "time")])


def layer(kernels, biases, x, dilation):
    """Eq. (2) to (5). A list with an array (B, T) for each kernel."""
    z = []
    for i in range(kernels.shape[0]):
        a = biases[i]
        for tau in range(TAPS):
            silence = anp.zeros((x.shape[0], tau * dilation))
            a = a + kernels[i, tau] * anp.concatenate([silence, x], axis=1)[:, :SAMPLES]
        z.append(1 / (1 + anp.exp(-a)))
    return z


def mix(weights, z):
    return sum(weights[i] * z[i] for i in range(len(z)))


def network(p, x):
    """Eq. (6) and (7)."""
    y_hat, inputs, outputs, layers = 0, [], [], len(p["kernels"])
    for l in range(layers):
        z = layer(p["kernels"][l], p["biases"][l], x, 2**l)
        inputs.append(x)
        outputs.append(z)
        y_hat = y_hat + mix(p["output"][l], z)
        if l + 1 < layers:
            x = mix(p["mixing"][l], z) + x
    return y_hat, inputs, outputs


def short_paths(p, inputs, outputs):
    """The same output, from inputs and outputs of the layers that are plain numbers: no gradient passes through them."""
    y_hat = 0
    for l in range(len(p["kernels"])):
        x = inputs[0] if l == 0 else mix(p["mixing"][l - 1], outputs[l - 1]) + inputs[l - 1]
        y_hat = y_hat + mix(p["output"][l], layer(p["kernels"][l], p["biases"][l], x, 2**l))
    return y_hat


def mean_esr(y_hat, y):
    """Eq. (8), for each clip, and the mean."""
    return anp.mean(anp.sum((y - y_hat) ** 2, axis=1) / anp.sum(y**2, axis=1))


def problem(rng, size, bias):
    layers, kernels, clips = SIZES[size]
    length = SAMPLES if bias == "time" else None
    parameters = fuzznet.initialize(rng, layers, kernels, TAPS, bias=bias, clip_length=length)
    x, y = rng.normal(size=(2, clips, SAMPLES)) + 0.1
    return parameters, {name: getattr(parameters, name) for name in parameters.NAMES}, x, y


def assert_same(ours, expected):
    """Within 1e-13 of the length of each gradient, array by array and layer by layer."""
    for name in ours.NAMES:
        for l, (found, wanted) in enumerate(zip(getattr(ours, name), expected[name], strict=True)):
            assert found.shape == wanted.shape
            assert np.linalg.norm(found - wanted) <= 1e-13 * np.linalg.norm(wanted), (name, l)


@every_problem
def test_forward(rng, size, bias):
    parameters, p, x, y = problem(rng, size, bias)
    y_hat, activations = fuzznet.forward(parameters, x)
    expected, inputs, outputs = network(p, x)
    np.testing.assert_allclose(y_hat, expected, rtol=0, atol=1e-13 * np.max(np.abs(expected)))
    np.testing.assert_allclose(activations.inputs, inputs, rtol=0, atol=1e-13 * np.max(np.abs(inputs)))
    np.testing.assert_allclose(np.swapaxes(activations.outputs, 1, 2), outputs, rtol=0, atol=1e-13)
    np.testing.assert_allclose(np.mean(fuzznet.esr(output=y_hat, target=y)), mean_esr(expected, y), rtol=1e-13)


@every_problem
def test_exact_gradient(rng, size, bias):
    parameters, p, x, y = problem(rng, size, bias)
    expected = autograd.grad(lambda p: mean_esr(network(p, x)[0], y))(p)
    y_hat, activations = fuzznet.forward(parameters, x)
    assert_same(fuzznet.backpropagate(parameters, activations, fuzznet.esr_gradient(output=y_hat, target=y)), expected)


@every_problem
def test_short_paths(rng, size, bias):
    parameters, p, x, y = problem(rng, size, bias)
    whole, inputs, outputs = network(p, x)
    np.testing.assert_allclose(short_paths(p, inputs, outputs), whole, rtol=1e-13)
    expected = autograd.grad(lambda p: mean_esr(short_paths(p, inputs, outputs), y))(p)
    y_hat, activations = fuzznet.forward(parameters, x)
    assert_same(fuzznet.local_gradients(parameters, activations, fuzznet.esr_gradient(output=y_hat, target=y)), expected)


def test_gradient_of_the_loss(rng):
    output, target = rng.normal(size=(2, 5, SAMPLES)) + 0.1
    expected = autograd.grad(mean_esr)(output, target)
    np.testing.assert_allclose(fuzznet.esr_gradient(output=output, target=target), expected, rtol=1e-13)
