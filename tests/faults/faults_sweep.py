"""Searches that are killed, lose their workers, or find their disk full: each trial has one line in the end, and one result.

Run as a script, this file is such a search.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import sweep_trials
from dask_cluster import cluster

from fuzznet.sweep import grid, read_table, sweep


def settings_for(folder, count, **more):
    return grid(folder=[str(folder)], k=list(range(count)), **{name: [value] for name, value in more.items()})


def run(trial, settings, executor=None, table=None):
    return sweep(trial, settings, executor, table, progress=False)


if __name__ == "__main__":
    run(sweep_trials.counted, settings_for(sys.argv[1], 60, seconds=0.05), table=sys.argv[2])
    sys.exit()


def until(happened, what, seconds=90):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.002)


def finished(table):
    """The numbers k of a table's whole lines."""
    return [trial.settings["k"] for trial in read_table(table)] if table.exists() else []


def lost_of(table, count, before=()):
    """How many trials have no line, or more than one, or have failed; and how many lines of before are gone."""
    trials, ks = read_table(table), finished(table)
    wrong = sum(ks.count(k) != 1 for k in range(count)) + sum(trial.error is not None for trial in trials)
    return wrong + len(set(before) - set(ks))


def process_of(folder, k):
    """Which process runs this trial, once it has begun."""
    until(lambda: sweep_trials.runs(folder, k), f"trial {k}")
    return int(next(folder.glob(f"{k}-*")).name.split("-")[1])


def is_alive(process):
    """Whether it runs: dead ones may still be listed, until who started them asks."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def beside(work):
    """Something that happens at the same time; its error is ours."""
    errors = []

    def guarded():
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    yield
    thread.join()
    if errors:
        raise errors[0]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.fixture
def table(tmp_path):
    return tmp_path / "table.jsonl"


def test_killed_at_ten_random_moments(folder, table, tally):
    """By SIGKILL, and then run again. What a line tells of is not run again; and no process stays behind."""
    chance, lost, count, stays = random.Random(1), 0, 60, 0
    program = [sys.executable, __file__, folder, table]
    for _ in range(10):
        before = finished(table)
        done_before = {k: sweep_trials.runs(folder, k) for k in before}
        child = subprocess.Popen(program, env={**os.environ, "OMP_NUM_THREADS": "1"})
        wanted = len(before) + chance.randrange(0, 6)
        until(lambda wanted=wanted: len(finished(table)) >= wanted, f"{wanted} lines")
        time.sleep(chance.uniform(0, 0.05))
        child.kill()
        child.wait()
        crew = {int(path.name.split("-")[1]) for path in folder.iterdir()}
        until(lambda crew=crew: not any(map(is_alive, crew)), "the end of its processes", 10)
        lost += len(set(before) - set(finished(table)))
        stays += sum(sweep_trials.runs(folder, k) != runs for k, runs in done_before.items())
    subprocess.run(program, check=True)
    lost += lost_of(table, count) + stays
    tally("search killed by SIGKILL at a random moment", 10, lost)
    assert lost == 0


def test_killed_processes(folder, table, tally):
    """Processes of the default executor, each in the middle of a trial, by SIGKILL: as when memory runs out."""
    killed, count = (0, 1, 3, 6, 7, 11), 12

    def kill():
        for k in range(count):
            process = process_of(folder, k)
            if k in killed:
                os.kill(process, signal.SIGKILL)
                until(lambda process=process: not is_alive(process), "its death")
            (folder / f"go-{k}").touch()

    with beside(kill):
        trials = run(sweep_trials.held, settings_for(folder, count), table=table)
    again = [sweep_trials.runs(folder, k) for k in range(count)]
    lost = lost_of(table, count) + (trials != sorted(read_table(table), key=lambda trial: trial.settings["k"]))
    tally("process of a search killed by SIGKILL in a trial", len(killed), lost)
    assert lost == 0 and again == [1 + (k in killed) for k in range(count)]


FULL_DISK = """
import errno, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from fuzznet.sweep import grid, read_table, sweep
folder, chances = Path(sys.argv[1]), sys.argv[2:]
table, full, runs = folder / "table", folder / "full", []

def trial(k):
    runs.append(k)
    if k in fill:
        with full.open("wb", buffering=0) as file:
            for size in (65536, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC
    return k * "x" * 3000

for chance in map(int, chances):
    fill, lost, told = {chance, chance + 2}, 0, 0
    for attempt in range(3):
        held = read_table(table) if attempt else []
        runs.clear()
        with ThreadPoolExecutor(1) as executor:
            try:
                trials = sweep(trial, grid(k=range(8)), executor, table, progress=False)
            except OSError as error:
                told += error.errno == errno.ENOSPC and "is whole up to here; run the sweep again" in str(error)
        full.unlink(missing_ok=True)
        fill -= set(runs)
        lost += read_table(table)[:len(held)] != held or bool({t.settings["k"] for t in held} & set(runs))
    rows = [row.settings["k"] for row in read_table(table)]
    lost += sorted(rows) != list(range(8)) or any(len(t.result) != 3000 * t.settings["k"] for t in trials)
    table.unlink()
    print(told, lost)
"""


def test_full_disk(tmp_path, tally):
    """Filled before a line that is longer than what is left of the last block; twice in each search."""
    from faults_datasets import on_small_disk

    words = on_small_disk(FULL_DISK, tmp_path / "disk", *range(1, 6))
    told, lost = sum(map(int, words[::2])), sum(map(int, words[1::2]))
    tally("full disk while a line is appended", told, lost)
    assert lost == 0 and told >= 5


def test_killed_workers_of_a_cluster(tmp_path, tally):
    """One of two Dask workers, while it runs a trial; again after a new one has come."""
    count, lost, rounds = 10, 0, 3
    with cluster(tmp_path) as (made, client):
        for round_ in range(rounds):
            folder, table = tmp_path / f"runs{round_}", tmp_path / f"{round_}.jsonl"
            folder.mkdir()

            def kill(folder=folder):
                (folder / "go-0").touch()
                process = process_of(folder, 1)  # it waits to be let go
                victim = next(worker for worker in made.workers if worker.pid == process)
                victim.kill()
                victim.wait()
                (folder / "go").touch()

            with beside(kill):
                trials = run(sweep_trials.held, settings_for(folder, count), client.get_executor(), table)
            lost += lost_of(table, count) + sum(trial.result["k"] != k for k, trial in enumerate(trials))
            assert len(trials) == count and sweep_trials.runs(folder, 1) >= 2
            made.add_worker()
            client.wait_for_workers(2, timeout=60)
    tally("one of two Dask workers killed in a trial", rounds, lost)
    assert lost == 0


def test_all_workers_of_a_cluster_killed(folder, table, tmp_path, tally):
    """And then a new one comes."""
    count = 10
    with cluster(tmp_path) as (made, client):

        def kill():
            (folder / "go-0").touch()
            until(lambda: finished(table) == [0], "a line")
            process_of(folder, 1)
            for worker in made.workers:
                worker.kill()
                worker.wait()
            (folder / "go").touch()
            made.add_worker()

        with beside(kill):
            trials = run(sweep_trials.held, settings_for(folder, count), client.get_executor(), table)
    lost = lost_of(table, count) + sum(trial.result["k"] != k for k, trial in enumerate(trials))
    lost += sweep_trials.runs(folder, 0) != 1  # its result was here before its worker died
    tally("all Dask workers killed, then a new one", 1, lost)
    assert lost == 0 and len(trials) == count


def test_killed_scheduler(folder, table, tmp_path, tally):
    """It is told; and against a new scheduler the search goes on, and repeats nothing that has a line."""
    count = 10
    with cluster(tmp_path) as (made, client):

        def kill():
            for k in range(3):
                (folder / f"go-{k}").touch()
            until(lambda: len(finished(table)) == 3, "three lines")
            made.scheduler.kill()

        with beside(kill), pytest.raises(RuntimeError, match=r"broke down after 3 of 10 trials .*run the sweep again"):
            run(sweep_trials.held, settings_for(folder, count), client.get_executor(), table)
    held, lost = finished(table), lost_of(table, 3)
    runs = [sweep_trials.runs(folder, k) for k in held]
    (folder / "go").touch()
    with cluster(tmp_path) as (_, client):
        run(sweep_trials.held, settings_for(folder, count), client.get_executor(), table)
    lost += lost_of(table, count, held) + (runs != [sweep_trials.runs(folder, k) for k in held])
    tally("Dask scheduler killed, then a new one", 1, lost)
    assert lost == 0


def deadly_or_held(folder, k):
    """The second of them kills its worker."""
    return sweep_trials.deadly(folder, k, 99) if k == 1 else sweep_trials.held(folder, k)["k"]


def test_a_trial_that_kills_workers(folder, table, tmp_path, tally):
    """It is recorded as failed, where the cluster allows it no second try, and the others go on."""
    with cluster(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as (made, client):

        def let_go():  # while it dies, each worker has one trial: all that a dead one had are suspected
            until(lambda: finished(table) == [1], "the failure")
            (folder / "go").touch()

        client.upload_file(__file__)
        for count in (2, 6):
            with beside(let_go if count == 2 else lambda: None):
                trials = run(deadly_or_held, settings_for(folder, count), client.get_executor(), table)
        assert sum(worker.poll() is not None for worker in made.workers) == 1
    failed = [trial.settings["k"] for trial in trials if trial.error is not None]
    lost = (failed != [1]) + (sorted(finished(table)) != list(range(6)))
    tally("trial that kills a Dask worker: recorded, others go on", 1, lost)
    assert lost == 0 and trials[1].error.startswith("KilledWorker: ")
