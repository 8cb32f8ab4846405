"""Laws that hold for every network, sound and setting: hypothesis looks for one that breaks them.

Structure is drawn (sizes, dilations also longer than the clip, both kinds of bias), so a failure shrinks to a small network.
The numbers come from generators with drawn seeds: none is zero or repeated, and no fault hides behind a coincidence.
Where special numbers matter, as in files and in bad input, they are drawn as well.
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fuzznet
from fuzznet import experiments, gradients, optimizers, postprocessing, recordings
from fuzznet.convolution import convolve
from fuzznet.storage import load, save

pytestmark = pytest.mark.usefixtures("library")

NAMES = fuzznet.Parameters.NAMES


def for_all(*strategies, examples=30, **named):
    """The same examples on every run and machine, however slow. A fixture is set up once for all examples of a test."""
    law = settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],  # explaining a failure as well would take minutes
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    return lambda test: law(given(*strategies, **named)(test))


def equal(found, expected, atol=1e-12):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=atol)


def equal_parameters(found, expected, atol=1e-12):
    for name in NAMES:
        equal(getattr(found, name), getattr(expected, name), atol)


def generators(purpose):
    """Random generators, of other numbers than those for another purpose with the same seed."""
    return st.integers(0, 10**6).map(lambda seed: np.random.default_rng([seed, purpose]))


rngs = generators(0)
factors = st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3)
one, few, several, lengths = st.just(1), st.integers(1, 4), st.integers(2, 4), st.integers(1, 24)
dilations = st.integers(1, 3) | st.integers(1, 30)  # the longest clip has 24 samples


@st.composite
def pairs(draw, clips=few, samples=lengths):
    """Two arrays (B, T)."""
    return draw(generators(1)).normal(size=(2, draw(clips), draw(samples)))


def sounds(**sizes):
    """Clips (B, T)."""
    return pairs(**sizes).map(lambda pair: pair[0])


@st.composite
def kernels(draw, purpose=2):
    """(K,), K from 1 to 5."""
    return draw(generators(purpose)).normal(size=draw(st.integers(2, 5) | one))


@st.composite
def networks(draw, samples, kinds=("kernel", "time")):
    """Parameters for clips of that many samples."""
    kind, width, taps = draw(st.sampled_from(kinds)), draw(few), draw(few)
    reach = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    length = samples if kind == "time" else None
    return fuzznet.initialize(draw(generators(3)), len(reach), width, taps, kind, length, dilations=reach)


@st.composite
def played(draw, kinds=("kernel", "time"), **sizes):
    """Parameters, clips that fit them, and other clips of the same shape."""
    x, y = draw(pairs(**sizes))
    return draw(networks(x.shape[-1], kinds)), x, y


each_gradient = pytest.mark.parametrize("gradient", ["backpropagate", "local_gradients"])


def gradient_of(name, parameters, x, dy):
    return getattr(gradients, name)(parameters, fuzznet.forward(parameters, x)[1], dy)


# Convolution


@for_all(kernels(), pairs(), factors, dilations, examples=100)
def test_convolution_is_linear_in_the_sound(kernel, pair, factor, dilation):
    x, y = pair
    expected = factor * convolve(kernel, x, dilation) + convolve(kernel, y, dilation)
    equal(convolve(kernel, factor * x + y, dilation), expected, atol=1e-11)


@for_all(pairs(clips=one, samples=st.integers(1, 5)), sounds(), factors, dilations, examples=100)
def test_convolution_is_linear_in_the_kernel(two_kernels, x, factor, dilation):
    [a], [b] = two_kernels
    expected = factor * convolve(a, x, dilation) + convolve(b, x, dilation)
    equal(convolve(factor * a + b, x, dilation), expected, atol=1e-11)


@for_all(kernels(), sounds(), dilations, st.integers(0, 9), examples=100)
def test_a_delayed_sound_gives_the_delayed_answer(kernel, x, dilation, delay):
    late = np.concatenate([np.zeros((len(x), delay)), x], axis=1)
    answered = convolve(kernel, late, dilation)
    assert not np.any(answered[:, :delay])
    equal(answered[:, delay:], convolve(kernel, x, dilation))


@for_all(kernels(), kernels(purpose=4), sounds(), dilations, dilations, factors, examples=100)
def test_convolutions_commute(first, second, x, dilation, other, factor):
    one_way = convolve(second, convolve(first, x, dilation), other)
    equal(convolve(first, convolve(second, x, other), dilation), one_way)
    equal(convolve(first, factor * x, dilation), factor * convolve(first, x, dilation), atol=1e-11)


@for_all(pairs(clips=one), examples=100)
def test_kernel_and_sound_change_places(pair):
    [kernel], [x] = pair
    equal(convolve(kernel, x), convolve(x, kernel))


@for_all(kernels(), sounds(clips=one), dilations, st.data(), examples=100)
def test_an_impulse_is_heard_once_by_each_tap(kernel, clips, dilation, data):
    [x] = clips
    at = data.draw(st.integers(0, len(x) - 1))
    touched = x.copy()
    touched[at] += 1
    before, after = convolve(kernel, x, dilation), convolve(kernel, touched, dilation)
    heard = {at + tau * dilation: tap for tau, tap in enumerate(kernel) if at + tau * dilation < len(x)}
    assert set(np.flatnonzero(after != before)) == set(heard)  # everything else bit for bit
    equal((after - before)[list(heard)], list(heard.values()))


# The network


@for_all(kernels(), dilations, played(samples=st.integers(2, 24)), st.data(), examples=100)
def test_the_future_changes_nothing_in_the_past(kernel, dilation, network, data):
    parameters, x, other = network
    now = data.draw(st.integers(1, x.shape[-1] - 1))
    changed = np.concatenate([x[:, :now], 5 * other[:, now:]], axis=1)
    for play in (lambda sound: convolve(kernel, sound, dilation), lambda sound: fuzznet.forward(parameters, sound)[0]):
        assert np.array_equal(play(changed)[:, :now], play(x)[:, :now])
        assert np.all(play(changed)[:, now] != play(x)[:, now])  # the present is heard


@for_all(rngs, st.lists(st.integers(1, 6), min_size=1, max_size=3), few, few, st.integers(1, 9), st.booleans())
def test_the_network_hears_as_far_as_the_receptive_field_and_no_further(rng, reach, width, taps, before, stream):
    """All weights are positive, so no two paths cancel, and small, so no sigmoid saturates. One more sample is outside."""

    field = fuzznet.receptive_field(taps, reach)
    parameters = fuzznet.initialize(rng, len(reach), width, taps, dilations=reach)
    parameters = parameters.map(lambda array: rng.uniform(0.5, 1, size=array.shape) / (width * taps))
    x = rng.normal(size=before + field + 4)
    touched = x.copy()
    touched[before] += 1
    if stream:
        old, new = fuzznet.Stream(parameters, len(x))(x), fuzznet.Stream(parameters, len(x))(touched)
    else:
        old, new = fuzznet.forward(parameters, x)[0], fuzznet.forward(parameters, touched)[0]
    changed = np.flatnonzero(old != new)  # everything else bit for bit
    assert changed[0] == before and changed[-1] == before + field - 1


@for_all(played(clips=several), rngs)
def test_clips_together_are_clips_one_by_one(network, rng):
    parameters, x, _ = network
    order = rng.permutation(len(x))
    y_hat, activations = fuzznet.forward(parameters, x)
    shuffled, _ = fuzznet.forward(parameters, x[order])
    equal(shuffled, y_hat[order])
    for b, clip in enumerate(x):
        alone, alone_activations = fuzznet.forward(parameters, clip)
        equal(y_hat[b], alone)
        for together, single in zip(activations, alone_activations):  # the inputs, then the outputs, of all layers
            for array, array_alone in zip(together, single):
                equal(array[b], array_alone[0])


@each_gradient
@for_all(network=played(clips=several), rng=rngs)
def test_gradient_of_the_mean_is_the_mean_of_the_gradients(gradient, network, rng):
    parameters, x, y = network

    def gradient_for(x, y):
        return gradient_of(gradient, parameters, x, fuzznet.esr_gradient(output=fuzznet.forward(parameters, x)[0], target=y))

    alone = [gradient_for(*clips) for clips in zip(x, y)]
    mean = alone[0].map(lambda *arrays: sum(arrays) / len(x), *alone[1:])
    size = max(np.max(np.abs(getattr(mean, name)), initial=1) for name in NAMES)
    equal_parameters(gradient_for(x, y), mean, 1e-12 * size)
    order = rng.permutation(len(x))
    equal_parameters(gradient_for(x[order], y[order]), mean, 1e-12 * size)


@each_gradient
@for_all(network=played(), other=rngs, factor=factors)
def test_gradients_are_linear_in_dy(gradient, network, other, factor):
    parameters, x, dy = network
    other_dy = other.normal(size=dy.shape)
    found, other_found = (gradient_of(gradient, parameters, x, upstream) for upstream in (dy, other_dy))
    expected = found.map(lambda a, b: factor * a + b, other_found)
    of_both = gradient_of(gradient, parameters, x, factor * dy + other_dy)
    equal_parameters(of_both, expected, 1e-12 * max(1, abs(factor)) * x.size)


@each_gradient
@for_all(network=played(), rng=rngs)
def test_the_order_of_the_kernels_does_not_matter(gradient, network, rng):
    parameters, x, dy = network
    order = rng.permutation(parameters.output.shape[1])
    other = parameters.map(lambda array: array[:, order])
    (y_hat, activations), (same, permuted) = fuzznet.forward(parameters, x), fuzznet.forward(other, x)
    equal(same, y_hat)
    for z, z_other in zip(activations.outputs, permuted.outputs):
        equal(z_other, z[:, order])
    expected = gradient_of(gradient, parameters, x, dy).map(lambda array: array[:, order])
    equal_parameters(gradient_of(gradient, other, x, dy), expected, 1e-11)


# Streaming


def in_blocks(stream, x, cuts):
    return np.concatenate([stream(block) for block in np.split(x, cuts)])


@st.composite
def streamed(draw):
    """Parameters with one bias a kernel, a sound, and where to cut it into blocks."""
    parameters, [x], _ = draw(played(("kernel",), clips=one, samples=st.integers(1, 60)))
    return parameters, x, sorted(draw(st.sets(st.integers(1, len(x) - 1), min_size=1, max_size=9))) if len(x) > 1 else []


@pytest.mark.parametrize(("precision", "atol"), [("float64", 1e-12), ("float32", 1e-5)])
@for_all(case=streamed(), data=st.data())
def test_any_blocks_give_what_the_whole_gives(precision, atol, case, data):
    parameters, x, cuts = case
    x = x.astype(precision)
    whole, _ = fuzznet.forward(parameters, x)
    stream = fuzznet.Stream(parameters, block_size=max(np.diff([0, *cuts, len(x)])))
    blocks = in_blocks(stream, x, cuts)
    assert blocks.dtype == precision
    np.testing.assert_allclose(blocks, whole, rtol=0, atol=atol)
    stream.reset()
    np.testing.assert_allclose(in_blocks(stream, x, cuts), whole, rtol=0, atol=atol)


@for_all(streamed(), rngs)
def test_two_streams_of_one_network_know_nothing_of_each_other(case, rng):
    parameters, x, cuts = case
    other = rng.normal(size=len(x))
    left, right = fuzznet.Stream(parameters, len(x)), fuzznet.Stream(parameters, len(x))
    turns = [(left(a), right(b)) for a, b in zip(np.split(x, cuts), np.split(other, cuts))]
    for blocks, sound in zip(zip(*turns), (x, other)):
        equal(np.concatenate(blocks), fuzznet.forward(parameters, sound)[0])


# Loss


@for_all(pairs(), factors)
def test_loss_does_not_know_the_level(pair, factor):
    output, target = pair
    loud = {"output": factor * output, "target": factor * target}
    equal(fuzznet.esr(**loud), fuzznet.esr(output=output, target=target))
    expected = fuzznet.esr_gradient(output=output, target=target) / factor
    np.testing.assert_allclose(fuzznet.esr_gradient(**loud), expected, rtol=1e-11)


@for_all(pairs(), factors)
def test_loss_is_the_square_of_the_error(pair, factor):
    output, target = pair
    further = fuzznet.esr(output=target + factor * (output - target), target=target)
    np.testing.assert_allclose(further, factor**2 * fuzznet.esr(output=output, target=target), rtol=1e-10)
    assert np.all(further > 0) and np.all(fuzznet.esr(output=target.copy(), target=target) == 0)
    np.testing.assert_allclose(fuzznet.esr(output=0 * target, target=target), 1)


@for_all(pairs(), st.floats(0.01, 0.99))
def test_a_step_down_the_gradient_lowers_the_loss(pair, share):
    """output - s dy makes the error of clip b smaller by the factor 1 - 2 s / (B energy_b)."""
    output, target = pair
    energy = np.sum(target**2, axis=-1)
    step = share * len(target) * np.min(energy)
    before, dy = fuzznet.esr(output=output, target=target), fuzznet.esr_gradient(output=output, target=target)
    after = fuzznet.esr(output=output - step * dy, target=target)
    assert np.all(after < before)
    np.testing.assert_allclose(after, (1 - 2 * step / (len(target) * energy)) ** 2 * before, rtol=1e-9, atol=1e-12)


# Optimizers


@st.composite
def descents(draw):
    """Parameters and the gradients of three steps, each between 0.5 and 2 in size."""
    parameters, rng = draw(networks(5)), draw(rngs)
    steps = [parameters.map(lambda a: rng.uniform(0.5, 2, a.shape) * rng.choice([-1, 1], a.shape)) for _ in range(3)]
    return parameters, steps


def descend(optimizer, parameters, steps):
    for step in steps:
        parameters = optimizer(parameters, step)
    return parameters


def scaled(parameters, factor):
    return parameters.map(lambda array: factor * array)


rates = st.floats(1e-3, 1)


@for_all(descents(), factors, rates, st.floats(0, 0.95))
def test_gradient_descent_and_momentum_scale_with_everything(descent, factor, rate, momentum):
    parameters, steps = descent
    loud = scaled(parameters, factor), [scaled(step, factor) for step in steps]
    for make in (lambda: optimizers.GradientDescent(rate), lambda: optimizers.Momentum(rate, momentum)):
        expected = scaled(descend(make(), *descent), factor)
        equal_parameters(descend(make(), *loud), expected, 1e-12 * abs(factor))
    plain = descend(optimizers.GradientDescent(rate), *descent)
    equal_parameters(descend(optimizers.Momentum(rate, momentum=0), *descent), plain)
    for name in NAMES:  # p - rate * (sum of the gradients)
        moved = getattr(parameters, name) - rate * sum(getattr(step, name) for step in steps)
        equal(getattr(plain, name), moved)


@for_all(descents(), st.floats(1e-3, 1e3), rates)
def test_adam_does_not_know_the_size_of_the_gradients(descent, factor, rate):
    parameters, steps = descent
    tiny = {"learning_rate": rate, "epsilon": 1e-200}  # the law holds up to epsilon
    expected = descend(optimizers.Adam(**tiny), parameters, steps)
    equal_parameters(descend(optimizers.Adam(**tiny), parameters, [scaled(step, factor) for step in steps]), expected)
    flipped = descend(optimizers.Adam(**tiny), scaled(parameters, -1), [scaled(step, -factor) for step in steps])
    equal_parameters(scaled(flipped, -1), expected)


@for_all(descents(), rates)
def test_adam_goes_one_learning_rate_a_step_down_a_constant_slope(descent, rate):
    parameters, [slope, *_] = descent
    found = descend(optimizers.Adam(rate, epsilon=1e-200), parameters, [slope] * 3)
    equal_parameters(found, parameters.map(lambda p, g: p - 3 * rate * np.sign(g), slope))


# Recordings


@for_all(sounds(clips=one), st.data())
def test_clips_end_to_end_are_the_sound(clips, data):
    [x] = clips
    length = data.draw(st.integers(1, len(x)))
    cut = recordings.split_into_clips(x, length)
    assert cut.shape == (len(x) // length, length)
    assert np.array_equal(np.reshape(cut, -1), x[: cut.size])


@for_all(hnp.arrays(float, st.integers(1, 30), elements=st.sampled_from([0, 0.1, -0.3, 1, -2])), st.floats(-30, 0))
@example(np.array([-2.0, 0, 1]), 0.0)
@example(np.array([0.1, 0, 1]), -12.0)
def test_silence_is_cut_where_the_sound_begins(clean, threshold_db):
    distorted = np.arange(len(clean)) + 0.5
    if not np.any(clean):
        with pytest.raises(ValueError, match="clean is silent"):
            recordings.remove_silence(clean, distorted, threshold_db)
        return
    rest, its_twin = recordings.remove_silence(clean, distorted, threshold_db)
    onset = len(clean) - len(rest)
    assert np.array_equal(rest, clean[onset:]) and np.array_equal(its_twin, distorted[onset:])
    loud = np.abs(clean) >= np.max(np.abs(clean)) * 10 ** (threshold_db / 20)
    assert loud[onset] and not np.any(loud[:onset])
    again, _ = recordings.remove_silence(rest, its_twin, threshold_db)
    assert np.array_equal(again, rest)


@for_all(sounds(), factors)
def test_level_scales_and_standardised_clips_have_none(x, factor):
    np.testing.assert_allclose(recordings.rms(factor * x), abs(factor) * recordings.rms(x), rtol=1e-13)
    np.testing.assert_allclose(recordings.rms(recordings.standardize(x)), 1, rtol=1e-13)
    equal(recordings.standardize(factor * x), np.sign(factor) * recordings.standardize(x))
    for b, clip in enumerate(x):
        equal(recordings.rms(clip), recordings.rms(x)[b])
        equal(recordings.standardize(clip), recordings.standardize(x)[b])


@for_all(pairs(), factors, st.floats(-3, 3))
def test_no_other_scalar_is_better(pair, factor, off):
    """sum of ((best + off) x - y)^2 is what the best leaves, and off^2 times the energy of x."""
    x, y = pair
    best = recordings.best_scalar(x, y)
    np.testing.assert_allclose(recordings.best_scalar(factor * x, y), best / factor, rtol=1e-10)
    worse = np.sum(((best + off) * x - y) ** 2)
    np.testing.assert_allclose(worse, np.sum((best * x - y) ** 2) + off**2 * np.sum(x**2), rtol=1e-12, atol=1e-11)


@for_all(rngs, st.integers(-40, 40), st.sampled_from([-1, 1]), st.integers(0, 20), st.floats(0.01, 100), st.floats(-1, 1))
def test_a_shift_is_found_and_undone(rng, late, polarity, delay, gain, constant):
    sound = 0.2 * rng.normal(size=1500)
    clean, distorted = sound[40 + late : 1440 + late], polarity * gain * (np.tanh(4 * sound[40:1440]) + constant)
    assert recordings.lag(clean, distorted) == (late, polarity)
    aligned = recordings.align(recordings.Pair(clean, distorted, 8000), delay)
    assert recordings.lag(aligned.clean, aligned.distorted) == (delay, polarity)
    assert len(aligned.clean) == len(aligned.distorted) == 1400 - abs(delay - late)


@for_all(hnp.arrays(bool, st.integers(1, 40)), st.integers(1, 5))
def test_runs_are_those_that_a_loop_finds(mask, shortest):
    starts, ends = recordings._runs(mask, shortest)
    covered = np.zeros(len(mask), int)
    for start, end in zip(starts, ends):
        assert end - start >= shortest and np.all(mask[start:end])
        assert (start == 0 or not mask[start - 1]) and (end == len(mask) or not mask[end])
        covered[start:end] += 1
    left = "".join(map(str, (mask & (covered == 0)).astype(int)))
    assert np.max(covered) <= 1 and "1" * shortest not in left


@for_all(rngs, st.integers(1, 200), st.floats(0.01, 3), st.integers(1, 50))
def test_segments_add_up_to_the_whole(rng, samples, segment_s, rate_hz):
    target, error = rng.normal(size=(2, samples)) + 0.1
    judged = {"output": target - error, "target": target}
    found = experiments.judge_segments(**judged, sample_rate_hz=rate_hz, segment_s=segment_s)
    energy = np.add.reduceat(target**2, np.rint(found.edges_s[:-1] * rate_hz).astype(int))
    np.testing.assert_allclose(np.sum(found.share), 1)
    np.testing.assert_allclose(np.sum(energy * found.esr) / np.sum(energy), fuzznet.esr(**judged), rtol=1e-10)
    assert found.edges_s[0] == 0 and found.edges_s[-1] == samples / rate_hz and np.all(np.diff(found.edges_s) > 0)


@for_all(rngs, st.integers(1, 20), st.integers(1, 20), st.integers(0, 20))
def test_no_clip_is_in_training_and_in_the_test(rng, train, test, spare):
    clips = train + test + spare
    first, second = recordings.random_split(rng, clips, train, test)
    assert len(first) == train and len(second) == test
    drawn = {*first.tolist(), *second.tolist()}
    assert len(drawn) == train + test and drawn <= set(range(clips))


@for_all(pairs(), factors, st.data())
def test_keeping_frequencies_is_a_projection(pair, factor, data):
    x, y = pair
    count = data.draw(st.integers(1, x.shape[-1] // 2 + 1))

    def kept(sound):
        return postprocessing.keep_lowest_frequencies(sound, count)

    equal(kept(kept(x)), kept(x))
    equal(kept(factor * x + y), factor * kept(x) + kept(y), atol=1e-11)
    removed = np.sum(x**2, axis=-1) - np.sum(kept(x) ** 2, axis=-1)
    equal(np.sum((x - kept(x)) ** 2, axis=-1), removed)  # what was removed is at a right angle to what was kept
    before, after = np.fft.rfft(x), np.fft.rfft(kept(x))
    equal(after[..., :count], before[..., :count])
    equal(after[..., count:], 0)
    for b, clip in enumerate(x):
        equal(kept(clip), kept(x)[b])
    if count == x.shape[-1] // 2 + 1:
        equal(kept(x), x)


@for_all(pairs(), st.floats(-9, 9))
def test_a_matched_mean_is_the_reference_s_and_nothing_else_changes(pair, shift):
    output, reference = pair
    matched = postprocessing.match_mean(output, reference)
    equal(np.mean(matched, axis=-1), np.mean(reference, axis=-1))
    equal(np.diff(matched, axis=-1), np.diff(output, axis=-1))
    equal(postprocessing.match_mean(matched, reference), matched)
    equal(postprocessing.match_mean(output + shift, reference), matched)
    for b in range(len(output)):
        equal(postprocessing.match_mean(output[b], reference[b]), matched[b])


# Files

facts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=9), parts, max_size=3),
    max_leaves=5,
)


@for_all(
    networks(7),
    st.sampled_from(["float64", "float32"]),
    st.dictionaries(st.text(max_size=9).filter(lambda name: name not in ("path", "parameters")), facts, max_size=3),
    st.data(),
)
def test_what_is_saved_comes_back_bit_for_bit(parameters, precision, about, data):
    finite = hnp.from_dtype(np.dtype(precision), allow_nan=False, allow_infinity=False)  # with -0.0 and the smallest numbers
    parameters = parameters.map(lambda array: data.draw(hnp.arrays(precision, array.shape, elements=finite)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        save(path, parameters, **about)
        found, found_about = load(path)
        assert [entry.name for entry in Path(folder).iterdir()] == ["network"]
    for name in NAMES:
        before, after = getattr(parameters, name), getattr(found, name)
        assert (after.dtype, after.shape, after.tobytes()) == (before.dtype, before.shape, before.tobytes())
    assert found.dilations == parameters.dilations and found_about == about


# Bad input

odd_arrays = hnp.arrays(
    st.sampled_from(["float64", "float32", "float16", "longdouble", "int64", "bool", "complex128"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


def answer(function, *arguments, **named):
    """What the function returns, or None where it raises ValueError. Any other error fails the test."""
    with np.errstate(all="ignore"):
        try:
            return function(*arguments, **named)
        except ValueError:
            return None


def variants(array):
    """The same numbers in forms that are mostly wrong."""
    shapes = array[:1], array[0], array[..., 0], array[..., None], array[:, :0], array[..., :0], array.T
    return *shapes, array.astype(int), array * 1j


@for_all(played(), odd_arrays)
def test_any_array_as_a_sound_is_heard_or_refused(network, odd):
    parameters, x, dy = network
    made = fuzznet.forward(parameters, x)[1]
    for sound in (odd, *variants(x), *variants(dy)):
        is_sound = sound.ndim in (1, 2) and 0 not in sound.shape and sound.dtype in ("float64", "float32")
        heard = answer(fuzznet.forward, parameters, sound)
        assert (heard is not None) == (is_sound and parameters.biases.shape[-1] in (1, sound.shape[-1]))
        assert heard is None or (heard[0].shape, heard[0].dtype) == (sound.shape, sound.dtype)
        if parameters.biases.shape[-1] == 1:
            heard = answer(fuzznet.Stream(parameters, 24), sound)
            assert (heard is not None) == (is_sound and sound.ndim == 1)
            assert heard is None or (heard.shape, heard.dtype) == (sound.shape, sound.dtype)
        for name in ("backpropagate", "local_gradients"):
            found = answer(getattr(fuzznet, name), parameters, made, sound)
            assert (found is not None) == (is_sound and sound.shape in {x.shape, x.shape[1 if len(x) == 1 else 0 :]})


@for_all(pairs(), odd_arrays, odd_arrays)
def test_any_array_as_an_output_is_judged_or_refused(pair, odd, other):
    x, y = pair
    wrong = (odd, 0 * y, np.nan * y, 1e200 * y, *variants(y))
    cases = [(odd, other), (odd, odd), (x, y), *((x, array) for array in wrong), *((array, y) for array in wrong)]
    for output, target in cases:
        judged = output.shape == target.shape and target.ndim in (1, 2) and 0 not in target.shape
        judged = judged and all(array.dtype in ("float64", "float32") for array in (output, target))
        with np.errstate(all="ignore"):
            energy = np.sum(target**2, axis=-1) if judged else 0
        judged = judged and bool(np.all(np.isfinite(energy) & (energy > 0)))
        for name, shape in (("esr", target.shape[:-1]), ("esr_gradient", target.shape)):
            result = answer(getattr(fuzznet, name), output=output, target=target)
            assert (result is not None) == judged
            assert not judged or result.shape == shape


@for_all(played(), st.sampled_from(NAMES), odd_arrays)
def test_any_array_among_the_parameters_is_used_or_refused(network, name, odd):
    parameters, x, dy = network
    array, made = getattr(parameters, name), fuzznet.forward(parameters, x)[1]
    for instead in (odd, *(variants(array) if len(array) else ())):
        wrong = dataclasses.replace(parameters, **{name: instead})
        fits = instead.shape == array.shape and instead.dtype in ("float64", "float32")
        for found in (answer(fuzznet.forward, wrong, x), answer(fuzznet.backpropagate, wrong, made, dy)):
            assert (found is not None) == fits
        stream = answer(fuzznet.Stream, wrong)
        assert (stream is not None) == (fits and parameters.biases.shape[-1] == 1)


@for_all(played(), st.sampled_from([0, -1, 1.5, 2.0, "1", None]))
def test_a_dilation_that_is_no_whole_number_is_refused_everywhere(network, dilation):
    parameters, x, dy = network
    wrong = dataclasses.replace(parameters, dilations=(*parameters.dilations[:-1], dilation))
    made = fuzznet.forward(parameters, x)[1]
    for refused in (
        answer(fuzznet.forward, wrong, x),
        answer(fuzznet.Stream, wrong),
        answer(fuzznet.backpropagate, wrong, made, dy),
        answer(fuzznet.receptive_field, 3, wrong.dilations),
        answer(convolve, x[0], x, dilation),
    ):
        assert refused is None


@for_all(played(), st.data())
def test_activations_of_another_network_are_refused(network, data):
    parameters, x, dy = network
    other = data.draw(networks(x.shape[-1]))
    found = answer(fuzznet.backpropagate, parameters, fuzznet.forward(other, x)[1], dy)
    assert (found is not None) == (parameters.output.shape == other.output.shape)


@for_all(rngs, st.lists(st.integers(1, 5), min_size=1, max_size=3), few, few, st.booleans(), st.booleans())
def test_settings_make_a_network_or_are_refused(rng, reach, width, taps, over_time, default_reach):
    right = {"layers": len(reach), "kernels": width, "kernel_size": taps, "dilations": None if default_reach else reach}
    right |= {"bias": "time", "clip_length": 5} if over_time else {"bias": "kernel", "clip_length": None}
    assert np.all(np.isfinite(fuzznet.forward(fuzznet.initialize(rng, **right), rng.normal(size=(2, 5)))[0]))
    spoilt = [{name: size} for name in ("layers", "kernels", "kernel_size", "clip_length") for size in (0, -1)]
    spoilt += [{"dilations": wrong} for wrong in ([*reach, 1], reach[1:], [0, *reach[1:]], [*reach[1:], 1.5])]
    spoilt += [{"bias": "none"}, {"clip_length": None if over_time else 5}]
    for change in spoilt:
        assert answer(fuzznet.initialize, rng, **(right | change)) is None, change
    assert fuzznet.receptive_field(taps, reach) == 1 + sum((taps - 1) * dilation for dilation in reach)
    for wrong_taps, wrong_reach in ((0, reach), (-taps, reach), (taps, [*reach, 0]), (taps, [1.5, *reach])):
        assert answer(fuzznet.receptive_field, wrong_taps, wrong_reach) is None


@for_all(played(), st.data())
def test_a_sample_that_is_no_number_is_not_hidden(network, data):
    parameters, x, y = network
    clip, now = (data.draw(st.integers(0, size - 1)) for size in x.shape)
    x[clip, now] = np.nan
    y_hat, _ = fuzznet.forward(parameters, x)
    assert np.isnan(y_hat[clip, now]) and not np.any(np.isnan(y_hat[clip, :now]))
    assert not np.any(np.isnan(np.delete(y_hat, clip, axis=0)))
    assert np.array_equal(np.isnan(fuzznet.esr(output=x, target=y)), np.any(np.isnan(x), axis=-1))
    assert np.array_equal(np.isnan(fuzznet.esr_gradient(output=x, target=y)), np.isnan(x))
    assert answer(fuzznet.esr, output=y, target=x) is answer(fuzznet.esr_gradient, output=y, target=x) is None
