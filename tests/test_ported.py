"""The harness that runs tests and chapters on other libraries lets no mistake through."""

import contextlib
import subprocess
import sys
from pathlib import Path

import array_api_strict as strict
import nbformat
import numpy as np
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from ported import port, ported

import fuzznet
from fuzznet import network
from fuzznet.arrays import namespace, to_numpy

FOLDER = Path(__file__).parent


def test_the_library_is_inside_and_numpy_outside():
    inside = []
    double = ported(lambda x: inside.append(x) or {"twice": [2 * x]}, strict)
    [twice] = double(np.ones(3))["twice"]
    assert namespace(inside[0]) is strict and inside[0].device != strict.Device("CPU_DEVICE")
    assert isinstance(twice, np.ndarray) and twice.tolist() == [2, 2, 2]
    assert isinstance(ported(lambda x: strict.sum(x), strict)(np.ones(3)), np.float64)


def test_a_function_that_is_handed_in_gets_numpy():
    def process(x):
        assert isinstance(x, np.ndarray)
        return np.flip(x)

    assert ported(lambda f, x: f(x) + 1, strict)(process, np.array([1.0, 2.0])).tolist() == [3, 2]


@pytest.mark.parametrize("leak", [lambda x: np.exp(x), lambda x: np.asarray(x), lambda x: x + np.ones(3)])
def test_a_leak_to_numpy_is_an_error(leak):
    with pytest.raises((RuntimeError, TypeError)):
        ported(leak, strict)(np.ones(3))


def test_numpy_within_the_package_is_not_converted():
    """Otherwise a function that makes a NumPy array by mistake, and hands it on, would look portable."""
    library_of = ported(namespace, strict)
    assert library_of(np.ones(2)) is strict
    assert ported(lambda x: library_of(np.ones(2)), strict)(np.ones(3)) is namespace(np.ones(2))
    handed_in = ported(lambda f, x: f(x), strict)
    assert handed_in(lambda x: library_of(np.ones(2)), np.ones(3)) is strict  # outside again


def test_all_modules_are_reached_and_restored(rng):
    parameters, x, original = fuzznet.initialize(rng, layers=2), rng.normal(size=9), network.sigmoid
    with contextlib.ExitStack() as stack:
        for patch in port(strict, sys.modules[__name__]):
            stack.enter_context(patch)
        assert network.sigmoid is not original and network.sigmoid.__wrapped__ is original
        assert fuzznet.forward is network.forward
        there = fuzznet.forward(parameters, x)[0]
    assert network.sigmoid is original
    np.testing.assert_allclose(there, fuzznet.forward(parameters, x)[0], rtol=1e-13)


@pytest.fixture
def startup(monkeypatch):
    def function(library):
        monkeypatch.setenv("PYTHONSTARTUP", str(FOLDER / "start_ported.py"))
        monkeypatch.setenv("FUZZNET_BACKEND", library)

    return function


def test_a_kernel_has_the_library_inside(startup):
    startup("strict")
    source = """
import fuzznet
import numpy as np
from fuzznet.network import sigmoid
print(fuzznet.network.sigmoid is sigmoid, sigmoid.__wrapped__.__name__, type(sigmoid(np.ones(1))).__name__)
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=60).execute()
    assert notebook.cells[0].outputs[0].text == "True sigmoid ndarray\n"


def test_a_kernel_that_can_not_have_the_library_dies(startup):
    """IPython would carry on without its startup file, and chapters would pass that prove nothing."""
    startup("none")
    with pytest.raises(RuntimeError, match="Kernel died"):
        start_new_kernel(startup_timeout=60)


def test_a_chapter_prints_the_same_numbers(startup):
    """One short chapter; `python benchmarks/gpu.py --library strict` runs all, and takes its time."""
    startup("strict")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "book/05_loss.ipynb"]
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout


def test_what_stays_inside_can_be_looked_at(rng):
    """A stream keeps its histories in its own library; to_numpy brings them out, as it does from a GPU."""
    with contextlib.ExitStack() as stack:
        for patch in port(strict, sys.modules[__name__]):
            stack.enter_context(patch)
        stream = fuzznet.Stream(fuzznet.initialize(rng, layers=2, kernels=2), 4)
        assert isinstance(stream(np.ones(4)), np.ndarray)
        assert namespace(stream.histories[1]) is strict
        assert to_numpy(stream.histories[1]).shape == (4,)
