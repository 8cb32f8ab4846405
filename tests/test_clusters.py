"""The guide to clusters does what it says: its code and commands run as they stand, with a real scheduler and two workers."""

import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import threading
from pathlib import Path

import dask
from dask_cluster import cluster
from distributed import Client

from fuzznet.sweep import read_table, sweep

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "book" / "clusters.md").read_text()
HOST, PORT = "192.168.1.10", "8786"
ADDRESS = f"tcp://{HOST}:{PORT}"


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


MODULE, *LINES = (code for code in blocks("python") if "dask_" not in code)
ELSEWHERE = [code for code in blocks("python") if "dask_" in code]


def search(folder, address):
    """Run the guide's lines as a notebook does, in a process of their own. Returns what they print."""
    code = "\n".join(LINES).replace(ADDRESS, address)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def has_imported():
    return "search_trials" in sys.modules


def can_import():
    return importlib.util.find_spec("search_trials") is not None


def test_search_goes_on_from_one_machine_to_many(tmp_path):
    """All lines in their order, a few trials here and the others there; and then once more, which repeats nothing."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "search_trials.py").write_text(MODULE)
    table = here / "search.jsonl"
    assert sum(ADDRESS in code for code in LINES) == 1
    with cluster(there, DASK_TEMPORARY_DIRECTORY=str(there)) as (_, client):
        assert list(client.run(can_import).values()) == [False, False]
        printed = search(here, client.scheduler.address)
        assert list(client.run(has_imported).values()) == [True, True]
        content = table.read_bytes()
        assert search(here, client.scheduler.address) == printed
    assert table.read_bytes() == content
    assert re.fullmatch(r"18 trials: \d+\.\d s on one core, \d+\.\d s on 64", printed[0])
    trials = read_table(table)
    assert len(trials) == len({str(trial.settings) for trial in trials}) == 18
    assert all(trial.error is None and trial.result["esr"] > 0 for trial in trials)
    seeds = {}
    for trial in trials:
        seeds.setdefault((trial.settings["kernels"], trial.settings["learning_rate"]), []).append(trial.result["esr"])
    best = sorted((statistics.median(row), *setting) for setting, row in seeds.items())[:3]
    assert printed[1:] == [
        f"median ESR {median:.4f} of 3 seeds: {{'kernels': {kernels}, 'learning_rate': {rate}}}"
        for median, kernels, rate in best
    ]


@contextlib.contextmanager
def command(line, folder, stderr=subprocess.DEVNULL):
    """A line of the guide as a shell runs it, and all that it starts, until we have done."""
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": tools, "DASK_TEMPORARY_DIRECTORY": str(folder)}
    environment.pop("OMP_NUM_THREADS", None)
    process = subprocess.Popen(
        ["bash", "-c", line], cwd=folder, env=environment, stderr=stderr, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def address_of(scheduler):
    address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
    threading.Thread(target=scheduler.stderr.read, daemon=True).start()
    return address


def test_scheduler_and_workers_by_hand(tmp_path):
    """Two workers of one thread each, for sums too; and the scheduler forgives as often as the guide says."""
    scheduler, workers = blocks("sh")
    assert HOST in scheduler and PORT in scheduler and ADDRESS in workers
    with contextlib.ExitStack() as stack:
        here = scheduler.replace(HOST, "127.0.0.1").replace(PORT, "0")
        address = address_of(stack.enter_context(command(here, tmp_path, subprocess.PIPE)))
        stack.enter_context(command(workers.replace(ADDRESS, address), tmp_path))
        client = stack.enter_context(Client(address, timeout=60))
        client.wait_for_workers(2, timeout=60)
        assert list(client.nthreads().values()) == [1, 1]
        assert list(client.run(os.getenv, "OMP_NUM_THREADS").values()) == ["1", "1"]
        assert client.run_on_scheduler(dask.config.get, "distributed.scheduler.allowed-failures") == 20
        trials = sweep(dict, [{"k": k} for k in range(4)], client.get_executor(), progress=False)
    assert [trial.result for trial in trials] == [{"k": k} for k in range(4)]


def test_code_for_slurm_and_kubernetes_is_whole():
    """It can't run here; and all the other code is run above."""
    assert ["dask_jobqueue" in code for code in ELSEWHERE] == [True, False]
    assert ["dask_kubernetes" in code for code in ELSEWHERE] == [False, True]
    for code in ELSEWHERE:
        compile(code, "guide", "exec")
        assert code.endswith("client = Client(cluster)\n")


def test_image_for_kubernetes(tmp_path):
    """The files that it copies are enough to install from, and its command starts a scheduler."""
    (recipe,) = blocks("dockerfile")
    for names in re.findall("^COPY (.*)$", recipe, re.MULTILINE):
        *sources, target = names.split()
        for source in sources:
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, tmp_path / (target if copy is shutil.copytree else source))
    install, script = re.findall("^RUN (.*)$", recipe, re.MULTILINE)
    assert install.startswith("pip install ") and install.endswith(" '.[cluster]'")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--target", "installed", ".[cluster]"]
    done = subprocess.run([sys.executable, "-m", "pip", "install", *offline], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "installed" / "fuzznet" / "notes" / "D3_clean.flac").exists()
    subprocess.run(["sh", "-ec", script.replace("/usr/local/bin", str(tmp_path))], check=True)
    worker = json.loads(re.search(r"worker_command=(\[.*\])", GUIDE)[1])
    with contextlib.ExitStack() as stack:
        scheduler = f"{tmp_path}/dask-scheduler --host 127.0.0.1 --port 0 --no-dashboard"
        address = address_of(stack.enter_context(command(scheduler, tmp_path, subprocess.PIPE)))
        line = f"DASK_SCHEDULER_ADDRESS={address} {shlex.join(worker)} --name one --dashboard --dashboard-address 127.0.0.1:0"
        stack.enter_context(command(line, tmp_path))
        client = stack.enter_context(Client(address, timeout=60))
        client.wait_for_workers(1, timeout=60)
        assert list(client.nthreads().values()) == [1]
