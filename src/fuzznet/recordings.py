"""Recordings: the bundled notes, anyone's pair of files, and how they become clips (chapter 11).

A pair is a clean sound and the same sound through the pedal, sample for sample.
"""

import io
import re
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from scipy import signal

from fuzznet.arrays import check_signal, namespace
from fuzznet.storage import _check_file, replace_file

NOTES = ("E2", "A2", "D3", "G3", "B3", "E4", "A4", "E5")
KINDS = {".wav": ("WAV", "FLOAT"), ".flac": ("FLAC", "PCM_24")}  # what can be written
FULL_SCALE = 0.99  # from here on a flat top is a converter's, not a pedal's


class Pair(NamedTuple):
    """clean, distorted: NumPy arrays (T,) of float64, where 1.0 is full scale; sample_rate_hz: of both."""

    clean: np.ndarray
    distorted: np.ndarray
    sample_rate_hz: int


def load_note(name):
    """A bundled note, such as "D3": a plucked string, clean and through a Fuzz Face circuit.

    Returns: Pair, two seconds at 44.1 kHz with half a second of silence first. Raises ValueError for any other name.
    """
    if name not in NOTES:
        raise ValueError(f"no bundled note {name!r}: choose from {', '.join(NOTES)}")
    notes = files("fuzznet") / "notes"
    with as_file(notes / f"{name}_clean.flac") as clean, as_file(notes / f"{name}_distorted.flac") as distorted:
        return load_pair(clean, distorted)


def load_pair(clean, distorted, sample_rate_hz=None, channel=None):
    """A clean sound and its distorted twin, from any two files that `load_sound` reads.

    Returns: Pair. Raises what `load_sound` raises, and ValueError for two of different lengths, or of different sample rates
    where none is asked for. Of two that differed in rate, the longer one loses a last sample that only rounding gave it.
    """
    sounds, rates_hz = zip(*(load_sound(file, sample_rate_hz, channel) for file in (clean, distorted)))
    names, lengths = [_name(file) for file in (clean, distorted)], [len(sound) for sound in sounds]
    if rates_hz[0] != rates_hz[1]:
        raise ValueError(
            f"{names[0]} has {rates_hz[0]} Hz, {names[1]} has {rates_hz[1]} Hz: resample one, so that both have the same "
            f"sample rate, or ask for it by sample_rate_hz={max(rates_hz)}"
        )
    if abs(lengths[0] - lengths[1]) > (sample_rate_hz is not None):
        raise ValueError(
            f"{names[0]} has {lengths[0]} samples, {names[1]} has {lengths[1]}: "
            "cut both to the same length, starting at the same moment"
        )
    return Pair(*(sound[: min(lengths)] for sound in sounds), rates_hz[0])


def load_sound(path, sample_rate_hz=None, channel=None):
    """A sound from any file that libsndfile reads: WAV, FLAC, Ogg, MP3, AIFF and others, of any bit depth.

    path: of a file, or a binary file object, such as io.BytesIO; sample_rate_hz: resample to this rate, by soxr, without a
    delay; channel: which one of several, from 0, or "mean" for the mean of all.
    Returns: the sound (T,) of float64, where 1.0 is full scale, and its sample rate in Hz. Raises FileNotFoundError for a
    missing file, and ValueError for one that is not audio, cut short (Ogg and MP3 do not say how long they should be), empty,
    silent or holds NaN, and for several channels of which none is chosen.
    """
    name = _name(path)
    if sample_rate_hz is not None and not (0 < sample_rate_hz < np.inf and sample_rate_hz == int(sample_rate_hz)):
        raise ValueError(f"sample_rate_hz={sample_rate_hz}: expected a whole number above 0, such as 48000")
    if hasattr(path, "read"):
        path.seek(0)
    else:
        _check_file(path)
    try:
        with soundfile.SoundFile(path) as file:
            channels, own_rate_hz, log = file.read(always_2d=True).T, file.samplerate, file.extra_info
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: raw samples, whose rate no one knows
        reason = getattr(error, "error_string", error)
        raise ValueError(f"{name} is no audio file that can be read ({reason}): convert it to WAV or FLAC") from error
    sound = _one_channel(channels, channel, name)
    if len(sound) == 0:
        raise ValueError(f"{name} holds no samples: record it again")
    for promised, found in re.findall(r": (\d+) \(should be (\d+)\)", log):
        if 100 < int(promised) - int(found) < 2**31:  # less may be padding, and more says that the length was not known
            raise ValueError(f"{name} is cut short: it promises {promised} bytes and holds {found}; copy or export it again")
    if not np.all(np.isfinite(sound)):
        raise ValueError(f"{name} holds NaN or infinite samples: export it again, as 16 or 24 bit integers")
    if not np.any(sound):
        raise ValueError(f"{name} is silent: check the cable and record it again")
    if sample_rate_hz in (None, own_rate_hz):
        return np.ascontiguousarray(sound), own_rate_hz
    return soxr.resample(sound, own_rate_hz, sample_rate_hz, quality="VHQ"), int(sample_rate_hz)


def _name(path):
    """What to call a file, or a file object, in a message."""
    return getattr(path, "name", "the file object") if hasattr(path, "read") else path


def _one_channel(channels, channel, name):
    count = len(channels)
    if channel == "mean":
        return np.mean(channels, axis=0)
    if channel is None and count == 1:
        return channels[0]
    if channel in range(count):
        return channels[channel]
    asked = "expected mono" if channel is None else f"there is no channel={channel!r}"
    raise ValueError(
        f'{name} has {count} channel{"s" * (count > 1)}: {asked}; choose one by channel=0 to {count - 1}, or channel="mean"'
    )


def save_sound(path, sound, sample_rate_hz):
    """Write a sound to a file, whole or not at all: .wav, whose samples are 32 bit floats, or .flac, of 24 bit.

    sound: a NumPy array (T,). Raises FileNotFoundError for a missing folder, and ValueError for any other ending, for NaN,
    and for a sound that .flac would clip or whose sample rate it does not know.
    """
    _check_name(path)
    kind, subtype = KINDS[Path(path).suffix.lower()]
    peak = np.max(np.abs(sound), initial=0)
    if not np.isfinite(peak) or (peak > 1 and kind == "FLAC"):
        raise ValueError(f"{path}: the sound peaks at {peak:.2f} of full scale and would clip; write a .wav, or turn it down")
    data = io.BytesIO()
    try:
        soundfile.write(data, sound, sample_rate_hz, format=kind, subtype=subtype)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}, of {sample_rate_hz} Hz: {error.error_string} Write a .wav") from error
    replace_file(path, data.getbuffer())


def _check_name(path):
    """Raise unless `save_sound` could write to path: ValueError for another ending, FileNotFoundError for a missing folder."""
    if Path(path).suffix.lower() not in KINDS or Path(path).is_dir():
        raise ValueError(f"{path}: expected a name that ends in .wav or .flac, and that no folder has")
    if not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: no such folder; make it first")


def lag(clean, distorted):
    """How many samples the target is late, and -1 if it is upside down.

    Where the differences of neighbouring samples, in which high frequencies weigh more, match best in size, of either sign.

    clean, distorted: NumPy arrays (T,). Returns: the delay, negative where the target leads, and 1 or -1.
    """
    match = signal.correlate(np.diff(distorted), np.diff(clean))
    lags = signal.correlation_lags(len(distorted) - 1, len(clean) - 1)
    best = np.argmax(np.abs(match))
    return int(lags[best]), int(np.sign(match[best]))


class Level(NamedTuple):
    """What `examine` finds in one sound.

    peak, rms, constant: the largest |sample|, the RMS and the mean, where 1.0 is full scale; clipped: how many samples lie in
    flat tops; starts_s, ends_s: silence at the beginning and the end; silent_share: of the whole; dropouts: how many holes.
    """

    peak: float
    rms: float
    constant: float
    clipped: int
    starts_s: float
    ends_s: float
    silent_share: float
    dropouts: int


class Findings(NamedTuple):
    """What `examine` finds in a pair. Printed, it is a report for people.

    delay: by how many samples the target is late, negative where it leads; polarity: 1, or -1 for upside down; drift: by how
    much the delay grows from the first third over the second to the last, if it does; likeness: of the two at that delay, from
    0 to 1; rival: the delay of the next best match; rival_share: how good that is, from 0 to 1 where it is as good; clean,
    distorted: a Level each.
    """

    samples: int
    sample_rate_hz: int
    delay: int
    polarity: int
    drift: int
    likeness: float
    rival: int
    rival_share: float
    clean: Level
    distorted: Level

    @property
    def alike(self):
        """Whether the two have more in common than chance gives two sounds of this length."""
        return self.likeness > max(0.1, 5 / self.samples**0.5)

    @property
    def clear(self):
        """Whether delay and polarity can be trusted: the two are alike, and match at one delay better than at any other."""
        return self.alike and self.rival_share < 0.99

    @property
    def warnings(self):
        """What to mend before anything is learned from the pair: a list of sentences, empty where all is well."""
        return [*_warn_of_time(self), *_warn_of_level("clean", self.clean), *_warn_of_level("distorted", self.distorted)]

    def __str__(self):
        turned = "upside down" if self.polarity < 0 else "upright"
        when = f"{_in_time(self.delay, self)}, {turned}" if self.clear else "not clear"
        lines = [
            f"{self.samples / self.sample_rate_hz:.1f} s at {self.sample_rate_hz} Hz",
            f"the distorted sound is {when}; likeness {self.likeness:.2f}, next best match {self.rival_share:.0%} of it",
        ]
        for name, level in (("clean", self.clean), ("distorted", self.distorted)):
            lines.append(
                f"{name}: peak {level.peak:.3f}, RMS {level.rms:.3f}, constant {level.constant:z.4f}, clipped samples "
                f"{level.clipped}, silent {level.silent_share:.0%} (first {level.starts_s:.2f} s, last {level.ends_s:.2f} s)"
            )
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings])


def _in_time(delay, found):
    samples = "1 sample" if abs(delay) == 1 else f"{abs(delay)} samples"
    return f"{samples} ({1000 * abs(delay) / found.sample_rate_hz:.2f} ms) {'late' if delay >= 0 else 'early'}"


def _warn_of_time(found):
    if 2 < abs(found.drift) < 3e-4 * found.samples:  # of two clocks
        yield (
            f"the delay changes by {found.drift} samples from the first third to the last: the clocks of two devices run "
            "apart; record both sounds with one"
        )
    if not found.alike:
        yield f"the two sounds have little in common (likeness {found.likeness:.2f}): take two files of the same playing"
    elif not found.clear:
        yield (
            f"the delay is not clear: {_in_time(found.delay, found)} and {_in_time(found.rival, found)} match almost equally "
            "well; play something more varied"
        )
    elif found.delay < 0:
        yield (
            f"the distorted sound comes {_in_time(found.delay, found)}, before the clean one: a causal network can't know what "
            "has not been played yet; use recordings.align, or --align"
        )
    elif found.delay > 20:
        yield (
            f"the distorted sound is {_in_time(found.delay, found)}: the network would spend its memory on waiting; use "
            "recordings.align, or --align"
        )


def _warn_of_level(name, level):
    if level.clipped and (name == "clean" or level.peak >= FULL_SCALE):
        yield f"the {name} sound clips, in {level.clipped} samples: record it again at a lower level"
    if level.peak < 0.03:
        yield f"the {name} sound is faint, its peak is {level.peak:.4f} of full scale: record it again at a higher level"
    if abs(level.constant) > 0.05 * level.rms:
        share = abs(level.constant) / level.rms
        yield f"the {name} sound has a constant of {share:.0%} of its RMS, which flatters the ESR: subtract its mean"
    if level.silent_share > 0.3:
        yield f"the {name} sound is silent for {level.silent_share:.0%} of its time: cut the silence off both files"
    if level.dropouts:
        holes = "a hole" if level.dropouts == 1 else f"{level.dropouts} holes"
        yield f"the {name} sound has {holes}, where it jumps to exact zeros: if no gate makes them, record with larger buffers"


def examine(pair):
    """Delay, polarity, drift, clipping, constants, silence and levels of a pair, before anything is learned from it.

    Delay and polarity are `lag`'s; of a recording of more than a minute, for three stretches of 20 s. The match is clear if no
    other delay or polarity, outside the same hump, comes close to it.

    pair: `Pair`. Returns: Findings. Raises ValueError for sounds of different lengths, too short, constant or with NaN.
    """
    clean, distorted, sample_rate_hz = pair
    samples = len(clean)
    if len(distorted) != samples or samples < 100:
        raise ValueError(f"clean has {samples} samples, distorted {len(distorted)}: expected the same number, 100 or more")
    width = min(samples // 3, 20 * sample_rate_hz)
    starts = [k * (samples // 3) + (samples // 3 - width) // 2 for k in range(3)]
    thirds = [(clean[start : start + width], distorted[start : start + width]) for start in starts]
    heard = [np.concatenate(sounds) for sounds in zip(*thirds)]
    steps = [np.diff(sound) for sound in heard]
    size = np.linalg.norm(steps[0]) * np.linalg.norm(steps[1])
    if not (np.isfinite(np.sum(clean) + np.sum(distorted)) and size > 0):
        raise ValueError("one of the two sounds is silent, constant or holds NaN or infinity: record or export it again")
    (delay, polarity), (likeness, rival, rival_share) = lag(*heard), _likeness(*steps, size)
    (first, middle, last), signs = zip(*(lag(*third) for third in thirds))
    steady = len(set(signs)) == 1 and min(first, last) <= middle <= max(first, last)  # as only clocks drift
    drift, levels = last - first if steady else 0, (_level(sound, sample_rate_hz) for sound in (clean, distorted))
    return Findings(samples, sample_rate_hz, delay, polarity, drift, likeness, rival, rival_share, *levels)


def _likeness(clean, distorted, size):
    """How high the best match is, the delay of the best one outside its hump, and how high that is beside it."""
    match = signal.correlate(distorted, clean)
    best = np.argmax(np.abs(match))
    falls = np.flatnonzero(match * match[best] <= 0)  # the hump reaches from one of these to the next
    after = np.searchsorted(falls, best)
    others = np.abs(match)
    others[falls[after - 1] if after else 0 : falls[after] if after < len(falls) else None] = 0
    rival = int(np.argmax(others))
    height = abs(match[best])
    return float(height / size), rival - len(clean) + 1, float(others[rival] / height)


def _level(sound, sample_rate_hz):
    size = np.abs(sound)
    peak = np.max(size)
    loud = size >= 0.001 * peak  # -60 dB
    frames = np.arange(0, len(sound), max(1, sample_rate_hz // 100))  # of 10 ms
    silent_share = 1 - np.mean(np.logical_or.reduceat(loud, frames))
    starts, ends = _runs(sound == 0, 32)
    inside = (starts > 0) & (ends < len(sound))
    edges = np.maximum(size[starts[inside] - 1], size[ends[inside]])
    return Level(
        float(peak), float(rms(sound)), float(np.mean(sound)), _clipped(sound), int(np.argmax(loud)) / sample_rate_hz,
        int(np.argmax(loud[::-1])) / sample_rate_hz, float(silent_share), int(np.sum(edges > 0.01 * peak)),
    )  # fmt: skip


def _clipped(sound):
    """How many samples lie in flat tops: three or more equal samples at the largest or smallest value, with a sharp edge.

    The round top of a low note is flat too, for as long as it stays within one step of a converter. But it enters and leaves
    by few steps.
    """
    step = max(np.min(np.diff(np.unique(sound))), 2**-15)
    peak, padded, clipped = np.max(np.abs(sound)), np.pad(sound, 1, mode="edge"), 0
    for extreme in (np.max(sound), np.min(sound)):
        starts, ends = _runs(sound == extreme, 3)
        falls = np.maximum(np.abs(padded[starts] - extreme), np.abs(padded[ends + 1] - extreme))
        sharp = (falls > 4 * step) | (abs(extreme) >= FULL_SCALE)
        clipped += int(np.sum((ends - starts)[sharp])) if abs(extreme) > 0.1 * peak else 0
    return clipped


def _runs(mask, shortest):
    """Where runs of True begin, and where they have ended, of those at least so long."""
    edges = np.flatnonzero(np.diff(np.pad(mask, 1).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    long = ends - starts >= shortest
    return starts[long], ends[long]


def align(pair, delay=3):
    """The pair with its target moved in time, so that it is late by `delay` samples; both are cut to what they share.

    A causal network can learn a target that is a little late, and none that leads. Polarity stays as it is: the network
    turns it. Returns: Pair. Raises ValueError for a negative delay, where `examine` does, and where the match is not clear.
    """
    found = examine(pair)
    if not found.clear:
        raise ValueError(f"can't align: {found.warnings[0]}")
    shift, samples = delay - found.delay, found.samples - abs(delay - found.delay)
    if delay < 0 or samples < 1:
        raise ValueError(f"delay={delay}: expected 0 or more, so that the target does not lead, and less than the recording")
    clean, distorted = pair.clean[max(shift, 0) :], pair.distorted[max(-shift, 0) :]
    return Pair(clean[:samples], distorted[:samples], pair.sample_rate_hz)


def remove_silence(clean, distorted, threshold_db=-40.0):
    """Cut both sounds where the clean one begins: where it first comes within threshold_db of its own peak.

    clean, distorted: (T,). Returns: the two, (T',). Raises ValueError for different lengths, or a silent clean sound.
    """
    xp = namespace(clean, distorted)
    check_signal(clean, "clean", ndim=1)
    check_signal(distorted, "distorted", ndim=1)
    if clean.shape != distorted.shape:
        raise ValueError(f"clean has {clean.shape[0]} samples, distorted {distorted.shape[0]}: expected the same number")
    loudness = xp.abs(clean)
    peak = xp.max(loudness)
    if not bool(xp.all(xp.isfinite(clean) & xp.isfinite(distorted)) & (peak > 0)):
        raise ValueError("clean is silent, or one of the two holds NaN or infinity: expected a sound")
    loud = xp.astype(loudness >= peak * 10 ** (threshold_db / 20), xp.int8)
    onset = int(xp.argmax(loud))
    return clean[onset:], distorted[onset:]


def split_into_clips(x, clip_length=1000):
    """Cut a sound into clips, end to end. What is left over at the end is dropped.

    x: (T,). Returns: (B, clip_length). Raises ValueError for a clip_length below 1 or longer than the sound.
    """
    check_signal(x, "x", ndim=1)
    if not 1 <= clip_length <= x.shape[0]:
        raise ValueError(
            f"clip_length={clip_length} for a sound of {x.shape[0]} samples: expected from 1 to the length of the sound"
        )
    clips = x.shape[0] // clip_length
    return namespace(x).reshape(x[: clips * clip_length], (clips, clip_length))


def rms(x):
    """Root mean square of each clip.

    sqrt(mean over t of x[t]^2)

    x: (B, T) or (T,). Returns: (B,) or a single number. Source: Eq. (20), whose bound of summation is mended.
    """
    check_signal(x, "x")
    xp = namespace(x)
    return xp.sqrt(xp.mean(x**2, axis=-1))


def standardize(x):
    """Divide each clip by its own root mean square, so that all are equally loud.

    x: (B, T) or (T,). Returns: the shape of x. Raises ValueError for a silent clip. Source: Eq. (20).
    """
    level = rms(x)
    xp = namespace(x)
    if not bool(xp.all(xp.isfinite(level) & (level > 0))):
        raise ValueError("a clip is silent, or holds NaN or infinity, and can't be standardised: leave it out")
    return x / level[..., None]


def best_scalar(x, y):
    """The number that brings x closest to y, by least squares over all clips.

    a = sum of x y / sum of x^2

    x, y: the same shape. Returns: a single number. Raises ValueError for different shapes, or a silent x.
    """
    xp = namespace(x, y)
    if x.shape != y.shape:
        raise ValueError(f"x has shape {tuple(x.shape)}, y {tuple(y.shape)}: expected the same shape")
    energy, product = xp.sum(x**2), xp.sum(x * y)
    if not bool(xp.isfinite(product) & (energy > 0)):
        raise ValueError("x is silent, or one of the two holds NaN or infinity: no number brings x close to y")
    return product / energy


def random_split(rng, clips, train=50, test=15):
    """Which clips to train on and which to keep for the test: drawn at random, none in both.

    rng: a numpy.random.Generator; clips: how many there are. Returns: two NumPy arrays of indices, (train,) and (test,).
    Raises ValueError where there are fewer than train + test.
    """
    if train < 1 or test < 1 or train + test > clips:
        raise ValueError(
            f"train={train} and test={test} of {clips} clips: expected each at least 1, and no more than {clips} together"
        )
    order = rng.permutation(clips)
    return order[:train], order[train : train + test]
