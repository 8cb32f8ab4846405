"""The gradients by differences: of the loss, and of each step that the network is made of."""

import dataclasses

import numpy as np
import pytest

import fuzznet
from fuzznet.gradients import bias_gradient, input_gradient, kernel_gradient, mixer_gradient, sigmoid_gradient

pytestmark = pytest.mark.usefixtures("library")

# layers, kernels, kernel_size, dilations, clips, samples
SIZES = {
    "as_in_the_book": (4, 5, 3, (1, 2, 4, 8), 3, 47),
    "odd_dilations": (3, 3, 3, (5, 3, 7), 2, 19),
    "longer_than_the_clip": (3, 2, 4, (6, 40, 5), 2, 17),
    "two_taps": (3, 3, 2, (3, 1, 6), 2, 11),
    "one_tap": (3, 2, 1, (1, 2, 7), 2, 6),
    "one_layer": (1, 3, 4, (3,), 2, 11),
    "one_clip": (3, 2, 2, (2, 5, 1), 1, 13),
    "one_kernel": (3, 1, 3, (2, 1, 3), 2, 11),
    "one_of_each": (1, 1, 1, (1,), 1, 1),
}
every_size = pytest.mark.parametrize("size", SIZES)
both_biases = pytest.mark.parametrize("bias", ["kernel", "time"])


def off_zero(rng, *shape):
    """Random numbers of both signs, none near zero: a zero hides whatever it is multiplied by."""
    return rng.uniform(0.2, 1, shape) * rng.choice([-1, 1], shape)


def problem(rng, bias, size="as_in_the_book"):
    layers, kernels, kernel_size, dilations, clips, samples = SIZES[size]
    shapes = {
        "kernels": (layers, kernels, kernel_size), "biases": (layers, kernels, samples if bias == "time" else 1),
        "mixing": (layers - 1, kernels), "output": (layers, kernels),
    }  # fmt: skip
    parameters = fuzznet.Parameters(**{name: off_zero(rng, *shape) for name, shape in shapes.items()}, dilations=dilations)
    return parameters, off_zero(rng, clips, samples), off_zero(rng, clips, samples)


def mean_esr(parameters, x, y):
    return np.mean(fuzznet.esr(output=fuzznet.forward(parameters, x)[0], target=y))


def gradients_of(method, parameters, x, y):
    y_hat, activations = fuzznet.forward(parameters, x)
    return method(parameters, activations, fuzznet.esr_gradient(output=y_hat, target=y))


def moved(parameters, name, change):
    return dataclasses.replace(parameters, **{name: getattr(parameters, name) + change})


def central(function, step):
    """Central difference at 0: its error falls as step^2."""
    return (function(step) - function(-step)) / (2 * step)


def slope(function, step=2e-3):
    """Two central differences, weighted so that their errors of order step^2 cancel: what is left falls as step^4."""
    return (4 * central(function, step) - central(function, 2 * step)) / 3


def slopes(function, array, step=2e-3):
    """The slope of a function of an array along each entry by itself. For a linear function any step is exact."""
    found = np.empty_like(array)
    for index in np.ndindex(array.shape):
        only = np.zeros_like(array)
        only[index] = 1
        found[index] = slope(lambda s: function(array + s * only), step)  # noqa: B023
    return found


def assert_close(found, expected, tolerance):
    """Relative to the largest entry. A single layer has no mixing weights, and nothing but a shape."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.max(np.abs(expected), initial=0))


@every_size
@both_biases
def test_nothing_in_a_problem_is_near_zero(rng, bias, size):
    parameters, x, y = problem(rng, bias, size)
    for array in (x, y, *(getattr(parameters, name) for name in parameters.NAMES)):
        assert np.all(np.abs(array) >= 0.2)


@pytest.mark.equation(10)
@pytest.mark.equation(12)
@pytest.mark.equation(17)
@pytest.mark.equation(18)
@pytest.mark.parametrize("name", fuzznet.Parameters.NAMES)
@both_biases
@every_size
def test_exact_gradient_is_the_slope_along_random_directions(rng, size, bias, name):
    parameters, x, y = problem(rng, bias, size)
    gradient = getattr(gradients_of(fuzznet.backpropagate, parameters, x, y), name)
    for _ in range(5):
        direction = off_zero(rng, *gradient.shape)
        direction /= max(np.linalg.norm(direction), 1)  # 0 where a single layer has no mixing weights
        measured = slope(lambda s: mean_esr(moved(parameters, name, s * direction), x, y))  # noqa: B023
        assert np.sum(gradient * direction) == pytest.approx(measured, rel=0, abs=1e-10 * np.linalg.norm(gradient))


@pytest.mark.parametrize("name", fuzznet.Parameters.NAMES)
@both_biases
@pytest.mark.parametrize("size", [size for size in SIZES if size != "as_in_the_book"])
def test_exact_gradient_of_every_single_parameter(rng, size, bias, name):
    parameters, x, y = problem(rng, bias, size)
    gradient = getattr(gradients_of(fuzznet.backpropagate, parameters, x, y), name)
    measured = slopes(lambda array: mean_esr(dataclasses.replace(parameters, **{name: array}), x, y), getattr(parameters, name))
    assert_close(gradient, measured, 1e-10)


@pytest.mark.parametrize("name", ["kernels", "biases", "mixing"])
@both_biases
def test_error_of_the_difference_falls_as_the_square_of_the_step(rng, bias, name):
    """What is left of a central difference is a quarter at half the step. A gradient that is merely close leaves more."""
    parameters, x, y = problem(rng, bias)
    gradient = getattr(gradients_of(fuzznet.backpropagate, parameters, x, y), name)
    direction = gradient / np.linalg.norm(gradient)
    measured = [central(lambda s: mean_esr(moved(parameters, name, s * direction), x, y), step) for step in (8e-3, 4e-3, 2e-3)]
    errors = np.array(measured) - np.sum(gradient * direction)
    assert errors[:-1] / errors[1:] == pytest.approx([4, 4], rel=5e-3)
    errors = np.array(measured) - np.sum(gradient * direction) * (1 + 1e-7)
    assert errors[:-1] / errors[1:] != pytest.approx([4, 4], rel=5e-3)


def test_loss_is_a_parabola_in_the_output_mixer(rng):
    """So here a central difference has no error to begin with, at any step."""
    parameters, x, y = problem(rng, "kernel")
    gradient = gradients_of(fuzznet.backpropagate, parameters, x, y).output
    for step in (0.1, 1, 10):
        measured = central(lambda s: mean_esr(moved(parameters, "output", s * gradient), x, y), step)
        assert np.sum(gradient * gradient) == pytest.approx(measured, rel=1e-12)


# Each step by itself: its gradient is the slope of the sum of upstream times what the step gives.


@pytest.mark.equation(10)
def test_mixer_gradient(rng):
    weights, z, upstream = off_zero(rng, 3), off_zero(rng, 2, 3, 11), off_zero(rng, 2, 11)
    expected = slopes(lambda w: np.sum(upstream * np.einsum("i,bit->bt", w, z)), weights, step=1)
    assert_close(mixer_gradient(z, upstream), expected, 1e-13)


@pytest.mark.equation(14)
def test_sigmoid_gradient(rng):
    a, dz = 4 * off_zero(rng, 2, 3, 11), off_zero(rng, 2, 3, 11)
    expected = slopes(lambda a: np.sum(dz / (1 + np.exp(-a))), a)
    assert_close(sigmoid_gradient(dz, 1 / (1 + np.exp(-a))), expected, 1e-10)


def convolutions(kernels, x, dilation):
    """Each clip with each kernel, (B, N, T), by NumPy: a dilated kernel is one with zeros between its taps."""
    spread = np.zeros((len(kernels), (kernels.shape[1] - 1) * dilation + 1))
    spread[:, ::dilation] = kernels
    return np.array([[np.convolve(kernel, clip)[: len(clip)] for kernel in spread] for clip in x])


taps_and_dilations = pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (2, 3), (3, 5), (4, 1), (4, 5), (3, 40)])


@pytest.mark.equation(15)
@taps_and_dilations
def test_kernel_gradient(rng, kernel_size, dilation):
    kernels, x, da = off_zero(rng, 3, kernel_size), off_zero(rng, 2, 11), off_zero(rng, 2, 3, 11)
    expected = slopes(lambda k: np.sum(da * convolutions(k, x, dilation)), kernels, step=1)
    assert_close(kernel_gradient(da, x, kernel_size, dilation), expected, 1e-13)


@pytest.mark.equation(18)
@taps_and_dilations
def test_input_gradient(rng, kernel_size, dilation):
    kernels, x, da = off_zero(rng, 3, kernel_size), off_zero(rng, 2, 11), off_zero(rng, 2, 3, 11)
    expected = slopes(lambda x: np.sum(da * convolutions(kernels, x, dilation)), x, step=1)
    assert_close(input_gradient(da, kernels, dilation), expected, 1e-13)


@pytest.mark.equation(16)
@pytest.mark.parametrize("over_time", [True, False])
def test_bias_gradient(rng, over_time):
    biases, da = off_zero(rng, 3, 11 if over_time else 1), off_zero(rng, 2, 3, 11)
    expected = slopes(lambda b: sum(np.sum(da_of_clip * (np.zeros((3, 11)) + b)) for da_of_clip in da), biases, step=1)
    assert_close(bias_gradient(da, over_time), expected, 1e-13)


# The short paths, in loops.


@pytest.mark.equation(11)
def test_output_gradient_by_definition(rng):
    parameters, x, y = problem(rng, "kernel")
    y_hat, activations = fuzznet.forward(parameters, x)
    dy = fuzznet.esr_gradient(output=y_hat, target=y)
    expected = np.zeros_like(parameters.output)
    for l, i in np.ndindex(expected.shape):
        expected[l, i] = sum(dy[b, t] * activations.outputs[l][b, i, t] for b, t in np.ndindex(dy.shape))
    assert_close(fuzznet.local_gradients(parameters, activations, dy).output, expected, 1e-13)


@pytest.mark.equation(13)
@pytest.mark.equation(14)
@pytest.mark.equation(15)
@pytest.mark.parametrize("size", ["odd_dilations", "longer_than_the_clip", "two_taps", "one_tap"])
def test_local_kernel_gradient_by_definition(rng, size):
    parameters, x, y = problem(rng, "kernel", size)
    y_hat, activations = fuzznet.forward(parameters, x)
    dy = fuzznet.esr_gradient(output=y_hat, target=y)
    expected = np.zeros_like(parameters.kernels)
    for l, i, tau in np.ndindex(expected.shape):
        past = tau * parameters.dilations[l]
        for b, t in np.ndindex(dy.shape):
            if t >= past:  # tap tau meets the sample that lies tau * dilation in the past
                z = activations.outputs[l][b, i, t]
                expected[l, i, tau] += dy[b, t] * parameters.output[l, i] * z * (1 - z) * activations.inputs[l][b, t - past]
    assert_close(fuzznet.local_gradients(parameters, activations, dy).kernels, expected, 1e-13)


@pytest.mark.equation(16)
@both_biases
def test_local_bias_gradient_by_definition(rng, bias):
    parameters, x, y = problem(rng, bias)
    y_hat, activations = fuzznet.forward(parameters, x)
    dy = fuzznet.esr_gradient(output=y_hat, target=y)
    expected = np.zeros_like(parameters.biases)
    for l, i in np.ndindex(expected.shape[:2]):
        for b, t in np.ndindex(dy.shape):
            z = activations.outputs[l][b, i, t]
            expected[l, i, t if bias == "time" else 0] += dy[b, t] * parameters.output[l, i] * z * (1 - z)
    assert_close(fuzznet.local_gradients(parameters, activations, dy).biases, expected, 1e-13)


@pytest.mark.equation(19)
@pytest.mark.parametrize("size", ["as_in_the_book", "odd_dilations", "longer_than_the_clip", "one_kernel"])
def test_local_mixing_gradient_is_the_slope_of_its_one_path(rng, size):
    """With the residual and all later layers cut off, w_{l+1} acts through x_{l+1} and Z_{l+1} alone."""
    parameters, x, y = problem(rng, "kernel", size)
    y_hat, activations = fuzznet.forward(parameters, x)
    dy = fuzznet.esr_gradient(output=y_hat, target=y)
    gradient = fuzznet.local_gradients(parameters, activations, dy).mixing
    for l in range(len(gradient)):
        after = fuzznet.Parameters(  # layer l + 1 as a network of its own
            kernels=parameters.kernels[l + 1 : l + 2], biases=parameters.biases[l + 1 : l + 2],
            mixing=parameters.mixing[:0], output=parameters.output[l + 1 : l + 2],
            dilations=parameters.dilations[l + 1 : l + 2],
        )  # fmt: skip

        def through_the_next_layer(change):
            x_next = activations.inputs[l + 1] + np.einsum("i,bit->bt", change, activations.outputs[l])  # noqa: B023
            return np.sum(dy * fuzznet.forward(after, x_next)[0])  # noqa: B023

        assert_close(gradient[l], slopes(through_the_next_layer, np.zeros_like(gradient[l])), 1e-10)


def test_short_paths_are_exact_in_the_last_layer_only(rng):
    parameters, x, y = problem(rng, "kernel")
    local = gradients_of(fuzznet.local_gradients, parameters, x, y)
    exact = gradients_of(fuzznet.backpropagate, parameters, x, y)
    np.testing.assert_array_equal(local.output, exact.output)
    for name in ("kernels", "biases", "mixing"):
        short, whole = getattr(local, name), getattr(exact, name)
        assert_close(short[-1], whole[-1], 1e-14)
        for l in range(len(whole) - 1):
            assert np.linalg.norm(short[l] - whole[l]) > 0.01 * np.linalg.norm(whole[l])


@pytest.mark.parametrize("method", ["local_gradients", "backpropagate"])
def test_one_clip_alone(rng, method):
    parameters, x, y = problem(rng, "kernel")
    alone, batch = (gradients_of(getattr(fuzznet, method), parameters, *pair) for pair in ((x[0], y[0]), (x[:1], y[:1])))
    for name in parameters.NAMES:
        np.testing.assert_array_equal(getattr(alone, name), getattr(batch, name))


@pytest.mark.parametrize("method", ["local_gradients", "backpropagate"])
def test_gradient_of_a_batch_is_the_mean_of_those_of_its_clips(rng, method):
    parameters, x, y = problem(rng, "kernel")
    batch = gradients_of(getattr(fuzznet, method), parameters, x, y)
    alone = [gradients_of(getattr(fuzznet, method), parameters, *clip) for clip in zip(x, y)]
    for name in parameters.NAMES:
        assert_close(getattr(batch, name), np.mean([getattr(clip, name) for clip in alone], axis=0), 1e-13)


def test_bad_dy(rng):
    parameters, x, _ = problem(rng, "kernel")
    _, activations = fuzznet.forward(parameters, x)
    with pytest.raises(ValueError, match=r"dy has shape \(3, 46\): expected \(3, 47\)"):
        fuzznet.backpropagate(parameters, activations, np.ones((3, 46)))
    with pytest.raises(ValueError, match=r"dy has shape \(47,\): expected \(3, 47\)"):
        fuzznet.local_gradients(parameters, activations, np.ones(47))
    with pytest.raises(ValueError, match=r"dy holds .*int64: expected float32 or float64"):
        fuzznet.backpropagate(parameters, activations, np.ones((3, 47), dtype=np.int64))


def test_activations_of_another_network(rng):
    parameters, x, _ = problem(rng, "kernel")
    _, activations = fuzznet.forward(fuzznet.initialize(rng, layers=3, kernels=7), x)
    message = "^the activations are those of another network: pass what `forward` returned for these parameters$"
    with pytest.raises(ValueError, match=message):
        fuzznet.backpropagate(parameters, activations, x)


def test_a_bias_over_two_samples_is_a_bias_over_time(rng):
    parameters = fuzznet.initialize(rng, layers=2, kernels=3, bias="time", clip_length=2)
    x = rng.normal(size=(3, 2))
    gradient = fuzznet.backpropagate(parameters, fuzznet.forward(parameters, x)[1], x)
    assert gradient.biases.shape == (2, 3, 2) and gradient.dilations == parameters.dilations
