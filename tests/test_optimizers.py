import numpy as np
import pytest

import fuzznet
from fuzznet.optimizers import Adam, GradientDescent, Momentum

pytestmark = pytest.mark.usefixtures("library")


def steps(optimizer, gradients, start=0.0):
    """The path of one number, repeated through all arrays, that meets these gradients one after the other."""
    like = fuzznet.initialize(np.random.default_rng(0), layers=2, kernels=2)
    parameters, path = like.map(lambda a: np.full_like(a, start)), []
    for g in gradients:
        parameters = optimizer(parameters, like.map(lambda a, g=g: np.full_like(a, g)))
        path.append(float(parameters.mixing[0, 0]))
        assert all(np.all(getattr(parameters, name) == path[-1]) for name in parameters.NAMES)
    return path


def test_gradient_descent_by_hand():
    assert steps(GradientDescent(0.5), [2, 2, -4], start=1.0) == [0, -1, 1]


def test_momentum_by_hand():
    # v: -1, -0.5 - 1 = -1.5, -0.75 + 2 = 1.25
    assert steps(Momentum(0.5, momentum=0.5), [2, 2, -4]) == [-1, -2.5, -1.25]


def test_adam_by_hand():
    # a constant gradient: the corrected mean is g and the corrected square g^2 at every step, so each step is learning_rate
    assert steps(Adam(0.1), [3.0, 3.0, 3.0]) == pytest.approx([-0.1, -0.2, -0.3])
    assert steps(Adam(0.1), [1e-3, 1e-3]) == pytest.approx([-0.1, -0.2], rel=1e-4)
    # g = 1, then 0: m' = 0.5 * 0.5 / 0.75, v' = 0.5 * 0.5 / 0.75
    first, second = steps(Adam(0.1, beta1=0.5, beta2=0.5), [1.0, 0.0])
    assert second - first == pytest.approx(-0.1 * (1 / 3) / np.sqrt(1 / 3))


def test_adam_with_its_published_defaults():
    # g = 1, then 0: m' = 0.9 * 0.1 / (1 - 0.9^2), v' = 0.999 * 0.001 / (1 - 0.999^2)
    first, second = steps(Adam(), [1.0, 0.0])
    assert first == pytest.approx(-0.01)
    expected = 0.01 * (0.09 / 0.19) / np.sqrt(0.999e-3 / (1 - 0.999**2))
    assert first - second == pytest.approx(expected)


def test_adam_with_gradients_as_small_as_epsilon():
    # a constant gradient g: the step is learning_rate g / (|g| + epsilon)
    assert steps(Adam(0.1, epsilon=0.5), [1.5, 1.5]) == pytest.approx([-0.075, -0.15])
    assert steps(Adam(), [1e-8]) == pytest.approx([-0.005])  # epsilon is 1e-8 unless given


def test_defaults():
    assert steps(GradientDescent(), [1.0]) == pytest.approx([-0.05])
    assert steps(Momentum(), [1.0, 0.0]) == pytest.approx([-0.05, -0.05 - 0.9 * 0.05])


def test_parameters_that_came_in_are_left_alone(rng):
    before = fuzznet.initialize(rng)
    copy = before.map(np.copy)
    for optimizer in (GradientDescent(), Momentum(), Adam()):
        after = optimizer(optimizer(before, copy), copy)
        assert np.array_equal(before.kernels, copy.kernels) and not np.array_equal(after.kernels, copy.kernels)


@pytest.mark.parametrize("make", [GradientDescent, Momentum, Adam])
@pytest.mark.parametrize("wrong", [0, -0.1, float("nan"), float("inf")])
def test_learning_rates_out_of_range(make, wrong):
    with pytest.raises(ValueError, match=f"^learning_rate={wrong}: expected a finite number above 0$"):
        make(wrong)


@pytest.mark.parametrize(("make", "name"), [(Momentum, "momentum"), (Adam, "beta1"), (Adam, "beta2")])
def test_fractions_out_of_range(make, name):
    make(**{name: 0.0})  # no memory at all is allowed
    for wrong in (-0.1, 1, float("nan")):
        with pytest.raises(ValueError, match=f"^{name}={wrong}: expected at least 0 and below 1$"):
            make(**{name: wrong})


def test_epsilon_out_of_range():
    with pytest.raises(ValueError, match=r"^epsilon=0: expected a finite number above 0$"):
        Adam(epsilon=0)
