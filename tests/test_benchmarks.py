"""The parts of the benchmarks that need neither GPU nor PyTorch: what is counted, compared and refused, and what is said."""

from pathlib import Path

import numpy as np
import pytest

import fuzznet


@pytest.fixture
def compare(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import compare

    return compare


def test_no_race_after_a_wrong_number_or_none(compare, capsys):
    right = fuzznet.initialize(np.random.default_rng(0), layers=2)
    compare.refuse({"right": compare.difference(right, right), "near": 1e-5})
    for name in right.NAMES:
        for wrong in (1e-4, np.nan):
            arrays = {n: getattr(right, n) + (wrong if n == name else 0) for n in right.NAMES}
            error = compare.difference(fuzznet.Parameters(**arrays, dilations=right.dilations), right)
            for errors in (compare.worst(error, 1e-9), compare.worst(1e-9, error)):
                with pytest.raises(SystemExit, match="parity fails") as stop:
                    compare.refuse({"right": 0.0, "wrong": errors})
                assert stop.value.code != 0


@pytest.fixture
def gpu_speed(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import gpu_speed

    return gpu_speed


@pytest.mark.parametrize(
    "sizes, samples, numbers",
    [
        # One layer, one kernel, one tap, one sample. x: 2. Product: a copy and ones in, t out. tanh: 2. Output: 4 in, 1 out.
        # target^2: 2, its sum: 1, error: 3, error^2: 2, its sum: 1, times 2 / energy: 2, into dy: 2. dx = 0: 1.
        # da: dy, dx in, one out. Slope: da and t in, da out. Copy, ones and da in. Copy, ones, y, t and dy in.
        ((1, 1, 1), 1, 2 + 3 + 2 + 5 + (2 + 1 + 3 + 2 + 1 + 2 + 2) + 1 + 3 + 3 + 3 + 5),
        # Two layers of three kernels of two taps, ten samples. Delayed copies: 9 and 8 samples, in and out.
        # Mixing and output, three times: copy, ones, y, 3 t in, x or y out; gradient of the mix: ones, y, 3 t, dx in.
        # To dx: 3 da in, 2 copies out; 3 x 10 and 3 x 8.
        ((2, 3, 2), 10, 20 + 2 * (9 + 8) + 2 * 10 * (6 + 6) + 210 + 130 + 10 + 2 * 10 * (5 + 9 + 6) + 60 + 50 + 54 + 150),
    ],
)
def test_bytes_by_hand(sizes, samples, numbers, gpu_speed):
    layers, kernels, taps = sizes
    parameters = fuzznet.initialize(np.random.default_rng(0), layers=layers, kernels=kernels, kernel_size=taps)
    assert gpu_speed.bytes_of_step(parameters, 1, samples) == 4 * numbers
    assert gpu_speed.bytes_of_step(parameters, 7, samples, itemsize=8) == 7 * 8 * numbers


def test_reference_is_the_plain_package_in_parts(gpu_speed):
    rng, (x, y) = np.random.default_rng(1), gpu_speed.synthesize(np, 7, 90)
    parameters = fuzznet.initialize(rng, layers=3, kernels=4)
    losses, output, gradients = gpu_speed.reference(parameters, x, y, part=3)
    x, y = x.astype(float), y.astype(float)
    expected, activations = fuzznet.forward(parameters, x)
    dy = fuzznet.esr_gradient(output=expected, target=y)
    assert gpu_speed.difference(output, expected) < 1e-14
    assert gpu_speed.difference(losses, fuzznet.esr(output=expected, target=y)) < 1e-14
    assert gpu_speed.difference(gradients, fuzznet.backpropagate(parameters, activations, dy)) < 1e-12
    wrong = gradients.map(np.copy)
    wrong.mixing[0, 0] += 1e-3 * np.max(np.abs(wrong.mixing))
    assert gpu_speed.difference(wrong, gradients) == pytest.approx(1e-3)


def test_without_a_gpu_it_says_what_is_missing(gpu_speed, monkeypatch, capsys, tmp_path):
    def no_cupy(name):
        raise ValueError('CuPy finds no GPU (why): check the driver with nvidia-smi, or use "numpy"')

    monkeypatch.setattr(gpu_speed, "backend", no_cupy)
    monkeypatch.setattr(gpu_speed, "RESULT", tmp_path / "results/gpu_speed.md")
    monkeypatch.setattr("sys.argv", ["gpu_speed.py"])
    with pytest.raises(SystemExit) as stop:
        gpu_speed.main()
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "CuPy finds no GPU (why): check the driver with nvidia-smi\n" in printed.err
    assert list(tmp_path.iterdir()) == []
