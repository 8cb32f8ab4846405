"""A search runs every setting once, in any executor, and answers in order."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from fuzznet import experiments, sweep


def processes(count):
    """Fresh processes, as they are on every system; forked ones may lock up beside threads."""
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


def power(base, exponent):
    return base**exponent


def test_grid_is_every_combination():
    assert sweep.grid(a=[1, 2], b=["x", "y"]) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]  # fmt: skip


@pytest.mark.parametrize("make", [lambda: None, lambda: ThreadPoolExecutor(2), lambda: processes(2)])
def test_results_come_in_order(make):
    settings = sweep.grid(base=[2, 3], exponent=[3, 1, 2])
    executor = make()
    assert sweep.sweep(power, settings, executor, progress=False) == [8, 2, 4, 27, 3, 9]
    if executor is not None:
        executor.shutdown()


def test_a_training_gives_the_same_in_another_process():
    settings = sweep.grid(seed=[3], bias=["kernel"], epochs=[1])
    [here] = sweep.sweep(experiments.single_note, settings, progress=False)
    with processes(1) as executor:
        [there] = sweep.sweep(experiments.single_note, settings, executor, progress=False)
    np.testing.assert_allclose(there.esr_output, here.esr_output, rtol=1e-9)


def test_a_failing_trial_is_heard_of_and_ends_the_search():
    begun = []

    def trial(x):
        begun.append(x)
        time.sleep(0.05 if x else 0)
        return 1 / x

    with ThreadPoolExecutor(1) as executor, pytest.raises(ZeroDivisionError):
        sweep.sweep(trial, sweep.grid(x=range(20)), executor, progress=False)
    assert len(begun) < 20
