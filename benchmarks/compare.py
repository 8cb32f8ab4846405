"""What the benchmarks share: a log, and the comparison of everybody's numbers that comes before any timing."""

import sys
import time

import numpy as np

import fuzznet

TOLERANCE = 1e-5


def log(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def worst(*errors):
    """The largest of them, and NaN where one is: Python's max would pass over it."""
    return float(np.max(errors))


def difference(found, expected):
    """Largest difference of an array, or of any array of gradients, relative to its largest value."""
    if isinstance(expected, fuzznet.Parameters):
        return worst(*(difference(getattr(found, name), getattr(expected, name)) for name in expected.NAMES))
    return float(np.max(np.abs(np.asarray(found) - expected)) / np.max(np.abs(expected)))


def refuse(errors, tolerance=TOLERANCE):
    """Exit with 1 where an error, {contestant: error}, is above the tolerance or no number."""
    wrong = {name: error for name, error in errors.items() if not error <= tolerance}
    if wrong:
        sys.exit(f"parity fails, so nothing more is timed: {wrong} above {tolerance}")
