"""Measure the package beside what a reader would use instead, on this machine, in one run.

    python benchmarks/speed.py              all of it, under ten minutes; writes benchmarks/results/speed.json and speed.md
    python benchmarks/speed.py --quick      the main rows, under a minute; prints only

Before each race every contestant's ESR, gradients and outputs are compared with the plain package's in float64; where they
differ by more than 1e-5, or a stream from the whole by more than 1e-6, it exits with 1. Contestants take turns in short bursts,
so that a machine that slows down slows all; each ratio is the median over the turns of one burst's median over another's.
It needs the extra `bench`.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")  # the most that is used; each row says how many it had
os.environ.setdefault("VECLIB_MAXIMUM_THREADS", "1")  # on a Mac, whose library can't be told later
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")  # its idle threads sleep at once and leave the core to others
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np

try:
    import threadpoolctl
    import torch
    import torch.nn.functional as F
except ImportError as error:
    sys.exit(f"{error}: install the extra `bench`, or call `make bench`, which does")

import peers
from compare import difference, log, refuse, worst

import fuzznet
from fuzznet import experiments, fast, optimizers, recordings, streaming, training

RESULTS = Path(__file__).parent / "results"
PLAIN, FAST, CONV, ROWS = "plain NumPy", "fast NumPy", "PyTorch", "PyTorch, our layout"
COMPILED, COMPILED_ROWS, C, LOOPS = "torch.compile", "torch.compile, our layout", "C", "loops"


def set_threads(count):
    torch.set_num_threads(count)
    threadpoolctl.threadpool_limits(count, user_api="blas")


def race(contestants, seconds, turns=15, burst_s=0.02):
    """Let functions take turns, in bursts, for so many seconds in all, and at least so many turns.

    Returns: {name: {"median_s": its median, "turns": how many, "times_fast": median over the turns of its burst's median over
    that of FAST, where FAST runs}}.
    """
    repeats, times = {}, {name: [] for name in contestants}
    for name, function in contestants.items():
        function()
        start = time.perf_counter()
        function()
        repeats[name] = int(np.clip(burst_s / (time.perf_counter() - start), 2, 200))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(times))]) < turns:
        for name, function in contestants.items():
            burst = []
            for _ in range(repeats[name]):
                start = time.perf_counter()
                function()
                burst.append(time.perf_counter() - start)
            times[name].append(burst[1:])  # the first one finds the caches full of somebody else's numbers
    medians = {name: np.array([np.median(burst) for burst in bursts]) for name, bursts in times.items()}
    found = {
        name: {"median_s": float(np.median(np.concatenate(bursts))), "turns": len(bursts)} for name, bursts in times.items()
    }
    for name in found if FAST in found else ():
        found[name]["times_fast"] = float(np.median(medians[name] / medians[FAST]))
    return found


def plain_step(parameters, x, y):
    """forward, esr, esr_gradient and backpropagate, as the chapters build them."""
    output, activations = fuzznet.forward(parameters, x)
    dy = fuzznet.esr_gradient(output=output, target=y)
    return fuzznet.esr(output=output, target=y), fuzznet.backpropagate(parameters, activations, dy)


def batch(rng, clips, samples, dtype="float32"):
    x = rng.normal(size=(clips, samples))
    return x.astype(dtype), np.tanh(2 * x + 0.3).astype(dtype)


def torch_contestants(parameters, dtype, compiled):
    """(name, network, compiled form or None) for each form of the network in PyTorch."""
    for kind, name, compiled_name in ((peers.Conv, CONV, COMPILED), (peers.Rows, ROWS, COMPILED_ROWS)):
        network = kind(parameters, dtype)
        yield name, network, None
        if compiled:
            network = kind(parameters, dtype)
            yield compiled_name, network, torch.compile(network, dynamic=False)


def training_step(parameters, clips, dtype, compiled, seconds):
    """One race of steps, for batches of `clips` clips of 1000 samples, after everybody's numbers were compared."""
    x, y = batch(np.random.default_rng(2), clips, 1000, dtype)
    own, x_torch, y_torch = parameters.astype(dtype), torch.tensor(x), torch.tensor(y)
    losses, gradients = plain_step(parameters, x.astype(np.float64), y.astype(np.float64))
    output, errors = fuzznet.forward(parameters, x.astype(np.float64))[0], {}
    contestants = {FAST: partial(fast.Step(), own, x, y), PLAIN: partial(plain_step, own, x, y)}
    if dtype == "float32" and peers.compiled_c() is not None:
        contestants[C] = partial(peers.compiled_c(), own, x, y)
    for name, step in contestants.items():
        its_losses, its_gradients = step()
        errors[name] = worst(difference(its_losses, losses), difference(its_gradients, gradients))
    for name, network, call in torch_contestants(parameters, getattr(torch, dtype), compiled):
        step = partial(peers.torch_step, network, x_torch, y_torch, call)
        try:
            loss = step().item()
            with torch.no_grad():
                its_output = (network if call is None else call)(x_torch).numpy()
        except Exception as error:  # a compiler may fail in many ways, or be missing, and the others can still race
            log(f"{name} fails: {(str(error).splitlines() or [type(error).__name__])[0]}")
            continue
        found = difference(loss, losses.mean()), difference(its_output, output)
        errors[name], contestants[name] = worst(*found, difference(peers.gradients_of(network), gradients)), step
    log("differences from float64: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))
    refuse(errors)
    times = race(contestants, seconds)
    if dtype == "float32":
        steps = {name: partial(nam_step, network, x_torch, y_torch) for name, network in peers.amp_modelers().items()}
        for name, row in race({FAST: contestants[FAST], **steps}, 0, turns=3).items():
            times.setdefault(name, row)
    return {"errors": errors, "times": times}


def nam_step(network, x, y):
    loss = (((y - network(x, pad_start=True)) ** 2).sum(-1) / (y * y).sum(-1)).mean()
    network.zero_grad()
    loss.backward()


def loops_step(parameters):
    """Seconds for a clip of 1000 samples in plain loops, times 5, after a comparison: one row of clips after another."""
    x, y = batch(np.random.default_rng(2), 1, 1000, "float64")
    start = time.perf_counter()
    loss, gradients = peers.step_by_definition(parameters, x[0], y[0])
    spent = time.perf_counter() - start
    losses, expected = plain_step(parameters, x, y)
    refuse({LOOPS: worst(difference(loss, losses), difference(gradients, expected))})
    return 5 * spent


def whole(network, x):
    with torch.inference_mode():
        return network(torch.tensor(x)[None, :])[0]


def in_blocks(network, x, block=16384, past=510):
    """A long sound through a PyTorch network in blocks that fit into a cache, each with the samples before it.

    All but the first block have one length, since a compiled network is made for one.
    """
    x, starts = torch.tensor(x), range(0, len(x), block)
    with torch.inference_mode():
        first = network(x[None, : past + block])[0]
        padded = F.pad(x, (0, -len(x) % block))
        rest = [network(padded[None, s - past : s + block])[0, past:] for s in starts[1:]]
        return torch.cat([first[:block], *rest])[: len(x)]


def nam_in_blocks(network, x, block=16384):
    past = network.receptive_field - 1
    padded = F.pad(torch.tensor(x), (past, -len(x) % block))
    with torch.inference_mode():
        pieces = [network(padded[None, s : s + block + past], pad_start=False)[0] for s in range(0, len(x), block)]
        return torch.cat(pieces)[: len(x)]


def inference(parameters, seconds_of_sound, compiled, seconds, turns):
    """A whole sound at 44.1 kHz, float32, after a comparison on the first part of it."""
    x = np.random.default_rng(3).normal(size=round(44100 * seconds_of_sound)).astype(np.float32)
    single = parameters.astype(np.float32)
    contestants = {FAST: partial(streaming.render, single), PLAIN: lambda sound: fuzznet.forward(single, sound)[0]}
    for name, network, call in torch_contestants(parameters, torch.float32, compiled):
        if call is None:
            contestants[name] = partial(whole, network)
        contestants[f"{name}, in blocks"] = partial(in_blocks, network if call is None else call)
    short, errors = x[: 3 * 16384 + 100], {}
    expected = fuzznet.forward(parameters, short.astype(np.float64))[0]
    for name, function in list(contestants.items()):
        try:
            errors[name] = difference(np.asarray(function(short)), expected)
        except Exception as error:  # as above
            log(f"{name} fails: {(str(error).splitlines() or [type(error).__name__])[0]}")
            del contestants[name]
    log("differences from float64: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))
    refuse(errors)
    times = race({name: partial(function, x) for name, function in contestants.items()}, seconds, turns, burst_s=0)
    steps = {f"{name}, in blocks": partial(nam_in_blocks, network, x) for name, network in peers.amp_modelers().items()}
    for name, row in race({FAST: partial(streaming.render, single, x), **steps}, 0, turns=2, burst_s=0).items():
        times.setdefault(name, row)
    memory = {}
    for length in (len(x) // 4, len(x)):
        tracemalloc.start()
        y = streaming.render(single, x[:length])
        memory[length] = tracemalloc.get_traced_memory()[1] - y.nbytes
        tracemalloc.stop()
    return {"seconds_of_sound": seconds_of_sound, "errors": errors, "times": times, "peak_bytes_beyond_output": memory}


def stream_blocks(parameters, x, size, blocks):
    """Seconds for each of so many blocks of one size."""
    stream, times = fuzznet.Stream(parameters, size), []
    starts = itertools.islice(itertools.cycle(range(0, len(x) - size + 1, size)), blocks + 20)
    for start in starts:
        block = x[start : start + size]
        begun = time.perf_counter()
        stream(block)
        times.append(time.perf_counter() - begun)
    return np.array(times[20:])


def stream_rows(parameters, blocks):
    """For each size of block: median and 99.9th percentile in seconds, and the largest error, in times of the peak."""
    x = np.random.default_rng(4).normal(size=60 * 1024).astype(np.float32)
    single, rows = parameters.astype(np.float32), []
    offline = fuzznet.forward(single, x)[0]
    for size in (1, 16, 32, 64, 128, 256, 512, 1024):
        times, stream = stream_blocks(single, x, size, blocks), fuzznet.Stream(single, size)
        whole = x[: size * min(1000, len(x) // size)]
        joined = np.concatenate([stream(whole[s : s + size]) for s in range(0, len(whole), size)])
        row = {"block": size, "median_s": float(np.median(times)), "p999_s": float(np.quantile(times, 0.999))}
        row["error"] = float(np.max(np.abs(joined - offline[: len(whole)])) / np.max(np.abs(offline)))
        rows.append(row)
    refuse({f"stream in blocks of {row['block']}": row["error"] for row in rows}, tolerance=1e-6)
    return rows


def odd_sounds(parameters, seconds):
    """Blocks of silence and of denormal numbers, in times of the time for loud ones."""
    rng, single = np.random.default_rng(5), parameters.astype(np.float32)
    loud = rng.normal(size=64).astype(np.float32)
    sounds = {FAST: loud, "silence": 0 * loud, "denormals": loud * np.float32(1e-40)}
    contestants = {name: partial(fuzznet.Stream(single), sound) for name, sound in sounds.items()}
    found = race(contestants, seconds)
    return {name: found[name]["times_fast"] for name in sounds if name != FAST}


def soak(parameters, minutes):
    """A long sound in blocks of random size against blocks of 4096: error of each tenth, and growth of memory in bytes."""
    rng, single = np.random.default_rng(6), parameters.astype(np.float32)
    stream, check = fuzznet.Stream(single, 1024), fuzznet.Stream(parameters, 44100)
    errors, lengths, tenth = [], [], 0
    seconds = 60 * minutes
    tracemalloc.start()
    for second in range(seconds):
        x = rng.normal(size=44100).astype(np.float32)
        y, at = np.empty_like(x), 0
        while at < len(x):
            size = int(rng.integers(1, 1025))
            y[at : at + size] = stream(x[at : at + size])
            at += size
        reference = check(x.astype(np.float64))
        tenth = worst(tenth, difference(y, reference))
        if (second + 1) % (seconds // 10) == 0:
            errors.append(tenth)
            lengths.append(tracemalloc.get_traced_memory()[0])
            tenth = 0
    tracemalloc.stop()
    refuse({f"tenth {k} of the soak": error for k, error in enumerate(errors)}, tolerance=1e-6)
    return {"minutes": minutes, "errors": errors, "growth_bytes": lengths[-1] - lengths[1]}


class TorchTraining:
    """PyTorch's own loop for the note: eager Conv, its Adam, the same initial values, batches and learning rate."""

    def __init__(self, parameters, x, y):
        self.network, self.x, self.y = peers.Conv(parameters), torch.tensor(x), torch.tensor(y)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.02)

    def epoch(self, rng):
        for batch in np.split(rng.permutation(len(self.x)), range(5, len(self.x), 5)):
            peers.torch_step(self.network, self.x[batch], self.y[batch])
            self.optimizer.step()

    def output(self, x):
        with torch.no_grad():
            return self.network(torch.tensor(x)).numpy()


class OwnTraining:
    """fuzznet's loop, with the fast step, or with the plain one."""

    def __init__(self, parameters, x, y, plain=False):
        self.parameters, self.x, self.y, self.optimizer = parameters, x, y, optimizers.Adam(0.02)
        self.settings = {"gradient": lambda *given: fuzznet.backpropagate(*given)} if plain else {}

    def epoch(self, rng):
        settings = {"optimizer": self.optimizer, "rng": rng, "epochs": 1, "progress": False, **self.settings}
        self.parameters = training.train(self.parameters, self.x, self.y, **settings).parameters

    def output(self, x):
        return fuzznet.forward(self.parameters, x)[0]


def time_to_esr(seeds, goals=(0.05, 0.02), most=200):
    """Seconds of training until the mean ESR on the test clips is below each goal: {contestant: {goal: [a seed each]}}."""
    kinds = {FAST: OwnTraining, PLAIN: partial(OwnTraining, plain=True), CONV: TorchTraining}
    found = {name: {goal: [] for goal in goals} for name in kinds}
    for seed, (name, kind) in itertools.product(range(seeds), kinds.items()):
        rng = np.random.default_rng(seed)
        clips = experiments.Clips(*(c.astype(np.float32) for c in experiments.prepare_clips(recordings.load_note("D3"), rng)))
        contestant = kind(fuzznet.initialize(rng).astype(np.float32), clips.x, clips.y)
        spent, left = 0.0, sorted(goals)
        for _ in range(most):
            start = time.perf_counter()
            contestant.epoch(rng)
            spent += time.perf_counter() - start
            reached = float(np.mean(fuzznet.esr(output=contestant.output(clips.x_test), target=clips.y_test)))
            while left and reached <= left[-1]:
                found[name][left.pop()].append(spent)
            if not left:
                break
        for goal in left:
            found[name][goal].append(None)  # not within `most` epochs
    return found


def growth(parameters, seconds):
    """How the fast step's time and memory grow: {what: {"at": values, "seconds": medians, "bytes": peaks, "line": fitted}}."""
    base = {"clips": 5, "samples": 1000, "layers": 8, "kernels": 10}
    values = {
        "clips": [5, 10, 20, 40, 80], "samples": [500, 1000, 2000, 4000, 8000], "layers": [2, 4, 6, 8, 10],
        "kernels": [4, 8, 16, 24, 32],
    }  # fmt: skip
    found = {}
    for what, at in values.items():
        contestants, peaks = {}, []
        for value in at:
            sizes = {**base, what: value}
            own = fuzznet.initialize(np.random.default_rng(7), sizes["layers"], sizes["kernels"]).astype(np.float32)
            x, y = batch(np.random.default_rng(8), sizes["clips"], sizes["samples"])
            tracemalloc.start()
            contestants[value] = partial(fast.Step(), own, x, y)
            contestants[value]()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        times = [row["median_s"] for row in race(contestants, seconds / len(values)).values()]
        slope, start = np.polyfit(at, times, 1)
        residual = np.array(times) - (slope * np.array(at) + start)
        r_squared = 1 - np.sum(residual**2) / np.sum((times - np.mean(times)) ** 2)
        line = {"slope_s": float(slope), "start_s": float(start), "r_squared": float(r_squared)}
        found[what] = {"at": at, "seconds": times, "bytes": peaks, "line": line}
    return found


def full_epoch(parameters, batch_size, notes=624, clips=65, samples=1000):
    """Seconds of one epoch of `train` with Adam over as many clips as the report's data set has; float32, synthesised."""
    rng = np.random.default_rng(9)
    t, frequencies = np.arange(samples, dtype=np.float32), rng.uniform(80, 1200, size=notes * clips).astype(np.float32)
    x = np.sin(2 * np.pi / 44100 * frequencies[:, None] * t)
    y = np.tanh(5 * x)
    settings = {"optimizer": optimizers.Adam(0.005), "rng": rng, "epochs": 1, "batch_size": batch_size, "progress": False}
    start = time.perf_counter()
    losses = training.train(parameters.astype(np.float32), x, y, **settings).losses
    spent = time.perf_counter() - start
    return {"clips": len(x), "batch_size": batch_size, "seconds": spent, "esr_of_last_steps": float(np.mean(losses[-50:]))}


def anatomy(seconds):
    """What the step is made of, for one layer of 5 x 1000 in float32: {operation: seconds}."""
    rng = np.random.default_rng(10)

    def array(*shape):
        return rng.normal(size=shape).astype(np.float32)

    n, rows, copies, two, three = 5000, array(10, 5000), array(4, 5000), array(2, 5000), array(3, 5000)
    a, w, pair, back, strided = array(10, 5000), array(10, 4), array(10, 2), array(3, 10), array(10, 3)
    row = array(1, 5000)
    contestants = {
        "exp": lambda: np.exp(rows, out=a),
        "tanh": lambda: np.tanh(rows, out=a),
        "pass over memory, 10 x 5000": lambda: np.multiply(rows, rows, out=a),
        "copy of one row": lambda: np.copyto(row, copies[:1]),
        "(10 x 4) @ (4 x 5000)": lambda: np.matmul(w, copies, out=a),
        "(10 x 2) @ (2 x 5000)": lambda: np.matmul(pair, two, out=a),
        "(3 x 10) @ (10 x 5000)": lambda: np.matmul(back, rows, out=three),
        "(3 x 10) @ (10 x 5000), left operand transposed": lambda: np.matmul(strided.T, rows, out=three),
        "(10 x 5000) @ (5000,)": lambda: rows @ row[0],
        "(4 x 5000) @ (5000 x 10), right operand transposed": lambda: copies @ rows.T,
        "new memory, 64 MB, written once": lambda: np.empty((80, 200 * 1000), np.float32).fill(1),
        "old memory, 64 MB, written once": partial(np.empty((80, 200 * 1000), np.float32).fill, 1),
    }
    found = race(contestants, seconds)
    return {"samples": n, "seconds": {name: row["median_s"] for name, row in found.items()}}


def parts_of_the_step(parameters, seconds):
    """Where one fast step of 5 x 1000 goes: each kind of operation run by itself, on the step's own memory."""
    single, (x, y) = parameters.astype(np.float32), batch(np.random.default_rng(2), 5, 1000)
    weights = fast.stacked_weights(single)
    part = fast._Part(single.kernels, single.dilations, 5, 1000)
    part.x_clips[...] = x
    fast.forward_pass(weights, part.layers, part.y_hat, fast.in_place(fast.namespace(x)))
    layers = list(zip(part.layers, part.backwards, weights.kernels, weights.to_x, weights.to_y, weights.upstream))
    between = list(zip(part.layers[:-1], part.layers[1:], part.backwards, weights.transposed[1:]))

    def products():
        for layer, (_, dkernels, _, _), kernels, _, _, upstream in layers:
            np.matmul(kernels, layer.copies, out=layer.t)
            np.matmul(upstream, part.upstream, out=part.da)
            np.matmul(layer.copies, part.da.T, out=dkernels)
        for (layer, _, _, to_x, to_y, _), (_, after, (from_ones, _, dmixing, _), transposed) in zip(layers, between):
            np.matmul(to_x, layer.mixed, out=after.x)
            np.matmul(to_y, layer.mixed, out=after.y)
            np.matmul(from_ones, part.dx, out=dmixing)
            np.matmul(transposed, part.da, out=part.dcopies)
        np.matmul(weights.to_y[-1], part.layers[-1].mixed, out=part.y_hat)
        np.matmul(part.rows, part.dy)

    def tanhs():
        for layer in part.layers:
            np.tanh(layer.t, out=part.da)

    def passes():
        for layer in part.layers:
            np.multiply(layer.t, layer.t, out=part.scratch)
            np.subtract(1, part.scratch, out=part.scratch)
            np.multiply(layer.t, part.scratch, out=part.da)

    def moves():
        part.dx[...] = 0
        for layer in part.layers:
            for place, source in layer.delays:
                place[...] = source
        for _, _, _, advances in part.backwards[1:]:
            for place, source in advances:
                place += source

    part.upstream[...] = part.da[...] = part.dcopies[...] = 0
    pieces = {"products": products, "tanh": tanhs, "passes": passes, "moves": moves}
    found = race({FAST: partial(fast.Step(), single, x, y), **pieces}, seconds)
    return {name: row["median_s"] for name, row in found.items()}


def parts_of_a_batch(parameters, seconds):
    """A step of 50 x 1000 in float32 with so many samples at a time: {"samples": [...], "seconds": medians}."""
    x, y = batch(np.random.default_rng(2), 50, 1000)
    contestants, usual = {}, fast.CACHE_SAMPLES
    try:
        for samples in (1000, 2000, 4000, 8000, 16_000, 25_000, 50_000):
            fast.CACHE_SAMPLES = samples
            contestants[samples] = partial(fast.Step(), parameters.astype(np.float32), x, y)
            contestants[samples]()  # now it has made its parts
    finally:
        fast.CACHE_SAMPLES = usual
    found = race(contestants, seconds)
    return {"samples": list(found), "seconds": [row["median_s"] for row in found.values()]}


def machine():
    """What the results depend on."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    blas = next((pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"), None)
    versions = {"Python": platform.python_version(), "NumPy": np.__version__, "PyTorch": torch.__version__}
    kernels = "not known" if blas is None else f"{blas['internal_api']} {blas['version']}, kernels for {blas['architecture']}"
    chosen = " ".join(f"{name}={value}" for name, value in os.environ.items() if name.startswith("OPENBLAS_"))
    vectors = torch.backends.cpu.get_cpu_capability()
    return {
        "date": str(datetime.date.today()), "processor": name, "cores": os.cpu_count(), "BLAS": kernels, "set": chosen,
        "PyTorch's vectors": vectors, "system": f"{platform.system()} {platform.machine()}", **versions,
    }  # fmt: skip


def measure(quick):
    parameters = fuzznet.initialize(np.random.default_rng(0))
    torch.manual_seed(0)
    set_threads(1)
    found = {"machine": machine(), "steps": [], "inference": []}
    cases = [(1, "float32", 5), (1, "float32", 50)]
    if not quick:
        cases += [(1, "float64", 5), (1, "float64", 50), (2, "float32", 5), (2, "float32", 50)]
    found["loops_5x1000_s"] = loops_step(parameters)
    for threads, dtype, clips in cases:
        log(f"training step, {clips} x 1000, {dtype}, threads: {threads}")
        set_threads(threads)
        torch.compiler.reset()
        row = training_step(parameters, clips, dtype, not quick, 3 if quick else 8)
        found["steps"].append({"threads": threads, "dtype": dtype, "clips": clips, **row})
    for threads in (1,) if quick else (1, 2):
        log(f"inference of a long sound, threads: {threads}")
        set_threads(threads)
        torch.compiler.reset()
        row = inference(parameters, 10 if quick else 60, not quick, 3 if quick else 30, 3 if quick else 9)
        found["inference"].append({"threads": threads, **row})
    set_threads(1)
    log("streaming")
    found["streaming"] = stream_rows(parameters, 10_000 if quick else 20_000)
    found["odd sounds"] = odd_sounds(parameters, 1 if quick else 4)
    found["anatomy"], found["parts"] = anatomy(1 if quick else 5), parts_of_the_step(parameters, 1 if quick else 5)
    if quick:
        return found
    found["parts of a batch"] = parts_of_a_batch(parameters, 8)
    log("soak: ten minutes of sound in blocks of random size")
    found["soak"] = soak(parameters, 10)
    log("time to an ESR on the note")
    found["time to ESR"] = time_to_esr(3)
    log("growth")
    found["growth"] = growth(parameters, 20)
    log("an epoch of the full size")
    found["full epoch"] = [full_epoch(parameters, batch_size) for batch_size in (5, 50)]
    return found


def table(found):
    """The results as Markdown."""
    about = found["machine"]
    lines = ["# Speed", "", ". ".join(f"{name}: {value}" for name, value in about.items()) + ".", ""]
    lines += ["Times are medians. The last column says how many times as fast fast NumPy was, turn by turn.", ""]
    heads = ["| what | threads | contestant | time | fast NumPy is faster by |", "|---|---|---|---|---|"]
    lines += ["## Training step", "", *heads]
    for row in found["steps"]:
        what = f"{row['clips']} x 1000, {row['dtype']}"
        lines += contest_lines(what, row)
    lines += [f"| 5 x 1000, float64, plain Python loops | 1 | {LOOPS} | {1e3 * found['loops_5x1000_s']:.0f} ms | |", ""]
    lines += ["## A whole sound", "", *heads]
    for row in found["inference"]:
        lines += contest_lines(f"{row['seconds_of_sound']} s of sound", row)
        peaks = [f"{1e-6 * peak:.2f} MB for {n} samples" for n, peak in row["peak_bytes_beyond_output"].items()]
    lines += ["", f"Peak memory of fast NumPy beyond the output: {', '.join(peaks)}.", ""]
    lines += ["## Streaming, one thread, float32", ""]
    lines += ["| block | median | 99.9th percentile | times real time, 44.1 kHz | 48 kHz | error |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in found["streaming"]:
        factors = " | ".join(f"{row['block'] / rate / row['median_s']:.1f}" for rate in (44100, 48000))
        times = " | ".join(f"{1e6 * row[key]:.0f} µs" for key in ("median_s", "p999_s"))
        lines.append(f"| {row['block']} | {times} | {factors} | {row['error']:.1e} |")
    odd = ", ".join(f"{name} {ratio:.2f}" for name, ratio in found["odd sounds"].items())
    lines += ["", f"Blocks of 64 in times of the time for a loud one: {odd}.", ""]
    lines += ["## Where a step of 5 x 1000 goes", "", "| part | time | share |", "|---|---|---|"]
    total = found["parts"][FAST]
    rest = 2 * total - sum(found["parts"].values())
    for name, spent in {**found["parts"], "all else: Python, checks, weights, loss": rest}.items():
        lines.append(f"| {'the whole step' if name == FAST else name} | {1e6 * spent:.0f} µs | {100 * spent / total:.0f} % |")
    lines += ["", "| operation, one layer | time |", "|---|---|"]
    lines += [f"| {name} | {1e6 * spent:.1f} µs |" for name, spent in found["anatomy"]["seconds"].items()]
    if "soak" in found:
        lines += ["", *long_lines(found)]
    return "\n".join(lines) + "\n"


def contest_lines(what, row):
    for name, result in row["times"].items():
        ratio = "" if name == FAST else f"{result['times_fast']:.2f}"
        yield f"| {what} | {row['threads']} | {name} | {1e3 * result['median_s']:.3g} ms | {ratio} |"


def long_lines(found):
    soak, epochs = found["soak"], found["full epoch"]
    yield from ("## Soak", "")
    first, last = soak["errors"][0], soak["errors"][-1]
    yield (
        f"{soak['minutes']} minutes in blocks of random size: largest error of the first tenth {first:.1e}, "
        f"of the last {last:.1e}; memory grew by {soak['growth_bytes']} bytes."
    )
    yield from ("", "## Time to an ESR on the bundled note", "")
    yield from ("| contestant | goal | seconds, a seed each |", "|---|---|---|")
    for name, goals in found["time to ESR"].items():
        for goal, times in goals.items():
            yield f"| {name} | {goal} | {', '.join('not reached' if t is None else f'{t:.2f}' for t in times)} |"
    yield from ("", "## How a step's cost grows", "", "| with | a line: slope | start | R^2 | peak memory, from and to |")
    yield "|---|---|---|---|---|"
    for what, row in found["growth"].items():
        line, (least, most) = row["line"], (1e-6 * row["bytes"][k] for k in (0, -1))
        slope, start = 1e6 * line["slope_s"], 1e6 * line["start_s"]
        yield f"| {what} | {slope:.3g} µs each | {start:.0f} µs | {line['r_squared']:.3f} | {least:.1f} MB, {most:.1f} MB |"
    yield from ("", "## A step of 50 x 1000, float32, by samples at a time", "")
    for samples, spent in zip(*found["parts of a batch"].values()):
        yield f"- {samples}: {1e3 * spent:.2f} ms"
    yield from ("", "## One epoch over a data set of the report's full size", "")
    for row in epochs:
        yield f"- {row['clips']} clips of 1000 samples in batches of {row['batch_size']}: {row['seconds']:.1f} s."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the main rows, under a minute; nothing is written")
    arguments = parser.parse_args()
    start = time.perf_counter()
    found = measure(arguments.quick)
    text = table(found)
    print(text)
    if not arguments.quick:
        (RESULTS / "speed.json").write_text(json.dumps(found, indent=1) + "\n")
        (RESULTS / "speed.md").write_text(text)
    log(f"done in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
