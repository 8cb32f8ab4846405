"""The dot test. A gradient goes back through each linear step by its adjoint: <A u, v> = <u, A* v> for any u and v."""

import dataclasses

import numpy as np
import pytest

import fuzznet
from fuzznet.convolution import convolve, delayed_copies, sum_of_advanced_copies
from fuzznet.gradients import bias_gradient, input_gradient, kernel_gradient, mixer_gradient
from fuzznet.postprocessing import keep_lowest_frequencies, match_mean

pytestmark = pytest.mark.usefixtures("library")

taps_and_dilations = pytest.mark.parametrize(
    ("kernel_size", "dilation"), [(1, 1), (2, 3), (3, 1), (3, 5), (4, 7), (4, 22), (3, 23), (3, 40)]
)
CLIPS, KERNELS, SAMPLES = 2, 5, 23


def assert_adjoint(there, back, u, v):
    """Relative to the length of what is multiplied. `u` is what goes in, `v` has the shape of what comes out."""
    forwards, backwards = there(u), back(v)
    assert (forwards.shape, backwards.shape) == (v.shape, u.shape)
    room = 1e-14 * np.linalg.norm(forwards) * np.linalg.norm(v)
    assert np.sum(forwards * v) == pytest.approx(np.sum(u * backwards), rel=0, abs=room)


def matrix(step, shape):
    """The matrix of a linear step: a row for each entry of the input, what comes out when it is 1 and all others are 0."""
    return np.array([step(row.reshape(shape)).ravel() for row in np.eye(np.prod(shape))])


@taps_and_dilations
def test_delayed_copies(rng, kernel_size, dilation):
    def there(x):
        return delayed_copies(x, kernel_size, dilation)

    def back(rows):
        return sum_of_advanced_copies(rows, dilation)

    assert_adjoint(there, back, rng.normal(size=(CLIPS, SAMPLES)), rng.normal(size=(CLIPS, kernel_size, SAMPLES)))
    one_way, other_way = matrix(there, (SAMPLES,)), matrix(back, (kernel_size, SAMPLES))
    np.testing.assert_array_equal(one_way.T, other_way)  # they only move samples: not a digit may differ


def convolutions(kernels, x, dilation):
    """Every clip with every kernel, (B, N, T)."""
    return np.stack([convolve(kernel, x, dilation) for kernel in kernels], axis=1)


@pytest.mark.equation(18)
@taps_and_dilations
def test_convolution_in_its_input(rng, kernel_size, dilation):
    kernels = rng.normal(size=(KERNELS, kernel_size))
    x, da = rng.normal(size=(CLIPS, SAMPLES)), rng.normal(size=(CLIPS, KERNELS, SAMPLES))
    assert_adjoint(lambda x: convolutions(kernels, x, dilation), lambda da: input_gradient(da, kernels, dilation), x, da)


@pytest.mark.equation(15)
@taps_and_dilations
def test_convolution_in_its_kernels(rng, kernel_size, dilation):
    kernels = rng.normal(size=(KERNELS, kernel_size))
    x, da = rng.normal(size=(CLIPS, SAMPLES)), rng.normal(size=(CLIPS, KERNELS, SAMPLES))
    assert_adjoint(
        lambda kernels: convolutions(kernels, x, dilation),
        lambda da: kernel_gradient(da, x, kernel_size, dilation), kernels, da,
    )  # fmt: skip


@pytest.mark.equation(16)
@pytest.mark.parametrize("over_time", [True, False])
def test_bias(rng, over_time):
    biases, da = rng.normal(size=(KERNELS, SAMPLES if over_time else 1)), rng.normal(size=(CLIPS, KERNELS, SAMPLES))
    assert_adjoint(lambda b: np.broadcast_to(b, da.shape), lambda da: bias_gradient(da, over_time), biases, da)


@pytest.mark.equation(10)
def test_weighted_sum_in_its_weights(rng):
    weights, z = rng.normal(size=KERNELS), rng.normal(size=(CLIPS, KERNELS, SAMPLES))
    upstream = rng.normal(size=(CLIPS, SAMPLES))
    assert_adjoint(lambda w: np.einsum("i,bit->bt", w, z), lambda upstream: mixer_gradient(z, upstream), weights, upstream)


@pytest.mark.parametrize(("samples", "count"), [(30, 1), (30, 7), (30, 16), (31, 7), (31, 16), (1, 1)])
def test_low_pass_is_its_own_adjoint_and_a_projection(rng, samples, count):
    def low_pass(x):
        return keep_lowest_frequencies(x, count)

    u, v = rng.normal(size=(2, CLIPS, samples))
    assert_adjoint(low_pass, low_pass, u, v)
    np.testing.assert_allclose(low_pass(low_pass(u)), low_pass(u), rtol=0, atol=1e-14)
    kept = 2 * count - 1 - (2 * (count - 1) == samples)  # 0 Hz, and the highest frequency of an even clip, are one number each
    assert np.trace(matrix(low_pass, (samples,))) == pytest.approx(kept, rel=1e-13)


def test_match_mean_is_a_projection_and_what_it_takes_away(rng):
    """It is P u + (1 - P) r with one P, which subtracts the mean, is its own adjoint, and does no more when done twice."""
    u, v, reference = rng.normal(size=(3, CLIPS, SAMPLES))

    def without_mean(x):
        return match_mean(x, np.zeros_like(x))

    assert_adjoint(without_mean, without_mean, u, v)
    np.testing.assert_allclose(without_mean(without_mean(u)), without_mean(u), rtol=0, atol=1e-14)
    expected = without_mean(u) + reference - without_mean(reference)
    np.testing.assert_allclose(match_mean(u, reference), expected, rtol=0, atol=1e-14)
    assert np.trace(matrix(without_mean, (SAMPLES,))) == pytest.approx(SAMPLES - 1, rel=1e-14)


def network(parameters, x):
    """Eq. (2) to (7) with a matrix for each delay, for numbers of any kind, complex ones too."""
    y_hat = 0
    for l, dilation in enumerate(parameters.dilations):
        delays = [np.eye(x.shape[1], k=tau * dilation) for tau in range(parameters.kernels.shape[2])]
        a = sum(np.einsum("i,bt->bit", parameters.kernels[l, :, tau], x @ delay) for tau, delay in enumerate(delays))
        z = 1 / (1 + np.exp(-a - parameters.biases[l]))
        y_hat = y_hat + np.einsum("i,bit->bt", parameters.output[l], z)
        if l + 1 < len(parameters.dilations):
            x = np.einsum("i,bit->bt", parameters.mixing[l], z) + x
    return y_hat


def forward_mode(parameters, name, v, x):
    """J v, how the output moves when the parameters move along v, by a step into the imaginary: nothing cancels."""
    step = 1e-30
    moved = dataclasses.replace(parameters, **{name: getattr(parameters, name) + 1j * step * v})
    return np.imag(network(moved, x)) / step


def problem(rng, bias="kernel", layers=4):
    length = SAMPLES if bias == "time" else None
    dilations = (2, 1, 5, 3)[:layers]
    parameters = fuzznet.initialize(rng, layers, KERNELS, 3, bias=bias, clip_length=length, dilations=dilations)
    x, dy = rng.normal(size=(2, CLIPS, SAMPLES))
    np.testing.assert_allclose(fuzznet.forward(parameters, x)[0], network(parameters, x), rtol=0, atol=1e-14)
    return parameters, x, dy


def assert_adjoint_of_the_network(parameters, x, dy, name, v):
    gradient = getattr(fuzznet.backpropagate(parameters, fuzznet.forward(parameters, x)[1], dy), name)
    assert_adjoint(lambda v: forward_mode(parameters, name, v, x), lambda dy: gradient, v, dy)


@pytest.mark.parametrize("bias", ["kernel", "time"])
@pytest.mark.parametrize("name", fuzznet.Parameters.NAMES)
def test_the_whole_network(rng, name, bias):
    """Linearised around its parameters, the network is one linear step, and backpropagation its adjoint."""
    parameters, x, dy = problem(rng, bias)
    assert_adjoint_of_the_network(parameters, x, dy, name, rng.normal(size=getattr(parameters, name).shape))


def test_weighted_sums_alone(rng):
    """One layer's kernels are heard through one weighted sum: that of the output, or that of the mixing weights."""
    parameters, x, dy = problem(rng, layers=2)
    first = np.zeros_like(parameters.kernels)
    first[0] = rng.normal(size=first[0].shape)
    for name in ("mixing", "output"):
        cut = parameters.map(np.copy)
        getattr(cut, name)[0] = 0
        assert_adjoint_of_the_network(cut, x, dy, "kernels", first)


def test_residual_alone(rng):
    """Layer 1 is cut out: what the first mixing weights make reaches layer 2 by the residual, and no other way."""
    parameters, x, dy = problem(rng, layers=3)
    cut = parameters.map(np.copy)
    cut.mixing[1], cut.output[1] = 0, 0
    first = np.zeros_like(cut.mixing)
    first[0] = rng.normal(size=KERNELS)
    assert_adjoint_of_the_network(cut, x, dy, "mixing", first)
    assert np.linalg.norm(forward_mode(cut, "mixing", first, x)) > 0.01
