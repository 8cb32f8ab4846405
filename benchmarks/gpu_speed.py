"""Measure the training step on a GPU beside PyTorch's, on one card, in one run.

    python benchmarks/gpu_speed.py                  all of it; writes benchmarks/results/gpu_speed.md
    python benchmarks/gpu_speed.py --clips 5 50     for a card with little memory, or little patience; prints only

First everybody's ESR, output and gradients are compared with the plain package's in float64; where they differ by more than
1e-5, it exits with 1, and nothing is timed. Then they take turns, and after each step the machine waits for the GPU.
It needs a GPU, CuPy (the extra `gpu`) and PyTorch with CUDA; where one is missing it says so, exits with 2 and writes nothing.
"""

import argparse
import datetime
import platform
import sys
import time
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
from compare import difference, log, refuse, worst

import fuzznet
from fuzznet import fast, optimizers, training
from fuzznet.arrays import backend, to_numpy

RESULT = Path(__file__).parent / "results/gpu_speed.md"
GRAPH, CUBLAS = "fuzznet, graph", "fuzznet, cuBLAS"
EAGER, COMPILED = ("PyTorch", "PyTorch, our layout"), "compiled"
SIZES, SAMPLES = (5, 50, 500, 5000), 1000
NOTES, CLIPS_A_NOTE = 624, 65


def find_libraries():
    """CuPy behind the array API standard, and PyTorch. Exits with 2 where something is missing."""
    missing, xp, torch = [], None, None
    try:
        xp = backend("cupy")
    except ValueError as error:
        missing.append(str(error).replace(', or use "numpy"', ""))
    try:
        import torch
    except ImportError as error:
        missing.append(f"PyTorch is not installed ({error}): install the build for CUDA")
    if torch is not None and not torch.cuda.is_available():
        missing.append(f"PyTorch {torch.__version__} finds no GPU: install the build for CUDA, and check the driver")
    if missing:
        print("This needs a GPU:", *missing, sep="\n  ", file=sys.stderr)
        sys.exit(2)
    torch.backends.cudnn.allow_tf32 = False  # by default its convolutions keep 11 binary digits of 24
    torch.backends.cuda.matmul.allow_tf32 = False
    torch._dynamo.config.cache_size_limit = 64  # one form a size; beyond 8 it would go back to eager in silence
    return xp, torch


def bytes_of_step(parameters, clips, samples, itemsize=4):
    """What a `fast.Step` reads and writes, to whole signals of all clips: each operation its arguments and its result, once."""
    (layers, n, taps), whole = parameters.kernels.shape, clips * samples
    rows, between = taps + 2 + n, layers - 1  # copies, ones, y and t of a layer; layers with one after them
    delayed = [sum(clips * max(0, samples - tau * d) for tau in range(1, taps)) for d in parameters.dilations]
    forward = 2 * sum(delayed) + whole * (
        layers * (taps + 1 + n + 2 * n)  # kernels @ copies; tanh
        + (2 * between + 1) * (n + 3 + 1)  # to_x and to_y @ rows
    )  # fmt: skip
    esr = whole * (2 + 13)  # x comes in; target^2, error, error^2, their sums, dy
    backward = 3 * sum(delayed[1:]) + whole * (
        1  # dx = 0
        + layers * (2 + n + 3 * n + taps + 1 + n)  # upstream @ [dy, dx]; times 1 - t^2; copies @ da
        + between * (n + 2 + 1)  # rows @ dx
        + between * (n + taps + 3)  # transposed @ da; the undelayed copy's part of dx
        + layers * rows + 1  # all rows @ dy
    )  # fmt: skip
    return itemsize * (forward + esr + backward)


def synthesize(xp, clips, samples):
    """x and y (clips, samples), float32, made where the library lives."""
    t = xp.arange(clips * samples, dtype=xp.float32)
    x = xp.reshape(xp.sin(0.05 * t) * xp.cos(0.0037 * t) + 0.3 * xp.sin(0.611 * t), (clips, samples))
    return x, xp.tanh(2 * x + 0.3)


def reference(parameters, x, y, part=50):
    """ESR, output and gradients by the plain package in NumPy and float64, a few clips at a time."""
    losses, outputs, total = [], [], None
    for start in range(0, len(x), part):
        x_part, y_part = x[start : start + part].astype(float), y[start : start + part].astype(float)
        output, activations = fuzznet.forward(parameters, x_part)
        dy = fuzznet.esr_gradient(output=output, target=y_part) * (len(x_part) / len(x))
        gradients = fuzznet.backpropagate(parameters, activations, dy)
        total = gradients if total is None else total.map(np.add, gradients)
        losses.append(fuzznet.esr(output=output, target=y_part))
        outputs.append(output)
    return np.concatenate(losses), np.concatenate(outputs), total


class Contestants:
    """All that take turns at one size of batch: {name: step}, and how far each is from the reference."""

    def __init__(self, parameters, clips, samples, xp, torch, device):
        import peers

        self.clips, self.steps, self.errors, self.failures = clips, {}, {}, {}
        x, y = synthesize(xp, clips, samples)
        x_here, y_here = to_numpy(x), to_numpy(y)
        losses, output, gradients = reference(parameters, x_here, y_here)
        own = parameters.map(lambda array: xp.asarray(array, dtype=xp.float32))
        own_error = difference(to_numpy(fuzznet.forward(own, x)[0]), output)
        for name, recorded_samples in ((GRAPH, 10**9 if clips <= 500 else None), (CUBLAS, 0)):
            if recorded_samples is not None:
                step = partial(fast.Step(), own, x, y)
                with mock.patch.object(fast, "RECORDED_SAMPLES", recorded_samples):  # it counts at the first call
                    step()
                its_losses, its_gradients = step()
                errors = difference(to_numpy(its_losses), losses), difference(its_gradients.map(to_numpy), gradients)
                self.steps[name], self.errors[name] = step, worst(own_error, *errors)
        x_torch, y_torch = (torch.tensor(array, device=device) for array in (x_here, y_here))
        for kind, name in zip((peers.Conv, peers.Rows), EAGER):
            for mode in (None, "default", "reduce-overhead")[: 3 if clips <= 50 else 2]:
                network = kind(parameters, torch.float32, device)
                call = None if mode is None else torch.compile(network, dynamic=False, mode=mode)
                name_of_it = name if mode is None else f"{name}, {COMPILED}" + (" as a graph" if mode != "default" else "")
                try:
                    self._add_torch(name_of_it, network, call, x_torch, y_torch, torch, (losses, output, gradients), peers)
                except Exception as error:  # a compiler may fail in many ways, and the others still have something to say
                    self.failures[name_of_it] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                    log(f"{clips} x {samples}: {name_of_it} fails, {self.failures[name_of_it]}")
        for name, error in self.errors.items():
            log(f"{clips} x {samples}: {name} differs from float64 by {error:.1e}")

    def _add_torch(self, name, network, call, x, y, torch, expected, peers):
        def step():
            torch.compiler.cudagraph_mark_step_begin()  # it may write over what the last step left
            return peers.torch_step(network, x, y, call)

        for _ in range(3):
            step()  # the first call compiles, the second one records
        loss, (losses, output, gradients) = step().item(), expected
        errors = [abs(loss - np.mean(losses)) / np.mean(losses), difference(peers.gradients_of(network), gradients)]
        errors.append(difference((network if call is None else call)(x).detach().cpu().numpy(), output))
        self.steps[name], self.errors[name] = step, worst(*errors)


def race(steps, synchronize, seconds, burst=5):
    """Let functions take turns, in short bursts, for so many seconds in all. Returns: {name: median seconds of a call}."""
    times, end = {name: [] for name in steps}, time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(times))]) < 3 * (burst - 1):
        for name, step in steps.items():
            for call in range(burst):
                synchronize()
                start = time.perf_counter()
                step()
                synchronize()
                if call > 0:  # the first one finds the caches full of somebody else's numbers
                    times[name].append(time.perf_counter() - start)
    return {name: float(np.median(found)) for name, found in times.items()}


def bandwidth(xp, synchronize, size=2**28):
    """Bytes a second that memory reads and writes together, by copies of a large array of so many float32."""
    source = xp.zeros(size, dtype=xp.float32)
    copied = xp.zeros(size, dtype=xp.float32)

    def copy():
        copied[...] = source

    return 2 * 4 * size / race({"copy": copy}, synchronize, 0.5)["copy"]


def epoch(parameters, batch_size, xp, synchronize, clips, samples, repeats=3):
    """Seconds for an epoch of so many clips by `training.train`, with Adam and all that belongs to it; after one to warm up."""
    x, y = synthesize(xp, clips, samples)
    own, times = parameters.map(lambda array: xp.asarray(array, dtype=xp.float32)), []
    for _ in range(1 + repeats):
        settings = {"optimizer": optimizers.Adam(0.001), "rng": np.random.default_rng(1), "progress": False}
        synchronize()
        start = time.perf_counter()
        training.train(own, x, y, epochs=1, batch_size=batch_size, **settings)
        synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def measure(xp, torch, device, synchronize, sizes=SIZES, samples=SAMPLES, clips=NOTES * CLIPS_A_NOTE, seconds=10, copy=2**28):
    """The report's lines. Exits with 1, before anything is timed, where somebody's numbers are wrong."""
    parameters, everybody = fuzznet.initialize(np.random.default_rng(0)), []
    for size in sizes:
        log(f"{size} x {samples}: building and comparing")
        everybody.append(Contestants(parameters, size, samples, xp, torch, device))
    refuse({f"{each.clips}: {name}": error for each in everybody for name, error in each.errors.items()})
    per_s = bandwidth(xp, synchronize, copy)
    log(f"memory: {per_s / 1e9:.0f} GB/s by copies")
    lines = [f"Memory reads and writes {per_s / 1e9:.0f} GB/s, by copies of a large array.", ""]
    lines += ["| clips x samples | contestant | median, ms | times fuzznet | GB/s by its count | share of the copies' |"]
    lines += ["|---|---|---|---|---|---|"]
    behind, found = [], {}
    for each in everybody:
        log(f"{each.clips} x {samples}: timing")
        times = found[each.clips] = race(each.steps, synchronize, seconds)
        shipped = GRAPH if each.clips * samples <= fast.RECORDED_SAMPLES and GRAPH in times else CUBLAS
        for name, median in times.items():
            moved = bytes_of_step(parameters, each.clips, samples) / median if name in (GRAPH, CUBLAS) else None
            rate = "| | |" if moved is None else f"| {moved / 1e9:.0f} | {100 * moved / per_s:.0f} % |"
            row = [f"| {each.clips} x {samples}", name + (" (which `Step` takes)" if name == shipped else "")]
            lines.append(" | ".join([*row, f"{1e3 * median:.3f}", f"{median / times[shipped]:.2f} {rate}"]))
            if median < times[shipped] and name not in (GRAPH, CUBLAS):
                behind.append((each.clips, name))
        lines += [f"| {each.clips} x {samples} | {name} | failed: {error} | | | |" for name, error in each.failures.items()]
    largest = worst(*(error for each in everybody for error in each.errors.values()))
    lines += ["", f"Everybody's ESR, outputs and gradients agree with float64 to {largest:.1e}.", "", "Goals:", ""]
    eager = [f"{clips}: {name}" for clips, name in behind if COMPILED not in name]
    compiled = [f"{clips}: {name}" for clips, name in behind if COMPILED in name and clips == sizes[0]]
    lines.append(f"- ahead of eager PyTorch at every size: {'no, see ' + ', '.join(eager) if eager else 'reached'}")
    lines.append(f"- ahead of compiled PyTorch at {sizes[0]}: {'no, see ' + ', '.join(compiled) if compiled else 'reached'}")
    everybody.clear()  # and with it the memory
    for batch_size in (50, 5000):
        log(f"an epoch of {clips} clips in batches of {batch_size}")
        spent = epoch(parameters, batch_size, xp, synchronize, clips, samples)
        verdict = "reached" if spent < 0.5 else "missed"
        lines.append(f"- an epoch of {clips:,} clips in batches of {batch_size} under 0.5 s: {spent:.2f} s, {verdict}")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="*", type=int, default=SIZES, help="sizes of batches")
    arguments = parser.parse_args()
    xp, torch = find_libraries()
    import cupy

    properties, runtime = cupy.cuda.runtime.getDeviceProperties(0), cupy.cuda.runtime
    lines = [
        "# A training step on a GPU: what `make gpu-bench` found", "",
        f"{datetime.date.today()}. {properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB, "
        f"driver {runtime.driverGetVersion()}, CUDA runtime {runtime.runtimeGetVersion()}. CuPy {cupy.__version__}, "
        f"PyTorch {torch.__version__} with CUDA {torch.version.cuda}, Python {platform.python_version()}.", "",
        "float32 without TF32; medians of single steps, each waited for; they took turns.", "",
    ]  # fmt: skip
    lines += measure(xp, torch, "cuda", torch.cuda.synchronize, sizes=tuple(arguments.clips))
    text = "\n".join(lines) + "\n"
    print(text)
    if tuple(arguments.clips) == SIZES:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(text)


if __name__ == "__main__":
    main()
