import numpy as np
import pytest

from fuzznet import esr, esr_gradient

pytestmark = pytest.mark.usefixtures("library")


@pytest.mark.equation(8)
def test_by_algebra(rng):
    y = rng.normal(size=(3, 40))
    for a in (0.0, 0.5, 1.0, 3.0):  # output a y: ESR = (1 - a)^2
        assert esr(output=a * y, target=y) == pytest.approx([(1 - a) ** 2] * 3)
    assert esr(output=np.array([3.0, 0.0]), target=np.array([3.0, 4.0])) == pytest.approx(16 / 25)
    assert esr(output=7 * (y + 0.1), target=7 * y) == pytest.approx(esr(output=y + 0.1, target=y))  # no unit


@pytest.mark.equation(9)
@pytest.mark.parametrize("shape", [(3, 41), (1, 41), (41,), (3, 1)])
def test_gradient_is_the_slope(rng, shape):
    """Of the mean over the clips. The loss is a parabola along any direction, so a central difference is exact at any step."""
    output, target, direction = rng.uniform(0.2, 1, (3, *shape)) * rng.choice([-1, 1], (3, *shape))
    slope = np.sum(esr_gradient(output=output, target=target) * direction)
    for step in (0.1, 1, 10):
        ahead, behind = (np.mean(esr(output=output + s * direction, target=target)) for s in (step, -step))
        assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-12)


@pytest.mark.equation(9)
def test_gradient_by_algebra(rng):
    y = rng.normal(size=(3, 40))
    energy = np.sum(y**2, axis=-1, keepdims=True)
    for a in (0.0, 0.5, 1.0, 3.0):  # output a y: slope 2 (a - 1) y / energy, of which each clip has a third
        expected = 2 * (a - 1) * y / energy / 3
        np.testing.assert_allclose(esr_gradient(output=a * y, target=y), expected, rtol=1e-14)


@pytest.mark.equation(9)
def test_descending_descends_and_the_published_sign_climbs(rng):
    output, target = rng.normal(size=(2, 3, 40))
    mended = esr_gradient(output=output, target=target)
    published = 2 * (target - output) / np.sum(target**2, axis=-1, keepdims=True)
    before = np.mean(esr(output=output, target=target))
    assert np.mean(esr(output=output - 0.1 * mended, target=target)) < before
    assert np.mean(esr(output=output - 0.1 * published, target=target)) > before


def test_bad_input(rng):
    with pytest.raises(ValueError, match=r"output has shape \(5,\), target \(6,\)"):
        esr(output=np.ones(5), target=np.ones(6))
    silent = rng.normal(size=(2, 9)) * [[1], [0]]
    with pytest.raises(ValueError, match="target clip is silent"):
        esr_gradient(output=np.ones((2, 9)), target=silent)
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^a target clip is silent, or holds NaN or infinity, so .*: leave it out$"):
            esr(output=np.ones(2), target=np.array([1.0, wrong]))
    with pytest.raises(TypeError):
        esr(np.ones(5), np.ones(5))
