import dataclasses
import math

import numpy as np
import pytest

import fuzznet
from fuzznet.convolution import convolve_by_definition
from fuzznet.network import layer_output, sigmoid

pytestmark = pytest.mark.usefixtures("library")


def forward_by_definition(parameters, x):
    """Eq. (3) to (7) in loops over layers, kernels and samples, for one clip."""
    layers, kernels, _ = parameters.kernels.shape
    y_hat = np.zeros_like(x)
    for l in range(layers):
        mixed = np.zeros_like(x)
        for i in range(kernels):
            a = convolve_by_definition(parameters.kernels[l, i], x, parameters.dilations[l]) + parameters.biases[l, i]
            z = np.array([1 / (1 + math.exp(-value)) for value in a])
            y_hat += parameters.output[l, i] * z
            if l + 1 < layers:
                mixed += parameters.mixing[l, i] * z
        x = x + mixed
    return y_hat


@pytest.mark.equation(4)
def test_sigmoid():
    assert sigmoid(np.array([0.0, math.log(3)])).tolist() == pytest.approx([0.5, 0.75])
    with np.errstate(all="raise"):
        assert sigmoid(np.array([-1e6, 1e6])).tolist() == [0, 1]  # no overflow


@pytest.mark.equation(3)
@pytest.mark.equation(5)
def test_layer_by_hand():
    kernels, biases = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[0.0], [-4.0]])
    z = layer_output(kernels, biases, np.array([[0.0, 2.0, 3.0]]), dilation=1)
    # kernel 0 hears the present, kernel 1 twice the sample before; then the bias
    expected = [[0.5, 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-3))], [1 / (1 + math.exp(4)), 1 / (1 + math.exp(4)), 0.5]]
    np.testing.assert_allclose(z[0], expected, rtol=1e-14)


@pytest.mark.equation(6)
@pytest.mark.equation(7)
@pytest.mark.parametrize("bias", ["kernel", "time"])
@pytest.mark.parametrize("layers", [1, 4])
def test_forward_is_the_definition(rng, bias, layers):
    length = 29 if bias == "time" else None
    parameters = fuzznet.initialize(rng, layers, kernels=3, kernel_size=3, bias=bias, clip_length=length)
    x = rng.normal(size=(2, 29))
    y_hat, activations = fuzznet.forward(parameters, x)
    np.testing.assert_allclose(y_hat, [forward_by_definition(parameters, clip) for clip in x], rtol=1e-12)
    assert [z.shape for z in activations.outputs] == [(2, 3, 29)] * layers
    assert activations.inputs[0] is not x and np.array_equal(activations.inputs[0], x)


def test_one_clip_or_several(rng):
    parameters = fuzznet.initialize(rng, layers=3)
    x = rng.normal(size=(4, 33))
    together = fuzznet.forward(parameters, x)[0]
    alone = fuzznet.forward(parameters, x[2])[0]
    assert alone.shape == (33,)
    np.testing.assert_allclose(together[2], alone, rtol=1e-13)


def test_causal_and_as_far_reaching_as_computed(rng):
    parameters = fuzznet.initialize(rng, layers=4, kernels=5, dilations=(1, 3, 2, 5))
    field = fuzznet.receptive_field(3, parameters.dilations)
    x = rng.normal(size=60)
    touched = x.copy()
    touched[20] += 1
    changed = np.flatnonzero(fuzznet.forward(parameters, touched)[0] != fuzznet.forward(parameters, x)[0])
    assert changed[0] == 20
    assert changed[-1] == 20 + field - 1


def test_initialize(rng):
    parameters = fuzznet.initialize(rng, layers=5, kernels=200, kernel_size=4, bias="time", clip_length=70)
    shapes = [getattr(parameters, name).shape for name in parameters.NAMES]
    assert shapes == [(5, 200, 4), (5, 200, 70), (4, 200), (5, 200)]
    assert parameters.dilations == (1, 2, 4, 8, 16)
    assert np.std(parameters.biases) == pytest.approx(1 / 3, rel=0.02)
    assert fuzznet.initialize(rng).size == 470  # Table I, single note, with a bias per kernel
    same, again = (fuzznet.initialize(np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(same.kernels, again.kernels)


def test_all_arrays_start_alike(rng):
    parameters = fuzznet.initialize(rng, layers=50, kernels=120, kernel_size=3)  # about 6,000 numbers in each, or more
    for name in parameters.NAMES:
        assert np.std(getattr(parameters, name)) == pytest.approx(1 / 3, rel=0.04)
        assert np.mean(getattr(parameters, name)) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 0}, "layers=0"),
        ({"kernels": 0}, "kernels=0"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"bias": "none"}, 'expected "kernel" or "time"'),
        ({"bias": "time"}, 'give a clip_length from 1 with bias="time"'),
        ({"clip_length": 5}, "and only then"),
        ({"clip_length": 0}, "and only then"),
        ({"bias": "time", "clip_length": 0}, "give a clip_length from 1"),
        ({"bias": "time", "clip_length": -5}, "give a clip_length from 1"),
        ({"dilations": (1, 2)}, "2 dilations for 8 layers"),
        ({"layers": 1, "dilations": (0,)}, "dilation=0"),
    ],
)
def test_settings_that_make_no_network(rng, settings, message):
    with pytest.raises(ValueError, match=message):
        fuzznet.initialize(rng, **settings)


def test_input_that_does_not_fit(rng):
    parameters = fuzznet.initialize(rng, bias="time", clip_length=50)
    advice = 'cut x into clips of that length, or use bias="kernel", which takes any length$'
    with pytest.raises(ValueError, match=f"^x has 49 samples, but the bias over time has 50: {advice}"):
        fuzznet.forward(parameters, np.ones(49))
    shapes = r"^biases, mixing, output, dilations have shapes \[.*\]: expected \[\(8, 10, 50\), \(7, 10\), \(8, 10\), \(8,\)\]"
    for name in ("mixing", "output"):
        with pytest.raises(ValueError, match=shapes):
            fuzznet.forward(dataclasses.replace(parameters, **{name: getattr(parameters, name)[:-1]}), np.ones(50))
    with pytest.raises(ValueError, match=shapes.replace("50", "1")):
        fuzznet.forward(dataclasses.replace(parameters, biases=np.array(0.5)), np.ones(50))
    for kernels in (parameters.kernels[0], parameters.kernels[:, :0], parameters.kernels[:0]):
        with pytest.raises(ValueError, match=r"^kernels has shape \(.*\): expected \(L, N, K\), each at least 1$"):
            fuzznet.forward(dataclasses.replace(parameters, kernels=kernels), np.ones(50))
    with pytest.raises(ValueError, match=r"^parameters hold \[.*int64.*\]: expected float32 or float64; use \.astype$"):
        fuzznet.forward(parameters.map(lambda a: np.ones(a.shape, int)), np.ones(50))
    with pytest.raises(ValueError, match=r"^dilation=0: expected a whole number from 1"):
        fuzznet.forward(dataclasses.replace(parameters, dilations=(1, 2, 4, 8, 16, 32, 64, 0)), np.ones(50))
