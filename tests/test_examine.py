"""Delay, polarity, clipping, constants, silence: each is put into a sound, and found again."""

import itertools

import numpy as np
import pytest

from fuzznet import recordings
from fuzznet.recordings import Pair, align, examine, lag, load_note, rms


def playing(rng, samples=30000):
    """Noise without its highest frequencies, that comes and goes: as clear in time as a strummed guitar, and not clearer."""
    noise = np.convolve(rng.normal(size=samples + 99), np.hanning(10), "valid")[:samples]
    return 0.1 * noise * (1.2 + np.sin(np.arange(samples) / 1500))


def shifted(clean, distorted, late):
    """The two cut so that the second is late by so many samples."""
    length = len(clean) - abs(late)
    return clean[max(late, 0) :][:length], distorted[max(-late, 0) :][:length]


@pytest.mark.parametrize("polarity", [1, -1])
@pytest.mark.parametrize("late", [-40, -13, -1, 0, 1, 3, 40])
def test_delay_and_polarity_are_found(rng, late, polarity):
    clean = playing(rng)
    for gain, noise, constant, rate_hz in ((1, 0, 0, 44100), (0.05, 0, 0.02, 48000), (0.4, 0.1, -0.1, 96000)):
        distorted = polarity * gain * np.tanh(5 * clean) + constant
        x, y = shifted(clean, distorted + noise * rng.normal(size=len(clean)) * gain, late)
        assert lag(x, y) == (late, polarity)
        found = examine(Pair(x, y, rate_hz))
        assert (found.delay, found.polarity, found.clear, found.drift) == (late, polarity, True, 0)
        assert found.samples == len(x) and found.sample_rate_hz == rate_hz
        early = [line for line in found.warnings if "a causal network can't know" in line]
        assert len(early) == (late < 0)
        ms = f"{1000 * abs(late) / rate_hz:.2f} ms"
        assert f"{abs(late)} sample{'s' * (abs(late) != 1)} ({ms}) {'late' if late >= 0 else 'early'}" in str(found)
        assert ("upside down" if polarity < 0 else "upright") in str(found)
        assert any("spend its memory on waiting" in line for line in found.warnings) == (late > 20)


@pytest.mark.parametrize("name", recordings.NOTES)
def test_bundled_notes_are_on_time(name):
    found = examine(load_note(name))
    assert (found.delay, found.polarity, found.clear, found.warnings) == (1, 1, True, [])
    assert found.clean.starts_s == pytest.approx(0.5, abs=0.01) and found.clean.ends_s < 0.01
    assert found.clean.silent_share == pytest.approx(0.25, abs=0.01)


def test_what_repeats_itself_has_no_clear_delay():
    clean = 0.5 * np.sin(2 * np.pi * 220.5 * np.arange(44100) / 44100)  # 200 samples a period
    found = examine(Pair(clean, np.tanh(5 * clean), 44100))
    assert not found.clear and found.rival_share > 0.99 and found.rival in (-100, 100)  # upside down half a period away
    [warning] = found.warnings
    assert warning.startswith("the delay is not clear: 0 samples (0.00 ms) late and 100 samples (2.27 ms)")
    assert "the distorted sound is not clear" in str(found)
    with pytest.raises(ValueError, match=r"can't align: the delay is not clear"):
        align(Pair(clean, np.tanh(5 * clean), 44100))


def test_the_rival_is_the_best_match_elsewhere(rng):
    """A target that holds the input twice, at 7 samples and at 90: the louder is the delay, the other one its rival."""
    clean = playing(rng)
    late = [np.concatenate([np.zeros(delay), clean[: len(clean) - delay]]) for delay in (7, 90)]
    for first, second in ((1.0, 0.5), (0.5, 1.0), (1.0, -0.5)):
        found = examine(Pair(clean, first * late[0] + second * late[1], 44100))
        expected = (7, 90) if abs(first) > abs(second) else (90, 7)
        assert (found.delay, found.rival) == expected
        assert found.rival_share == pytest.approx(0.5, abs=0.05)
    assert examine(Pair(clean, clean, 44100)).likeness == pytest.approx(1)
    assert examine(Pair(clean, late[0] + late[1], 44100)).likeness == pytest.approx(0.5**0.5, abs=0.02)


def test_two_sounds_that_do_not_belong_together(rng):
    found = examine(Pair(playing(rng), playing(rng), 44100))
    assert not found.alike and not found.clear and found.likeness < 0.1
    assert [line for line in found.warnings if "little in common" in line]
    found = examine(Pair(load_note("A2").clean, load_note("D3").distorted, 44100))
    assert not found.clear


@pytest.mark.parametrize("parts_per_million", [-100, 100])
def test_two_clocks_that_run_apart(rng, parts_per_million):
    clean = playing(rng, 200000)
    there = np.arange(200000)
    found = examine(Pair(clean, np.interp(there * (1 + 1e-6 * parts_per_million), there, clean), 44100))
    expected = -1e-6 * parts_per_million * 200000 * 2 / 3  # from the middle of the first third to the middle of the last
    assert found.drift == pytest.approx(expected, abs=2)
    assert [line for line in found.warnings if f"the delay changes by {found.drift} samples" in line]


def test_a_long_recording_is_heard_in_three_places(rng):
    """100 s at 100 Hz: of each third, the middle 20 s count for the delay, and nothing else."""
    clean = playing(rng, 10000)
    distorted = np.concatenate([np.zeros(4), clean[:-4]])
    elsewhere = np.ones(10000, bool)
    for third in range(3):
        elsewhere[3333 * third + 666 : 3333 * third + 2666] = False
    distorted[elsewhere] = playing(rng, 10000)[elsewhere] * 5
    found = examine(Pair(clean, distorted, 100))
    assert (found.samples, found.delay, found.polarity, found.drift, found.clear) == (10000, 4, 1, 0, True)
    assert found.likeness == pytest.approx(1, abs=0.03)
    assert examine(Pair(clean, distorted, 200)).likeness < 0.8
    distorted[0] = np.nan  # but not everything is allowed there
    with pytest.raises(ValueError, match="holds NaN"):
        examine(Pair(clean, distorted, 100))


def test_a_delay_that_jumps_about_is_no_drift(rng):
    """The three thirds late by 5, 20 and 10; by 5, 10 and 20; and by 5, 10 and 20 with the last one upside down."""
    clean = playing(rng)
    for delays, last, drift in (((5, 20, 10), 1, 0), ((5, 10, 20), 1, 15), ((5, 10, 20), -1, 0)):
        distorted = np.concatenate([clean[10000 * k - delay :][:10000] for k, delay in enumerate(delays)][1:])
        distorted = np.concatenate([np.zeros(5), clean[:9995], distorted])
        distorted[20000:] *= last
        assert examine(Pair(clean, distorted, 44100)).drift == drift


@pytest.mark.parametrize("late", [-17, 0, 5])
@pytest.mark.parametrize("delay", [0, 3, 12])
def test_align(rng, late, delay):
    clean = playing(rng)
    x, y = shifted(clean, -np.tanh(5 * clean), late)
    pair = align(Pair(x, y, 44100), delay)
    assert lag(pair.clean, pair.distorted) == (delay, -1)
    assert len(pair.clean) == len(pair.distorted) == len(x) - abs(delay - late)
    np.testing.assert_array_equal(pair.distorted[delay:], -np.tanh(5 * pair.clean[: len(pair.clean) - delay]))
    assert pair.sample_rate_hz == 44100
    begins = int(np.flatnonzero(x == pair.clean[0])[0])  # nothing is cut but one end
    assert begins in (0, abs(delay - late)) and np.array_equal(pair.clean, x[begins : begins + len(pair.clean)])


def test_align_refuses(rng):
    clean = playing(rng, 500)
    for wrong in (-1, 500, 501):
        with pytest.raises(ValueError, match=rf"delay={wrong}: expected 0 or more"):
            align(Pair(clean, clean, 44100), wrong)
    assert examine(align(Pair(clean, clean, 44100))).delay == 3


def test_clipping_is_counted(rng):
    clean = playing(rng)
    limit = 0.5 * np.max(np.abs(clean))
    runs = [list(run) for over, run in itertools.groupby(clean, lambda sample: sample > limit) if over]
    long = sum(len(run) for run in runs if len(run) >= 3)  # counted by hand: what lies over the limit in threes or more
    assert long > 100
    found = examine(Pair(np.minimum(clean, limit), clean, 44100))
    assert (found.clean.clipped, found.distorted.clipped) == (long, 0)
    assert found.warnings == [f"the clean sound clips, in {long} samples: record it again at a lower level"]
    assert f"clipped samples {long}" in str(found)
    upside_down = examine(Pair(np.maximum(-clean, -limit), clean, 44100))
    assert upside_down.clean.clipped == long


def test_a_pedal_may_be_flat_but_not_at_full_scale(rng):
    clean = playing(rng)
    for limit, warnings in ((0.5, 0), (1, 1)):
        found = examine(Pair(clean, np.clip(9 * clean, -limit, limit), 44100))
        assert found.distorted.clipped > 1000 and len(found.warnings) == warnings
        assert all(line.startswith("the distorted sound clips, in ") for line in found.warnings)


@pytest.mark.parametrize("bits", [8, 16, 24])
@pytest.mark.parametrize("peak", [0.05, 0.3, 0.9])
def test_the_round_top_of_a_low_note_is_not_clipped(bits, peak):
    """Within a step of the converter it is flat, for three samples and more."""
    time_s = np.arange(44100) / 44100
    tone = peak * np.sin(2 * np.pi * 82.4 * time_s) * np.exp(-0.1 * time_s)
    steps = 2.0 ** (bits - 1)
    level = recordings._level(np.round(tone * steps) / steps, 44100)
    assert level.clipped == 0
    cut = recordings._level(np.round(np.clip(tone, -0.5 * peak, 9) * steps) / steps, 44100)
    if bits > 8 and peak > 0.1:  # else the edge of the flat part is no larger than some steps
        assert cut.clipped > 5000


def test_constants_are_reported(rng):
    clean = playing(rng)
    level = rms(clean - np.mean(clean))
    for share, warned in ((0.02, False), (-0.2, True)):
        found = examine(Pair(clean, clean - np.mean(clean) + share * level, 44100))
        assert found.distorted.constant == pytest.approx(share * level)
        said = [line for line in found.warnings if "the distorted sound has a constant of 20% of its RMS" in line]
        assert bool(said) == warned


def test_silence_is_measured(rng):
    loud = playing(rng, 44100)
    loud[[0, -1]] = 0.1
    still = np.concatenate([np.zeros(22050), loud, np.zeros(11025), loud, np.zeros(33075)])
    noisy = still + 1e-5 * rng.normal(size=len(still))  # no recording is digitally silent
    found = examine(Pair(noisy, still, 44100))
    for level in (found.clean, found.distorted):
        assert level.starts_s == pytest.approx(0.5, abs=1e-4) and level.ends_s == pytest.approx(0.75, abs=1e-4)
        assert level.silent_share == pytest.approx(66150 / len(still), abs=0.01)
    assert "silent 43% (first 0.50 s, last 0.75 s)" in str(found)
    assert sum("is silent for 43% of its time" in line for line in found.warnings) == 2
    assert found.clean.dropouts == 0 and found.distorted.dropouts == 1  # the pause in the middle, of exact zeros


def test_dropouts_are_counted(rng):
    clean = playing(rng)
    holed, faded = clean.copy(), clean.copy()
    holed[5000:5064] = holed[20000:20032] = 0
    holed[25000:25031] = 0  # one less than counts
    faded[12000:14000] *= np.concatenate([np.linspace(1, 0, 200) ** 9, np.zeros(1600), np.linspace(0, 1, 200) ** 9])
    found = examine(Pair(holed, faded, 44100))
    assert (found.clean.dropouts, found.distorted.dropouts) == (2, 0)
    assert [line for line in found.warnings if line.startswith("the clean sound has 2 holes, where it jumps to exact zeros")]
    one_hole = np.where(np.arange(30000) // 64 == 99, 0, clean)
    assert "the distorted sound has a hole" in str(examine(Pair(clean, one_hole, 44100)))


def test_faint_sounds(rng):
    clean = playing(rng)
    factor = 0.029 / np.max(np.abs(clean))
    found = examine(Pair(factor * clean, clean, 44100))
    assert found.warnings == ["the clean sound is faint, its peak is 0.0290 of full scale: record it again at a higher level"]
    assert found.clean.peak == pytest.approx(0.029) and found.clean.rms == pytest.approx(factor * rms(clean))


def test_what_can_not_be_examined(rng):
    clean = playing(rng, 200)
    for wrong in (np.zeros(200), np.full(200, 0.3), np.full(200, np.nan), np.where(np.arange(200) == 9, np.inf, clean)):
        for pair in (Pair(clean, wrong, 44100), Pair(wrong, clean, 44100)):
            with pytest.raises(ValueError, match=r"silent, constant or holds NaN"):
                examine(pair)
    with pytest.raises(ValueError, match=r"clean has 200 samples, distorted 199: expected the same number, 100 or more"):
        examine(Pair(clean, clean[:199], 44100))
    with pytest.raises(ValueError, match=r"clean has 99 samples, distorted 99: expected the same number, 100 or more"):
        examine(Pair(clean[:99], clean[:99], 44100))
