"""Hyperparameter search on any executor of `concurrent.futures`, with a table that outlives an interruption (chapter 15)."""

import contextlib
import itertools
import json
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, CancelledError, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from fuzznet.training import progress_bar


class Trial(NamedTuple):
    """settings: a dict; result: what the trial returned, None where it failed; error: what it raised, in words, or None;
    seconds: how long it took, where it ran."""

    settings: dict
    result: Any
    error: str | None
    seconds: float


def grid(**choices):
    """Every combination of the choices, as a list of settings: grid(a=[1, 2], b=[3]) is [{a: 1, b: 3}, {a: 2, b: 3}]."""
    return [dict(zip(choices, values)) for values in itertools.product(*choices.values())]


def sweep(trial, settings, executor=None, table=None, progress=True):
    """Run trial(**s) for each s in settings; once where some are equal. A trial that fails is recorded, the others go on.

    trial: a function, which the processes that run it can import; settings: a list of dicts;
    executor: any of `concurrent.futures`, such as a ThreadPoolExecutor, or Dask's Client(...).get_executor(). If None: a
    process for each core of this machine, with one thread each; a trial whose process dies is run a second time;
    table: a path, to which a line of JSON is added as each trial ends; results must be such as JSON can hold. What the
    table has already is not run again, failed trials neither: to try those again, delete their lines.
    Returns: a list of Trial, in the order of settings. Raises ValueError for settings that JSON lacks, for a trial that
    processes can't import, and for a table that is damaged, in use or of another trial; RuntimeError where the executor
    itself breaks down; OSError where the table can't be written. What has been recorded until then is kept.
    """
    keys, kept = [_key(s) for s in settings], table is not None
    asked = dict(zip(keys, settings))
    if executor is None or isinstance(executor, ProcessPoolExecutor):
        _check_importable(trial, settings)
    with contextlib.ExitStack() as stack:
        table = stack.enter_context(_opened(table, trial)) if kept else None
        found = {_key(row["settings"]): _trial(row) for row in table.rows} if kept else {}
        todo = {key: s for key, s in asked.items() if key not in found}
        bar = {"total": len(asked), "initial": len(asked) - len(todo), "desc": "trials", "disable": not progress}
        if executor is None:
            executor = stack.enter_context(_Processes(trial, len(todo)))
        run = stack.enter_context(contextlib.closing(_outcomes(executor, trial, todo, kept)))
        for key, outcome in progress_bar(run, **bar):
            found[key] = Trial(asked[key], *outcome)
            if kept:
                table.append(key, found[key])
    return [found[key]._replace(settings=s) for key, s in zip(keys, settings)]


def _outcomes(executor, trial, todo, kept):
    """Key and outcome of each trial as it ends."""
    futures, ended = {}, 0
    try:
        for key, s in todo.items():
            futures[executor.submit(_run, trial, s, kept)] = key
        for future in as_completed(list(futures)):
            key = futures.pop(future)
            try:
                outcome = future.result()
            except (BrokenExecutor, CancelledError):
                raise
            except Exception as error:  # with a table, only Dask's word for a trial that cost it too many workers
                if kept and type(error).__name__ != "KilledWorker":
                    raise
                outcome = None, _words(error), 0.0
            ended += 1
            del future  # a cluster keeps what is held, and would compute it anew after the loss of a worker
            yield key, outcome
    except Exception as error:  # not of a trial: `_run` raises none
        state = f"the executor broke down after {ended} of {len(todo)} trials ({_words(error)})"
        raise RuntimeError(f"{state}: run the sweep again; with a table, it keeps what has ended and goes on") from error
    finally:
        for future in futures:
            future.cancel()


def _run(trial, settings, kept=False):
    """What a trial gives, wherever it runs: its result, its error in words, its seconds."""
    start = time.perf_counter()
    try:
        result, error = trial(**settings), None
        if kept:
            result = json.loads(json.dumps(result, allow_nan=False, default=_listed))
    except (Exception, SystemExit) as raised:
        result, error = None, _words(raised)
    return result, error, round(time.perf_counter() - start, 3)


def _words(error):
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _key(settings):
    """The settings as a text, by which they are known again."""
    try:
        return json.dumps(dict(settings), sort_keys=True, allow_nan=False, default=_named)
    except (TypeError, ValueError) as error:
        kinds = "a dict of finite numbers, texts, functions, and lists and dicts of them"
        raise ValueError(f"settings {settings}: {error}; expected {kinds}") from error


def _named(thing):
    if not callable(thing) or not hasattr(thing, "__qualname__"):
        return _listed(thing, np.generic)
    if "<" in thing.__qualname__:
        raise TypeError(f"{thing.__qualname__} has no name of its own: put it into a module")
    return f"{thing.__module__}.{thing.__qualname__}"


def _listed(thing, kinds=(np.generic, np.ndarray)):
    if not isinstance(thing, kinds):
        raise TypeError(f"{type(thing).__name__} has no form in JSON")
    return thing.tolist()


class _Processes(ThreadPoolExecutor):
    """Processes of our own, each served by a thread: where one dies, the others don't notice."""

    def __init__(self, trial, most):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        super().__init__(max(1, min(cores, most)))
        self.fresh, self.trial, self.lock = multiprocessing.get_context("spawn"), trial, threading.Lock()
        self.crew, self.closed = {}, False  # thread: pipe, process

    def submit(self, *work):
        return super().submit(self._pass_on, *work)

    def _pass_on(self, *work):
        for _ in range(2):
            pipe, process = self.crew.get(threading.get_ident()) or self._start()
            try:
                pipe.send(work)
                return pipe.recv()
            except (EOFError, OSError):
                process.join()
                with self.lock:
                    del self.crew[threading.get_ident()]
        return None, f"its process died, twice (exit code {process.exitcode})", 0.0

    def _start(self):
        pipe, theirs = self.fresh.Pipe()
        process = self.fresh.Process(target=_work, args=(theirs, self.trial))
        try:
            with self.lock:
                if self.closed:
                    raise CancelledError
                process.start()
                self.crew[threading.get_ident()] = pipe, process
            theirs.close()
            pipe.recv()
        except (EOFError, OSError, RuntimeError) as error:
            advice = 'see its message; in a script, call sweep under `if __name__ == "__main__":`'
            raise BrokenExecutor(f"a process for the trials could not start: {advice}") from error
        return pipe, process

    def shutdown(self, *_, **__):
        """Ends all, also what is running."""
        with self.lock:
            self.closed = True
            for _, process in self.crew.values():
                process.kill()
        super().shutdown(cancel_futures=True)
        for _, process in self.crew.values():
            process.join()


def _work(pipe, trial):
    """What a process of ours does: one piece of work after another, with one thread, as long as it is led."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who leads it decides
    leader = multiprocessing.parent_process()
    threading.Thread(target=lambda: (leader.join(), os._exit(1)), daemon=True).start()
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # for libraries to come
    threadpool_limits(1)  # and for those that came with the trial
    pipe.send(None)
    while True:
        run, *arguments = pipe.recv()
        outcome = run(*arguments)
        try:
            pipe.send(outcome)
        except Exception as error:  # the result can't travel
            pipe.send((None, _words(error), outcome[-1]))


def _check_importable(trial, settings):
    is_file = os.path.isfile(getattr(sys.modules["__main__"], "__file__", ""))  # which a notebook is not
    try:
        importable = b"__main__" not in pickle.dumps((trial, settings)) or is_file
    except Exception:  # pickle has many
        importable = False
    if not importable:
        advice = "put it into a module, or run it in this process, by executor=ThreadPoolExecutor(1)"
        raise ValueError(f"other processes can't import {trial!r}, or what is in its settings: {advice}")


class _Table(NamedTuple):
    file: Any
    name: str
    rows: list

    def append(self, key, trial):
        """Add one line, whole or not at all."""
        row = {"trial": self.name, **trial._asdict(), "settings": json.loads(key)}
        line, size = json.dumps(row).encode() + b"\n", self.file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[self.file.write(line) :]
            os.fsync(self.file.fileno())
        except OSError as error:
            advice = f"{self.file.name} is whole up to here; run the sweep again to go on"
            raise OSError(error.errno, f"{error.strerror}: {advice}") from error
        finally:
            if line:
                self.file.truncate(size)


@contextlib.contextmanager
def _opened(path, trial):
    """The table of this trial, ours alone, and without a last line that was cut off."""
    name = getattr(trial, "__qualname__", None)
    if name is None:
        raise ValueError(f"a table can't name {trial!r}: give a function, and what it takes as settings")
    with open(path, "a+b", buffering=0) as file:
        with contextlib.suppress(ImportError, OSError):  # where there are no locks, take care yourself
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                who = "another sweep, or by a process that one left behind"
                raise ValueError(f"{path} is in use by {who}: wait for it or end it, or take another table") from error
        rows, size = _rows(path)
        strangers = {row["trial"] for row in rows} - {name}
        if strangers:
            raise ValueError(f"{path} holds trials of {', '.join(sorted(strangers))}, not of {name}: take another table")
        file.truncate(size)
        if Path(path).read_bytes()[-1:] not in (b"", b"\n"):  # an editor left out the end of the last line
            file.write(b"\n")
        yield _Table(file, name, rows)


def _rows(path):
    """The lines of a table as dicts, and how many bytes they take. A last line that was cut off is left out."""
    content = Path(path).read_bytes()
    lines, rows = content.splitlines(keepends=True), []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append({name: row[name] for name in ("trial", *Trial._fields)})
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and not line.endswith(b"\n"):
                return rows, len(content) - len(line)
            raise ValueError(f"{path}, line {number}, holds no trial: delete the line, and its trial is run again") from error
    return rows, len(content)


def read_table(path):
    """The trials that a table holds, as a list of Trial. Raises FileNotFoundError, or ValueError for a damaged line."""
    return [_trial(row) for row in _rows(path)[0]]


def _trial(row):
    return Trial(*(row[name] for name in Trial._fields))
