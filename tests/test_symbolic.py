"""The gradients derived by SymPy: Eq. (1) to (8) written in symbols, differentiated, evaluated with 30 digits."""

import dataclasses
import functools

import mpmath
import numpy as np
import pytest
import sympy

import fuzznet
from fuzznet.gradients import sigmoid_gradient
from fuzznet.network import sigmoid

pytestmark = pytest.mark.usefixtures("library")

LAYERS, KERNELS, TAPS, CLIPS, SAMPLES = 3, 2, 3, 2, 6
DILATIONS = (1, 3, 2)  # the last tap of layer 1 lies six samples back, where no clip reaches: its gradient is zero


def logistic(a):
    """Eq. (4)."""
    return 1 / (1 + sympy.exp(-a))


class Sigma(sympy.Function):
    """Eq. (4) by name, which keeps derivatives short. The first test proves the rule."""

    def fdiff(self, argindex=1):
        return self * (1 - self)


def layer(k, b, x, dilation):
    """Eq. (2), (3) and (5) for one clip: z[i][t]. Before the clip there is silence."""
    heard = [[x[t - tau * dilation] if t >= tau * dilation else 0 for tau in range(TAPS)] for t in range(SAMPLES)]
    return [[Sigma(sum(k[i] * heard[t]) + b[i, t % b.shape[1]]) for t in range(SAMPLES)] for i in range(KERNELS)]


def mix(weights, z):
    """A weighted sum over the kernels at each sample: the 1 x 1 convolutions of Eq. (6) and (7)."""
    return np.array([sum(w * z_i[t] for w, z_i in zip(weights, z)) for t in range(SAMPLES)])


def esr(y_hat, y):
    """Eq. (8)."""
    return sum((y[t] - y_hat[t]) ** 2 for t in range(len(y))) / sum(sample**2 for sample in y)


def symbols(bias):
    shapes = {
        "kernels": (LAYERS, KERNELS, TAPS), "biases": (LAYERS, KERNELS, SAMPLES if bias == "time" else 1),
        "mixing": (LAYERS - 1, KERNELS), "output": (LAYERS, KERNELS),
    }  # fmt: skip
    return fuzznet.Parameters(**{name: sympy.symarray(name, shape) for name, shape in shapes.items()}, dilations=DILATIONS)


def flat(*arrays):
    return [entry for array in arrays for entry in np.ravel(array)]


def entries(parameters):
    return flat(*(getattr(parameters, name) for name in parameters.NAMES))


def evaluator(names, expressions):
    """A function from the float64 values of the names to those of the expressions, with 30 digits in between."""
    modules = [{"Sigma": lambda a: 1 / (1 + mpmath.exp(-a))}, "mpmath"]
    function = sympy.lambdify([names], expressions, modules=modules, cse=True)

    def evaluate(values):
        with mpmath.workdps(30):
            return np.array([float(value) for value in function([mpmath.mpf(float(value)) for value in values])])

    return evaluate


def draw(rng, *shape):
    """Random numbers of both signs, none near zero."""
    return rng.uniform(0.2, 1, shape) * rng.choice([-1, 1], shape)


def problem(rng, bias):
    parameters = symbols(bias).map(lambda array: draw(rng, *array.shape))
    return parameters, draw(rng, CLIPS, SAMPLES), draw(rng, CLIPS, SAMPLES)


def split(numbers, like):
    """A flat list of numbers as Parameters in the shapes of others: `entries` undone."""
    ends = np.cumsum([getattr(like, name).size for name in like.NAMES])
    assert ends[-1] == len(numbers)
    parts = zip(like.NAMES, np.split(numbers, ends[:-1]))
    arrays = {name: part.reshape(getattr(like, name).shape) for name, part in parts}
    return fuzznet.Parameters(**arrays, dilations=like.dilations)


def assert_same(ours, expected):
    """Within 1e-14 of the largest entry of each array."""
    for name in ours.NAMES:
        array, by_symbols = getattr(ours, name), getattr(expected, name)
        np.testing.assert_allclose(array, by_symbols, rtol=0, atol=1e-14 * np.max(np.abs(by_symbols)), err_msg=name)


def test_derivative_of_the_logistic_function():
    a = sympy.symbols("a")
    assert sympy.simplify(logistic(a).diff(a) - logistic(a) * (1 - logistic(a))) == 0
    assert Sigma(a).diff(a).subs(Sigma(a), logistic(a)) == logistic(a) * (1 - logistic(a))


@pytest.mark.equation(4)
def test_logistic_function_is_a_shifted_hyperbolic_tangent():
    a = sympy.symbols("a", real=True)
    assert sympy.simplify((logistic(a) - (1 + sympy.tanh(a / 2)) / 2).rewrite(sympy.exp)) == 0


@pytest.mark.equation(4)
def test_sigmoid_and_its_gradient(rng):
    a, dz = sympy.symbols("a dz")
    evaluate = evaluator([a, dz], [logistic(a), dz * logistic(a).diff(a)])
    for value, upstream in zip(rng.uniform(-9, 9, 50), draw(rng, 50)):
        z, da = evaluate([value, upstream])
        assert sigmoid(np.array(value)) == pytest.approx(z, rel=0, abs=1e-15)
        assert sigmoid_gradient(np.array(upstream), np.array(z)) == pytest.approx(da, rel=0, abs=1e-15)


@pytest.mark.equation(9)
def test_gradient_of_the_mean_esr_over_clips(rng):
    y_hat, y = sympy.symarray("y_hat", (CLIPS, SAMPLES)), sympy.symarray("y", (CLIPS, SAMPLES))
    loss = sum(esr(*clip) for clip in zip(y_hat, y)) / CLIPS
    evaluate = evaluator(flat(y_hat, y), [loss.diff(sample) for sample in y_hat.flat])
    output, target = draw(rng, 2, CLIPS, SAMPLES)
    expected = evaluate(flat(output, target)).reshape(CLIPS, SAMPLES)
    np.testing.assert_allclose(fuzznet.esr_gradient(output=output, target=target), expected, rtol=1e-14)


@functools.cache
def short_paths(bias):
    """What the report follows: the inputs x_l and outputs Z_l of all layers are symbols of their own, and do not give way.

    The mixing weights reach the next layer alone: x_{l+1} is mixed from the frozen Z_l and x_l, and goes no further.
    Evaluates to the slope of the ESR along each parameter.
    """
    p, y = symbols(bias), sympy.symarray("y", SAMPLES)
    x, z = sympy.symarray("x", (LAYERS, SAMPLES)), sympy.symarray("z", (LAYERS, KERNELS, SAMPLES))
    heard = [x[0], *(mix(p.mixing[l], z[l]) + x[l] for l in range(LAYERS - 1))]
    y_hat = sum(mix(p.output[l], layer(p.kernels[l], p.biases[l], heard[l], DILATIONS[l])) for l in range(LAYERS))
    loss = esr(y_hat, y)
    return evaluator([*entries(p), *flat(x, z, y)], [loss.diff(entry) for entry in entries(p)])


@pytest.mark.equation(11)
@pytest.mark.equation(15)
@pytest.mark.equation(16)
@pytest.mark.equation(19)
@pytest.mark.parametrize("bias", ["kernel", "time"])
def test_short_paths(rng, bias):
    parameters, sound, target = problem(rng, bias)
    output, activations = fuzznet.forward(parameters, sound)
    frozen = [(*(x[c] for x in activations.inputs), *(z[c] for z in activations.outputs)) for c in range(CLIPS)]
    slopes = [short_paths(bias)([*entries(parameters), *flat(*frozen[c], target[c])]) for c in range(CLIPS)]
    ours = fuzznet.local_gradients(parameters, activations, fuzznet.esr_gradient(output=output, target=target))
    assert_same(ours, split(np.mean(slopes, axis=0), parameters))


@functools.cache
def whole_network():
    """All of it in symbols. Evaluates to its output, its ESR and the slope of the ESR along each parameter."""
    p, x, y = symbols("time"), sympy.symarray("x", SAMPLES), sympy.symarray("y", SAMPLES)
    x_l, y_hat = x, 0
    for l in range(LAYERS):
        z = layer(p.kernels[l], p.biases[l], x_l, DILATIONS[l])
        y_hat = y_hat + mix(p.output[l], z)
        if l + 1 < LAYERS:
            x_l = mix(p.mixing[l], z) + x_l
    loss = esr(y_hat, y)
    return evaluator([*entries(p), *flat(x, y)], [*y_hat, loss, *(loss.diff(entry) for entry in entries(p))])


def over_time(parameters):
    return dataclasses.replace(parameters, biases=np.broadcast_to(parameters.biases, (LAYERS, KERNELS, SAMPLES)))


@pytest.mark.parametrize("bias", ["kernel", "time"])
def test_exact_gradient_of_every_parameter(rng, bias):
    parameters, sound, target = problem(rng, bias)
    found = [whole_network()([*entries(over_time(parameters)), *flat(*clip)]) for clip in zip(sound, target)]
    expected, ratio, slopes = np.split(np.array(found), [SAMPLES, SAMPLES + 1], axis=1)
    slopes = split(np.mean(slopes, axis=0), over_time(parameters))
    if bias == "kernel":  # one number at all times: it moves the loss by all their slopes together
        slopes = dataclasses.replace(slopes, biases=np.sum(slopes.biases, axis=-1, keepdims=True))
    output, activations = fuzznet.forward(parameters, sound)
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(fuzznet.esr(output=output, target=target), ratio[:, 0], rtol=1e-14)
    ours = fuzznet.backpropagate(parameters, activations, fuzznet.esr_gradient(output=output, target=target))
    assert_same(ours, slopes)
