import dataclasses

import numpy as np
import pytest

import fuzznet


def problem(rng, bias, clips=3, samples=47, layers=4):
    length = samples if bias == "time" else None
    parameters = fuzznet.initialize(rng, layers, kernels=5, kernel_size=3, bias=bias, clip_length=length)
    return parameters, rng.normal(size=(clips, samples)), rng.normal(size=(clips, samples))


def mean_esr(parameters, x, y):
    return np.mean(fuzznet.esr(output=fuzznet.forward(parameters, x)[0], target=y))


def gradients_of(method, parameters, x, y):
    y_hat, activations = fuzznet.forward(parameters, x)
    return method(parameters, activations, fuzznet.esr_gradient(output=y_hat, target=y))


def slope(parameters, x, y, name, direction, step=1e-5):
    """Central difference of the loss along a direction in one array of parameters."""
    moved = (
        dataclasses.replace(parameters, **{name: getattr(parameters, name) + sign * step * direction}) for sign in (1, -1)
    )
    ahead, behind = (mean_esr(p, x, y) for p in moved)
    return (ahead - behind) / (2 * step)


@pytest.mark.equation(10)
@pytest.mark.equation(12)
@pytest.mark.equation(17)
@pytest.mark.equation(18)
@pytest.mark.parametrize("name", fuzznet.Parameters.NAMES)
@pytest.mark.parametrize("bias", ["kernel", "time"])
def test_exact_gradient_is_the_slope_along_random_directions(rng, bias, name):
    parameters, x, y = problem(rng, bias)
    gradient = getattr(gradients_of(fuzznet.backpropagate, parameters, x, y), name)
    for _ in range(5):
        direction = gradient / np.linalg.norm(gradient) + rng.normal(size=gradient.shape) / np.sqrt(gradient.size)
        assert np.sum(gradient * direction) == pytest.approx(slope(parameters, x, y, name, direction), rel=1e-6)


@pytest.mark.parametrize("name", fuzznet.Parameters.NAMES)
@pytest.mark.parametrize("bias", ["kernel", "time"])
def test_exact_gradient_of_every_single_parameter(rng, bias, name):
    parameters, x, y = problem(rng, bias, clips=2, samples=11, layers=3)
    gradient = getattr(gradients_of(fuzznet.backpropagate, parameters, x, y), name)
    for index in np.ndindex(gradient.shape):
        direction = np.zeros_like(gradient)
        direction[index] = 1
        measured = slope(parameters, x, y, name, direction, step=1e-4)
        assert gradient[index] == pytest.approx(measured, rel=1e-6, abs=1e-8)


@pytest.mark.equation(11)
def test_output_gradient_by_definition(rng):
    parameters, x, y = problem(rng, "kernel")
    y_hat, activations = fuzznet.forward(parameters, x)
    dy = fuzznet.esr_gradient(output=y_hat, target=y)
    gradient = fuzznet.local_gradients(parameters, activations, dy).output
    for l, i in np.ndindex(gradient.shape):
        expected = sum(dy[b, t] * activations.outputs[l][b, i, t] for b, t in np.ndindex(dy.shape))
        assert gradient[l, i] == pytest.approx(expected)


@pytest.mark.equation(13)
@pytest.mark.equation(14)
@pytest.mark.equation(15)
def test_local_kernel_gradient_by_definition(rng):
    parameters, x, y = problem(rng, "kernel", clips=2, samples=19)
    y_hat, activations = fuzznet.forward(parameters, x)
    dy = fuzznet.esr_gradient(output=y_hat, target=y)
    gradient = fuzznet.local_gradients(parameters, activations, dy).kernels
    for l, i, tau in np.ndindex(gradient.shape):
        expected, past = 0.0, tau * parameters.dilations[l]
        for b in range(2):
            for t in range(past, 19):  # tap tau meets the sample that lies tau * dilation in the past
                z = activations.outputs[l][b, i, t]
                expected += dy[b, t] * parameters.output[l, i] * z * (1 - z) * activations.inputs[l][b, t - past]
        assert gradient[l, i, tau] == pytest.approx(expected)


@pytest.mark.equation(16)
@pytest.mark.parametrize("bias", ["kernel", "time"])
def test_local_bias_gradient_by_definition(rng, bias):
    parameters, x, y = problem(rng, bias)
    y_hat, activations = fuzznet.forward(parameters, x)
    dy = fuzznet.esr_gradient(output=y_hat, target=y)
    gradient = fuzznet.local_gradients(parameters, activations, dy).biases
    for l in range(4):
        z = activations.outputs[l]
        each = np.einsum("bt,i,bit->it", dy, parameters.output[l], z * (1 - z))
        expected = each if bias == "time" else each.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(gradient[l], expected, rtol=1e-10)


@pytest.mark.equation(19)
def test_local_mixing_gradient_is_the_slope_of_its_one_path(rng):
    """With the residual and all later layers cut off, w_{l+1} acts through x_{l+1} and Z_{l+1} alone."""
    parameters, x, y = problem(rng, "kernel")
    y_hat, activations = fuzznet.forward(parameters, x)
    dy = fuzznet.esr_gradient(output=y_hat, target=y)
    gradient = fuzznet.local_gradients(parameters, activations, dy).mixing
    for l in range(3):
        after = dataclasses.replace(  # layer l + 1 as a network of its own
            parameters, kernels=parameters.kernels[l + 1 : l + 2], biases=parameters.biases[l + 1 : l + 2],
            mixing=parameters.mixing[:0], output=parameters.output[l + 1 : l + 2],
            dilations=parameters.dilations[l + 1 : l + 2],
        )  # fmt: skip
        direction, step = rng.normal(size=5), 1e-5
        moved = [activations.inputs[l + 1] + s * step * direction @ activations.outputs[l] for s in (1, -1)]
        ahead, behind = (np.sum(dy * fuzznet.forward(after, x_next)[0]) for x_next in moved)
        assert gradient[l] @ direction == pytest.approx((ahead - behind) / (2 * step), rel=1e-7)


def test_short_paths_are_exact_in_the_last_layer_only(rng):
    parameters, x, y = problem(rng, "kernel")
    local = gradients_of(fuzznet.local_gradients, parameters, x, y)
    exact = gradients_of(fuzznet.backpropagate, parameters, x, y)
    np.testing.assert_allclose(local.output, exact.output)
    np.testing.assert_allclose(local.kernels[-1], exact.kernels[-1])
    np.testing.assert_allclose(local.mixing[-1], exact.mixing[-1])
    for l in range(3):
        assert np.linalg.norm(local.kernels[l] - exact.kernels[l]) > 0.01 * np.linalg.norm(exact.kernels[l])


def test_one_clip_alone(rng):
    parameters, x, y = problem(rng, "kernel")
    alone, batch = (gradients_of(fuzznet.backpropagate, parameters, *pair) for pair in ((x[0], y[0]), (x[:1], y[:1])))
    np.testing.assert_allclose(alone.kernels, batch.kernels)


def test_bad_dy(rng):
    parameters, x, _ = problem(rng, "kernel")
    _, activations = fuzznet.forward(parameters, x)
    with pytest.raises(ValueError, match=r"dy has shape \(3, 46\): expected \(3, 47\)"):
        fuzznet.backpropagate(parameters, activations, np.ones((3, 46)))
