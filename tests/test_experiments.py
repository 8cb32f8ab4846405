import itertools

import numpy as np
import pytest

import fuzznet
from fuzznet import experiments
from fuzznet.gradients import backpropagate
from fuzznet.optimizers import Adam
from fuzznet.postprocessing import keep_lowest_frequencies, match_mean
from fuzznet.recordings import Pair, load_note, rms
from fuzznet.signals import sawtooth, sine, square, time_axis

# The two long experiments run on NumPy alone: they call what the others call, a hundred times as often.
each_library = pytest.mark.usefixtures("library")

MENDED = {"bias": "kernel", "gradient": backpropagate, "frozen": (), "optimizer": Adam, "learning_rate": 0.02}


@pytest.fixture
def given(monkeypatch):
    """What an experiment hands to `train`, which is cut short."""
    found, real_train = {}, experiments.train

    def watch(parameters, x, y, **settings):
        found.clear()
        found.update(settings, x=x, y=y)
        return real_train(parameters, x, y, **{**settings, "max_seconds": 0.01, "progress": False})

    monkeypatch.setattr(experiments, "train", watch)
    return found


@each_library
def test_prepared_clips():
    clips = experiments.prepare_clips(load_note("D3"), np.random.default_rng(0))
    assert clips.x.shape == clips.y.shape == (50, 1000) and clips.x_test.shape == clips.y_test.shape == (15, 1000)
    np.testing.assert_allclose(rms(clips.y), 1)
    scalar = np.sum(clips.x * clips.y) / np.sum(clips.x**2)
    assert scalar == pytest.approx(1)  # the clean clips are scaled to fit best already
    np.testing.assert_allclose(rms(clips.x_test), rms(clips.x)[0], rtol=1e-12)  # and those of the test by the same number
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


@each_library
def test_other_notes_and_settings():
    settings = {"clip_length": 500, "layers": 3, "kernels": 4, "train_clips": 20, "test_clips": 5, "batch_size": 3, "bins": 9}
    found = experiments.single_note(load_note("A4"), **settings, **MENDED)
    assert found.output.shape == found.processed.shape == (5, 500)
    assert found.parameters.kernels.shape == (3, 4, 3)
    assert len(found.losses) == 5 * 7  # twenty clips in batches of three
    processed = keep_lowest_frequencies(match_mean(found.output, found.clips.x_test), 9)
    assert np.array_equal(found.processed, processed)
    np.testing.assert_allclose(found.output, fuzznet.forward(found.parameters, found.clips.x_test)[0])
    other = experiments.single_note(load_note("A4"), seed=1, **settings, **MENDED)
    assert not np.array_equal(found.clips.x_test, other.clips.x_test)
    with pytest.raises(ValueError, match="count=252: expected from 1 to 251"):
        experiments.single_note(load_note("A4"), **{**settings, "bins": 252})


@each_library
@pytest.mark.parametrize("silent", ["clean", "distorted"])
def test_silent_clips_are_left_out(silent):
    pair = load_note("D3")
    getattr(pair, silent)[40000:41500] = 0  # at least one clip of 500 lies in here
    found = experiments.prepare_clips(pair, np.random.default_rng(0), clip_length=500)
    np.testing.assert_allclose(rms(found.y), 1)


@each_library
@pytest.mark.parametrize("name", ["single_note", "proof_of_concept"])
def test_what_the_training_is_given(given, rng, name):
    experiment, sounds = getattr(experiments, name), [] if name == "single_note" else rng.normal(size=(2, 41))
    experiment(*sounds)  # as Table I of the report has it
    expected = {"single_note": ((50, 1000), 5, 5, 0.05), "proof_of_concept": ((1, 41), 1, 100, 0.1)}[name]
    assert (given["x"].shape, given["batch_size"], given["epochs"], given["optimizer"].learning_rate) == expected
    assert given["gradient"].__name__ == "local_gradients" and given["frozen"] == ("mixing",) and not given["progress"]
    experiment(*sounds, gradient=backpropagate, frozen=(), optimizer=Adam, learning_rate=0.02, epochs=2, progress=True)
    assert given["gradient"].__name__ == "backpropagate" and given["frozen"] == () and given["progress"]
    assert isinstance(given["optimizer"], Adam) and given["optimizer"].learning_rate == 0.02 and given["epochs"] == 2


@each_library
@pytest.mark.parametrize("shape", ["cosine", "square", "sawtooth"])
def test_proof_of_concept(shape):
    t = time_axis(1000 / 44100)
    target = {"cosine": sine(t + 1 / 882, 220.5), "square": square(t, 220.5), "sawtooth": sawtooth(t, 220.5)}[shape]
    found = experiments.proof_of_concept(3 * sine(t, 220.5), target)
    assert found.losses == pytest.approx(experiments.proof_of_concept(found.x, found.y, learning_rate=0.1).losses)
    assert len(found.losses) == 100 and found.parameters.kernels.shape == (9, 6, 3)
    assert rms(found.x) == pytest.approx(1) and rms(found.y) == pytest.approx(1)
    given = fuzznet.esr(output=found.x, target=found.y)
    learned = fuzznet.esr(output=found.output, target=found.y)
    assert learned < found.losses[0] and learned < max(0.45, 0.6 * given)


@each_library
def test_pedal_on_a_made_recording(rng, monkeypatch):
    train = experiments.train  # so many steps, however fast the machine
    steps = {"epochs": 15, "max_seconds": np.inf}
    monkeypatch.setattr(experiments, "train", lambda *clips, **settings: train(*clips, **{**settings, **steps}))
    clean = 0.2 * rng.normal(size=30000)
    late = np.concatenate([[0, 0, 0], clean[:-3]])
    pair = Pair(clean, -0.3 * np.tanh(8 * late), 48000)  # three samples late, and upside down
    found = experiments.pedal(pair, clip_length=1024, layers=3, kernels=6, progress=False)
    x, y = clean / rms(clean[:24000]), pair.distorted / rms(pair.distorted[:24000])
    scaled = x[24000:] * np.sum(x[:24000] * y[:24000]) / np.sum(x[:24000] ** 2)
    assert found.esr_input == pytest.approx(fuzznet.esr(output=scaled, target=y[24000:]), rel=1e-4)
    whole = fuzznet.forward(found.parameters, x.astype(np.float32))[0]
    np.testing.assert_allclose(found.output, whole[24000:], atol=1e-4)  # it heard what came before the cut
    assert found.esr_output < 0.5 * found.esr_input
    assert found.target.shape == found.output.shape == (6000,) and found.output.dtype == np.float32
    assert fuzznet.esr(output=found.output, target=found.target) == pytest.approx(found.esr_output)
    assert (found.x_level, found.y_level) == pytest.approx((rms(clean[:24000]), rms(pair.distorted[:24000])))
    played = found.y_level * fuzznet.forward(found.parameters, (clean / found.x_level).astype(np.float32))[0]
    heard = {"output": played[24000:].astype(float), "target": pair.distorted[24000:]}  # as the two levels are meant
    assert fuzznet.esr(**heard) == pytest.approx(found.esr_output, rel=1e-3)
    assert found.sample_rate_hz == 48000 and found.segments.edges_s.tolist() == [0.5, 0.625]
    steps["epochs"] = 1
    halves = experiments.pedal(pair, clip_length=1024, layers=3, segment_s=0.0625, progress=False)
    assert halves.segments.edges_s.tolist() == [0.5, 0.5625, 0.625]


@pytest.mark.parametrize(
    ("samples", "rate_hz", "segment_s", "count"), [(1000, 1000, 0.3, 3), (7, 1000, 0.25, 1), (7, 1, 0.1, 7)]
)
def test_segments_share_out_the_whole_error(rng, samples, rate_hz, segment_s, count):
    target, error = rng.normal(size=(2, samples))
    judged = {"output": target - error, "target": target, "sample_rate_hz": rate_hz}
    edges_s, ratio, share = experiments.judge_segments(**judged, start_s=2, segment_s=segment_s)
    assert len(edges_s) == count + 1 and len(ratio) == len(share) == count
    edges = np.rint((edges_s - 2) * rate_hz).astype(int)
    assert edges[0] == 0 and edges[-1] == samples and np.max(np.diff(edges)) - np.min(np.diff(edges)) <= 1
    for k, (start, stop) in enumerate(itertools.pairwise(edges)):
        part = slice(start, stop)
        assert ratio[k] == pytest.approx(fuzznet.esr(output=judged["output"][part], target=target[part]))
        assert share[k] == pytest.approx(np.sum(error[part] ** 2) / np.sum(error**2))


def test_segments_of_silence_and_of_a_perfect_output():
    target = np.array([1.0, 1, 0, 0, 2, 2])
    for output, ratio, share in (
        (target, [0, 0, 0], [0, 0, 0]),
        (target + np.array([0, 0, 0.1, 0, 0, 0]), [0, np.inf, 0], [0, 1, 0]),  # a whisper beside nothing
        (target + np.array([1, 0, 0, 0, 0, 1]), [0.5, 0, 0.125], [0.5, 0, 0.5]),
    ):
        found = experiments.judge_segments(output=output, target=target, sample_rate_hz=1, segment_s=2)
        assert found.esr.tolist() == pytest.approx(ratio) and found.share.tolist() == pytest.approx(share)
        assert found.edges_s.tolist() == [0, 2, 4, 6]
    for wrong in (0, -1, np.nan):
        with pytest.raises(ValueError, match=f"segment_s={wrong}: expected the same shape, and segments longer than 0"):
            experiments.judge_segments(output=target, target=target, sample_rate_hz=1, segment_s=wrong)
    for length, other in ((6, 5), (0, 0)):
        with pytest.raises(ValueError, match=rf"output has shape \({length},\), target \({other},\)"):
            experiments.judge_segments(output=target[:length], target=target[:other], sample_rate_hz=1)
    assert len(experiments.judge_segments(output=target, target=target, sample_rate_hz=1, segment_s=1e-310).esr) == 6


def test_an_output_that_is_not_finite_is_no_perfect_one():
    target = np.array([1.0, 1, 0, 0, 2, 2])
    output = target + np.array([1, 0, 0, np.nan, 0, 0])
    found = experiments.judge_segments(output=output, target=target, sample_rate_hz=1, segment_s=2)
    assert found.esr[0] == 0.5 and np.isnan(found.esr[1]) and found.esr[2] == 0 and np.isnan(found.share[1])


@each_library
def test_pedal_trains_as_it_says(given, rng):
    clean, distorted = rng.normal(size=(2, 9000))
    distorted[1014:2014] *= 0.01  # the second clip that is judged is too quiet
    distorted[1000:1014] *= 5  # and what is only heard before it does not count
    experiments.pedal(Pair(clean, distorted, 48000), clip_length=1000, layers=3)
    assert given["warm_up"] == 14 and given["batch_size"] == 1 and given["max_seconds"] == 180 and given["progress"]
    assert given["optimizer"].learning_rate <= 0.01 and given["final_learning_rate"] == 0.0005
    assert given["x"].shape == given["y"].shape == (6, 1014)  # seven clips before the cut at 7200, one left out
    np.testing.assert_allclose(given["x"][1], clean[2000:3014] / rms(clean[:7200]), rtol=1e-5)


@each_library
@pytest.mark.parametrize(("clip_length", "clips"), [(3593, 2), (3594, 1)])  # with 14 samples before them, 7200 hold two of 3593
def test_pedal_learns_nothing_from_its_last_part(given, rng, clip_length, clips):
    clean, distorted = rng.normal(size=(2, 9000))
    distorted[7200:] = 100 * clean[7200:]  # before that the two have nothing in common
    found = experiments.pedal(Pair(clean, distorted, 48000), clip_length=clip_length, layers=3, progress=False)
    assert given["y"].shape == (clips, 14 + clip_length) and np.max(np.abs(given["y"])) < 20
    assert found.esr_input > 0.9  # the best scalar for the first part is nearly 0


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
    with pytest.raises(ValueError, match="the distorted sound holds NaN"):
        experiments.pedal(Pair(rng.normal(size=8000), np.full(8000, np.nan), 48000), progress=False)
    with pytest.raises(ValueError, match="clean has 8000 samples, distorted 7000"):
        experiments.pedal(Pair(rng.normal(size=8000), rng.normal(size=7000), 48000), progress=False)
    with pytest.raises(ValueError, match=r"^segment_s=0: expected above 0$"):
        experiments.pedal(Pair(*rng.normal(size=(2, 8000)), 48000), segment_s=0, progress=False)
    quiet = Pair(*rng.normal(size=(2, 8000)), 48000)
    with pytest.raises(ValueError, match="lower quietest"):
        experiments.pedal(quiet, quietest=50, progress=False)
