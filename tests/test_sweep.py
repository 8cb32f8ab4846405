"""A search runs every setting once, wherever it runs, and its table outlives what comes between."""

import contextlib
import errno
import fcntl
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import sweep_trials
from dask_cluster import cluster

from fuzznet import experiments, optimizers, sweep
from fuzznet.sweep import Trial, grid, read_table


def processes(count):
    """Fresh processes, as they are on every system; forked ones may lock up beside threads."""
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


EXECUTORS = {"own": contextlib.nullcontext, "threads": lambda: ThreadPoolExecutor(2), "processes": lambda: processes(2)}
each_executor = pytest.mark.parametrize("make", EXECUTORS.values(), ids=EXECUTORS.keys())


def run(trial, settings, executor=None, table=None):
    return sweep.sweep(trial, settings, executor, table, progress=False)


def run_here(trial, settings, table=None):
    with ThreadPoolExecutor(1) as executor:
        return run(trial, settings, executor, table)


def nobody():
    """An executor that must not be asked."""
    return Executor()


def results(trials):
    return [trial.result for trial in trials]


def test_grid_is_every_combination():
    assert grid(a=[1, 2], b=["x", "y"]) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]  # fmt: skip


@each_executor
def test_results_come_in_order(make):
    settings = grid(base=[2, 3], exponent=[3, 1, 2])
    with make() as executor:
        trials = run(sweep_trials.power, settings, executor)
    assert results(trials) == [8, 2, 4, 27, 3, 9]
    assert [trial.settings for trial in trials] == settings
    assert all(trial.error is None and trial.seconds >= 0 for trial in trials)


@each_executor
def test_no_settings_are_no_trials(make, tmp_path):
    with make() as executor:
        assert run(sweep_trials.power, [], executor) == run(sweep_trials.power, [], executor, tmp_path / "table") == []


def test_equal_settings_are_run_once(tmp_path):
    counted = partial(sweep_trials.counted, tmp_path)
    trials = run_here(counted, [{"k": 1}, {"k": 2}, {"k": np.int64(1)}])
    assert [trial.result["square"] for trial in trials] == [1, 4, 1]
    assert [sweep_trials.runs(tmp_path, k) for k in (1, 2)] == [1, 1]


def test_a_training_gives_the_same_in_another_process():
    settings = grid(seed=[3], bias=["kernel"], epochs=[1])
    [here] = run_here(experiments.single_note, settings)
    [there] = run(experiments.single_note, settings)
    np.testing.assert_allclose(there.result.esr_output, here.result.esr_output, rtol=1e-9)


def test_seconds_are_of_the_trial_alone():
    begun = threading.Event()

    def trial(first):
        if first:
            begun.wait(0.2)
        return first

    slow, quick = run_here(trial, grid(first=[True, False]))
    assert slow.seconds >= 0.2 > quick.seconds


# -- a trial that fails -------------------------------------------------------------------------------------------------

KINDS = {
    "raises": "ValueError: as it was told to",
    "leaves": "SystemExit: 3",
    "missing": "KeyError: 'missing'",
    "fine": None,
}
NOT_KEPT = {
    "nan": "ValueError: Out of range float values are not JSON compliant",
    "set": "TypeError: set has no form in JSON",
    "unpicklable": "TypeError: function has no form in JSON",
}


@each_executor
def test_a_failing_trial_is_recorded_and_the_others_go_on(make, tmp_path):
    with make() as executor:
        for table in (None, tmp_path / "table"):
            trials = run(sweep_trials.awkward, grid(kind=KINDS), executor, table)
            assert [trial.error for trial in trials] == list(KINDS.values())
            assert results(trials) == [None, None, None, 1.5]


@each_executor
def test_results_that_a_table_can_not_hold_are_failures(make, tmp_path):
    with make() as executor:
        trials = run(sweep_trials.awkward, grid(kind=[*NOT_KEPT, "fine"]), executor, tmp_path / "table")
    assert results(trials) == [None, None, None, 1.5]
    for trial, error in zip(trials, NOT_KEPT.values()):
        assert trial.error.startswith(error)


@pytest.mark.parametrize("make", [EXECUTORS["own"], EXECUTORS["processes"]])
def test_a_result_that_can_not_travel_is_a_failure(make):
    with make() as executor:
        failed, fine = run(sweep_trials.awkward, grid(kind=["unpicklable", "set"]), executor)
    assert "pickle" in failed.error and failed.result is None and fine.result == {1}


def test_what_comes_is_what_will_be_read(tmp_path):
    """Tuples are lists in JSON, and NumPy's numbers are Python's: from the first time on."""
    settings = [{"kind": kind} for kind in ("numpy", "array", "tuple")]
    first = run_here(sweep_trials.awkward, settings, tmp_path / "table")
    again = run(sweep_trials.awkward, settings, nobody(), tmp_path / "table")
    assert results(first) == [0.25, [0, 1, 2], [1, 2]] and again == first == read_table(tmp_path / "table")


# -- processes ----------------------------------------------------------------------------------------------------------


def test_a_process_that_dies_takes_no_other_trial_along(tmp_path):
    """Once: its trial is run again. Twice: it is recorded. The others are run once."""
    settings = [{"folder": str(tmp_path), "k": k, "lives": lives} for k, lives in enumerate([0, 1, 2, 0, 9, 0])]
    trials = run(sweep_trials.deadly, settings)
    died = "its process died, twice (exit code -9)"
    assert [(trial.result, trial.error) for trial in trials] == [
        (1, None), (2, None), (None, died), (1, None), (None, died), (1, None),
    ]  # fmt: skip
    assert [sweep_trials.runs(tmp_path, k) for k in range(6)] == [1, 2, 2, 1, 2, 1]


def test_a_process_for_each_core_but_no_more_than_trials(tmp_path, monkeypatch):
    for cores, trials in ((3, 3), (3, 4), (8, 2)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        folder = tmp_path / f"{cores}-{trials}"
        folder.mkdir()
        together = min(cores, trials)
        met = run(sweep_trials.meet, grid(folder=[str(folder)], k=range(trials), others=[together]))
        assert all(trial.error is None for trial in met) and len(set(results(met))) == together


def test_each_process_has_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = dict(os.environ)
    [there] = run(sweep_trials.threads, [{}])
    assert there.result["told"] == "1" and there.result["libraries"] and set(there.result["libraries"]) == {1}
    assert dict(os.environ) == before


def test_what_other_processes_can_not_import_is_told_before_anything_runs(tmp_path):
    def local(x):
        return x

    for trial, settings in ((local, {"x": 1}), (lambda x: x, {"x": 1})):
        for executor in (None, ProcessPoolExecutor(1)):
            with pytest.raises(ValueError, match=r"can't import .*put it into a module, or run it .*ThreadPoolExecutor\(1\)"):
                run(trial, [settings], executor, tmp_path / "table")
    assert not (tmp_path / "table").exists()
    assert results(run_here(local, grid(x=[5]))) == [5]


def script(text, folder, *, as_file):
    """Run a program: from a file, or as a notebook does, without one."""
    path = folder / "program.py"
    path.write_text(text)
    words, given = ([path], None) if as_file else (["-"], text)
    return subprocess.run([sys.executable, *words], input=given, cwd=folder, capture_output=True, text=True, timeout=120)


PROGRAM = """
from fuzznet.sweep import sweep

def double(x):
    return 2 * x

{guard}print([trial.result for trial in sweep(double, [{{"x": 1}}, {{"x": 2}}], progress=False)])
"""


def test_scripts_and_notebooks(tmp_path):
    guarded, bare = (PROGRAM.format(guard=guard) for guard in ('if __name__ == "__main__":\n    ', ""))
    assert script(guarded, tmp_path, as_file=True).stdout == "[2, 4]\n"
    told = script(bare, tmp_path, as_file=True)
    assert told.returncode == 1 and told.stdout == ""
    assert 'could not start: see its message; in a script, call sweep under `if __name__ == "__main__":`' in told.stderr
    told = script(guarded, tmp_path, as_file=False)
    assert told.returncode == 1 and "ValueError: other processes can't import <function double" in told.stderr


def test_an_interrupted_sweep_stops_at_once_and_goes_on_later(tmp_path):
    settings = grid(folder=[str(tmp_path)], k=range(5), leader=[os.getpid()])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(sweep_trials.interrupt, settings, table=tmp_path / "table")
    finally:
        signal.signal(signal.SIGINT, before)
    assert not multiprocessing.active_children()
    ended = {trial.settings["k"] for trial in read_table(tmp_path / "table")}
    assert ended <= {0, 1} and sweep_trials.runs(tmp_path, 4) == 0
    before = [sweep_trials.runs(tmp_path, k) for k in (0, 1)]
    run(sweep_trials.interrupt, settings[:2], table=tmp_path / "table")
    assert [sweep_trials.runs(tmp_path, k) for k in (0, 1)] == [n + (k not in ended) for k, n in enumerate(before)]


# -- executors that break -----------------------------------------------------------------------------------------------


def test_an_executor_that_breaks_down_is_told_and_the_sweep_goes_on_later(tmp_path):
    table, folder = tmp_path / "table", tmp_path / "runs"
    folder.mkdir()
    settings = [{"folder": str(folder), "k": k, "lives": int(k == 2)} for k in range(4)]
    message = r"broke down after 2 of 4 trials \(BrokenProcessPool: .*run the sweep again; with a table, it keeps what has"
    with processes(1) as executor, pytest.raises(RuntimeError, match=message) as caught:
        run(sweep_trials.deadly, settings, executor, table)
    assert isinstance(caught.value.__cause__, BrokenExecutor)
    assert len(read_table(table)) == 2
    with processes(1) as executor:
        trials = run(sweep_trials.deadly, settings, executor, table)
    assert results(trials) == [1, 1, 2, 1] and len(read_table(table)) == 4


def test_an_executor_that_was_shut_down_is_told():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match=r"broke down after 0 of 1 trials \(RuntimeError: cannot schedule"):
        run(sweep_trials.power, [{"base": 2, "exponent": 2}], executor)


def test_trials_that_wait_are_cancelled_when_the_sweep_ends_early(tmp_path, monkeypatch):
    gate, begun = threading.Event(), []

    def trial(k):
        begun.append(k)
        if k == 1:
            gate.wait(60)
        return k

    def bar(outcomes, **_):
        for outcome in outcomes:
            yield outcome
            raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "progress_bar", bar)
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(KeyboardInterrupt):
            run(trial, grid(k=range(9)), executor, tmp_path / "table")
        gate.set()
    assert len(read_table(tmp_path / "table")) == 1 and begun in ([0], [0, 1])


# -- the table ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """A table of three trials, the second of which failed."""
    run_here(reciprocal, grid(x=[2, 0, 4]), tmp_path / "table.jsonl")
    return tmp_path / "table.jsonl"


def reciprocal(x):
    return {"y": 1 / x}


def test_a_table_has_a_line_for_each_trial(table):
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    assert [row.pop("seconds") >= 0 for row in rows] == [True] * 3
    assert rows == [
        {"trial": "reciprocal", "settings": {"x": 2}, "result": {"y": 0.5}, "error": None},
        {"trial": "reciprocal", "settings": {"x": 0}, "result": None, "error": "ZeroDivisionError: division by zero"},
        {"trial": "reciprocal", "settings": {"x": 4}, "result": {"y": 0.25}, "error": None},
    ]
    assert [trial[:3] for trial in read_table(table)] == [tuple(row.values())[1:] for row in rows]
    assert all(isinstance(trial, Trial) for trial in read_table(table))


def test_what_a_table_holds_is_not_run_again(table):
    before = table.read_bytes()
    trials = run(reciprocal, grid(x=[4, 0, 2, 4]), nobody(), str(table))
    assert results(trials) == [{"y": 0.25}, None, {"y": 0.5}, {"y": 0.25}] and table.read_bytes() == before


def test_what_it_does_not_hold_is_added(table):
    before = table.read_bytes()
    assert results(run_here(reciprocal, grid(x=[1, 2, 8]), table)) == [{"y": 1}, {"y": 0.5}, {"y": 0.125}]
    assert table.read_bytes().startswith(before)
    assert [trial.settings["x"] for trial in read_table(table)] == [2, 0, 4, 1, 8]


def test_a_line_that_was_deleted_is_run_again(table):
    lines = table.read_text().splitlines(keepends=True)
    table.write_text(lines[0] + lines[2])
    run_here(reciprocal, grid(x=[2, 0, 4]), table)
    assert [trial.settings["x"] for trial in read_table(table)] == [2, 4, 0]


@pytest.mark.parametrize("cut", [1, 2, 20, "all but a byte", "all"])
def test_a_last_line_that_was_cut_off_is_dropped(table, cut):
    whole = table.read_bytes()
    length = len(whole.splitlines(keepends=True)[-1])
    cut = {"all": length, "all but a byte": length - 1}.get(cut, cut)
    table.write_bytes(whole[:-cut])
    complete = cut == 1  # nothing is missing but the end of the line, as some editors leave it
    assert len(read_table(table)) == 2 + complete
    trials = run_here(reciprocal, grid(x=[2, 0, 4, 8]), table)
    assert results(trials) == [{"y": 0.5}, None, {"y": 0.25}, {"y": 0.125}]
    assert trials == read_table(table) and len(table.read_text().splitlines()) == 4


@pytest.mark.parametrize("damage", ["", "{", '{"settings": {"x": 0}}', "[1]", "\0\0\0", '"x"', "{}"])
def test_a_damaged_line_is_told_and_nothing_is_run_or_lost(table, damage):
    lines = table.read_text().splitlines()
    lines[1] = damage
    table.write_text("\n".join(lines) + "\n")
    before = table.read_bytes()
    message = r"table\.jsonl, line 2, holds no trial: delete the line, and its trial is run again"
    with pytest.raises(ValueError, match=message):
        run(reciprocal, grid(x=[1]), nobody(), table)
    with pytest.raises(ValueError, match=message):
        read_table(table)
    assert table.read_bytes() == before


def test_a_table_of_another_trial_is_refused(table):
    before = table.read_bytes()
    with pytest.raises(ValueError, match=r"table\.jsonl holds trials of reciprocal, not of power: take another table"):
        run(sweep_trials.power, grid(base=[1], exponent=[1]), nobody(), table)
    with pytest.raises(ValueError, match=r"can't name functools.partial.*give a function, and what it takes as settings"):
        run(partial(reciprocal, x=3), [{}], nobody(), table)
    assert table.read_bytes() == before


def test_a_table_serves_one_sweep_at_a_time(table):
    begun, gate = threading.Event(), threading.Event()

    def reciprocal(x):
        begun.set()
        gate.wait(60)
        return x

    reciprocal.__qualname__ = "reciprocal"
    with ThreadPoolExecutor(1) as outer:
        first = outer.submit(run_here, reciprocal, grid(x=[5]), table)
        assert begun.wait(60)
        with pytest.raises(ValueError, match=r"table\.jsonl is in use by another sweep, or by a process that one left behind"):
            run(reciprocal, grid(x=[6]), nobody(), table)
        assert len(read_table(table)) == 3
        gate.set()
        first.result()
    assert results(run_here(reciprocal, grid(x=[6]), table)) == [6] and len(read_table(table)) == 5


def test_a_table_where_nothing_can_be_locked(table, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert results(run_here(reciprocal, grid(x=[8]), table)) == [{"y": 0.125}] and len(read_table(table)) == 4


def test_a_table_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        read_table("nowhere/table")
    with pytest.raises(FileNotFoundError):
        run(reciprocal, grid(x=[1]), nobody(), "nowhere/table")


@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_table_that_can_not_grow_stays_whole(table, room):
    before, limits = table.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*table\.jsonl is whole up to here; run the sweep again to go on"):
            run_here(reciprocal, grid(x=[2, 8]), table)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert table.read_bytes() == before
    assert results(run_here(reciprocal, grid(x=[2, 8]), table)) == [{"y": 0.5}, {"y": 0.125}]


# -- settings -----------------------------------------------------------------------------------------------------------


def test_settings_are_known_by_their_names_and_numbers(tmp_path):
    settings = {"optimizer": optimizers.Adam, "rate": np.float64(0.5), "layers": np.int64(3), "more": (1, "x", None)}

    def trial(optimizer, rate, layers, more):
        return optimizer(rate).learning_rate * layers

    [found] = run_here(trial, [settings], tmp_path / "table")
    assert found.result == 1.5 and found.settings is settings
    [row] = read_table(tmp_path / "table")
    assert row.settings == {"optimizer": "fuzznet.optimizers.Adam", "rate": 0.5, "layers": 3, "more": [1, "x", None]}
    [again] = run(trial, [dict(reversed(settings.items()))], nobody(), tmp_path / "table")
    assert again.result == 1.5


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.arange(3), "ndarray has no form in JSON"),
        (object(), "object has no form in JSON"),
        (float("nan"), "Out of range float values"),
        (1j, "complex has no form in JSON"),
        (np.complex128(1j), "complex has no form in JSON"),
        (b"x", "bytes has no form in JSON"),
        (lambda: 0, r".*<lambda> has no name of its own: put it into a module"),
        (partial(max), "partial has no form in JSON"),
    ],
)
def test_settings_that_json_lacks_are_told_before_anything_runs(tmp_path, wrong, words):
    for table in (None, tmp_path / "table"):
        with pytest.raises(ValueError, match=f"settings .*: {words}.*; expected a dict of finite numbers, texts, functions"):
            run(reciprocal, [{"x": 1}, {"x": wrong}], nobody(), table)
    assert not (tmp_path / "table").exists()


def test_settings_that_are_no_dicts_are_told():
    with pytest.raises(ValueError, match=r"settings x: .*expected a dict"):
        run(reciprocal, {"x": 1}, nobody())


# -- a cluster ----------------------------------------------------------------------------------------------------------


def test_a_dask_cluster_is_one_more_executor(tmp_path):
    table, folder = tmp_path / "table", tmp_path / "runs"
    folder.mkdir()
    settings = grid(folder=[str(folder)], k=range(12))
    with cluster(tmp_path) as (_, client):
        trials = run(sweep_trials.counted, settings, client.get_executor(), table)
        awkward = run(sweep_trials.awkward, grid(kind=KINDS), client.get_executor())
    assert [trial.result for trial in trials] == [{"k": k, "square": k * k} for k in range(12)]
    assert [sweep_trials.runs(folder, k) for k in range(12)] == [1] * 12 and len(read_table(table)) == 12
    assert len({Path(path).name.split("-")[1] for path in folder.iterdir()}) <= 2
    assert [trial.error for trial in awkward] == list(KINDS.values())
    assert run(sweep_trials.counted, settings, nobody(), table) == trials
