import numpy as np
import pytest

from fuzznet.postprocessing import keep_lowest_frequencies, match_mean

pytestmark = pytest.mark.usefixtures("library")


def test_match_mean():
    output, reference = np.array([[1.0, 3.0], [5.0, 5.0]]), np.array([[0.0, 1.0], [-1.0, -3.0]])
    assert match_mean(output, reference).tolist() == [[-0.5, 1.5], [-2, -2]]
    with pytest.raises(ValueError, match=r"reference \(2, 3\): expected the same shape"):
        match_mean(output, np.ones((2, 3)))


def test_keep_lowest_frequencies_bin_by_bin():
    t = np.arange(1000) / 1000
    for frequency in (0, 1, 99, 100, 101, 500):
        tone = np.cos(2 * np.pi * frequency * t)
        expected = tone if frequency < 100 else np.zeros(1000)  # 100 bins: 0 to 99
        np.testing.assert_allclose(keep_lowest_frequencies(tone), expected, atol=1e-12)


def test_keeping_all_bins_changes_nothing(rng):
    for samples in (30, 31):
        x = rng.normal(size=(2, samples))
        np.testing.assert_allclose(keep_lowest_frequencies(x, samples // 2 + 1), x)
    for clips in (x, x[0]):
        for wrong in (0, 17):
            with pytest.raises(ValueError, match=f"^count={wrong}: expected from 1 to 16, the bins of a clip of 31 samples$"):
                keep_lowest_frequencies(clips, wrong)
    np.testing.assert_allclose(keep_lowest_frequencies(x, 1), np.mean(x, axis=1, keepdims=True) * np.ones(31))
