import numpy as np
import pytest

from fuzznet import recordings
from fuzznet.recordings import (
    best_scalar,
    load_note,
    random_split,
    remove_silence,
    rms,
    split_into_clips,
    standardize,
)

pytestmark = pytest.mark.usefixtures("library")


@pytest.mark.parametrize("name", recordings.NOTES)
def test_bundled_note(name):
    clean, distorted, sample_rate_hz = load_note(name)
    assert clean.shape == distorted.shape == (88200,) and sample_rate_hz == 44100
    assert not np.any(clean[:22050]) and np.max(np.abs(distorted[:22050])) < 1e-3  # half a second of silence
    assert 0.05 < np.max(np.abs(clean)) < 1 and 0.1 < np.max(np.abs(distorted)) < 1
    midi = {"E2": 40, "A2": 45, "D3": 50, "G3": 55, "B3": 59, "E4": 64, "A4": 69, "E5": 76}[name]
    expected_hz = 440 * 2 ** ((midi - 69) / 12)
    spectrum = np.abs(np.fft.rfft(clean[30000:] * np.hanning(58200), 2**20))
    near = np.abs(np.fft.rfftfreq(2**20, 1 / 44100) - expected_hz) < 0.03 * expected_hz
    heard_hz = np.fft.rfftfreq(2**20, 1 / 44100)[near][np.argmax(spectrum[near])]
    assert abs(1200 * np.log2(heard_hz / expected_hz)) < 2  # cents


def test_unknown_note():
    with pytest.raises(ValueError, match="no bundled note 'H2': choose from E2, A2, D3"):
        load_note("H2")


def test_remove_silence():
    clean = np.array([0.0, 0.001, -0.02, 1.0, 0.0, 0.5])  # the peak is 1: -40 dB is 0.01
    distorted = np.arange(6.0)
    assert [sound.tolist() for sound in remove_silence(clean, distorted)] == [[-0.02, 1, 0, 0.5], [2, 3, 4, 5]]
    assert remove_silence(clean, distorted, threshold_db=-6)[1].tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match="clean is silent"):
        remove_silence(np.zeros(5), np.ones(5))
    with pytest.raises(ValueError, match="clean has 5 samples, distorted 6"):
        remove_silence(np.ones(5), np.ones(6))


def test_split_into_clips():
    assert split_into_clips(np.arange(8.0), 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    for wrong in (0, 9):
        with pytest.raises(ValueError, match=f"clip_length={wrong} for a sound of 8 samples"):
            split_into_clips(np.arange(8.0), wrong)


@pytest.mark.equation(20)
def test_rms_and_standardize(rng):
    assert rms(np.array([[3.0, 4.0, 0.0, 0.0], [1.0, -1.0, 1.0, -1.0]])).tolist() == [2.5, 1]
    x = rng.normal(size=(3, 40)) * [[1], [10], [0.01]]
    np.testing.assert_allclose(rms(standardize(x)), np.ones(3))
    np.testing.assert_allclose(standardize(5 * x), standardize(x))
    assert np.corrcoef(standardize(x)[1], x[1])[0, 1] == pytest.approx(1)
    with pytest.raises(ValueError, match="a clip is silent"):
        standardize(np.array([[1.0, 2.0], [0.0, 0.0]]))


def test_best_scalar(rng):
    x, noise = rng.normal(size=(2, 4, 50))
    noise -= x * np.sum(x * noise) / np.sum(x * x)  # at a right angle to x, so that it can't matter
    assert best_scalar(x, 3 * x + noise) == pytest.approx(3)
    with pytest.raises(ValueError, match="x is silent"):
        best_scalar(0 * x, x)
    with pytest.raises(ValueError, match=r"^x has shape \(4, 50\), y \(50,\): expected the same shape$"):
        best_scalar(x, x[0])


def test_random_split_keeps_the_test_apart(rng):
    train, test = random_split(rng, 66)
    assert (len(train), len(test)) == (50, 15)
    assert len(set(train) | set(test)) == 65 and max(*train, *test) <= 65
    assert np.array_equal(random_split(np.random.default_rng(1), 66)[0], random_split(np.random.default_rng(1), 66)[0])
    with pytest.raises(ValueError, match="train=50 and test=15 of 64 clips"):
        random_split(rng, 64)


def test_random_split_draws_every_clip_as_often_and_no_runs(rng):
    splits = [random_split(rng, 9, train=4, test=2) for _ in range(300)]
    for size, part in zip((4, 2), zip(*splits)):
        drawn = np.sort(part, axis=1)
        # of 9 clips, each is drawn with a chance of size / 9; the same holds for a neighbour of one that is drawn
        np.testing.assert_allclose(np.bincount(np.ravel(drawn), minlength=9) / 300, size / 9, atol=0.12)
        assert np.mean(np.diff(drawn) == 1) == pytest.approx(size / 9, abs=0.1)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_sounds_that_are_not_finite(wrong):
    good, bad = np.array([1.0, 2.0, 3.0]), np.array([1.0, wrong, 2.0])
    for call in (
        lambda: remove_silence(bad, good),
        lambda: remove_silence(good, bad),
        lambda: standardize(bad),
        lambda: best_scalar(bad, good),
        lambda: best_scalar(good, bad),
    ):
        with pytest.raises(ValueError, match="NaN or infinity"):
            call()
