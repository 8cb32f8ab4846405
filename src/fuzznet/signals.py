"""Test tones, a plucked string, and the amplitudes of their harmonics (chapter 1)."""

import math

import numpy as np

from fuzznet.arrays import check_signal, namespace

TINY = 1e-9  # of a period: a sample that near to an edge lies on it, and only rounding says otherwise


def time_axis(duration_s, sample_rate_hz=44100):
    """Times of the samples of a sound, as a NumPy array.

    t[n] = n / sample_rate_hz, for n = 0 ... duration_s * sample_rate_hz - 1

    Returns: (T,) in seconds. Raises ValueError unless at least one sample fits.
    """
    samples = round(duration_s * sample_rate_hz)
    if samples < 1:
        raise ValueError(f"duration_s={duration_s} at {sample_rate_hz} Hz holds no sample: make it longer")
    return np.arange(samples) / sample_rate_hz


def sine(time_s, frequency_hz):
    """A sine wave of amplitude 1.

    sin(2 pi f t)

    time_s: (T,) in seconds. Returns: (T,), in the kind of time_s.
    """
    return namespace(time_s).sin(2 * math.pi * float(frequency_hz) * time_s)


def square(time_s, frequency_hz):
    """A square wave of amplitude 1: +1 in the first half of each period, -1 in the second.

    time_s: (T,) in seconds. Returns: (T,), in the kind of time_s.
    """
    xp = namespace(time_s)
    second_half = _phase(time_s, frequency_hz) >= 0.5 - TINY
    return xp.where(second_half, -xp.ones_like(time_s), xp.ones_like(time_s))


def sawtooth(time_s, frequency_hz):
    """A sawtooth wave of amplitude 1, rising from -1 to +1 in each period.

    2 (f t - floor(f t)) - 1

    time_s: (T,) in seconds. Returns: (T,), in the kind of time_s.
    """
    return 2 * _phase(time_s, frequency_hz) - 1


def _phase(time_s, frequency_hz):
    """The fraction of its period that a wave has gone through."""
    periods = float(frequency_hz) * time_s
    return periods - namespace(time_s).floor(periods + TINY)


def random_harmonics(time_s, frequency_hz, rng, count=5):
    """A random sum of the first harmonics, sines and cosines.

    sum over n = 1 ... count of a_n sin(2 pi n f t) + b_n cos(2 pi n f t),
    a_n and b_n drawn from a normal distribution of standard deviation 1 / n

    time_s: (T,) in seconds; rng: a numpy.random.Generator. Returns: (T,), in the kind of time_s.
    """
    xp = namespace(time_s)
    total = xp.zeros_like(time_s)
    for n in range(1, count + 1):
        a, b = rng.normal(scale=1 / n, size=2)
        angle = 2 * math.pi * n * float(frequency_hz) * time_s
        total = total + float(a) * xp.sin(angle) + float(b) * xp.cos(angle)
    return total


def plucked_string(
    frequency_hz, duration_s, rng, sample_rate_hz=44100, pick_position=0.1, softness=0.7, decay_s=25.0, damping=0.5
):
    """A plucked string: the extended Karplus-Strong algorithm, as a NumPy array with peak 1.

    A burst of noise, one period long, is softened, u[n] = noise[n] + softness * u[n - 1], and loses its own echo from the
    bridge, u[n] - u[n - pick_position * period], which silences each harmonic that has a node under the pick. It is
    let go into a loop of three parts: a delay line, a loss filter g ((1 - S) + S z^-1), and a first-order allpass
    that supplies the fraction of a sample which the delay line lacks.

    frequency_hz: of the fundamental, below a quarter of the sample rate; rng: a numpy.random.Generator, for the
    noise; pick_position: where the string is plucked, as a fraction of its length; softness: of the pick, from 0 to
    below 1; decay_s: time until the fundamental has lost 60 dB, unless the damping, which is stronger for high notes, is
    faster; damping: S, from 0 (all harmonics ring equally long) to 0.5 (the highest die at once). Returns: (T,).
    Raises ValueError for values outside these ranges.
    Source: Jaffe and Smith, Computer Music Journal 7 (2), 1983.
    """
    if not 0 < frequency_hz < sample_rate_hz / 4:
        raise ValueError(f"frequency_hz={frequency_hz}: expected above 0 and below a quarter of {sample_rate_hz} Hz")
    if not (0 < pick_position < 1 and 0 <= softness < 1 and 0 <= damping <= 0.5 and decay_s > 0):
        raise ValueError(
            f"pick_position={pick_position}, softness={softness}, damping={damping}, decay_s={decay_s}: "
            "expected 0 < pick_position < 1, 0 <= softness < 1, 0 <= damping <= 0.5 and decay_s > 0"
        )
    samples = len(time_axis(duration_s, sample_rate_hz))
    period = sample_rate_hz / frequency_hz
    delay = int(period - damping - 0.5)  # the loss filter delays by about `damping` samples
    fraction = period - damping - delay  # 0.5 ... 1.5, the range where the allpass is nearly flat
    allpass = (1 - fraction) / (1 + fraction)
    omega = 2 * math.pi * frequency_hz / sample_rate_hz
    loss_at_fundamental = abs(1 - damping + damping * complex(math.cos(omega), -math.sin(omega)))
    gain = min(1.0, 10 ** (-3 * period / (sample_rate_hz * decay_s)) / loss_at_fundamental)

    burst = rng.uniform(-1, 1, size=round(period))
    for n in range(1, len(burst)):
        burst[n] += softness * burst[n - 1]
    burst -= np.mean(burst)
    pluck = np.zeros(samples + 2 * len(burst))
    pluck[: len(burst)] = burst
    pluck -= np.roll(pluck, max(1, round(pick_position * period)))
    sound = np.zeros(delay + 1 + samples)  # delay + 1 samples of a string at rest come first
    sound[delay + 1 :] = pluck[:samples]
    sound = sound.tolist()  # a loop over single numbers is several times faster on a list
    previous_in = previous_out = 0.0
    for n in range(delay + 1, len(sound)):
        lossy = gain * ((1 - damping) * sound[n - delay] + damping * sound[n - delay - 1])
        previous_out = allpass * (lossy - previous_out) + previous_in
        previous_in = lossy
        sound[n] += previous_out
    string = np.asarray(sound[delay + 1 :])
    return string / np.max(np.abs(string))


def harmonic_spectrum(x, fundamental_hz, sample_rate_hz=44100, count=20):
    """Amplitudes of the first harmonics of a periodic sound, seen through a Hann window.

    A_n = 2 |sum_t w[t] x[t] exp(-2 pi i n f t)| / sum_t w[t], for n = 1 ... count

    x: (T,), several periods long. Returns: (count,), in the unit of x; a harmonic at or above half the sample rate is 0.
    Raises ValueError for fewer than four periods, which a Hann window can't tell apart.
    """
    xp = namespace(x)
    check_signal(x, "x", ndim=1)
    samples = x.shape[0]
    if samples * fundamental_hz < 4 * sample_rate_hz:
        raise ValueError(f"x holds {samples} samples, under four periods of {fundamental_hz} Hz: give a longer sound")
    n = xp.arange(samples, dtype=x.dtype, device=x.device)
    weighted = x * (0.5 - 0.5 * xp.cos(2 * math.pi * n / samples))
    amplitudes = xp.zeros(count, dtype=x.dtype, device=x.device)
    for k in range(1, count + 1):
        if k * fundamental_hz < sample_rate_hz / 2:
            angle = 2 * math.pi * (k * fundamental_hz / sample_rate_hz) * n
            real, imaginary = xp.sum(weighted * xp.cos(angle)), xp.sum(weighted * xp.sin(angle))
            amplitudes[k - 1] = 4 * xp.sqrt(real**2 + imaginary**2) / samples
    return amplitudes
