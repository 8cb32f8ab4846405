"""Hyperparameter search on any executor of `concurrent.futures` (chapter 15)."""

import itertools
from concurrent.futures import as_completed

from fuzznet.training import progress_bar


def grid(**choices):
    """Every combination of the choices, as a list of settings: grid(a=[1, 2], b=[3]) is [{a: 1, b: 3}, {a: 2, b: 3}]."""
    return [dict(zip(choices, values)) for values in itertools.product(*choices.values())]


def sweep(trial, settings, executor=None, progress=True):
    """Run trial(**s) for each s in settings.

    trial: a function; for an executor of processes, one that they can import; settings: a list of dicts;
    executor: where the trials run, such as a concurrent.futures.ProcessPoolExecutor; one after another, here, if None.
    Returns: the results, in the order of settings. Raises whatever a trial raises, and cancels the trials not yet begun.
    """
    bar = {"total": len(settings), "desc": "trials", "disable": not progress}
    if executor is None:
        return [trial(**s) for s in progress_bar(settings, **bar)]
    futures = [executor.submit(trial, **s) for s in settings]
    try:
        for done in progress_bar(as_completed(futures), **bar):
            done.result()
    finally:
        for future in futures:
            future.cancel()
    return [future.result() for future in futures]
