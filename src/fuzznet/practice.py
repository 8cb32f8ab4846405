"""Practice: a reader's own function, checked at once by what the right one must do (each chapter).

Each practice below takes the function, calls it, asserts, and yields in words what holds so far. The message of an assertion
says what is wrong, and leaves the mending to the reader.
"""

import copy
import dataclasses
import importlib.util
import itertools
import textwrap
import tracemalloc
from collections.abc import Iterable

import numpy as np

from fuzznet import arrays, convolution, gradients, loss, network, optimizers, postprocessing, recordings, signals


def check(function, name):
    """Check a function of your own by what the one of that name must do: print what holds, and the first thing that does not.

    function: yours; name: what it is to be, for example "esr".
    Raises ValueError for a name without a practice, or for no function.
    """
    if name not in PRACTICES:
        raise ValueError(f"there is no practice called {name!r}: expected one of {', '.join(PRACTICES)}")
    if not callable(function):
        kind = type(function).__name__
        raise ValueError(f"got {kind} to check: expected a function; give its name alone, as in check(my_{name}, {name!r})")
    held = 0
    try:
        with np.errstate(all="ignore"):  # NaN and infinity are found in the answers
            for sentence in PRACTICES[name](_on_copies(function)):
                _say("holds", sentence)
                held += 1
    except AssertionError as error:
        _say("fails", error)
    except Exception as error:
        _say("stops", error if isinstance(error, _Stopped) else f"{type(error).__name__}: {error}")
    else:
        print(f"{name}: all {held} checks hold")


def _say(what, sentence):
    """Print a sentence, broken where the page would end."""
    print(textwrap.fill(f"{what}: {sentence}", 76, subsequent_indent=" " * 7, break_on_hyphens=False))


class _Stopped(Exception):
    """A reader's function raised an error."""


def _on_copies(function):
    """The same function, which can't change what it is checked with, and whose errors tell what it was called with."""

    def call(*arguments, **named):
        try:
            return function(*copy.deepcopy(arguments), **copy.deepcopy(named))
        except Exception as error:
            given = [*map(_brief, arguments), *(f"{name}={_brief(value)}" for name, value in named.items())]
            raise _Stopped(f"{type(error).__name__}: {str(error).strip()} (called with {', '.join(given)})") from error

    call.itself = function  # for a practice that is about what the arguments hold afterwards
    return call


def _brief(argument):
    """An argument in a few words: numbers as they are, long arrays by their shape."""
    if isinstance(argument, np.ndarray):
        return str(argument) if argument.ndim < 2 and argument.size < 5 else f"array of shape {argument.shape}"
    return repr(argument) if isinstance(argument, int | float | str) else type(argument).__name__


def _array(found, shape, call):
    """The answer of a reader's function, as an array, after looking at its kind, shape and numbers."""
    assert found is not None, f"{call} returns nothing: does it end with return?"
    assert isinstance(found, np.ndarray | np.generic | float | int), f"{call} returns {type(found).__name__}: expected an array"
    found = np.asarray(found)
    assert found.dtype.kind in "fiu", f"{call} holds {found.dtype}: expected real numbers"
    assert found.shape == shape, f"{call} has shape {found.shape}: expected {shape}"
    assert np.all(np.isfinite(found)), f"{call} holds NaN or infinity"
    return found


def _same(found, expected, call):
    """The last check of most practices: the numbers of the package's function, on awkward data."""
    away = np.max(np.abs(_array(found, expected.shape, call) - expected))
    assert away < 1e-9 * (1 + np.max(np.abs(expected))), f"{call} is off by up to {away:.2g}"


def _harmonic_spectrum(harmonic_spectrum):
    def amplitudes(x):
        return _array(harmonic_spectrum(x, 10, 1000, count=4), (4,), "harmonic_spectrum(x, 10, 1000, count=4)")

    angle = 2 * np.pi * np.arange(1000) / 100  # ten turns in a second
    first = amplitudes(0.5 * np.cos(angle))[0]
    yield "one number for each harmonic"
    assert np.isclose(first, 0.5), f"a cosine of amplitude 0.5 has a first harmonic of {first:.3f}: is half of it missing?"
    yield "a cosine has its own amplitude"
    first = amplitudes(0.5 * np.sin(angle))[0]
    assert np.isclose(first, 0.5), f"a cosine of amplitude 0.5 scores 0.5, a sine {first:.3f}: does it matter where it starts?"
    yield "so has a sine: where its turn starts does not matter"
    third = amplitudes(0.5 * np.sin(3 * angle)).round(3) + 0.0
    assert np.allclose(third, [0, 0, 0.5, 0]), f"a third harmonic of amplitude 0.5 comes out as {third}: expected it in entry 2"
    yield "harmonic 3 stands in entry 2, alone"
    leak = max(amplitudes(np.sin(2 * np.pi * np.arange(1053) / 100))[1:])
    assert leak < 1e-3, f"10.53 periods of a sine have overtones up to {leak:.3f}: what does the turn that is cut short leave?"
    yield "a turn that is cut short leaves no overtones"
    x = np.random.default_rng(1).normal(size=997) + 0.3
    expected = signals.harmonic_spectrum(x, 130.3, 1000, count=5)
    _same(harmonic_spectrum(x, 130.3, 1000, count=5), expected, "harmonic_spectrum of noise, to above half the sample rate,")
    yield "the package's numbers for noise, up to half the sample rate and above"


def _convolve_by_definition(convolve_by_definition):
    def heard(x):
        return _array(convolve_by_definition(kernel, x), x.shape, f"convolve_by_definition of 3 taps and {len(x)} samples")

    kernel, (click, last) = np.array([2.0, -1.0, 0.5]), np.eye(6)[[1, 5]]
    found = heard(click)
    yield "as many samples as the sound has"
    assert np.allclose(found, [0, 2, -1, 0.5, 0, 0]), f"through the taps {kernel}, a click in sample 1 comes out as {found}"
    yield "a click comes out as the taps, one after the other"
    at = np.flatnonzero(heard(last)).tolist()
    assert at == [5], f"a click in sample 5, the last, is heard at samples {at}: can anything be heard before it sounds?"
    yield "nothing is heard before it sounds"
    rng = np.random.default_rng(2)
    for taps, samples in ((4, 13), (7, 5)):
        kernel, x = rng.normal(size=taps), rng.normal(size=samples) + 1
        _same(heard(x), convolution.convolve_by_definition(kernel, x), f"the convolution of {taps} taps and {samples} samples")
    yield "the package's numbers, also for a kernel longer than the sound"


def _convolve(convolve):
    def heard(x, dilation):
        return _array(convolve(kernel, x, dilation), x.shape, f"convolve(kernel, x, {dilation}) with x of shape {x.shape}")

    kernel, (click, last) = np.array([2.0, -1.0, 0.5]), np.eye(8)[[1, 7]]
    found = heard(click, 1)
    yield "as many samples as the sound has"
    assert np.allclose(found[:5], [0, 2, -1, 0.5, 0]), f"with dilation 1, a click in sample 1 comes out as {found}"
    yield "dilation 1 is an ordinary convolution"
    found = heard(click, 3)
    assert np.allclose(found, [0, 2, 0, 0, -1, 0, 0, 0.5]), f"with dilation 3, a click in sample 1 comes out as {found}"
    yield "with dilation 3, each tap hears it three samples after the one before"
    at = np.flatnonzero(heard(last, 3)).tolist()
    assert at == [7], f"a click in sample 7, the last, is heard at samples {at}: what lies behind the end, and before 0?"
    yield "nothing comes round from the end to the beginning"
    found = heard(click, 11)
    assert np.allclose(found, 2 * click), f"with gaps longer than the sound, a click in sample 1 comes out as {found}"
    yield "with gaps longer than the sound, tap 0 is alone"
    clips = np.random.default_rng(3).normal(size=(3, 23)) + 1
    for dilation in (1, 2, 5, 13):
        _same(heard(clips, dilation), convolution.convolve(kernel, clips, dilation), "convolve of three clips at once")
    yield "the package's numbers for three clips at once"


def _sigmoid(sigmoid):
    x = np.array([[-3.0, -0.5, 0.0], [0.5, 2.0, 3.0]])
    found = _array(sigmoid(x), (2, 3), "sigmoid of an array of shape (2, 3)")
    yield "a number for each number"
    assert np.isclose(found[0, 2], 0.5), f"sigmoid(0) is {found[0, 2]:.3f}: expected halfway between its ends"
    yield "0 gives 1/2"
    both = found + _array(sigmoid(-x), (2, 3), "sigmoid(-x)")
    assert np.allclose(both, 1), f"sigmoid(2) and sigmoid(-2) add up to {both[1, 1]:.3f}: expected 1, the sum of the two ends"
    yield "with the same number below 0 it adds up to 1"
    with np.errstate(over="raise", invalid="raise"):
        ends = _array(sigmoid(np.array([-1000.0, 1000.0])), (2,), "sigmoid of -1000 and 1000")
    assert np.allclose(ends, [0, 1]), f"sigmoid of -1000 and 1000 gives {ends}: expected 0 and 1"
    yield "1000 and -1000 pass without an overflow"
    x = np.linspace(-30, 30, 61)
    _same(sigmoid(x), network.sigmoid(x), "sigmoid of numbers from -30 to 30")
    yield "the package's numbers from -30 to 30"


def _layer_output(layer_output):
    def z(kernels, biases, x, dilation=1):
        shape = (len(x), len(kernels), x.shape[-1])
        call = f"layer_output of {len(kernels)} kernels and {len(x)} clips of {x.shape[-1]} samples"
        return _array(layer_output(kernels, biases, x, dilation), shape, call)

    x, nothing = np.random.default_rng(4).normal(size=(2, 9)), np.zeros((3, 2))
    found = z(nothing, np.array([[-40.0], [0.0], [40.0]]), x)
    yield "a row of samples for each kernel of each clip"
    shown = f"with taps of 0, the biases -40, 0 and 40 give {found[0, :, 0].round(2) + 0.0}"
    assert np.allclose(found, [[0], [0.5], [1]]), f"{shown}: what comes last, and what may lie outside of 0 to 1?"
    yield "a bias moves its own kernel, in front of the sigmoid"
    moved = np.flatnonzero(z(nothing, 40.0 * np.outer([0, 1, 0], np.eye(9)[5]), x)[0, 1] > 0.9).tolist()
    assert moved == [5], f"a bias over time that is 40 in sample 5 alone is seen at samples {moved}"
    yield "a bias over time moves its own sample"
    at = np.flatnonzero(z(np.array([[0.0, 40.0]]), np.zeros((1, 1)), np.eye(9)[[1]], 4)[0, 0] > 0.9).tolist()
    assert at == [5], f"with dilation 4, tap 1 hears a click in sample 1 at samples {at}: expected sample 5"
    yield "a tap looks back by its number times the dilation"
    kernels, biases = np.random.default_rng(5).normal(size=(3, 4)), np.array([[0.3], [-1.0], [2.0]])
    expected = network.layer_output(kernels, biases, x, 2)
    _same(z(kernels, biases, x, 2), expected, "layer_output of random kernels")
    yield "the package's numbers for random kernels"


def _esr(esr):
    def scores(output):
        return _array(esr(output=output, target=y), (2,), "esr(output=..., target=...) of two clips of four samples")

    y = np.array([[1.0, -2.0, 3.0, 0.5], [0.2, 0.1, -0.4, 0.3]])
    perfect, silent, double, half = (scores(gain * y) for gain in (1, 0, 2, 0.5))
    yield "one number for each clip"
    assert np.allclose(perfect, 0), f"a perfect output scores {perfect.round(3)}: expected 0"
    yield "a perfect output scores 0"
    assert np.allclose(silent, 1), f"silence scores {silent.round(3)}: expected 1 for every clip, loud or quiet"
    yield "silence scores 1, for a loud clip and for a quiet one"
    assert np.allclose(double, 1), f"an output twice too loud scores {double.round(3)}: its error has the energy of the target"
    assert np.allclose(half, 0.25), f"half as loud scores {half.round(3)}: how much energy has half a signal?"
    yield "an error counts by its energy"
    one = _array(esr(output=y[0] + 1, target=y[0]), (), "esr of one clip, a row of samples,")
    _same(one, loss.esr(output=y[0] + 1, target=y[0]), "esr of one clip, a row of samples,")
    yield "a row of samples is one clip, and gives a single number"
    output = np.random.default_rng(5).normal(size=(2, 4))
    _same(scores(output), loss.esr(output=output, target=y), "esr of noise")
    yield "the package's numbers for noise"


def _esr_gradient(esr_gradient):
    def slopes(output, target):
        found = esr_gradient(output=output, target=target)
        return _array(found, target.shape, f"esr_gradient(output=..., target=...) of arrays of shape {target.shape}")

    def mean(output, target):
        return np.mean(loss.esr(output=output, target=target))

    y, y_hat, direction = np.random.default_rng(5).normal(size=(3, 3, 7)) + 0.3
    found, perfect = slopes(y_hat, y), slopes(y, y)
    yield "a slope for each sample"
    assert np.allclose(perfect, 0), "a perfect output has slopes that are not 0: which way could it go down from there?"
    yield "at a perfect output there is no slope"
    before, after = mean(y_hat, y), mean(y_hat - 0.01 * found, y)
    assert after < before, f"a small step against the slopes takes the loss from {before:.4f} to {after:.4f}: which way is up?"
    yield "a small step against the slopes goes down"
    for clips in (1, 3):
        there, target, step = y_hat[:clips], y[:clips], direction[:clips]
        measured = (mean(there + step, target) - mean(there - step, target)) / 2  # exact, for the loss is a parabola
        promised = np.sum(slopes(there, target) * step)
        numbers = f"along a direction your slopes promise {promised:.4f}, and {measured:.4f} is measured"
        assert np.isclose(promised, measured), f"in a batch of {clips}, {numbers}"
        yield f"in a batch of {clips}, they promise the rise that is measured"
    _same(slopes(y_hat[0], y[0]), loss.esr_gradient(output=y_hat[0], target=y[0]), "esr_gradient of a row of samples")
    yield "the package's numbers for a row of samples"


def _mixer_gradient(mixer_gradient):
    def dweights(z):
        return _array(mixer_gradient(z, upstream), (3,), "mixer_gradient(z, upstream) of 2 clips, 3 features, 5 samples")

    rng = np.random.default_rng(6)
    z, upstream, change = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 5)) + 0.2, rng.normal(size=3)
    found, total = dweights(z), np.sum(upstream)
    yield "one slope for each weight"
    ones = dweights(np.ones((2, 3, 5)))
    assert np.allclose(ones, total), f"features that are always 1 get {ones.round(3)}: upstream adds up to {total:.3f}"
    yield "a feature that is always 1 gets all of upstream"
    promised, brought = np.sum(found * change), np.sum(upstream * (change @ z))
    assert np.isclose(promised, brought), f"a change of the weights promises {promised:.4f} and brings {brought:.4f}"
    yield "a change of the weights brings what the slopes promise"
    _same(dweights(z + 0.5), gradients.mixer_gradient(z + 0.5, upstream), "mixer_gradient of noise")
    yield "the package's numbers for noise"


def _kernel_gradient(kernel_gradient):
    def taps(blamed, click):
        da, x = np.zeros((1, 2, 8)), np.zeros((1, 8))
        da[0, 0, blamed] = x[0, click] = 1
        return _array(kernel_gradient(da, x, 3, 2), (2, 3), "kernel_gradient(da, x, kernel_size=3, dilation=2) of 2 kernels")

    now, past, future = taps(5, 5), taps(6, 2)[0], taps(2, 6)[0]
    yield "one slope for each tap of each kernel"
    assert np.allclose(now[0], [1, 0, 0]), f"da and x are 1 in sample 5 alone: the taps get {now[0]}, but which met x then?"
    yield "the present sample belongs to tap 0 alone"
    assert np.allclose(now[1], 0), f"kernel 1 has no da, and gets {now[1]}"
    yield "each kernel is told by its own da"
    assert np.allclose(past, [0, 0, 1]), f"a click 4 samples before da gives the taps {past}: which met it, with dilation 2?"
    yield "a click of 4 samples ago belongs to tap 2"
    assert np.allclose(future, 0), f"a click 4 samples after da gives the taps {future}: which can have met it?"
    yield "no tap meets what is still to come"
    rng = np.random.default_rng(7)
    for dilation in (1, 5, 40):
        da, x = rng.normal(size=(3, 4, 37)), rng.normal(size=(3, 37)) + 0.5
        expected = gradients.kernel_gradient(da, x, 3, dilation)
        _same(kernel_gradient(da, x, 3, dilation), expected, f"kernel_gradient of 3 clips, 37 samples, dilation {dilation},")
    yield "the package's numbers, also for a dilation longer than the clips"


def _input_gradient(input_gradient):
    def dx(blamed):
        found = input_gradient(np.eye(9)[blamed][None, None], kernels, 2)
        return _array(found, (1, 9), "input_gradient(da, kernels, 2) of one clip of 9 samples")[0]

    kernels = np.array([[2.0, -1.0, 0.5]])
    found, early = dx(6), np.flatnonzero(dx(1)).tolist()
    yield "one slope for each sample of the input"
    reached = np.flatnonzero(found).tolist()
    assert reached == [2, 4, 6], f"da is 1 in sample 6 alone, and samples {reached} are blamed: which did the taps meet?"
    yield "the blame goes to the samples that the taps met"
    assert np.allclose(found[[6, 4, 2]], kernels[0]), f"samples 6, 4, 2 get {found[[6, 4, 2]]}: expected the taps that met them"
    yield "each of them gets what its tap weighs"
    assert early == [1], f"da is 1 in sample 1 alone, and samples {early} are blamed: what did taps 1 and 2 meet?"
    yield "what came before the beginning takes no blame"
    rng = np.random.default_rng(8)
    for dilation in (1, 5, 40):
        kernels, da, x = rng.normal(size=(4, 3)), rng.normal(size=(2, 4, 37)), rng.normal(size=(2, 37))
        found = _array(input_gradient(da, kernels, dilation), (2, 37), "input_gradient of 4 kernels and 2 clips of 37 samples")
        forwards, backwards = np.sum(da * (kernels @ convolution.delayed_copies(x, 3, dilation))), np.sum(found * x)
        assert np.isclose(forwards, backwards), f"the dot test gives {forwards:.4f} forwards, {backwards:.4f} backwards"
        _same(found, gradients.input_gradient(da, kernels, dilation), f"input_gradient with dilation {dilation}")
    yield "the dot test, and the package's numbers, with four kernels"


def _backpropagate(backpropagate):
    def gradients_of(parameters):
        y_hat, activations = network.forward(parameters, x)
        found = backpropagate(parameters, activations, loss.esr_gradient(output=y_hat, target=y))
        assert isinstance(found, network.Parameters), f"backpropagate returns {type(found).__name__}: expected Parameters"
        for name in parameters.NAMES:
            _array(getattr(found, name), getattr(parameters, name).shape, f"{name}, in what backpropagate returns,")
        return found

    def mean_esr(name, array):
        y_hat, _ = network.forward(dataclasses.replace(parameters, **{name: array}), x)
        return np.mean(loss.esr(output=y_hat, target=y))

    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(2, 2, 15))
    parameters = network.initialize(rng, 3, 2, 3, dilations=[2, 1, 4])
    found = gradients_of(parameters)
    yield "an array of slopes for each array of the parameters"
    for name in ("output", "kernels", "biases", "mixing"):
        array, slopes = getattr(parameters, name), getattr(found, name)
        for l in reversed(range(len(array))):
            step = np.zeros_like(array)
            step[l] = rng.normal(size=step[l].shape)
            promised = np.sum(slopes * step)
            measured = (mean_esr(name, array + 1e-5 * step) - mean_esr(name, array - 1e-5 * step)) / 2e-5
            numbers = f"promises {promised:.5f} along a direction, and {measured:.5f} is measured"
            assert np.isclose(promised, measured, rtol=1e-4), f"{name}[{l}] {numbers}: which paths lead to the output?"
        yield f"{name}: in each layer the slopes are those that are measured"
    over_time = network.initialize(rng, 3, 2, 3, "time", 15, [2, 1, 4])
    y_hat, activations = network.forward(over_time, x)
    expected = gradients.backpropagate(over_time, activations, loss.esr_gradient(output=y_hat, target=y))
    found = gradients_of(over_time)
    for name in over_time.NAMES:
        _same(getattr(found, name), getattr(expected, name), f"{name}, with a bias for each sample,")
    yield "the package's numbers with a bias for each sample"


def _batches(batches):
    def epoch(clips, batch_size, seed):
        found = batches(np.random.default_rng(seed), clips, batch_size)
        assert isinstance(found, Iterable), f"batches gives {type(found).__name__}: expected one batch after another"
        dealt = [np.asarray(batch) for batch in itertools.islice(found, clips + 1)]
        odd = [batch for batch in dealt if batch.ndim != 1 or batch.dtype.kind not in "iu"]
        assert not odd, f"a batch of shape {odd[0].shape} holds {odd[0].dtype}: expected an array of indices, (B,)"
        return [batch.tolist() for batch in dealt]

    first, second = (epoch(17, 5, seed) for seed in (1, 2))
    yield "batches of indices"
    met = list(itertools.chain(*first))
    assert set(met) <= set(range(17)), f"17 clips have the indices from 0 to 16, and one of yours is {max(met, key=abs)}"
    twice, left_out = len(met) - len(set(met)), 17 - len(set(met))
    assert not twice, f"an epoch of 17 clips meets some of them again, {twice} times: can a card be dealt twice?"
    assert not left_out, f"17 clips in batches of 5, and {left_out} of them are not met: look at the end of an epoch"
    yield "an epoch meets every clip once"
    sizes = [len(batch) for batch in first]
    assert sizes == [5, 5, 5, 2], f"17 clips come in batches of {sizes}: expected full ones of 5, and the rest in the last"
    yield "only the last batch is smaller"
    assert epoch(17, 5, 1) == first, "the same seed deals another order: does all chance come from rng?"
    yield "all chance comes from rng"
    orders = {str(epoch(3, 1, seed)) for seed in range(100)}
    assert len(orders) == 6, f"in 100 epochs three clips came in {len(orders)} of their 6 orders: what is shuffled, and when?"
    mixed = set(map(frozenset, first)) != set(map(frozenset, second))
    assert mixed, "the same clips share a batch in every epoch: are the clips shuffled, or the batches?"
    yield "every order comes up, and a clip meets others in each epoch"


def _remove_silence(remove_silence):
    call = "remove_silence(clean, distorted, threshold_db)"

    def onset(clean, threshold_db):
        distorted = np.arange(len(clean)) + 0.5
        found = remove_silence(clean, distorted, threshold_db)
        pair = isinstance(found, tuple | list) and len(found) == 2
        assert pair, f"{call} returns {type(found).__name__}: expected two sounds"
        one, other = (_array(sound, (np.size(sound),), f"a sound of {call}") for sound in found)
        sizes = f"{len(one)} samples of the clean sound are left, and {len(other)} of the distorted one"
        assert len(one) == len(other), f"{sizes}: which of the two decides where they are cut?"
        start = len(clean) - len(one)
        whole = np.array_equal(one, clean[start:]) and np.array_equal(other, distorted[start:])
        assert whole, f"{sizes}, and they are not the last that came: what happens to quiet samples inside a note?"
        return start

    note = np.array([0.0, 0.002, -0.9, 0.5, 0.0, 0.001, -0.3, 0.2])
    start = onset(note, -20.0)
    yield "both sounds are cut at one sample, and kept from there on"
    assert start == 2, f"a note that begins {note[:4].tolist()} is cut at sample {start}: expected 2; is -0.9 loud?"
    yield "a note may begin downwards"
    starts = [onset(gain * note, -20.0) for gain in (0.01, 100)]
    assert starts == [2, 2], f"100 times quieter, and 100 times louder, the note is cut at samples {starts}: loud against what?"
    yield "the threshold goes with the peak"
    rising = np.array([0.0005, 0.005, 0.05, 0.5, 1.0])
    starts = [onset(rising, threshold_db) for threshold_db in (-60.0, -40.0, -20.0, -3.0)]
    heights = f"at -60, -40, -20 and -3 dB a note that begins {rising.tolist()} is cut at samples {starts}"
    assert starts == [1, 2, 3, 4], f"{heights}: how many dB is a tenth of the height?"
    yield "decibels are those of a height"


def _keep_lowest_frequencies(keep_lowest_frequencies):
    def kept(x, count):
        call = f"keep_lowest_frequencies(x, {count}) of {len(x)} clips of {x.shape[1]} samples"
        return _array(keep_lowest_frequencies(x, count), x.shape, call)

    x = np.random.default_rng(12).normal(size=(2, 18)) + 0.5
    constants = [kept(x[:, :samples], 1) for samples in (18, 17)]
    yield "as many samples as came, be they even or odd in number"
    mean = np.mean(x, axis=1, keepdims=True)
    assert np.allclose(constants[0], mean), "a count of 1 does not leave the mean of each clip: what is the first frequency?"
    yield "the first frequency is 0 Hz, the mean of each clip"
    tone = np.cos(2 * np.pi * 3 * np.arange(17) / 17 + [[0.5], [1]])
    share = np.mean(kept(tone, 4) * tone) / np.mean(tone**2)
    assert np.isclose(share, 1), f"{share:.0%} of a wave of three turns passes a count of 4: where is the rest of it?"
    yield "a wave of three turns passes a count of 4 whole"
    assert np.allclose(kept(tone, 3), 0), "a wave of three turns passes a count of 3: with which number do turns begin?"
    yield "and none of it passes a count of 3"
    for samples, count in itertools.product((17, 18), range(1, 10)):
        part, call = x[:, :samples].copy(), f"keep_lowest_frequencies(x, {count}) of clips of {samples} samples"
        _same(kept(part, count), postprocessing.keep_lowest_frequencies(part, count), call)
    yield "the package's numbers for every count"


def _permutation_p_value(permutation_p_value):
    from fuzznet import significance  # here, since SciPy's statistics take a second to load

    def p(before, after, resamples=2000):
        call = f"permutation_p_value(before, after, rng, {resamples})"
        found = _array(permutation_p_value(before, after, np.random.default_rng(13), resamples), (), call)
        assert np.abs(found - 0.5) <= 0.5, f"{call} is {found:.3g}: expected a share, from 0 to 1"
        return float(found)

    before, gain = np.array([[23.0, 31, 19, 27, 40, 22, 35, 28], [5, 3, 1, -1, 4, 2, -2, 3]])
    after, hard = before - gain, 100.0 * np.arange(8)
    found = p(before, after)
    yield "a share"
    assert all(p(before, after) == found for _ in range(5)), "the same seed gives another p: does all chance come from rng?"
    yield "all chance comes from rng"
    loss = p(after, before)
    assert loss > 0.5, f"a gain has p = {found:.3f}, and the same as a loss {loss:.3f}: expected more than one half"
    yield "it asks about a gain"
    apart = p(before + hard, after + hard)
    assert abs(apart - found) < 0.04, f"clips get harder, before and after alike, and p goes from {found:.3f} to {apart:.3f}"
    yield "only what differs within a pair counts"
    assert abs(p(1024 * before, 1024 * after) - found) < 0.04, "in another unit the same errors have another p"
    yield "the unit of the errors does not count"
    assert p(np.arange(1.0, 16), np.arange(15.0), 99) > 0, "15 clips of 15 get better, and p is 0: can chance never do that?"
    yield "no p is 0"
    of_four = p(np.array([23.0, 19, 19, 19]), np.array([18.0, 16, 18, 20]), 9999)
    assert abs(of_four - 3 / 16) < 0.02, f"the chapter's four clips have p = {of_four:.3f}: which of the 16 patterns count?"
    yield "the share of patterns that was counted by hand"
    before, after = np.random.default_rng(9).normal([[3.3], [3]], size=(2, 9))
    expected, found = significance.permutation_p_value(before, after, np.random.default_rng(9)), p(before, after, 9999)
    assert abs(found - expected) < 0.02, f"nine pairs have p = {found:.3f}: expected {expected:.3f}"
    yield "the package's p for nine pairs"


def _standardize(standardize):
    rng, call = np.random.default_rng(14), "standardize(x) of three clips"
    x = rng.normal([[0.002], [0.3], [9]], [[0.01], [1], [30]], (3, 17))
    found = _array(standardize(x), (3, 17), call)
    yield "clips of the same shape"
    levels = np.sqrt(np.mean(found**2, axis=1))
    assert np.allclose(levels, 1), f"afterwards the clips have an RMS of {levels.round(3).tolist()}: expected 1 for each"
    yield "each clip has an RMS of 1"
    _same(found, recordings.standardize(x), call)
    yield "the package's numbers"
    single = standardize(x.astype(np.float32)).dtype
    assert single == np.float32, f"float32 becomes {single}: where does the other precision come from?"
    yield "float32 stays float32"
    assert importlib.util.find_spec("array_api_strict"), "the rest needs array_api_strict: pip install array-api-strict"
    strict = importlib.import_module("array_api_strict")
    given = strict.asarray(x, dtype=strict.float32, device=strict.Device("device1"))
    try:
        answer = standardize.itself(given)
    except Exception as error:
        raise AssertionError(f"an array of array_api_strict makes it stop: {type(error).__name__}: {error}") from error
    kind = f"{type(answer).__module__.split('.')[0]}.{type(answer).__name__}"
    assert type(answer) is type(given), f"an array of array_api_strict comes back as {kind}: where is a library named?"
    yield "it works on an array that knows the standard alone, and answers in kind"


class _Ball:
    """One array, as parameters for an optimizer."""

    def __init__(self, at):
        self.at = at

    def map(self, function, *others):
        return _Ball(function(self.at, *(other.at for other in others)))


def _adam_steps(adam_steps):
    def steps(slopes, learning_rate=0.01, beta1=0.9, beta2=0.999):
        call = f"adam_steps(slopes, {learning_rate}, {beta1}, {beta2}) with slopes of shape {slopes.shape}"
        return _array(adam_steps(slopes, learning_rate, beta1, beta2), slopes.shape, call)

    slopes = np.random.default_rng(15).normal(0.3, size=(7, 3))
    found = steps(slopes)
    yield "a step for each slope"
    first = f"on the slopes {slopes[0].round(2).tolist()} the first steps are {found[0].round(4).tolist()}"
    assert np.all(found[0] * slopes[0] < 0), f"{first}: which way is down?"
    yield "the first step goes downhill"
    assert np.allclose(abs(found[0]), 0.01), f"{first}: expected the learning rate, 0.01, however steep the slope"
    yield "it is one learning rate long"
    even = abs(steps(np.full((40, 1), 2.0))) / 0.01
    assert np.allclose(even, 1), f"on an even slope step {np.argmax(abs(even - 1))} is wrong: expected 1 learning rate for all"
    yield "on an even slope every step is"
    assert np.allclose(steps(1000 * slopes), found, rtol=1e-5), "slopes 1000 times as steep change the steps"
    steep = steps(slopes * [1, 1000, 1])
    assert np.allclose(steep, found, rtol=1e-5), "one number's slopes get 1000 times as steep, and the steps of others change"
    yield "each number goes by its own usual slope"
    by_hand = steps(np.array([[5.0], [-1], [3]]), 21, 0.5, 0.5)[:, 0].round(2).tolist()
    assert np.allclose(by_hand, [-21, -7, -15]), f"the slopes 5, -1, 3 of the chapter's table lead to the steps {by_hand}"
    yield "the steps of the chapter's table"
    adam, path = optimizers.Adam(0.01), [_Ball(np.zeros(3))]
    for slope in slopes:
        path.append(adam(path[-1], _Ball(slope)))
    _same(found, np.diff([ball.at for ball in path], axis=0), "adam_steps(slopes, 0.01, 0.9, 0.999)")
    yield "the package's steps"


def _stream(stream):
    rng, kernel, dilation = np.random.default_rng(16), np.array([0.5, -2.0, 3.0]), 4
    x = rng.normal(0.3, size=60)

    def fresh():
        playing = stream(kernel, dilation)
        assert callable(playing), f"stream(kernel, dilation) gives {type(playing).__name__}: expected what answers to a block"
        return playing

    def wrong(playing, *sizes):
        """Which of the blocks of these sizes are answered wrongly."""
        found, end, play = [], 0, _on_copies(playing)
        right = convolution.convolve(kernel, x, dilation)
        for number, size in enumerate(sizes):
            part = slice(end, end + size)
            answer = _array(play(x[part]), (size,), f"the answer to a block of {size} samples")
            found, end = found + [number] * (not np.allclose(answer, right[part])), end + size
        return found

    found = wrong(fresh(), 16, 16)
    yield "as many samples out as in"
    assert 0 not in found, "the first block is not the convolution: what does the kernel hear before the first sample?"
    yield "the first block is right"
    assert not found, "the second block is not the convolution: what does it need from the first?"
    yield "so is the second, which needs the first"
    assert not wrong(fresh(), 16), "a second stream begins with what the first one heard"
    yield "each stream has a memory of its own"
    found = wrong(fresh(), 3, 1, 2, 1, 1, 5, 3, 2)
    small = f"of blocks of 3, 1, 2, 1, 1, 5, 3, 2 samples those numbered {found} are wrong"
    assert not found, f"{small}: how far back can they hear?"
    yield "blocks may be shorter than what it remembers"
    playing, block, right = fresh(), x[:16].copy(), convolution.convolve(kernel, x[:32], dilation)
    playing(block)
    block[:] = x[16:32]
    own = np.allclose(playing(block), right[16:])
    assert own, "the caller writes each block over the last one, and the past changes with it: whose memory is it?"
    yield "its memory is its own, not the caller's"
    for taps, dilation in ((1, 1), (2, 7), (5, 3), (4, 1)):
        kernel = rng.normal(size=taps)
        found = wrong(fresh(), *rng.integers(1, 13, size=5))
        assert not found, f"with {taps} taps at dilation {dilation} the blocks {found} are wrong"
    yield "any number of taps, any dilation, blocks of any size"


def _delay(delay):
    string = np.convolve(np.random.default_rng(17).normal(size=401), np.exp(-np.arange(12) / 4), "same")

    def found(late, change=lambda sound: sound):
        """What is found for a target that is so late, and changed."""
        answer = _array(delay(string[40:361], change(string[40 - late : 361 - late])), (), "delay(clean, distorted)")
        assert answer == np.round(answer), f"delay(clean, distorted) is {answer}: expected a whole number of samples"
        return int(answer)

    same = found(0)
    yield "a whole number"
    assert same == 0, f"a sound of 321 samples is found {same} late against itself: which of all the shifts is none?"
    yield "a sound is not late against itself"
    late, early = found(12), found(-12)
    assert (late, early) == (12, -12), f"12 samples late is found as {late}, and 12 early as {early}"
    yield "12 late is 12, and 12 early is -12"
    upside_down = found(12, np.negative)
    assert upside_down == 12, f"upside down, 12 samples late is found as {upside_down}: what is a good match now?"
    yield "it may be upside down"
    shifted = found(12, lambda sound: 0.1 * sound + 2)
    assert shifted == 12, f"quieter, with a constant added, 12 samples late is found as {shifted}: what matches a constant?"
    yield "it may be quieter, with a constant added"
    bent = [found(late, lambda sound: 1 - np.tanh(3 * sound + 0.5)) for late in range(-20, 21, 5)]
    assert bent == list(range(-20, 21, 5)), f"distorted, targets that are -20, -15 ... 20 samples late are found as {bent}"
    yield "it may be distorted"


def _times_slope(times_slope):
    rng = np.random.default_rng(18)
    t, given = np.tanh(rng.normal(size=(10, 5000))), rng.normal(size=(10, 5000))
    t[0, :3] = 0, 0.5, -0.5
    dt, expected, t_before, scratch = given.copy(), given.copy(), t.copy(), np.empty_like(t)
    tracemalloc.start()
    try:
        times_slope.itself(dt, t, scratch)
        new = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not np.array_equal(dt, given), "dt holds what it held before: expected the product in dt itself, not a new array"
    assert np.all(np.isfinite(dt)), "dt holds NaN or infinity"
    yield "dt is written over"
    assert np.array_equal(t, t_before), "t has changed, and the gradients of the weights still need it"
    yield "t is left alone"
    flat, up, down = dt[0, :3] / given[0, :3]
    assert np.isclose(flat, 1), f"where t is 0, dt is multiplied by {flat:.3g}: how steep is tanh there?"
    assert np.isclose(up, down), f"where t is 0.5 and -0.5, dt is multiplied by {up:.3g} and {down:.3g}: expected the same"
    yield "the slope is 1 in the middle, and alike on both sides"
    arrays.in_place(np).times_slope(expected, t, scratch)
    _same(dt, expected, "dt after times_slope(dt, t, scratch)")
    yield "the package's numbers"
    size = f"{new / 1e6:.1f} MB of new memory, where dt has {dt.nbytes / 1e6:.1f}"
    assert new < dt.nbytes / 4, f"{size}: what is made on the way, and where else could it lie?"
    yield "no new memory"


def _clip_place(clip_place):
    def place(counts, k):
        call = f"clip_place(counts, {k}) with counts {counts}"
        found = clip_place(np.array(counts), k)
        pair = isinstance(found, tuple | list) and len(found) == 2
        assert pair, f"{call} returns {type(found).__name__}: expected two numbers, which file, and which of its clips"
        both = [float(_array(part, (), f"a number of {call}")) for part in found]
        assert all(number.is_integer() for number in both), f"{call} is {both}: expected whole numbers"
        return tuple(map(int, both))

    counts = [4, 2, 3]
    first = place(counts, 0)
    yield "two whole numbers"
    assert first == (0, 0), f"clip 0 of all is found as {first}: expected (0, 0), clip 0 of file 0"
    yield "clip 0 of all is clip 0 of file 0"
    last, following = place(counts, 3), place(counts, 4)
    assert last == (0, 3), f"with 4, 2 and 3 clips a file, clip 3 of all is found as {last}: how many clips has file 0?"
    assert following == (1, 0), f"with 4, 2 and 3 clips a file, clip 4 of all is found as {following}: which is file 0's last?"
    yield "where a file ends, the next one begins"
    found = place(counts, 8)
    assert found == (2, 2), f"with 4, 2 and 3 clips a file, clip 8 of all, the last, is found as {found}: expected (2, 2)"
    yield "the last clip of all is the last of the last file"
    found = [place([0, 3, 0, 0, 2], k) for k in (0, 3)]
    empty = f"with 0, 3, 0, 0 and 2 clips a file, clips 0 and 3 of all are found as {found[0]} and {found[1]}"
    assert found == [(1, 0), (4, 0)], f"{empty}: what of a file that is too short for a clip?"
    yield "a file too short for a clip is passed over, and still counts as a file"
    counts = np.random.default_rng(19).integers(0, 4, size=40).tolist()
    places = [(file, clip) for file, count in enumerate(counts) for clip in range(count)]
    off = [k for k, right in enumerate(places) if place(counts, k) != right]
    assert not off, f"of {len(places)} clips in 40 files {len(off)} are misplaced, the first is clip {off[0]} of all"
    yield "every clip of 40 files has its own place"


PRACTICES = {
    "harmonic_spectrum": _harmonic_spectrum,
    "convolve_by_definition": _convolve_by_definition,
    "convolve": _convolve,
    "sigmoid": _sigmoid,
    "layer_output": _layer_output,
    "esr": _esr,
    "esr_gradient": _esr_gradient,
    "mixer_gradient": _mixer_gradient,
    "kernel_gradient": _kernel_gradient,
    "input_gradient": _input_gradient,
    "backpropagate": _backpropagate,
    "batches": _batches,
    "remove_silence": _remove_silence,
    "keep_lowest_frequencies": _keep_lowest_frequencies,
    "permutation_p_value": _permutation_p_value,
    "standardize": _standardize,
    "adam_steps": _adam_steps,
    "stream": _stream,
    "delay": _delay,
    "times_slope": _times_slope,
    "clip_place": _clip_place,
}
