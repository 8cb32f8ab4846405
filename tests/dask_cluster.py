"""A real Dask scheduler and its workers, each a process of its own, on this machine alone."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from distributed import Client

TESTS = str(Path(__file__).parent)


class Cluster:
    """A scheduler, and as many workers as are asked for. `folder` is where they write."""

    def __init__(self, folder, **config):
        self.folder, self.workers = folder, []
        paths = os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")]))
        self.environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **config}
        here = "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--idle-timeout", "600"  # should nobody end it
        self.scheduler = self.start("scheduler", *here, stderr=subprocess.PIPE)
        self.address = next(line.split()[-1] for line in self.scheduler.stderr if "Scheduler at:" in line)
        threading.Thread(target=self.scheduler.stderr.read, daemon=True).start()

    def start(self, *words, stderr=subprocess.DEVNULL):
        command = [sys.executable, "-m", "dask", *words]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stderr=stderr, text=True)

    def add_worker(self):
        here = "--host", "127.0.0.1", "--no-dashboard", "--death-timeout", "60", "--local-directory", str(self.folder)
        self.workers.append(self.start("worker", self.address, "--nthreads", "1", "--no-nanny", *here))

    def close(self):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@contextlib.contextmanager
def cluster(folder, workers=2, **config):
    """The cluster and a Client of it, once all workers have come. config: environment variables."""
    made = Cluster(folder, **config)
    try:
        for _ in range(workers):
            made.add_worker()
        with Client(made.address, timeout=60) as client:
            client.wait_for_workers(workers, timeout=60)
            yield made, client
    finally:
        made.close()
