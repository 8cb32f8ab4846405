from types import SimpleNamespace

import numpy as np
import pytest

from fuzznet import signals

pytestmark = pytest.mark.usefixtures("library")


def test_tones_by_hand():
    t = signals.time_axis(1, 8)
    assert t.tolist() == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]
    np.testing.assert_allclose(signals.sine(t, 2), [0, 1, 0, -1] * 2, atol=1e-15)
    assert signals.square(t, 2).tolist() == [1, 1, -1, -1] * 2
    assert signals.sawtooth(t, 2).tolist() == [-1, -0.5, 0, 0.5] * 2
    assert len(signals.time_axis(0.29, 100)) == 29  # although 0.29 * 100 is 28.999999999999996
    with pytest.raises(ValueError, match="holds no sample"):
        signals.time_axis(0)


@pytest.mark.parametrize("frequency_hz", [220.5, 441.0])
def test_edges_stand_where_they_belong_for_a_second(frequency_hz):
    period = round(44100 / frequency_hz)
    n, t = np.arange(44100), signals.time_axis(1)
    assert np.array_equal(signals.square(t, frequency_hz), np.where(n % period < period / 2, 1, -1))
    np.testing.assert_allclose(signals.sawtooth(t, frequency_hz), 2 * (n % period) / period - 1, atol=1e-9)


def test_harmonics_of_known_waves():
    t = signals.time_axis(1, 44100)
    square = signals.harmonic_spectrum(signals.square(t, 100), 100, count=8)
    expected = [4 / (np.pi * n) if n % 2 else 0 for n in range(1, 9)]  # Fourier series
    np.testing.assert_allclose(square, expected, atol=0.006)  # 441 samples a period: one more up than down
    saw = signals.harmonic_spectrum(signals.sawtooth(t, 100), 100, count=8)
    np.testing.assert_allclose(saw, [2 / (np.pi * n) for n in range(1, 9)], rtol=2e-3)
    tone = signals.harmonic_spectrum(0.3 * signals.sine(t, 10000), 10000, count=3)
    np.testing.assert_allclose(tone, [0.3, 0, 0], atol=1e-9)  # the third would lie above half the sample rate
    with pytest.raises(ValueError, match="under four periods"):
        signals.harmonic_spectrum(t[:100], 100)


def test_random_harmonics_have_only_harmonics(rng):
    t = signals.time_axis(1, 8000)
    spectrum = np.abs(np.fft.rfft(signals.random_harmonics(t, 50, rng, count=4)))
    assert set(np.flatnonzero(spectrum > 1e-6)) == {50, 100, 150, 200}


def test_harmonic_spectrum_at_its_limits():
    n = np.arange(16)
    x = 0.7 * np.sin(0.5 * np.pi * n) + np.cos(np.pi * n)  # four periods of 11025 Hz, and half the sample rate
    np.testing.assert_allclose(signals.harmonic_spectrum(x, 11025, count=2), [0.7, 0], atol=1e-14)
    with pytest.raises(ValueError, match="x holds 15 samples, under four periods of 11025 Hz"):
        signals.harmonic_spectrum(x[:15], 11025)


def test_random_harmonics_by_hand():
    t = signals.time_axis(1, 8000)
    three_and_five = SimpleNamespace(normal=lambda scale=1.0, size=None: scale * np.array([3.0, 5.0]))
    spectrum = np.fft.rfft(signals.random_harmonics(t, 50, three_and_five)) / 4000
    np.testing.assert_allclose(spectrum[50:300:50], [(5 - 3j) / n for n in range(1, 6)], atol=1e-11)


@pytest.mark.parametrize("frequency_hz", [82.41, 146.83, 659.26, 1234.5])
def test_string_is_in_tune(rng, frequency_hz):
    string = signals.plucked_string(frequency_hz, 1.5, rng)
    t = signals.time_axis(1.5)
    phases = []
    for start in (20000, 50000):
        part = slice(start, start + 8000)
        phases.append(np.angle(np.sum(string[part] * np.hanning(8000) * np.exp(-2j * np.pi * frequency_hz * t[part]))))
    drift_hz = np.angle(np.exp(1j * (phases[1] - phases[0]))) / (2 * np.pi * 30000 / 44100)
    assert abs(1200 * np.log2(1 + drift_hz / frequency_hz)) < 0.1  # cents; the allpass is exact only for low notes


def test_string_decays_as_asked(rng):
    string = signals.plucked_string(196.0, 2.0, rng, decay_s=3.0)
    early, late = (signals.harmonic_spectrum(string[s : s + 9000], 196.0, count=1)[0] for s in (30000, 74100))
    assert 20 * np.log10(late / early) == pytest.approx(-60 / 3.0, abs=0.1)  # one second later


def test_pick_position_silences_a_harmonic(rng):
    string = signals.plucked_string(441.0, 1.0, rng, pick_position=0.25, softness=0.0, damping=0.0)
    spectrum = signals.harmonic_spectrum(string, 441.0, count=9)
    assert max(spectrum[3], spectrum[7]) < 0.01 * np.median(spectrum)  # harmonics 4 and 8 have a node there


def test_string_settings(rng):
    for settings in ({"pick_position": 1}, {"damping": 0.6}, {"decay_s": 0}, {"softness": 1}):
        with pytest.raises(ValueError, match="expected 0 < pick_position < 1"):
            signals.plucked_string(100, 1, rng, **settings)
    with pytest.raises(ValueError, match="below a quarter of 44100 Hz"):
        signals.plucked_string(12000, 1, rng)
    assert signals.plucked_string(50, 0.001, rng).shape == (44,)  # shorter than a period
