"""Trials that other processes can import, for the tests of `sweep`."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import threadpoolctl


def power(base, exponent):
    return base**exponent


def counted(folder, k, seconds=0.0):
    """Leaves a file for each time that it was run."""
    (Path(folder) / f"{k}-{os.getpid()}-{time.monotonic_ns()}").touch(exist_ok=False)
    time.sleep(seconds)
    return {"k": k, "square": k * k}


def runs(folder, k):
    """How often a trial was run for this k."""
    return len(list(Path(folder).glob(f"{k}-*")))


def awkward(kind):
    """Returns, raises, or returns what JSON or pickle lacks."""
    if kind == "raises":
        raise ValueError("as it was told to")
    if kind == "leaves":
        sys.exit(3)
    return {
        "fine": 1.5, "numpy": np.float32(0.25), "array": np.arange(3), "tuple": (1, 2),
        "nan": float("nan"), "set": {1}, "unpicklable": lambda: 0,
    }[kind]  # fmt: skip


def deadly(folder, k, lives):
    """Kills its process as often as `lives` says, then counts."""
    counted(folder, k)
    if runs(folder, k) <= lives:
        os.kill(os.getpid(), signal.SIGKILL)
    return runs(folder, k)


def meet(folder, k, others):
    """Ends when so many run at once. Returns its process."""
    counted(folder, k)
    end = time.monotonic() + 60
    while len(list(Path(folder).iterdir())) < others:
        assert time.monotonic() < end, f"{others} never met"
        time.sleep(0.01)
    return os.getpid()


def threads(**_):
    """How many threads each library takes for its sums, and what libraries to come are told."""
    info = threadpoolctl.threadpool_info()
    return {"libraries": [library["num_threads"] for library in info], "told": os.environ.get("OMP_NUM_THREADS")}


def interrupt(folder, k, leader):
    """The third of them stops who leads the sweep, as Ctrl-C does, and never ends by itself."""
    counted(folder, k)
    if k == 2:
        os.kill(leader, signal.SIGINT)
    if k >= 2:
        time.sleep(1000)
    return os.getpid()


def held(folder, k, seconds=60):
    """Ends when there is a file "go" or "go-K"."""
    counted(folder, k)
    end = time.monotonic() + seconds
    while not any((Path(folder) / name).exists() for name in ("go", f"go-{k}")):
        assert time.monotonic() < end, f"{k} was never let go"
        time.sleep(0.01)
    return {"k": k, "long": "x" * 3000}
