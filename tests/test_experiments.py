import numpy as np
import pytest

import fuzznet
from fuzznet import experiments
from fuzznet.gradients import backpropagate
from fuzznet.optimizers import Adam
from fuzznet.recordings import Pair, load_note, rms
from fuzznet.signals import sawtooth, sine, square, time_axis

MENDED = {"bias": "kernel", "gradient": backpropagate, "frozen": (), "optimizer": Adam, "learning_rate": 0.02}


def test_prepared_clips():
    clips = experiments.prepare_clips(load_note("D3"), np.random.default_rng(0))
    assert clips.x.shape == clips.y.shape == (50, 1000) and clips.x_test.shape == clips.y_test.shape == (15, 1000)
    np.testing.assert_allclose(rms(clips.y), 1)
    scalar = np.sum(clips.x * clips.y) / np.sum(clips.x**2)
    assert scalar == pytest.approx(1)  # the clean clips are scaled to fit best already
    joined = np.concatenate([clips.x, clips.x_test])
    assert len(np.unique(joined[:, 0])) == 65  # no clip is in both


def test_table_2_by_the_reports_protocol():
    found = [experiments.single_note(seed=seed) for seed in range(20)]
    given, raw, processed = (
        np.array([np.mean(getattr(one, name)) for one in found]) for name in ("esr_input", "esr_output", "esr_processed")
    )
    assert np.mean(raw) > np.mean(given)
    assert np.sum(processed < given) >= 18
    assert 0.15 < np.mean(given) < 0.25
    first = found[0]
    assert first.parameters.biases.shape == (8, 10, 1000) and len(first.losses) == 5 * 10
    initial = fuzznet.initialize(_rng_after_split(0), bias="time", clip_length=1000)
    assert np.array_equal(first.parameters.mixing, initial.mixing)  # w_l is frozen
    assert not np.array_equal(first.parameters.kernels, initial.kernels)


def _rng_after_split(seed):
    rng = np.random.default_rng(seed)
    experiments.prepare_clips(load_note("D3"), rng)
    return rng


def test_what_mends_it():
    raw = [np.mean(experiments.single_note(seed=seed, epochs=50, **MENDED).esr_output) for seed in range(3)]
    assert np.mean(raw) <= 0.012
    squares = experiments.single_note(bias="kernel", least_squares=True)
    assert np.mean(squares.esr_output) < 0.06 and squares.losses == []


def test_other_notes_and_settings():
    found = experiments.single_note(load_note("A4"), clip_length=500, layers=3, kernels=4, train_clips=20, test_clips=5, **MENDED)
    assert found.output.shape == found.processed.shape == (5, 500)
    assert found.parameters.kernels.shape == (3, 4, 3)


@pytest.mark.parametrize("shape", ["cosine", "square", "sawtooth"])
def test_proof_of_concept(shape):
    t = time_axis(1000 / 44100)
    target = {"cosine": sine(t + 1 / 882, 220.5), "square": square(t, 220.5), "sawtooth": sawtooth(t, 220.5)}[shape]
    found = experiments.proof_of_concept(3 * sine(t, 220.5), target)
    assert len(found.losses) == 100 and found.parameters.kernels.shape == (9, 6, 3)
    assert rms(found.x) == pytest.approx(1) and rms(found.y) == pytest.approx(1)
    given = fuzznet.esr(output=found.x, target=found.y)
    learned = fuzznet.esr(output=found.output, target=found.y)
    assert learned < found.losses[0] and learned < max(0.45, 0.6 * given)


def test_pedal_on_a_made_recording(rng):
    clean = 0.2 * rng.normal(size=30000)
    late = np.concatenate([[0, 0, 0], clean[:-3]])
    pair = Pair(clean, -0.3 * np.tanh(8 * late), 48000)  # three samples late, and upside down
    found = experiments.pedal(pair, max_seconds=3, clip_length=1024, layers=3, kernels=6, progress=False)
    assert found.esr_input > 0.9
    assert found.esr_output < 0.1
    assert found.target.shape == found.output.shape == (6000,) and found.output.dtype == np.float32
    assert fuzznet.esr(output=found.output, target=found.target) == pytest.approx(found.esr_output)


def test_pedal_refuses_what_it_can_not_learn_from(rng):
    short = Pair(*rng.normal(size=(2, 5000)), 48000)
    with pytest.raises(ValueError, match="the recording has 5000 samples: expected 4606 or more in the first 80%"):
        experiments.pedal(short, progress=False)
    for part in (slice(6400), slice(6400, None)):
        for name in ("clean", "distorted"):
            sounds = dict(zip(("clean", "distorted"), rng.normal(size=(2, 8000))))
            sounds[name][part] = 0
            with pytest.raises(ValueError, match=f"the {name} sound is silent in the first 80% or after it"):
                experiments.pedal(Pair(**sounds, sample_rate_hz=48000), progress=False)
    quiet = Pair(*rng.normal(size=(2, 8000)), 48000)
    with pytest.raises(ValueError, match="lower quietest"):
        experiments.pedal(quiet, quietest=50, progress=False)
