"""The report's two experiments, and the same on a real pedal, as functions (chapters 10, 12 and 17)."""

from typing import Any, NamedTuple

import numpy as np

from fuzznet.convolution import receptive_field
from fuzznet.gradients import local_gradients
from fuzznet.loss import esr
from fuzznet.network import Parameters, forward, initialize
from fuzznet.optimizers import Adam, GradientDescent
from fuzznet.postprocessing import keep_lowest_frequencies, match_mean
from fuzznet.recordings import best_scalar, load_note, random_split, remove_silence, rms, split_into_clips, standardize
from fuzznet.streaming import render
from fuzznet.training import fit_output, train


class Clips(NamedTuple):
    """x, y: clean and distorted clips to train on, (B, T); x_test, y_test: those kept for the test. All NumPy."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


class SingleNote(NamedTuple):
    """What `single_note` found.

    parameters: the learned ones; losses: the mean ESR of each step; clips: Clips, as prepared; output, processed: the
    network's output for the test clips, raw and after post-processing, (B, T); esr_input, esr_output, esr_processed: (B,).
    """

    parameters: Parameters
    losses: list
    clips: Clips
    output: Any
    processed: Any
    esr_input: Any
    esr_output: Any
    esr_processed: Any


def prepare_clips(pair, rng, train_clips=50, test_clips=15, clip_length=1000):
    """From a pair to clips as section III.1 of the report makes them: silence off, cut, standardised, split, scaled.

    Clips that are silent are left out. The scalar that brings the clean clips closest to the distorted ones is found on the
    training clips alone.

    pair: `recordings.Pair`; rng: a numpy.random.Generator, for the split. Returns: Clips.
    Raises ValueError where the sound is silent or too short.
    """
    clean, distorted = remove_silence(pair.clean, pair.distorted)
    x, y = (split_into_clips(sound, clip_length) for sound in (clean, distorted))
    heard = (rms(x) > 0) & (rms(y) > 0)
    x, y = standardize(x[heard]), standardize(y[heard])
    chosen, kept = random_split(rng, len(x), train_clips, test_clips)
    scalar = best_scalar(x[chosen], y[chosen])
    return Clips(scalar * x[chosen], y[chosen], scalar * x[kept], y[kept])


def single_note(
    pair=None, seed=0, train_clips=50, test_clips=15, clip_length=1000, layers=8, kernels=10, kernel_size=3, bias="time",
    gradient=local_gradients, frozen=("mixing",), optimizer=GradientDescent, learning_rate=0.05, epochs=5, batch_size=5,
    least_squares=False, bins=100, progress=False,
):
    """The report's experiment: learn one note, and judge the output raw and post-processed on clips never seen.

    As it stands it follows the report: Table I, a bias over time, short-path gradients, mixing weights that do not learn.

    pair: `recordings.Pair`, the bundled D3 unless given; seed: of the split, the initial values and the order of the clips;
    optimizer: a class of `fuzznet.optimizers`; least_squares: instead of training, solve for the output mixer alone; bins: how
    many frequencies post-processing keeps; the others as in `initialize`, `prepare_clips` and `train`, which also
    raise the errors. Returns: SingleNote. Source: Table I, Table II.
    """
    rng = np.random.default_rng(seed)
    clips = prepare_clips(load_note("D3") if pair is None else pair, rng, train_clips, test_clips, clip_length)
    keep_lowest_frequencies(clips.x_test, bins)  # raises where bins is wrong: now, not after the training
    parameters = initialize(rng, layers, kernels, kernel_size, bias, clip_length if bias == "time" else None)
    losses = []
    if least_squares:
        parameters = fit_output(parameters, clips.x, clips.y)
    else:
        parameters, losses = train(
            parameters, clips.x, clips.y, optimizer=optimizer(learning_rate), rng=rng, epochs=epochs, batch_size=batch_size,
            gradient=gradient, frozen=frozen, progress=progress,
        )
    output, _ = forward(parameters, clips.x_test)
    processed = keep_lowest_frequencies(match_mean(output, clips.x_test), bins)
    judged = (esr(output=sound, target=clips.y_test) for sound in (clips.x_test, output, processed))
    return SingleNote(parameters, losses, clips, output, processed, *judged)


class ProofOfConcept(NamedTuple):
    """What `proof_of_concept` found: the learned parameters, the ESR of each step, and input, target, output, each (T,)."""

    parameters: Parameters
    losses: list
    x: np.ndarray
    y: np.ndarray
    output: np.ndarray


def proof_of_concept(
    x, y, seed=0, layers=9, kernels=6, kernel_size=3, bias="time", gradient=local_gradients, frozen=("mixing",),
    optimizer=GradientDescent, learning_rate=0.1, epochs=100, progress=False,
):
    """The report's first test: meet one and the same pair again and again.

    x, y: NumPy arrays (T,), standardised before use; seed: of the initial values; the others as in `initialize` and `train`,
    which also raise the errors. Returns: ProofOfConcept. Source: Table I, Fig. 8.
    """
    rng = np.random.default_rng(seed)
    x, y = standardize(x), standardize(y)
    parameters = initialize(rng, layers, kernels, kernel_size, bias, len(x) if bias == "time" else None)
    training = train(
        parameters, x[None, :], y[None, :], optimizer=optimizer(learning_rate), rng=rng, epochs=epochs, batch_size=1,
        gradient=gradient, frozen=frozen, progress=progress,
    )
    return ProofOfConcept(*training, x, y, forward(training.parameters, x)[0])


class Segments(NamedTuple):
    """Where a network fails, in pieces of equal length.

    edges_s: where they begin and end, in seconds of the recording, (S + 1,); esr: the error of each by its own energy, (S,),
    large where the target is a whisper; share: of the whole error, (S,), which adds up to 1 unless there is none.
    """

    edges_s: np.ndarray
    esr: np.ndarray
    share: np.ndarray


def judge_segments(*, output, target, sample_rate_hz, start_s=0.0, segment_s=0.25):
    """Segments of about segment_s seconds, at least one: where the error of an output lies.

    output, target: NumPy arrays (T,); start_s: when they begin. Raises ValueError for different shapes, for no samples, or
    segment_s not above 0.
    """
    if output.shape != target.shape or 0 in target.shape or not segment_s > 0:
        shapes = f"output has shape {output.shape}, target {target.shape}, segment_s={segment_s}"
        raise ValueError(f"{shapes}: expected the same shape, and segments longer than 0")
    samples = len(target)
    count = max(1, round(min(samples, samples / sample_rate_hz / segment_s)))
    edges = np.arange(count + 1) * samples // count
    error, energy = (np.add.reduceat(sound.astype(float) ** 2, edges[:-1]) for sound in (target - output, target))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, share = (np.where(error == 0, 0.0, error / whole) for whole in (energy, np.sum(error)))
    return Segments(start_s + edges / sample_rate_hz, ratio, share)


class Pedal(NamedTuple):
    """What `pedal` found on the last part of a recording, which the training never met.

    parameters: the learned ones, float32; losses: the ESR of each step; target, output: (T,), divided by the RMS of the part
    that was learned from; esr_input: after the best scalar; esr_output: of the network; each a single number; x_level, y_level:
    those two RMS, by which what goes in is divided, and what comes out multiplied; segments: Segments of the last part.
    """

    parameters: Parameters
    losses: list
    target: np.ndarray
    output: np.ndarray
    esr_input: float
    esr_output: float
    x_level: float
    y_level: float
    sample_rate_hz: int
    segments: Segments

    @property
    def facts(self):
        """What to keep with the parameters, as `about` of `storage.save`: what playing needs, and the score."""
        return {name: getattr(self, name) for name in ("sample_rate_hz", "x_level", "y_level", "esr_output")}


def pedal(
    pair, seed=0, max_seconds=180.0, train_share=0.8, clip_length=4096, quietest=0.4, learning_rates=(0.01, 0.0005),
    layers=8, kernels=10, kernel_size=3, segment_s=0.25, progress=True,
):
    """Learn a real pedal from one recording: exact gradients, Adam, one clip a step, on all but the end of it.

    Each clip comes with the sound before it, so that the network's memory is full where it is judged. The ESR of a clip
    measures its error by its own energy, so in a quiet clip a small error counts as much as a large one elsewhere. Clips
    quieter than `quietest` times the RMS of the whole part that is learned from are left out. The end is judged once, as a
    whole and in segments of segment_s seconds.

    pair: `recordings.Pair`; train_share: how much of it to learn from; learning_rates: first and last; the others as in
    `initialize` and `train`. Returns: Pedal. Raises ValueError where the recording is too short or its beginning too quiet.
    """
    rng = np.random.default_rng(seed)
    parameters = initialize(rng, layers, kernels, kernel_size).astype(np.float32)
    history = receptive_field(kernel_size, parameters.dilations) - 1
    cut = round(train_share * len(pair.clean))
    if len(pair.clean) != len(pair.distorted) or clip_length < 1:
        lengths = f"clean has {len(pair.clean)} samples, distorted {len(pair.distorted)}, a clip {clip_length}"
        raise ValueError(f"{lengths}: expected the first two to be the same, and a clip of at least 1")
    if not segment_s > 0:  # now, not after the training
        raise ValueError(f"segment_s={segment_s}: expected above 0")
    if not history + clip_length <= cut < len(pair.clean):
        needed = f"{history + clip_length} or more in the first {train_share:.0%}, and some after it"
        raise ValueError(f"the recording has {len(pair.clean)} samples: expected {needed}")
    for name, sound in (("clean", pair.clean), ("distorted", pair.distorted)):
        if not np.all(np.isfinite(sound)):
            raise ValueError(f"the {name} sound holds NaN or infinity: export it again")
        if not (np.any(sound[:cut]) and np.any(sound[cut:])):
            raise ValueError(f"the {name} sound is silent in the first {train_share:.0%} or after it: cut the silence off")
    x_level, y_level = (float(rms(sound[:cut])) for sound in (pair.clean, pair.distorted))
    x, y = (pair.clean / x_level).astype(np.float32), (pair.distorted / y_level).astype(np.float32)
    starts = range(0, cut - history - clip_length + 1, clip_length)
    x_clips, y_clips = (np.stack([sound[s : s + history + clip_length] for s in starts]) for sound in (x, y))
    loud = rms(y_clips[:, history:]) >= quietest
    if not np.any(loud):
        raise ValueError(
            f"no clip of {clip_length} samples is as loud as quietest={quietest} times the RMS of all of them: lower quietest"
        )
    parameters, losses = train(
        parameters, x_clips[loud], y_clips[loud], optimizer=Adam(learning_rates[0]), rng=rng, epochs=1_000_000, batch_size=1,
        warm_up=history, max_seconds=max_seconds, final_learning_rate=learning_rates[1], progress=progress,
    )
    output, target = render(parameters, x[cut - history :])[history:], y[cut:]
    scaled, rate_hz = best_scalar(x[:cut], y[:cut]) * x[cut:], pair.sample_rate_hz
    errors = (float(esr(output=sound, target=target)) for sound in (scaled, output))
    where = judge_segments(output=output, target=target, sample_rate_hz=rate_hz, start_s=cut / rate_hz, segment_s=segment_s)
    return Pedal(parameters, losses, target, output, *errors, x_level, y_level, rate_hz, where)
