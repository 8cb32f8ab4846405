"""Is the output really closer to the target than the input? Thin, on SciPy (chapter 13).

before, after: the errors of the same clips, (B,), before and after; each test asks whether `after` is smaller.
"""

import math

import numpy as np
from scipy import stats

from fuzznet.arrays import to_numpy


def report_p_value(before, after):
    """The report's p-value, which it calls a permutation test: a normal tail that takes its width from `before` alone.

    p = Phi(-(mean of before - mean of after) / (sd of before / sqrt(B)))

    Returns: a single number. Raises ValueError as `check_pairs` does. Source: section IV.2.1 of the report.
    """
    before, after = check_pairs(before, after)
    return float(stats.norm.sf(np.mean(before - after) / (np.std(before, ddof=1) / math.sqrt(len(before)))))


def permutation_p_value(before, after, rng, resamples=99_999):
    """Paired permutation test of the mean: how often would swapping before and after at random, clip by clip, do as well?

    All 2^B ways of swapping are tried where they are no more than `resamples`, and a random sample of them otherwise.

    rng: a numpy.random.Generator. Returns: a single number. Raises ValueError as `check_pairs` does.
    """
    before, after = check_pairs(before, after)
    options = {"permutation_type": "samples", "alternative": "greater", "n_resamples": resamples, "rng": rng}
    return float(stats.permutation_test((before, after), _mean_difference, vectorized=True, **options).pvalue)


def signed_rank_p_value(before, after):
    """Wilcoxon's signed-rank test, which uses the order of the differences and not their size.

    Returns: a single number. Raises ValueError as `check_pairs` does.
    """
    return float(stats.wilcoxon(*check_pairs(before, after), alternative="greater").pvalue)


def bootstrap_interval(before, after, rng, confidence=0.95, resamples=9999):
    """Confidence interval of the mean of before - after: bootstrap over clips, bias-corrected and accelerated.

    rng: a numpy.random.Generator. Returns: low and high end. Raises ValueError as `check_pairs` does.
    """
    options = {"paired": True, "confidence_level": confidence, "n_resamples": resamples, "rng": rng}
    found = stats.bootstrap(check_pairs(before, after), _mean_difference, vectorized=True, **options).confidence_interval
    return float(found.low), float(found.high)


def _mean_difference(before, after, axis):
    return np.mean(before - after, axis=axis)


def check_pairs(before, after):
    """Both as NumPy arrays. Raises ValueError unless they are finite, pair off, (B,) with B from 2, and differ somewhere."""
    before, after = np.asarray(to_numpy(before), dtype=float), np.asarray(to_numpy(after), dtype=float)
    if before.shape != after.shape or before.ndim != 1 or len(before) < 2:
        raise ValueError(f"before has shape {before.shape}, after {after.shape}: expected the same (B,), B at least 2")
    if not np.all(np.isfinite(before - after)) or np.all(before == after):
        raise ValueError("before and after hold NaN or infinity, or are the same everywhere: there is nothing to test")
    return before, after
