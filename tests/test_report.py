"""The report's equations as they are printed (section II.4): that they fail, and how. Other tests prove what is right.

All are for one clip. Their sums run over the samples that there are; the one too many, which they ask for, has its own test.
"""

import dataclasses
import math

import numpy as np
import pytest

import fuzznet
from fuzznet.convolution import convolve
from fuzznet.recordings import rms

pytestmark = pytest.mark.usefixtures("library")

SAMPLES = 31


def off_zero(rng, *shape):
    return rng.uniform(0.2, 1, shape) * rng.choice([-1, 1], shape)


def network(rng, layers=1, kernels=4, taps=3, dilations=(2, 5), bias_samples=1):
    return fuzznet.Parameters(
        kernels=off_zero(rng, layers, kernels, taps), biases=off_zero(rng, layers, kernels, bias_samples),
        mixing=off_zero(rng, layers - 1, kernels), output=off_zero(rng, layers, kernels), dilations=dilations[:layers],
    )  # fmt: skip


def run(parameters, x, y):
    """The output, the inputs and outputs of the layers, and the true gradient."""
    y_hat, activations = fuzznet.forward(parameters, x)
    exact = fuzznet.backpropagate(parameters, activations, fuzznet.esr_gradient(output=y_hat, target=y))
    return y_hat, [x_l[0] for x_l in activations.inputs], [z[0] for z in activations.outputs], exact


def equation_9(y, y_hat):
    return 2 * (y - y_hat) / np.sum(y**2)


def equation_11(y, y_hat, z):
    """(N,), for the kernels of one layer."""
    return np.sum(equation_9(y, y_hat) * z, axis=-1)


def shared_factors(y, y_hat, W, z):
    """Of (15), (16) and (19): 2 (y - y_hat) / |y|^2 W sigma (1 - sigma), (N, T)."""
    return equation_9(y, y_hat) * W[:, None] * z * (1 - z)


def equation_15(y, y_hat, W, z, x):
    """(N,): one number a kernel, whatever its taps."""
    return np.sum(shared_factors(y, y_hat, W, z) * x, axis=-1) / len(y)


def equation_16(y, y_hat, W, z):
    """(N,): one number for each i of the right side."""
    return np.sum(shared_factors(y, y_hat, W, z), axis=-1) / len(y)


def far(found, expected, share=0.1):
    return np.linalg.norm(found - expected) > share * np.linalg.norm(expected)


def cosine(a, b):
    return np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b))


def test_equations_1_and_2_lose_their_kernel(rng):
    """Under a sum over tau they print f(t), which can be taken out: what is left is the kernel times the sum of the sound."""
    f, g = off_zero(rng, 3), off_zero(rng, 5)
    for dilation in (1, 2):
        printed = [sum(f[t] * g[t - tau] for tau in range(-5, 6) if 0 <= t - tau < 5) for t in range(3)]
        assert printed == pytest.approx(f * np.sum(g), rel=1e-14)
        assert far(printed, convolve(f, g, dilation)[:3])


def test_equation_9_is_minus_the_gradient(rng):
    y, y_hat = off_zero(rng, 2, SAMPLES)
    np.testing.assert_allclose(equation_9(y, y_hat), -fuzznet.esr_gradient(output=y_hat, target=y), rtol=1e-14)


@pytest.mark.parametrize("learning_rate", [0.05, 1, 30])
def test_a_step_against_equation_9_climbs(rng, learning_rate):
    """It multiplies the error by 1 + 2 learning_rate / |y|^2, where the mended sign has a minus."""
    y, y_hat = off_zero(rng, 2, SAMPLES)
    before, change = fuzznet.esr(output=y_hat, target=y), 2 * learning_rate / np.sum(y**2)
    after = fuzznet.esr(output=y_hat - learning_rate * equation_9(y, y_hat), target=y)
    mended = fuzznet.esr(output=y_hat - learning_rate * fuzznet.esr_gradient(output=y_hat, target=y), target=y)
    assert after == pytest.approx(before * (1 + change) ** 2, rel=1e-13)
    assert mended == pytest.approx(before * (1 - change) ** 2, rel=1e-12)


def test_equation_11_is_minus_the_gradient_and_climbs_at_any_learning_rate(rng):
    parameters, x, y = network(rng, layers=2), off_zero(rng, SAMPLES), off_zero(rng, SAMPLES)
    y_hat, _, z, exact = run(parameters, x, y)
    printed = np.array([equation_11(y, y_hat, z_l) for z_l in z])
    np.testing.assert_allclose(printed, -exact.output, rtol=1e-13)
    losses = []
    for learning_rate in (0, 0.05, 1, 30):
        moved = np.einsum("li,lit->t", parameters.output - learning_rate * printed, z)
        losses.append(float(fuzznet.esr(output=moved, target=y)))
    assert losses == sorted(losses) and losses[0] < losses[1]  # along its slope a parabola climbs without end


def test_equation_15_is_minus_one_nth_of_the_gradient_at_tap_0_and_wrong_at_the_others(rng):
    """With a single layer, where the path that the report follows is the only one."""
    parameters, x, y = network(rng), off_zero(rng, SAMPLES), off_zero(rng, SAMPLES)
    y_hat, inputs, z, exact = run(parameters, x, y)
    printed, true = equation_15(y, y_hat, parameters.output[0], z[0], inputs[0]), exact.kernels[0]
    np.testing.assert_allclose(-SAMPLES * printed, true[:, 0], rtol=1e-13)
    for tau in (1, 2):
        assert far(-SAMPLES * printed, true[:, tau], share=0.5)
    # It has the length of sqrt(K) first taps over N, and a tap is no longer than a kernel.
    length = np.linalg.norm(np.repeat(printed[:, None], 3, axis=1))
    assert length == pytest.approx(math.sqrt(3) / SAMPLES * np.linalg.norm(true[:, 0]), rel=1e-13)
    assert length < math.sqrt(3) / SAMPLES * np.linalg.norm(true)


def test_equation_15_leads_uphill_in_half_of_all_networks_at_every_tap_but_the_first(rng):
    """Its sign mended. As printed the first tap always leads uphill, and the others again in half of all networks."""
    cosines = []
    for _ in range(200):
        parameters, x, y = network(rng), off_zero(rng, SAMPLES), off_zero(rng, SAMPLES)
        y_hat, inputs, z, exact = run(parameters, x, y)
        mended = -equation_15(y, y_hat, parameters.output[0], z[0], inputs[0])
        cosines.append([cosine(mended, exact.kernels[0, :, tau]) for tau in range(3)])
    assert np.min(cosines, axis=0)[0] > 1 - 1e-12
    assert np.mean(np.array(cosines) < 0, axis=0)[1:] == pytest.approx([0.5, 0.5], abs=0.12)


def test_equations_15_and_16_shrink_with_the_length_of_the_clip(rng):
    """The same sound three times over: for taps without a past the gradient stays, as the loss does. The printed one falls."""
    parameters, x, y = network(rng, taps=1), off_zero(rng, SAMPLES), off_zero(rng, SAMPLES)
    found = []
    for sound, target in ((x, y), (np.tile(x, 3), np.tile(y, 3))):
        y_hat, inputs, z, exact = run(parameters, sound, target)
        factors = target, y_hat, parameters.output[0], z[0]
        found.append((exact.kernels[0, :, 0], exact.biases[0, :, 0], equation_15(*factors, inputs[0]), equation_16(*factors)))
    for once, three_times, ratio in zip(*found, (1, 1, 3, 3)):
        np.testing.assert_allclose(once, ratio * three_times, rtol=1e-13)


def test_equation_16_of_a_bias_for_each_kernel(rng):
    """Our reading, in which only the sign and the 1/N are wrong."""
    parameters, x, y = network(rng), off_zero(rng, SAMPLES), off_zero(rng, SAMPLES)
    y_hat, _, z, exact = run(parameters, x, y)
    printed = equation_16(y, y_hat, parameters.output[0], z[0])
    np.testing.assert_allclose(-SAMPLES * printed, exact.biases[0, :, 0], rtol=1e-13)


def test_equation_16_of_a_bias_for_the_layer(rng):
    """The letters' reading: b_l has no i, so all kernels share it. No i of the right side is right, and their sum is."""
    parameters, x, y = network(rng), off_zero(rng, SAMPLES), off_zero(rng, SAMPLES)
    y_hat, _, z, _ = run(parameters, x, y)
    printed = equation_16(y, y_hat, parameters.output[0], z[0])

    def loss(change):
        moved = dataclasses.replace(parameters, biases=parameters.biases + change)
        return float(fuzznet.esr(output=fuzznet.forward(moved, x)[0], target=y))

    true = (loss(1e-4) - loss(-1e-4)) / 2e-4
    assert -SAMPLES * np.sum(printed) == pytest.approx(true, rel=1e-6)
    assert np.all(np.abs(-SAMPLES * printed - true) > 0.1 * abs(true))


def test_equation_16_of_a_bias_over_time(rng):
    """The report's own reading: a vector. Each sample has a slope of its own, and the printed number is minus their mean."""
    parameters, x, y = network(rng, bias_samples=SAMPLES), off_zero(rng, SAMPLES), off_zero(rng, SAMPLES)
    y_hat, _, z, exact = run(parameters, x, y)
    printed = equation_16(y, y_hat, parameters.output[0], z[0])
    np.testing.assert_allclose(printed, -np.mean(exact.biases[0], axis=-1), rtol=1e-13)
    assert far(-printed[:, None], exact.biases[0], share=0.5)
    assert far(-SAMPLES * printed[:, None], exact.biases[0], share=0.5)


@pytest.mark.parametrize("dilation", [1, 3])
def test_equation_18_names_the_slopes_along_several_samples_and_not_along_one(rng, dilation):
    """The taps of K_l are the slopes of a at time t along x at t, t - d and t - 2 d. Along x at t the slope is tap 0."""
    kernel = off_zero(rng, 3)
    slopes = convolve(kernel, np.eye(11), dilation)  # a row for each sample of x: what a click there makes of a
    t = 8
    assert slopes[[t, t - dilation, t - 2 * dilation], t].tolist() == kernel.tolist()
    assert np.count_nonzero(slopes[:, t]) == 3
    assert np.diag(slopes).tolist() == [kernel[0]] * 11
    # So one sample of x is to blame at three times, and not three times at one.
    da = off_zero(rng, 11)
    assert (slopes @ da)[2] == pytest.approx(sum(kernel[tau] * da[2 + tau * dilation] for tau in range(3)), rel=1e-14)
    assert far((slopes @ da)[:5], np.sum(kernel) * da[:5])


def k_z(reading, kernels, z, dilation):
    """What k_{l,i} z_{k-1,t} of (19) can mean, (N, N, T): for each kernel i of layer l and each z_j of the layer before."""
    if reading == "first tap":
        return kernels[:, 0, None, None] * z
    if reading == "sum of the taps":
        return np.sum(kernels, axis=1)[:, None, None] * z
    assert reading == "convolution"
    return np.stack([convolve(kernel, z, dilation) for kernel in kernels])


def equation_19(reading, parameters, y, y_hat, z):
    """(N, N): row i for the kernel of layer 1 on the right side, column j for the weight, of which z_j makes the input."""
    factors = shared_factors(y, y_hat, parameters.output[1], z[1])
    return np.mean(factors[:, None, :] * k_z(reading, parameters.kernels[1], z[0], parameters.dilations[1]), axis=-1)


@pytest.mark.parametrize("reading", ["first tap", "sum of the taps", "convolution"])
def test_equation_19_needs_a_convolution_and_a_sum_over_kernels(rng, reading):
    """With two layers, where its path is the only one. As printed it gives a weight as many numbers as a kernel has taps.

    To read its k as one number fails. To convolve with it is right, but for the sign, the 1/N, and the i that stands for two
    things: a kernel of layer l on the right side, and on the left one of the layer before.
    """
    parameters, x, y = network(rng, layers=2), off_zero(rng, SAMPLES), off_zero(rng, SAMPLES)
    y_hat, _, z, exact = run(parameters, x, y)
    printed, true = equation_19(reading, parameters, y, y_hat, z), exact.mixing[0]
    assert far(-SAMPLES * np.diag(printed), true), "with one i for both"
    assert all(far(-SAMPLES * row, true) for row in printed), "with one kernel of layer l for all weights"
    summed = -SAMPLES * np.sum(printed, axis=0)
    if reading == "convolution":
        np.testing.assert_allclose(summed, true, rtol=1e-13)
    else:
        assert far(summed, true)


def test_equation_19_as_printed_is_minus_one_nth_of_the_gradient_where_there_is_one_kernel(rng):
    """Then its i has one value. And where that kernel has a single tap, all readings are one."""
    for taps, readings in ((3, ["convolution"]), (1, ["first tap", "sum of the taps", "convolution"])):
        parameters, x, y = network(rng, layers=2, kernels=1, taps=taps), off_zero(rng, SAMPLES), off_zero(rng, SAMPLES)
        y_hat, _, z, exact = run(parameters, x, y)
        for reading in readings:
            printed = equation_19(reading, parameters, y, y_hat, z)
            assert -SAMPLES * printed[0, 0] == pytest.approx(exact.mixing[0, 0], rel=1e-13)


def test_a_sum_over_the_samples_is_all_of_the_esr(rng):
    """Equations (8), (11), (15), (16) and (19) sum from 0 to N: of N samples, 0 ... N - 1 is all, and no term is left for N."""
    y, y_hat = off_zero(rng, 2, SAMPLES)
    terms = [(y[t] - y_hat[t]) ** 2 / np.sum(y**2) for t in range(SAMPLES)]
    assert sum(terms) == pytest.approx(float(fuzznet.esr(output=y_hat, target=y)), rel=1e-14)


def test_equation_20_sums_over_its_own_bound():
    """Programmed as it stands, n has moved by the time it divides. The root mean square of 3, 4, 0, 0 is sqrt(25 / 4)."""
    x = np.array([3.0, 4.0, 0.0, 0.0])
    n, total = len(x), 0.0
    for n in range(n):  # noqa: B020
        total += x[n] ** 2
    assert math.sqrt(total / n) == pytest.approx(math.sqrt(25 / 3), rel=1e-15)
    assert float(rms(x)) == pytest.approx(math.sqrt(25 / 4), rel=1e-15)
