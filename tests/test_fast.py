"""The fast step gives the numbers of forward, esr, esr_gradient and backpropagate: on awkward networks, batches and calls."""

import copy
import dataclasses
import pickle
import tracemalloc

import numpy as np
import pytest

import fuzznet
from fuzznet import fast
from fuzznet.optimizers import Adam
from fuzznet.training import DivergenceError, train

pytestmark = pytest.mark.usefixtures("library")


def by_the_book(parameters, x, y, warm_up=0):
    output, activations = fuzznet.forward(parameters, x)
    judged = {"output": output[:, warm_up:], "target": y[:, warm_up:]}
    dy = np.zeros_like(output)
    dy[:, warm_up:] = fuzznet.esr_gradient(**judged)
    return fuzznet.esr(**judged), fuzznet.backpropagate(parameters, activations, dy)


def assert_same(found, expected, rtol=1e-11):
    assert found[1].dilations == expected[1].dilations
    for (name, one), other in zip(arrays_of(found), dict(arrays_of(expected)).values()):
        assert one.shape == other.shape and one.dtype == other.dtype, name
        scale = np.max(np.abs(other), initial=0)
        np.testing.assert_allclose(one, other, rtol=0, atol=rtol * scale, err_msg=name)


def arrays_of(result):
    losses, gradients = result
    return [("losses", losses), *((name, getattr(gradients, name)) for name in gradients.NAMES)]


def sounds(rng, clips, samples, dtype="float64"):
    x = rng.normal(size=(clips, samples)) + 0.3
    return x.astype(dtype), np.tanh(2 * x + 0.1).astype(dtype)


NETWORKS = {
    "report": {},
    "dilations out of order": {"layers": 4, "kernels": 3, "dilations": (1, 5, 2, 9)},
    "one layer": {"layers": 1, "kernels": 2, "dilations": (3,)},
    "one tap": {"layers": 3, "kernels": 4, "kernel_size": 1},
    "one kernel, four taps": {"layers": 2, "kernels": 1, "kernel_size": 4},
    "taps beyond the clip": {"layers": 2, "kernels": 3, "dilations": (40, 7)},
}


@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize(("clips", "samples", "warm_up"), [(1, 41, 0), (5, 41, 0), (3, 41, 7), (2, 1, 0)])
def test_equals_the_book(rng, settings, clips, samples, warm_up):
    parameters = fuzznet.initialize(rng, **settings)
    x, y = sounds(rng, clips, samples)
    assert_same(fast.Step(warm_up)(parameters, x, y), by_the_book(parameters, x, y, warm_up))


@pytest.mark.parametrize("samples", [900, 8000, 8001, 12000])
@pytest.mark.parametrize("clips", [1, 6, 13])
def test_equals_the_book_in_parts_of_any_size(rng, clips, samples):
    parameters = fuzznet.initialize(rng, layers=2, kernels=2)
    x, y = sounds(rng, clips, samples)
    assert_same(fast.Step()(parameters, x, y), by_the_book(parameters, x, y), rtol=1e-10)


def test_remembers_nothing_of_the_batch_before(rng):
    parameters, other = (fuzznet.initialize(rng, layers=3, kernels=3) for _ in range(2))
    step, x, y = fast.Step(warm_up=4), *sounds(rng, 13, 60)
    for own, clips in ((other, 13), (parameters, 13), (parameters, 2), (other, 13), (parameters, 5)):
        assert_same(step(own, x[:clips], y[:clips]), by_the_book(own, x[:clips], y[:clips], 4))
    shorter, wider = x[:, :31], fuzznet.initialize(rng, layers=2, kernels=5, dilations=(4, 1))
    assert_same(step(wider, shorter, y[:, :31]), by_the_book(wider, shorter, y[:, :31], 4))


def test_plans_of_two_shapes_are_kept_and_no_more(rng):
    parameters, step, (x, y) = fuzznet.initialize(rng, layers=2), fast.Step(), sounds(rng, 7, 50)
    for clips in (5, 2, 5, 2):  # the batches of two epochs
        step(parameters, x[:clips], y[:clips])
        kept = dict(step._plans) if clips == 2 else {}
    assert len(kept) == 2
    step(parameters, x[:5], y[:5])
    assert all(step._plans[plan] is run for plan, run in kept.items())
    step(parameters, x[:3], y[:3])
    assert len(step._plans) == 1
    step(parameters, x[:4], y[:4])
    assert len(step._plans) == 2


def test_a_plan_fits_the_precision_and_the_dilations(rng):
    step, (x, y) = fast.Step(), sounds(rng, 3, 50)
    for dilations in ((1, 2), (5, 3), [1, 2]):  # a list too, as `forward` takes one
        parameters = fuzznet.initialize(rng, layers=2, kernels=2, dilations=dilations)
        parameters = dataclasses.replace(parameters, dilations=dilations)
        assert_same(step(parameters, x, y), by_the_book(parameters, x, y))
        single = x.astype(np.float32), y.astype(np.float32)
        assert_same(step(parameters, *single), by_the_book(parameters, *single), rtol=2e-6)


@pytest.mark.parametrize("library", ["numpy"], indirect=True)
def test_a_copy_has_memory_of_its_own(rng, library):
    parameters, step, (x, y) = fuzznet.initialize(rng, layers=2), fast.Step(warm_up=3), sounds(rng, 3, 50)
    found = step(parameters, x, y)
    for other in (copy.deepcopy(step), pickle.loads(pickle.dumps(step))):
        assert_same(other(parameters, x, y), found)
        assert not other._plans.items() & step._plans.items()


def test_a_batch_of_nan_leaves_no_trace(rng):
    parameters, step, (x, y) = fuzznet.initialize(rng, layers=3), fast.Step(), sounds(rng, 3, 50)
    broken = x.copy()
    broken[1, 20] = np.nan
    assert np.isnan(step(parameters, broken, y)[0]).tolist() == [False, True, False]
    assert_same(step(parameters, x, y), by_the_book(parameters, x, y))


def test_results_stay_as_they_were_when_the_step_is_used_again(rng):
    parameters, step, (x, y) = fuzznet.initialize(rng, layers=3), fast.Step(), sounds(rng, 3, 50)
    found = step(parameters, x, y)
    before = [(name, array.copy()) for name, array in arrays_of(found)]
    step(parameters.map(lambda array: 2 * array), y, x)
    assert all(np.array_equal(array, old) for (_, array), (_, old) in zip(arrays_of(found), before))


@pytest.mark.parametrize(("own", "sound"), [("float32", "float32"), ("float64", "float32"), ("float32", "float64")])
def test_the_sound_decides_the_precision_and_gradients_come_in_the_type_of_the_parameters(rng, own, sound):
    parameters, (x, y) = fuzznet.initialize(rng).astype(np.dtype(own)), sounds(rng, 5, 700, sound)
    assert_same(fast.Step()(parameters, x, y), by_the_book(parameters, x, y), rtol=2e-6)


def test_single_precision_is_as_good_as_the_books(rng):
    """Against float64: halved weights and other orders of summation must not cost accuracy."""
    parameters, (x, y) = fuzznet.initialize(rng), sounds(rng, 5, 1000)
    exact = arrays_of(by_the_book(parameters, x, y))
    single = parameters.astype(np.float32), x.astype(np.float32), y.astype(np.float32)

    def error(result):
        return max(np.max(np.abs(a - b)) / np.max(np.abs(b)) for (_, a), (_, b) in zip(arrays_of(result), exact))

    assert error(fast.Step()(*single)) < 3 * error(by_the_book(*single))
    assert error(fast.Step()(*single)) < 2e-6


def test_loud_sound_does_not_overflow(rng):
    parameters, (x, y) = fuzznet.initialize(rng).astype(np.float32), sounds(rng, 2, 100, "float32")
    assert_same(fast.Step()(parameters, 1e6 * x, y), by_the_book(parameters, 1e6 * x, y), rtol=2e-5)


def test_weights_meet_rows_as_the_docstring_says(rng):
    parameters = fuzznet.initialize(rng, layers=1, kernels=2, kernel_size=2, dilations=(1,))
    x = np.array([0.5, -1.0, 2.0])
    weights = fast.stacked_weights(parameters)
    copies_and_ones = np.array([[0, 0.5, -1.0], x, [1, 1, 1]])  # the older tap first
    t = np.tanh(weights.kernels[0] @ copies_and_ones)
    y_hat, activations = fuzznet.forward(parameters, x)
    np.testing.assert_allclose((1 + t) / 2, activations.outputs[0][0], rtol=1e-14)
    mixed = np.concatenate([copies_and_ones[1:], [[7.0, 8.0, 9.0]], t])  # x, ones, the output so far, t
    np.testing.assert_allclose(weights.to_y[0] @ mixed, y_hat + np.array([7.0, 8.0, 9.0]), rtol=1e-13)


def test_the_output_so_far_is_carried_on(rng):
    parameters, x = fuzznet.initialize(rng, layers=2, kernels=3, kernel_size=1, dilations=(1, 1)), rng.normal(size=5)
    weights, (_, activations) = fast.stacked_weights(parameters), fuzznet.forward(parameters, x)
    mixed = np.concatenate([[x], np.ones((1, 5)), np.zeros((1, 5)), 2 * activations.outputs[0][0] - 1])
    np.testing.assert_allclose(weights.to_x[0] @ mixed, activations.inputs[1][0], rtol=1e-12)
    np.testing.assert_allclose(weights.to_y[0] @ mixed, parameters.output[0] @ activations.outputs[0][0], rtol=1e-12)


@pytest.mark.parametrize("library", ["numpy"], indirect=True)  # tracemalloc knows NumPy's memory alone
def test_memory_is_made_once(rng, library):
    parameters, (x, y) = fuzznet.initialize(rng).astype(np.float32), sounds(rng, 5, 1000, "float32")
    step = fast.Step()
    step(parameters, x, y)
    tracemalloc.start()
    for _ in range(3):
        step(parameters, x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * x.nbytes  # while one layer's Z alone, made anew, is 10 times x


def test_bad_calls_are_refused(rng):
    parameters, (x, y) = fuzznet.initialize(rng, layers=2), sounds(rng, 2, 30)
    over_time = fuzznet.initialize(rng, layers=2, bias="time", clip_length=30)
    with pytest.raises(ValueError, match=r'^got a bias over time: use bias="kernel", or `forward` and `backpropagate`$'):
        fast.Step()(over_time, x, y)
    with pytest.raises(ValueError, match="x has shape"):
        fast.Step()(parameters, x[0], y[0])
    with pytest.raises(ValueError, match="expected the same shape"):
        fast.Step()(parameters, x, y[:, 1:])
    with pytest.raises(ValueError, match=r"y holds .*int64"):
        fast.Step()(parameters, x, np.ones(x.shape, int))
    y[1, 5:] = 0
    with pytest.raises(ValueError, match="a target clip is silent"):
        fast.Step(warm_up=5)(parameters, x, y)
    for warm_up in (-1, 30):
        with pytest.raises(ValueError, match=f"warm_up={warm_up}"):
            fast.Step(warm_up)(parameters, x, x)


@pytest.mark.parametrize("warm_up", [0, 20])
def test_training_takes_the_fast_step_and_learns_the_same(rng, monkeypatch, warm_up):
    parameters, (x, y) = fuzznet.initialize(rng, layers=3), sounds(rng, 7, 60)
    calls, original = [], fast.Step.__call__
    monkeypatch.setattr(fast.Step, "__call__", lambda self, *given: calls.append(1) or original(self, *given))

    def learn(**settings):
        return train(
            parameters, x, y, optimizer=Adam(0.02), rng=np.random.default_rng(4), epochs=6, warm_up=warm_up, progress=False,
            **settings,
        )  # fmt: skip

    soon = learn()
    assert len(calls) == 12
    book = learn(gradient=lambda *given: fuzznet.backpropagate(*given))
    learn(gradient=fuzznet.local_gradients)
    assert len(calls) == 12  # any other gradient goes by the book
    np.testing.assert_allclose(soon.losses, book.losses, rtol=1e-9)
    np.testing.assert_allclose(soon.parameters.kernels, book.parameters.kernels, rtol=1e-7, atol=1e-9)


def test_any_callable_will_do_for_a_gradient(rng):
    @dataclasses.dataclass  # which has no hash
    class Gradient:
        calls: int = 0

        def __call__(self, *given):
            self.calls += 1
            return fuzznet.backpropagate(*given)

    gradient, (x, y) = Gradient(), sounds(rng, 4, 40)
    train(fuzznet.initialize(rng, layers=2), x, y, optimizer=Adam(), rng=rng, gradient=gradient, epochs=1, progress=False)
    assert gradient.calls == 1


def test_training_that_breaks_down_says_so(rng):
    parameters, (x, y) = fuzznet.initialize(rng, layers=2), sounds(rng, 4, 40)
    x[2, 3] = np.nan
    with pytest.raises(DivergenceError, match="check x for NaN"):
        train(parameters, x, y, optimizer=Adam(), rng=rng, progress=False)
