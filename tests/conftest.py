"""Every array library and precision that the tests run under, and what a machine must have."""

import contextlib
import os
import shutil

import array_api_strict
import numpy as np
import pytest
from ported import port

from fuzznet import arrays


def _libraries():
    libraries = {"numpy": arrays.backend("numpy"), "strict": array_api_strict}
    with contextlib.suppress(ValueError):  # without CuPy or a GPU its tests are not collected, and nothing is claimed
        libraries["cupy"] = arrays.backend("cupy")
    return libraries


LIBRARIES = _libraries()


@pytest.fixture(params=LIBRARIES.values(), ids=LIBRARIES.keys())
def xp(request):
    return request.param


@pytest.fixture(params=[pytest.param(name, marks=[] if name == "numpy" else pytest.mark.ported) for name in LIBRARIES])
def library(request):
    """The test runs once for each library, with that library inside the package: see ported.py."""
    with contextlib.ExitStack() as stack:
        if request.param != "numpy":
            for patch in port(LIBRARIES[request.param], request.module):
                stack.enter_context(patch)
        yield request.param


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(2021)


@pytest.fixture
def ngspice():
    if shutil.which("ngspice") is None:
        if "ngspice" in os.environ.get("FUZZNET_REQUIRE", ""):
            pytest.fail("ngspice is required here and not installed")
        pytest.skip("ngspice is not installed, so the circuit can't be simulated")
