"""Practice: what is right passes, natural mistakes are named, and no function of a reader's can fool or break the check."""

import copy
import dataclasses
import itertools
import re
import sys

import array_api_strict
import nbformat
import numpy as np
import pytest
from test_book import CHAPTERS, code_cells, shipped

import fuzznet
from fuzznet import (
    arrays,
    convolution,
    gradients,
    loss,
    network,
    postprocessing,
    practice,
    recordings,
    signals,
    significance,
    training,
)  # fmt: skip


def adam_steps(slopes, learning_rate, beta1, beta2, corrected=True, together=False, sign=-1):
    mean, square, steps = 0, 0, []
    for n, g in enumerate(slopes, 1):
        mean, square = beta1 * mean + (1 - beta1) * g, beta2 * square + (1 - beta2) * (np.mean(g**2) if together else g**2)
        shares = (1 - beta1**n, 1 - beta2**n) if corrected else (1, 1)
        steps.append(sign * learning_rate * mean / shares[0] / (np.sqrt(square / shares[1]) + 1e-8))
    return np.array(steps)


def stream(kernel, dilation, keep=lambda history, heard, x_block: heard[len(x_block) :]):
    kernel, history = kernel.copy(), np.zeros((len(kernel) - 1) * dilation)

    def play(x_block):
        nonlocal history
        heard = np.concatenate([history, x_block])
        history = keep(history, heard, x_block)
        return convolution.convolve(kernel, heard, dilation)[len(heard) - len(x_block) :]

    return play


ONE_FOR_ALL = stream(np.array([0.5, -2.0, 3.0]), 4)


def delay(clean, distorted, change=np.diff, match=np.abs):
    clean, distorted = change(clean), change(distorted)
    return np.argmax(match(np.correlate(distorted, clean, "full"))) - (len(clean) - 1)


def clip_place(counts, k, side="right"):
    ends = np.cumsum(counts)
    file = np.searchsorted(ends, k, side)
    return file, k - ends[file] + counts[file]


# name of a practice: what is right, the package's function where there is one; all checks hold for it
RIGHT = {
    "harmonic_spectrum": signals.harmonic_spectrum,
    "convolve_by_definition": convolution.convolve_by_definition,
    "convolve": convolution.convolve,
    "sigmoid": network.sigmoid,
    "layer_output": network.layer_output,
    "esr": loss.esr,
    "esr_gradient": loss.esr_gradient,
    "mixer_gradient": gradients.mixer_gradient,
    "kernel_gradient": gradients.kernel_gradient,
    "input_gradient": gradients.input_gradient,
    "backpropagate": gradients.backpropagate,
    "batches": lambda *given: list(training._batches(*given, epochs=1)),
    "remove_silence": recordings.remove_silence,
    "keep_lowest_frequencies": postprocessing.keep_lowest_frequencies,
    "permutation_p_value": significance.permutation_p_value,
    "standardize": recordings.standardize,
    "adam_steps": adam_steps,
    "stream": stream,
    "delay": delay,
    "times_slope": arrays.in_place(np).times_slope,
    "clip_place": clip_place,
}


def fourier(x, fundamental_hz, sample_rate_hz, count):
    """A plain mean of the sound times each backward turn, without a window."""
    turns = np.outer(np.arange(1, count + 1), np.arange(len(x))) * fundamental_hz / sample_rate_hz
    return np.mean(x * np.exp(-2j * np.pi * turns), axis=-1)


def rolled(kernel, x, dilation):
    return sum(tap * np.roll(x, tau * dilation, axis=-1) for tau, tap in enumerate(kernel))


def sliced(kernel, x, dilation):
    y = np.zeros_like(x)
    for tau in range(len(kernel)):
        y[..., tau * dilation :] += kernel[tau] * x[..., : x.shape[-1] - tau * dilation]
    return y


def tapwise(da, x, kernel_size, dilation, step):
    """Each tap meets the sound rolled by so many dilations a tap."""
    return np.stack([np.sum(da * np.roll(x, step * tau * dilation, -1)[:, None], (0, 2)) for tau in range(kernel_size)], -1)


def dealt(order, clips, batch_size):
    return [order[start : start + batch_size] for start in range(0, clips, batch_size)]


def onset(clean, distorted, threshold_db, loudness=np.abs, full_scale=None, decade_db=20):
    loudness = loudness(clean)
    start = np.argmax(loudness >= (full_scale or np.max(loudness)) * 10 ** (threshold_db / decade_db))
    return clean[start:], distorted[start:]


def lowest(x, count, axis=-1, whole=True):
    spectrum = np.fft.rfft(x, axis=axis)
    spectrum[:, count:] = 0
    return np.fft.irfft(spectrum, n=x.shape[axis] if whole else None, axis=axis)


def both_ends(x, count):
    return np.fft.ifft(np.fft.fft(x) * (np.arange(x.shape[1]) < count)).real


def unpaired(before, after, rng, resamples):
    shuffled = rng.permuted(np.tile([*before, *after], (resamples, 1)), axis=1)
    sums = np.sum(shuffled[:, : len(before)] - shuffled[:, len(before) :], axis=1)
    return (1 + np.sum(sums >= np.sum(before - after))) / (1 + resamples)


def drawn(before, after, rng, resamples, counts=lambda sums, own: sums >= own - 1e-12, itself=1):
    signs = rng.choice([-1, 1], size=(resamples, len(before)))
    return (np.sum(counts(signs @ (before - after), np.sum(before - after))) + itself) / (resamples + itself)


def at_home(x):
    return x if isinstance(x, np.ndarray) else np.asarray(x.to_device(array_api_strict.Device("CPU_DEVICE")))


def write(dt, t, scratch, slope):
    dt[...] = slope(t) * dt


def spoilt(parameters, activations, dy, **changes):
    """The right gradients, but for a change of one array."""
    right = gradients.backpropagate(parameters, activations, dy)
    return dataclasses.replace(right, **{name: change(getattr(right, name)) for name, change in changes.items()})


# a practice, a natural mistake, and words of the message that it gets
WRONG = [
    ("harmonic_spectrum", lambda *sound, count: np.abs(fourier(*sound, count)), "is half of it missing"),
    ("harmonic_spectrum", lambda *sound, count: 2 * fourier(*sound, count).real, "does it matter where it starts"),
    ("harmonic_spectrum", lambda *sound, count: 2 * np.abs(fourier(*sound, count)), "the turn that is cut short"),
    ("harmonic_spectrum", lambda *sound, count: np.roll(2 * np.abs(fourier(*sound, count)), 1), "a first harmonic of 0.000"),
    ("convolve_by_definition", lambda kernel, x: rolled(kernel, x, 1), "is heard at samples [0, 1, 5]"),
    ("convolve_by_definition", lambda kernel, x: convolution.convolve(kernel[::-1], x), "comes out as [ 0.   0.5 -1. "),
    ("convolve_by_definition", lambda kernel, x: np.convolve(x, kernel), "has shape (8,): expected (6,)"),
    ("convolve_by_definition", lambda kernel, x: np.convolve(x, kernel, mode="same"), "a click in sample 1 comes out as"),
    ("convolve", lambda kernel, x, dilation: rolled(kernel, x, dilation), "is heard at samples [2, 5, 7]"),
    ("convolve", lambda kernel, x, dilation: convolution.convolve(kernel, x, dilation + 1), "with dilation 1"),
    ("convolve", lambda kernel, x, dilation: convolution.convolve(kernel, x), "with dilation 3"),
    ("convolve", lambda *given: sliced(*given), "(called with [ 2.  -1.   0.5], array of shape (8,), 11)"),
    ("convolve", lambda kernel, x, d: convolution.convolve(kernel, x.ravel(), d).reshape(x.shape), "three clips"),
    ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), "overflow encountered in exp (called with [-1000.  1000.])"),
    ("sigmoid", lambda x: (np.abs(x) < 500) / (1 + np.exp(-np.clip(x, -500, 500))), "1000 gives [0. 0.]"),
    ("sigmoid", np.tanh, "sigmoid(0) is 0.000"),
    ("sigmoid", lambda x: np.clip(0.5 + 0.25 * x, 0, 1), "is off by up to 0.1"),
    ("layer_output", lambda k, b, x, d: network.layer_output(k, 0 * b, x, d) + b, "what comes last"),
    ("layer_output", lambda k, b, x, d: network.layer_output(k, b, x, 1), "hears a click in sample 1 at samples [2]"),
    ("layer_output", lambda k, b, x, d: network.layer_output(k, b[:, :1], x, d), "is seen at samples []"),
    ("layer_output", lambda k, b, x, d: network.layer_output(k, b, x, d).swapaxes(0, 1), "(3, 2, 9): expected (2, 3, 9)"),
    ("esr", lambda output, target: np.mean((target - output) ** 2, axis=-1), "silence scores"),
    ("esr", lambda output, target: np.sum((target - output) ** 2) / np.sum(target**2), "has shape (): expected (2,)"),
    ("esr", lambda output, target: np.sqrt(loss.esr(output=output, target=target)), "how much energy has half a signal"),
    ("esr", lambda output, target: np.sum((target - output) ** 2, axis=1) / np.sum(target**2, axis=1), "AxisError"),
    ("esr", lambda output, target: np.sum((target - output) ** 2, -1) / np.sum(output**2, -1), "holds NaN or infinity"),
    ("esr_gradient", lambda output, target: -loss.esr_gradient(output=output, target=target), "which way is up"),
    ("esr_gradient", lambda output, target: loss.esr_gradient(output=output, target=target) / 2, "in a batch of 1"),
    ("esr_gradient", lambda output, target: len(output) * loss.esr_gradient(output=output, target=target), "in a batch of 3"),
    ("esr_gradient", lambda output, target: 2 * (output - target) / np.sum(target**2), "in a batch of 3"),
    ("mixer_gradient", lambda z, upstream: np.mean(z * upstream[:, None], axis=(0, 2)), "upstream adds up to"),
    ("mixer_gradient", lambda z, upstream: z[0] @ upstream[0], "upstream adds up to"),
    ("mixer_gradient", lambda z, upstream: np.mean(z, axis=(0, 2)) * np.sum(upstream), "a change of the weights promises"),
    ("mixer_gradient", lambda z, upstream: (z @ upstream[:, :, None])[..., 0], "has shape (2, 3): expected (3,)"),
    ("kernel_gradient", lambda *given: tapwise(*given, step=0), "the taps get [1. 1. 1.], but which"),
    ("kernel_gradient", lambda da, x, taps, d: gradients.kernel_gradient(da, x, taps, 1), "da gives the taps [0. 0. 0.]"),
    ("kernel_gradient", lambda *given: tapwise(*given, step=1), "after da gives the taps [0. 0. 1.]"),
    ("kernel_gradient", lambda da, *rest: gradients.kernel_gradient(da[:, ::-1], *rest), "the taps get [0. 0. 0.]"),
    ("kernel_gradient", lambda da, *given: gradients.kernel_gradient(da, *given) / len(da), "is off by up to"),
    ("input_gradient", lambda da, k, d: k[0] @ convolution.delayed_copies(da[:, 0], 3, d), "samples [6, 8] are blamed"),
    ("input_gradient", lambda da, k, d: gradients.input_gradient(da, k[:, ::-1], d), "samples 6, 4, 2 get [ 0.5 -1.   2. ]"),
    ("input_gradient", lambda da, k, d: rolled(k.T, da, -d), "has shape (1, 1, 9): expected (1, 9)"),
    ("input_gradient", lambda da, k, d: rolled(k[0], da[:, 0], -d), "samples [1, 6, 8] are blamed"),
    ("input_gradient", lambda da, k, d: gradients.input_gradient(da[:, :1], k[:1], d), "the dot test gives"),
    ("backpropagate", gradients.local_gradients, "kernels[1] promises"),
    ("backpropagate", lambda p, a, dy: gradients.backpropagate(p, a, -dy), "output[2] promises"),
    ("backpropagate", lambda *given: spoilt(*given, biases=lambda db: db.mean() + 0 * db), "biases[2] promises"),
    ("backpropagate", lambda *given: spoilt(*given, mixing=lambda dw: dw[::-1]), "mixing[1] promises"),
    ("backpropagate", lambda *given: spoilt(*given, biases=lambda db: db.sum(-1)[..., None]), "expected (3, 2, 15)"),
    ("batches", lambda rng, clips, size: dealt(np.arange(clips), clips, size), "in 1 of their 6 orders"),
    ("batches", lambda rng, clips, size: dealt(rng.permutation(clips), clips - clips % size, size), "2 of them are not met"),
    ("batches", lambda rng, clips, size: dealt(rng.integers(clips, size=clips), clips, size), "meets some of them again"),
    ("batches", lambda rng, clips, size: itertools.repeat(np.arange(size)), "again, 85 times"),
    ("batches", lambda rng, clips, size: dealt(1 + rng.permutation(clips), clips, size), "one of yours is 17"),
    ("batches", lambda rng, clips, size: dealt(rng.permutation(clips), clips, size)[::-1], "in batches of [2, 5, 5, 5]"),
    ("batches", lambda rng, clips, size: dealt(np.random.default_rng().permutation(clips), clips, size), "from rng"),
    ("batches", lambda rng, clips, size: sorted(dealt(np.arange(clips), clips, size), key=lambda b: (-len(b), rng.random())),
     "are the clips shuffled, or the batches"),
    ("remove_silence", lambda clean, distorted, db: tuple(onset(s, s, db)[0] for s in (clean, distorted)), "which of the two"),
    ("remove_silence", lambda clean, distorted, db: (clean[clean != 0], distorted[clean != 0]), "inside a note"),
    ("remove_silence", lambda *given: onset(*given, loudness=np.positive), "is -0.9 loud"),
    ("remove_silence", lambda *given: onset(*given, full_scale=1), "loud against what"),
    ("remove_silence", lambda *given: onset(*given, decade_db=10), "at samples [0, 0, 2, 4]: how many dB"),
    ("keep_lowest_frequencies", lambda x, count: lowest(x, count, whole=False), "has shape (2, 16): expected (2, 17)"),
    ("keep_lowest_frequencies", lambda x, count: lowest(x, count, axis=0), "what is the first frequency"),
    ("keep_lowest_frequencies", lambda x, count: lowest(x, max(count - 1, 1)), "0% of a wave of three turns"),
    ("keep_lowest_frequencies", lambda x, count: lowest(x, count + (count > 1)), "passes a count of 3"),
    ("keep_lowest_frequencies", both_ends, "50% of a wave"),
    ("permutation_p_value", unpaired, "clips get harder"),
    ("permutation_p_value", lambda before, after, *rest: drawn(after, before, *rest), "expected more than one half"),
    ("permutation_p_value", lambda *given: drawn(*given, counts=lambda sums, own: abs(sums) >= abs(own)), "as a loss 0.1"),
    ("permutation_p_value", lambda b, a, rng, n: drawn(b, a, np.random.default_rng(), n), "the same seed gives another p"),
    ("permutation_p_value", lambda *given: drawn(*given, itself=0), "can chance never do that"),
    ("permutation_p_value", lambda *given: drawn(*given, counts=np.greater), "have p = 0.063: which of the 16"),
    ("permutation_p_value", lambda *given: drawn(*given, counts=lambda sums, own: sums >= own - 6), "in another unit"),
    ("standardize", lambda x: x / np.sqrt(np.mean(x**2)), "have an RMS of [0.001, 0.049, 1.731]"),
    ("standardize", lambda x: (x - np.mean(x, 1, keepdims=True)) / np.std(x, 1, keepdims=True), "is off by up to"),
    ("standardize", lambda x: x / np.sqrt(np.mean(x**2, axis=1, dtype=float)[:, None]), "float32 becomes float64"),
    ("standardize", lambda x: x / np.sqrt(np.mean(x**2, axis=1, keepdims=True)), "array_api_strict makes it stop"),
    ("standardize", lambda x: recordings.standardize(at_home(x)), "comes back as numpy.ndarray"),
    ("adam_steps", lambda *given: adam_steps(*given, sign=1), "which way is down"),
    ("adam_steps", lambda *given: adam_steps(*given, corrected=False), "however steep the slope"),
    ("adam_steps", lambda slopes, rate, *betas: -rate * slopes, "however steep the slope"),
    ("adam_steps", lambda slopes, rate, *betas: -rate * np.sign(slopes), "lead to the steps [-21.0, 21.0, -21.0]"),
    ("adam_steps", lambda slopes, rate, beta1, beta2: adam_steps(slopes, rate, beta2, beta1), "is off by up to"),
    ("adam_steps", lambda slopes, *rest: adam_steps(slopes + 1e-2, *rest), "slopes 1000 times as steep change"),
    ("adam_steps", lambda slopes, *rest: adam_steps(slopes, *rest, together=True), "however steep the slope"),
    ("stream", lambda *given: stream(*given, keep=lambda history, heard, x: 0 * history), "what does it need from the first"),
    ("stream", lambda *given: lambda x: np.ones(len(x)), "what does the kernel hear before"),
    ("stream", lambda *given: lambda x: np.zeros(len(x) + 8), "the answer to a block of 16 samples has shape (24,)"),
    ("stream", lambda *given: stream(*given, keep=lambda history, heard, x: x[-len(history) :]), "how far back can they hear"),
    ("stream", lambda *given: ONE_FOR_ALL, "a second stream"),
    ("stream", lambda *given: stream(*given, keep=lambda h, heard, x: (x if len(x) > 8 else heard)[-8:]), "whose memory"),
    ("stream", lambda *given: stream(*given, keep=lambda h, heard, x: heard[-8:]), "with 5 taps at dilation 3"),
    ("delay", lambda clean, distorted: delay(clean, distorted) + 319, "319 late against itself"),
    ("delay", lambda clean, distorted: delay(distorted, clean), "12 samples late is found as -12, and 12 early as 12"),
    ("delay", lambda *given: delay(*given, match=np.positive), "what is a good match now"),
    ("delay", lambda *given: delay(*given, change=np.positive), "what matches a constant"),
    ("delay", lambda *given: delay(*given) + 0.25, "expected a whole number"),
    ("times_slope", lambda dt, t, scratch: dt * (1 - t**2), "dt holds what it held before"),
    ("times_slope", lambda dt, t, scratch: write(dt, t, scratch, lambda t: np.nan), "holds NaN"),
    ("times_slope", lambda dt, t, scratch: write(dt, t, scratch, lambda t: t * (1 - t)), "how steep is tanh there"),
    ("times_slope", lambda dt, t, scratch: write(dt, t, scratch, lambda t: 1 - t), "by 0.5 and 1.5: expected the same"),
    ("times_slope", lambda dt, t, scratch: write(dt, t, scratch, lambda t: 1 - abs(t)), "is off by up to"),
    ("times_slope", lambda dt, t, scratch: write(dt, np.square(t, out=t), scratch, lambda s: 1 - s), "t has changed"),
    ("times_slope", lambda dt, t, scratch: write(dt, t, scratch, lambda t: 1 - t**2), "what is made on the way"),
    ("clip_place", lambda counts, k: clip_place(counts, k)[0], "expected two numbers"),
    ("clip_place", lambda counts, k: (0, k / 2), "with counts [4, 2, 3] is [0.0, 1.5]: expected whole numbers"),
    ("clip_place", lambda counts, k: (clip_place(counts, k)[0], k - np.cumsum(counts)[0]), "clip 0 of all is found as (0, -4)"),
    ("clip_place", lambda counts, k: clip_place(counts, k, "left"), "found as (0, 4): which is file 0's last"),
    ("clip_place", lambda counts, k: (np.searchsorted(np.cumsum(counts) - counts, k), k), "(1, 3): how many clips has file 0"),
    ("clip_place", lambda counts, k: divmod(k, counts[counts > 0][0]), "the last, is found as (2, 0)"),
    ("clip_place", lambda counts, k: clip_place(counts[counts > 0], k), "found as (0, 0) and (1, 0): what of a file"),
    ("clip_place", lambda counts, k: clip_place(counts[:30], min(k, 40)), "clips in 40 files"),
]

each_practice = pytest.mark.parametrize("name", RIGHT)
OTHERWISE = ("batches", "stream", "times_slope", "clip_place")  # those that return no numbers
each_that_returns_numbers = pytest.mark.parametrize("name", [name for name in RIGHT if name not in OTHERWISE])


def said(capsys, function, name):
    """The lines that a check prints, unbroken, and each space and line end in them a single space."""
    fuzznet.check(function, name)
    return [" ".join(line.split()) for line in re.split(r"\n(?! {7})", capsys.readouterr().out.strip())]


def test_tables_are_complete():
    assert set(RIGHT) == set(practice.PRACTICES)
    for name in RIGHT:
        assert len({words for practised, _, words in WRONG if practised == name}) >= 2, name


@each_practice
def test_the_package_s_own_function_holds(capsys, name):
    *held, last = said(capsys, RIGHT[name], name)
    assert len(held) >= 4 and all(line.startswith("holds: ") for line in held)
    assert last == f"{name}: all {len(held)} checks hold"


@pytest.mark.parametrize(("name", "mistake", "words"), WRONG, ids=[f"{name}: {words}" for name, _, words in WRONG])
def test_a_mistake_is_named(capsys, name, mistake, words):
    *held, last = said(capsys, mistake, name)
    assert all(line.startswith("holds: ") for line in held)
    assert re.match("(fails|stops): ", last) and " ".join(words.split()) in last


def every_array(thing):
    """All arrays in what a function is given or answers."""
    if isinstance(thing, np.ndarray):
        return [thing]
    if isinstance(thing, network.Parameters):
        thing = [getattr(thing, name) for name in thing.NAMES]
    return [array for part in thing for array in every_array(part)] if isinstance(thing, list | tuple) else []


def raises(*arguments, **named):
    raise RuntimeError("my own trouble")


ODD = {  # what a reader's function may answer
    "nothing": lambda *arguments, **named: None,
    "a list": lambda *arguments, **named: [1.0, 2.0],
    "text": lambda *arguments, **named: "0.5",
    "another shape": lambda *arguments, **named: np.zeros((3, 1, 4, 1)),
    "complex numbers": lambda *arguments, **named: np.array([1j]),
}


@each_practice
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_answer_fails(capsys, name, odd):
    assert said(capsys, odd, name)[-1].startswith("fails: ")


@each_that_returns_numbers
def test_nan_fails(capsys, name):
    def spoiled(*arguments, **named):
        answer = RIGHT[name](*arguments, **named)
        if isinstance(answer, np.ndarray | np.generic | float) and np.ndim(answer) == 0:
            return np.nan * answer
        for array in every_array(answer):
            array[...] = np.nan
        return answer

    assert re.match("fails: .*NaN", said(capsys, spoiled, name)[-1])


@each_practice
def test_an_error_of_the_reader_s_is_shown(capsys, name):
    assert said(capsys, raises, name)[-1].startswith("stops: RuntimeError: my own trouble")
    assert said(capsys, lambda: None, name)[-1].startswith("stops: TypeError: ")


@pytest.mark.parametrize("name", [name for name in RIGHT if name != "times_slope"])  # which is to change dt
def test_a_function_that_changes_its_arguments_can_not_change_the_check(capsys, name):
    def careless(*arguments, **named):
        answer = copy.deepcopy(RIGHT[name](*arguments, **named))
        for array in every_array([*arguments, *named.values()]):
            array[...] = 7
        return answer

    assert re.search("all [0-9]+ checks hold", said(capsys, careless, name)[-1])


def test_an_assertion_of_the_reader_s_own_is_not_taken_for_a_check(capsys):
    def doubtful(output, target):
        raise AssertionError("too loud")

    given = "output=array of shape (2, 4), target=array of shape (2, 4)"
    assert said(capsys, doubtful, "esr") == [f"stops: AssertionError: too loud (called with {given})"]


def test_what_is_missing_for_a_check_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "array_api_strict", None)
    assert said(capsys, recordings.standardize, "standardize")[-1] == (
        "fails: the rest needs array_api_strict: pip install array-api-strict"
    )


def test_no_practice_and_no_function():
    with pytest.raises(ValueError, match=r"no practice called 'ers': expected one of .*esr"):
        fuzznet.check(loss.esr, "ers")
    with pytest.raises(ValueError, match=r"got ndarray to check: expected a function; .* check\(my_esr, 'esr'\)"):
        fuzznet.check(np.zeros(3), "esr")


def checks(path):
    """Cells of a chapter that check a practice: the reader's function, the practice, and what was printed."""
    found = []
    for cell in code_cells(path):
        for function, name in re.findall(r"^fuzznet\.check\((\w+), \"(\w+)\"\)$", cell.source, re.MULTILINE):
            printed = "".join(output.get("text", "") for output in cell.outputs)
            found.append((function, name, printed, cell.source))
    return found


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_chapter_has_a_practice(path):
    found = checks(path)
    assert "\n## Your turn\n" in "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    for name in {name for _, name, _, _ in found}:
        printed = [text for _, practised, text, _ in found if practised == name]
        assert re.search("^(fails|stops): ", printed[0], re.MULTILINE), "a first try that already holds"
        assert re.search(r"^\w+: all [0-9]+ checks hold$", printed[-1], re.MULTILINE), "a solution that does not hold"
    assert len(found) >= 2
    for function, _, _, source in found:
        assert function.startswith("my_") and function not in shipped()
        assert re.search(rf"^(def|class) {function}\b.*fuzznet\.check\(", source, re.MULTILINE | re.DOTALL), "it comes first"


def test_each_practice_is_in_a_chapter():
    assert {name for path in CHAPTERS for _, name, _, _ in checks(path)} == set(practice.PRACTICES)
