import numpy as np
import pytest

from fuzznet import receptive_field
from fuzznet.convolution import convolve, convolve_by_definition

pytestmark = pytest.mark.usefixtures("library")


@pytest.mark.equation(1)
def test_by_hand():
    x, kernel = np.array([1.0, 2.0, 4.0, 8.0]), np.array([10.0, 1.0, 0.5])
    # y[2] = 10 * 4 + 1 * 2 + 0.5 * 1; before x begins there is silence
    expected = [10, 20 + 1, 40 + 2 + 0.5, 80 + 4 + 1]
    assert convolve_by_definition(kernel, x).tolist() == expected
    assert convolve(kernel, x).tolist() == expected


@pytest.mark.equation(2)
def test_dilation_by_hand():
    x, kernel = np.array([1.0, 2.0, 4.0, 8.0, 16.0]), np.array([10.0, 1.0, 0.5])
    # y[4] = 10 * 16 + 1 * 4 + 0.5 * 1
    assert convolve(kernel, x, dilation=2).tolist() == [10, 20, 40 + 1, 80 + 2, 160 + 4 + 0.5]


@pytest.mark.equation(2)
@pytest.mark.parametrize("dilation", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("kernel_size", [1, 3, 4])
def test_array_form_is_the_definition(rng, kernel_size, dilation):
    kernel, x = rng.normal(size=kernel_size), rng.normal(size=(2, 23))
    by_definition = [convolve_by_definition(kernel, clip, dilation) for clip in x]
    np.testing.assert_allclose(convolve(kernel, x, dilation), by_definition, rtol=1e-13)


@pytest.mark.equation(1)
def test_full_convolution_by_numpy_is_an_independent_witness(rng):
    kernel, x = rng.normal(size=5), rng.normal(size=31)
    np.testing.assert_allclose(convolve(kernel, x), np.convolve(kernel, x)[:31], rtol=1e-12)


def test_receptive_field():
    assert receptive_field(2, [1, 1, 1, 1]) == 5  # an ordinary convolution gains one sample a layer
    assert receptive_field(2, [1, 2, 4, 8]) == 16  # dilation doubles it
    assert receptive_field(3, [2**layer for layer in range(8)]) == 511


def test_bad_input():
    with pytest.raises(ValueError, match="dilation=0: expected a whole number from 1"):
        convolve(np.ones(3), np.ones(9), dilation=0)
    with pytest.raises(ValueError, match=r"kernel has shape \(1, 3\): expected \(T,\)"):
        convolve(np.ones((1, 3)), np.ones(9))
    assert receptive_field(3, (2**layer for layer in range(8))) == 511
    for wrong in (1.5, 2.0, float("inf"), -1, "2"):
        with pytest.raises(ValueError, match="expected a whole number from 1"):
            receptive_field(3, [wrong])
    with pytest.raises(ValueError, match="x holds int64: expected float32 or float64"):
        convolve_by_definition(np.array([0.5, 0.25]), np.array([1, 2, 3]))
    for kernel, x in ((np.ones(3), np.ones((2, 9))), (np.ones((1, 3)), np.ones(9))):
        with pytest.raises(ValueError, match=r"expected \(T,\), with"):
            convolve_by_definition(kernel, x)
    with pytest.raises(ValueError, match="kernel_size=0"):
        receptive_field(0, [1])
