"""Recordings: the bundled notes, anyone's pair of files, and how they become clips (chapter 11).

A pair is a clean sound and the same sound through the pedal, sample for sample.
"""

from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from fuzznet.arrays import check_signal, namespace

NOTES = ("E2", "A2", "D3", "G3", "B3", "E4", "A4", "E5")


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


def load_pair(clean, distorted):
    """A clean sound and its distorted twin, from any two mono files that soundfile reads (WAV, FLAC, Ogg and others).

    clean, distorted: paths. Returns: Pair. Raises FileNotFoundError for a missing file, and ValueError for one that is
    not audio, not mono, empty, silent or holds NaN, and for two of different sample rates or lengths.
    """
    clean_sound, clean_rate_hz = _load_sound(clean)
    distorted_sound, distorted_rate_hz = _load_sound(distorted)
    if clean_rate_hz != distorted_rate_hz:
        raise ValueError(
            f"{clean} has {clean_rate_hz} Hz, {distorted} has {distorted_rate_hz} Hz: "
            "resample one, so that both have the same sample rate"
        )
    if len(clean_sound) != len(distorted_sound):
        raise ValueError(
            f"{clean} has {len(clean_sound)} samples, {distorted} has {len(distorted_sound)}: "
            "cut both to the same length, starting at the same moment"
        )
    return Pair(clean_sound, distorted_sound, clean_rate_hz)


def _load_sound(path):
    if not Path(path).is_file():
        what = "a folder, not a file" if Path(path).is_dir() else "no file"
        raise FileNotFoundError(f"{path}: {what}; check the path")
    try:
        sound, sample_rate_hz = soundfile.read(path, dtype="float64")
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: raw samples, whose rate no one knows
        raise ValueError(f"{path} is no audio file that can be read ({error}): convert it to WAV or FLAC") from error
    if sound.ndim != 1:
        raise ValueError(f"{path} has {sound.shape[1]} channels: expected mono; keep one channel, or mix them to one")
    if len(sound) == 0:
        raise ValueError(f"{path} holds no samples: record it again")
    if not np.all(np.isfinite(sound)):
        raise ValueError(f"{path} holds NaN or infinite samples: export it again, as 16 or 24 bit integers")
    if not np.any(sound):
        raise ValueError(f"{path} is silent: check the cable and record it again")
    return sound, sample_rate_hz


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
