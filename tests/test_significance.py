"""The tests of chapter 13, against values worked out by hand and against their own definitions."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fuzznet import significance

BEFORE = np.array([0.25, 0.5, 0.125, 0.375, 0.25])
AFTER = np.array([0.125, 0.25, 0.1875, 0.0, 0.1875])  # better by 1/8, 1/4, -1/16, 3/8, 1/16


def test_permutation_test_tries_all_swaps(rng):
    differences = BEFORE - AFTER
    signs = np.array(list(itertools.product([1, -1], repeat=5)))
    as_good = np.mean(signs @ differences >= np.sum(differences))
    assert significance.permutation_p_value(BEFORE, AFTER, rng) == as_good == 3 / 32  # all signs plus, or either 1/16 minus
    # with 15 clips that all get better, only one of 2^15 ways of swapping does as well
    clips = rng.uniform(0.1, 0.2, size=15)
    assert significance.permutation_p_value(clips + 0.05, clips, rng) == 2**-15


def test_many_clips_are_sampled(rng):
    before = rng.normal(size=40)
    after = before - 0.2 + rng.normal(size=40)
    many = significance.permutation_p_value(before, after, rng)
    # a sum of 40 differences, each with a sign of its own, is nearly normal
    z = np.sum(before - after) / math.sqrt(np.sum((before - after) ** 2))
    assert many == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)), abs=0.004)
    few = significance.permutation_p_value(BEFORE, AFTER, rng, resamples=9)
    assert 10 * few == pytest.approx(round(10 * few))  # 9 ways and the one at hand


def test_signed_rank_by_hand():
    # ranks of |differences|: 1/16 twice (1.5 each), 1/8 (3), 1/4 (4), 3/8 (5); the positive ones sum to 13.5 of 15
    p = significance.signed_rank_p_value(BEFORE, AFTER)
    ranks, signs = np.array([3, 4, 1.5, 5, 1.5]), np.array(list(itertools.product([0, 1], repeat=5)))
    assert p == pytest.approx(np.mean(signs @ ranks >= 13.5))


def test_report_test_is_the_normal_tail():
    z = np.mean(BEFORE - AFTER) / (np.std(BEFORE, ddof=1) / math.sqrt(5))
    assert significance.report_p_value(BEFORE, AFTER) == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)), rel=1e-12)


def test_bootstrap_interval_holds_the_mean_and_shrinks_with_clips(rng):
    widths = []
    for clips in (10, 160):
        before = rng.normal(size=clips)
        after = before - 0.5 + 0.3 * rng.normal(size=clips)
        low, high = significance.bootstrap_interval(before, after, rng)
        assert low < np.mean(before - after) < high
        widths.append(high - low)
    assert 2.5 < widths[0] / widths[1] < 7  # about 4, as the square root of 16


@pytest.mark.parametrize("settings", [{}, {"confidence": 0.9, "resamples": 499}])
def test_bootstrap_interval_is_that_of_the_differences(rng, settings):
    before = rng.exponential(size=15)
    after = before * rng.uniform(0.2, 1.1, size=15)  # skewed, so that the correction of the bias shows
    found = significance.bootstrap_interval(before, after, np.random.default_rng(1), **settings)
    options = {"confidence_level": settings.get("confidence", 0.95), "n_resamples": settings.get("resamples", 9999)}
    expected = stats.bootstrap((before - after,), np.mean, method="BCa", rng=np.random.default_rng(1), **options)
    assert found == pytest.approx(expected.confidence_interval, rel=1e-9)


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says(rng):
    held = 0
    for _ in range(200):
        before = rng.normal(size=30)
        after = before - 0.5 + 0.3 * rng.normal(size=30)
        low, high = significance.bootstrap_interval(before, after, rng, confidence=0.9, resamples=499)
        held += low < 0.5 < high
    assert 0.82 < held / 200 < 0.97


@pytest.mark.parametrize(
    "before, after, message",
    [
        (np.ones(3), np.ones(4), "expected the same"),
        (np.ones(1), np.zeros(1), "B at least 2"),
        (np.ones(3), np.array([1.0, np.nan, 0.0]), "NaN"),
        (np.ones(3), np.ones(3), "nothing to test"),
    ],
)
def test_bad_pairs_are_refused(before, after, message, rng):
    for test in (
        significance.report_p_value,
        significance.signed_rank_p_value,
        lambda b, a: significance.permutation_p_value(b, a, rng),
        lambda b, a: significance.bootstrap_interval(b, a, rng),
    ):
        with pytest.raises(ValueError, match=message):
            test(before, after)
