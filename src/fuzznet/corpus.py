"""Training on whole folders of sound, read from the disk clip by clip, which goes on after a stop (chapter 19)."""

import contextlib
import copy
import hashlib
import math
import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from fuzznet.arrays import namespace, to_numpy
from fuzznet.convolution import receptive_field
from fuzznet.fast import Step
from fuzznet.network import Parameters, check_parameters
from fuzznet.optimizers import check_positive
from fuzznet.storage import _check_file, load_checkpoint, save_checkpoint
from fuzznet.streaming import Stream
from fuzznet.training import DivergenceError, Training, progress_bar

BLOCK_SAMPLES = 8192  # about so many samples at a time, where a file is read from end to end


class Levels(NamedTuple):
    """What all files of a corpus share.

    x_level, y_level: the RMS of all clean and of all distorted sound; scalar: brings the clean sound closest to the distorted
    one, each divided by its level; loud: (clips,), which clips are trained on; content: a hash of all samples.
    """

    x_level: float
    y_level: float
    scalar: float
    loud: np.ndarray
    content: str


class Corpus:
    """Clips of many pairs of files, which stay on the disk.

    Clip c of a file is judged on its samples c T ... (c + 1) T - 1 and hears the h samples before them. Before a file begins
    there is silence, as in `forward`. What is left over at the end of a file is not used, nor what one of a pair is longer.

    pairs: (clean path, distorted path) of each; clip_length: T; history: h, the receptive field less 1; quietest: clips whose
    target is below this share of the level of all are not trained on, since the ESR of silence is undefined. Attributes:
    clips, how many there are; lengths, (F,), samples of each pair; sample_rate_hz, of all. Only headers are read here.
    Raises FileNotFoundError, and ValueError for a file that is not audio, not mono, of another sample rate or shorter than a
    clip, and for a pair whose lengths differ by more than a hundredth.
    """

    def __init__(self, pairs, clip_length=4096, history=510, quietest=0.1):
        if clip_length < 1 or history < 0 or not quietest > 0:
            given = f"clip_length={clip_length}, history={history}, quietest={quietest}"
            raise ValueError(f"{given}: expected at least 1, at least 0, and above 0")
        self.pairs = [(Path(clean), Path(distorted)) for clean, distorted in pairs]
        if not self.pairs:
            raise ValueError("no pairs of files: expected at least one")
        self.clip_length, self.history, self.quietest = int(clip_length), int(history), float(quietest)
        self.block_size = self.clip_length * max(1, BLOCK_SAMPLES // self.clip_length)
        self.sample_rate_hz = _header(self.pairs[0][0]).samplerate
        self.lengths = np.array([self._length(pair) for pair in self.pairs])
        counts = self.lengths // self.clip_length
        self._firsts, self.clips = np.cumsum(counts) - counts, int(np.sum(counts))

    def _length(self, pair):
        headers = [_header(path) for path in pair]
        for path, header in zip(pair, headers):
            if (header.channels, header.samplerate) != (1, self.sample_rate_hz):
                found = f"{path} has {header.channels} channels and {header.samplerate} Hz"
                raise ValueError(f"{found}: expected mono and {self.sample_rate_hz} Hz, as the first file has; convert it")
        short, long = sorted(header.frames for header in headers)
        if short < self.clip_length or long - short > 0.01 * long:
            found = ", ".join(f"{path} has {header.frames} samples" for path, header in zip(pair, headers))
            needed = f"the same, to a hundredth, and {self.clip_length}, one clip, or more"
            raise ValueError(f"{found}: expected {needed}; leave them out, if they are a pair at all")
        return short

    def batch(self, indices):
        """Clips x, y, (B, h + T) of float32, as they are on the disk; indices: B numbers below `clips`."""
        x, y = (np.zeros((len(indices), self.history + self.clip_length), np.float32) for _ in range(2))
        for row, index in enumerate(indices):
            if not 0 <= index < self.clips:
                raise ValueError(f"clip {index}: expected from 0 to {self.clips - 1}")
            file = int(np.searchsorted(self._firsts, index, side="right")) - 1
            stop = int(index - self._firsts[file] + 1) * self.clip_length
            start = max(0, stop - x.shape[1])
            for sounds, path in zip((x, y), self.pairs[file]):
                with _open(path) as sound:
                    sounds[row, start - stop :] = _read(sound, stop - start, start)
        return x, y

    def blocks(self, file):
        """One pair from end to end: blocks x, y, (block_size,) of float32, the last one shorter; file: a number below F."""
        clean, distorted = self.pairs[file]
        with _open(clean) as x, _open(distorted) as y:
            for start in range(0, self.lengths[file], self.block_size):
                samples = min(self.block_size, self.lengths[file] - start)
                yield _read(x, samples), _read(y, samples)

    def levels(self, progress=False):
        """Read all files once. Returns: Levels. Memory: a block of both sounds, and 9 bytes a clip.

        Raises ValueError for a file that is damaged or holds NaN, and where all clean or all distorted sound is silent.
        """
        sums, energies, clips, hashes = np.zeros(3), np.empty(self.clips), 0, (hashlib.sha256(), hashlib.sha256())
        for file, pair in enumerate(progress_bar(self.pairs, desc="levels", unit="pair", disable=not progress)):
            hashes[0].update(f"{self.lengths[file]} ".encode())
            for sounds in self.blocks(file):
                for known, sound in zip(hashes, sounds):
                    known.update(sound)
                x, y = (sound.astype(float) for sound in sounds)
                sums += np.sum(x**2), np.sum(y**2), np.sum(x * y)
                whole = np.reshape(y[: len(y) // self.clip_length * self.clip_length], (-1, self.clip_length))
                energies[clips : clips + len(whole)] = np.mean(whole**2, axis=-1)
                clips += len(whole)
            if not np.all(np.isfinite(sums)):
                raise ValueError(f"{' or '.join(map(str, pair))} holds NaN or infinite samples: export it again")
        if not np.all(sums[:2] > 0):
            raise ValueError("all clean or all distorted files are silent: check the folder")
        x_level, y_level = map(float, np.sqrt(sums[:2] / np.sum(self.lengths)))
        scalar = float(sums[2] / np.sqrt(sums[0] * sums[1]))
        content = "".join(known.hexdigest() for known in hashes)
        return Levels(x_level, y_level, scalar, energies >= (self.quietest * y_level) ** 2, content)


@contextlib.contextmanager
def _readable(path):
    """Whatever libsndfile does not like about a file, as a ValueError."""
    _check_file(path)
    try:
        yield
    except (soundfile.LibsndfileError, EOFError, TypeError) as error:  # TypeError: raw samples, whose rate no one knows
        raise ValueError(f"{path} can't be read as audio ({error}): copy it again, or leave it out") from error


def _header(path):
    with _readable(path):
        return soundfile.info(path)


def _open(path):
    with _readable(path):
        return soundfile.SoundFile(path)


def _read(file, samples, start=None):
    with _readable(Path(file.name)):
        if start is not None:
            file.seek(start)
        sound = file.read(samples, "float32")
        if sound.shape != (samples,):
            raise EOFError(f"it ends after {file.tell()} samples")
        return sound


class CorpusTraining(NamedTuple):
    """parameters: the learned ones; losses: mean ESR of each epoch, each clip measured before its step; levels: Levels."""

    parameters: Parameters
    losses: list
    levels: Levels


class Stopped(KeyboardInterrupt):
    """A signal ended a training; its checkpoint holds all that was done. `.status`: what a command exits with, 130 or 143."""

    def __init__(self, message, number):
        super().__init__(message)
        self.status = 128 + number


def train_corpus(
    parameters, corpus, *, optimizer, checkpoint, seed=0, epochs=1, batch_size=1, every_s=60.0, final_learning_rate=None,
    progress=True,
):
    """Train on clips from the disk, with a checkpoint from which the same call goes on, bit for bit as if never stopped.

    Each epoch meets every loud clip once, in the order that default_rng([seed, epoch]) gives. Gradients are exact.

    parameters: the initial values, with one bias a kernel; optimizer: a new one of `fuzznet.optimizers`, which is copied;
    checkpoint: a path, written whole or not at all: first of all, every `every_s` seconds and at the end. Where there is one,
    training goes on from it; a finished one, too, with more epochs and no final_learning_rate, which is as in `train`, by share
    of the steps. `storage.load` reads it as a network, about its sample_rate_hz, x_level and y_level.
    Memory, however long the files: 16 B (h + T) bytes for a batch of B, that of `fast.Step`, some copies of the parameters,
    a block, 17 bytes a clip, and the paths.

    Returns: CorpusTraining. Raises ValueError for settings out of range, and for a checkpoint of other settings, initial values
    or sounds, whose samples count and not their names; DivergenceError as `train` does; OSError where the checkpoint can't be
    written, and the last one is still whole; Stopped after Ctrl-C or SIGTERM. Two trainings at once on one checkpoint do no
    harm: each writes whole files, and both go the same way.
    """
    _check_settings(parameters, corpus, epochs, batch_size, every_s, final_learning_rate)
    xp, device, levels = namespace(parameters.kernels), parameters.kernels.device, corpus.levels(progress)
    loud, step, order = np.flatnonzero(levels.loud), Step(corpus.history), None
    if not len(loud):
        raise ValueError(f"no clip is as loud as quietest={corpus.quietest} times the level of all of them: lower quietest")
    settings = {
        "clip_length": corpus.clip_length, "history": corpus.history, "quietest": corpus.quietest, "batch_size": batch_size,
        "seed": seed, "epochs": final_learning_rate and epochs, "final_learning_rate": final_learning_rate,
        "optimizer": type(optimizer).__name__, **{n: v for n, v in vars(optimizer).items() if not isinstance(v, Parameters)},
        "initial parameters": _digest(parameters), "sounds": levels.content,
    }  # fmt: skip
    facts = {"sample_rate_hz": corpus.sample_rate_hz, "x_level": levels.x_level, "y_level": levels.y_level}
    run = _Run(Path(checkpoint), parameters, copy.copy(optimizer), settings, facts)
    first_rate, per_epoch = optimizer.learning_rate, math.ceil(len(loud) / batch_size)
    steps, heard = epochs * per_epoch, run.steps // per_epoch * len(loud) + run.steps % per_epoch * batch_size
    bar = progress_bar(total=epochs * len(loud), initial=heard, unit="clip", disable=not progress)
    with bar, _signals() as received:
        while True:
            epoch, place = divmod(run.steps, per_epoch)
            bar.set_description(f"epoch {min(epoch + 1, epochs)} of {epochs}", refresh=False)
            bar.update(epoch * len(loud) + place * batch_size - bar.n)
            if order is None or run.steps >= steps or received or time.monotonic() - run.kept_s >= every_s:
                run.keep()
            if received:
                here = f"stopped after step {run.steps} of {steps}; {checkpoint} holds everything"
                raise Stopped(f"{here}: run the same again to go on", received[0])
            if run.steps >= steps:
                return CorpusTraining(run.parameters, [total / len(loud) for total in run.totals], levels)
            if order is None or place == 0:
                order = np.random.default_rng([seed, epoch]).permutation(loud)
            if final_learning_rate is not None:
                run.optimizer.learning_rate = first_rate * (final_learning_rate / first_rate) ** (run.steps / steps)
            x, y = corpus.batch(order[place * batch_size : (place + 1) * batch_size])
            x, y = xp.asarray(x / levels.x_level, device=device), xp.asarray(y / levels.y_level, device=device)
            esr = run.step(*step(run.parameters, x, y), new_epoch=place == 0)
            bar.set_postfix(esr=f"{esr / min((place + 1) * batch_size, len(loud)):.4f}", refresh=False)


class _Run:
    """A training in progress: all that decides its next number, and the file that keeps it."""

    def __init__(self, path, parameters, optimizer, settings, facts):
        self.path, self.settings, self.facts = path, settings, facts
        self.parameters, self.optimizer, self.steps, self.totals = parameters, optimizer, 0, []  # totals: ESR of each epoch
        self.kept_s, self.kept = 0.0, "nothing was trained yet"
        if path.exists():
            self._resume(load_checkpoint(path))

    def _resume(self, saved):
        old = saved.about.get("settings", {})
        other = [name for name in {**old, **self.settings} if old.get(name) != self.settings.get(name)]
        if other:
            hashed = ("initial parameters", "sounds")
            changes = (f"other {n}" if n in hashed else f"{n} was {old.get(n)}, is {self.settings.get(n)}" for n in other)
            advice = "go on with what it was begun with, or name another checkpoint"
            raise ValueError(f"{self.path} is of another training ({', '.join(changes)}): {advice}")
        xp, device = namespace(self.parameters.kernels), self.parameters.kernels.device

        def here(value):
            return value.map(lambda array: xp.asarray(array, device=device)) if isinstance(value, Parameters) else value

        self.parameters = here(saved.parameters)
        vars(self.optimizer).update({name: here(value) for name, value in vars(saved.optimizer).items()})
        self.steps, self.totals = saved.about["steps"], saved.about["totals"]
        self._is_kept()

    def step(self, errors, gradients, new_epoch):
        """One step of the optimizer, after a look at the ESR of its clips. Returns: that of all clips of the epoch, summed."""
        total = float(namespace(errors).sum(errors))
        if not math.isfinite(total):
            raise self._diverged("the loss became infinite or NaN")
        self.totals = [*self.totals, total] if new_epoch else [*self.totals[:-1], self.totals[-1] + total]
        self.parameters, self.steps = self.optimizer(self.parameters, gradients), self.steps + 1
        return self.totals[-1]

    def keep(self):
        try:
            about = {"settings": self.settings, "steps": self.steps, "totals": self.totals, **self.facts}
            save_checkpoint(self.path, self.parameters, self.optimizer, **about)
        except OSError as error:
            advice = "make room and run the same again to go on" if self.kept_s else "make room or name another place"
            message = f"{self.path} can't be written ({error.strerror}): {self.kept}; {advice}"
            raise OSError(error.errno, message) from error
        except ValueError as error:
            raise (self._diverged(str(error)) if self.steps else error) from error
        self._is_kept()

    def _is_kept(self):
        self.kept_s, self.kept = time.monotonic(), f"the checkpoint of step {self.steps} is whole"

    def _diverged(self, what):
        advice = "use a smaller learning_rate, and another checkpoint"
        good = Training(load_checkpoint(self.path).parameters, self.totals)
        return DivergenceError(f"{what} after {self.steps} steps: {advice}; {self.kept}", good)


def _digest(parameters):
    arrays = (to_numpy(getattr(parameters, name)).tobytes() for name in Parameters.NAMES)
    return hashlib.sha256(b"".join([str([*map(int, parameters.dilations)]).encode(), *arrays])).hexdigest()


def _check_settings(parameters, corpus, epochs, batch_size, every_s, final_learning_rate):
    check_parameters(parameters, parameters.biases)
    past = receptive_field(parameters.kernels.shape[-1], parameters.dilations) - 1
    if corpus.history < past:
        raise ValueError(f"history={corpus.history} of the corpus: expected {past} or more, as far as the network looks back")
    if epochs < 1 or batch_size < 1 or not every_s >= 0:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size}, every_s={every_s}: expected at least 1, 1 and 0")
    if final_learning_rate is not None:
        check_positive("final_learning_rate", final_learning_rate)


@contextlib.contextmanager
def _signals():
    """A list to which Ctrl-C and SIGTERM add themselves, in place of breaking into a step. A second one acts as ever."""
    received, before = [], {}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number, _):
        received.append(number)
        restore()

    if threading.current_thread() is threading.main_thread():  # the only one that Python lets handle signals
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        restore()


def judge(parameters, corpus, levels, progress=False):
    """The ESR of each file from beginning to end, block by block in memory that does not grow with the files.

    parameters: a network; None for doing nothing, which is the clean sound times the best scalar of the training; levels: those
    of the training. Returns: (F,), NumPy. Raises ValueError for a file that is damaged or whose target is silent.
    """
    stream = parameters and Stream(parameters.map(to_numpy), corpus.block_size)
    errors, energies = np.zeros(len(corpus.pairs)), np.zeros(len(corpus.pairs))
    for file, (_, distorted) in enumerate(progress_bar(corpus.pairs, desc="judging", unit="pair", disable=not progress)):
        if stream:
            stream.reset()
        for x, y in corpus.blocks(file):
            x, y = x / levels.x_level, y / levels.y_level
            errors[file] += np.sum(((stream(x) if stream else levels.scalar * x) - y) ** 2, dtype=float)
            energies[file] += np.sum(y**2, dtype=float)
        if not energies[file] > 0:
            raise ValueError(f"{distorted} is silent, so its error-to-signal ratio is undefined: leave it out")
    return errors / energies
