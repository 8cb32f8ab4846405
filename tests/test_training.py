import numpy as np
import pytest

import fuzznet
from fuzznet.optimizers import Adam, GradientDescent
from fuzznet.training import DivergenceError, fit_output, train

pytestmark = pytest.mark.usefixtures("library")


@pytest.fixture
def clips(rng):
    x = rng.normal(size=(7, 60))
    return x, np.tanh(2 * x)


def mean_esr(parameters, x, y):
    return float(np.mean(fuzznet.esr(output=fuzznet.forward(parameters, x)[0], target=y)))


def learn(x, y, parameters=None, optimizer=None, seed=4, **settings):
    if parameters is None:
        parameters = fuzznet.initialize(np.random.default_rng(seed), layers=3)
    optimizer = optimizer or GradientDescent(0.01)
    return train(parameters, x, y, optimizer=optimizer, rng=np.random.default_rng(seed), progress=False, **settings)


def test_learns(clips):
    before = mean_esr(fuzznet.initialize(np.random.default_rng(4), layers=3), *clips)
    training = learn(*clips, optimizer=Adam(0.02), epochs=60)
    assert mean_esr(training.parameters, *clips) < 0.1 * before
    assert len(training.losses) == 60 * 2  # seven clips are a batch of five and a batch of two


def test_one_step_by_hand(clips):
    x, y = clips
    parameters = fuzznet.initialize(np.random.default_rng(4), layers=3)
    y_hat, activations = fuzznet.forward(parameters, x)
    gradients = fuzznet.backpropagate(parameters, activations, fuzznet.esr_gradient(output=y_hat, target=y))
    training = learn(x, y, epochs=1, batch_size=7)
    np.testing.assert_allclose(training.parameters.kernels, parameters.kernels - 0.01 * gradients.kernels, rtol=1e-10)
    assert training.losses == pytest.approx([mean_esr(parameters, x, y)])


def test_losses_are_the_mean_esr_of_each_batch_before_its_step(clips):
    met = []

    def watch(parameters, activations, dy):
        x = activations.inputs[0]
        met.append(mean_esr(parameters, x, np.tanh(2 * x)))
        return fuzznet.backpropagate(parameters, activations, dy)

    losses = learn(*clips, gradient=watch, epochs=2).losses
    assert len(losses) == 4 and losses == pytest.approx(met, rel=1e-12)


def test_each_epoch_meets_every_clip_once():
    x = np.arange(1.0, 8.0)[:, None] * np.ones((7, 9))
    met = []

    def watch(parameters, activations, dy):
        met.append(activations.inputs[0][:, 0].tolist())
        return fuzznet.backpropagate(parameters, activations, dy)

    learn(x, x, gradient=watch, epochs=2, batch_size=3, optimizer=GradientDescent(1e-6))
    assert [len(batch) for batch in met] == [3, 3, 1] * 2
    first, second = [sum(epoch, start=[]) for epoch in (met[:3], met[3:])]  # noqa: RUF017
    assert sorted(first) == sorted(second) == list(range(1, 8))
    assert first != second


def test_same_seed_same_numbers(clips):
    assert learn(*clips).losses == learn(*clips).losses
    assert learn(*clips).losses != learn(*clips, seed=5).losses


def test_frozen_arrays_do_not_learn(clips):
    parameters = fuzznet.initialize(np.random.default_rng(4), layers=3)
    after = learn(*clips, parameters, frozen=("mixing", "kernels")).parameters
    assert np.array_equal(after.mixing, parameters.mixing) and np.array_equal(after.kernels, parameters.kernels)
    assert not np.array_equal(after.biases, parameters.biases) and not np.array_equal(after.output, parameters.output)


def test_warm_up_is_heard_and_not_judged(clips):
    x, y = clips
    other = y.copy()
    other[:, :20] = -5.0  # what is not judged may be anything
    assert learn(x, y, warm_up=20).losses == learn(x, other, warm_up=20).losses
    louder = x.copy()
    louder[:, :20] *= 2  # what is heard counts
    assert learn(louder, y, warm_up=20).losses != learn(x, y, warm_up=20).losses


def test_gradient_is_zero_in_the_warm_up_and_that_of_the_judged_part_after_it(clips):
    def watch(parameters, activations, dy):
        x = activations.inputs[0]
        judged = {"output": fuzznet.forward(parameters, x)[0][:, 20:], "target": np.tanh(2 * x)[:, 20:]}
        assert not np.any(dy[:, :20])
        np.testing.assert_allclose(dy[:, 20:], fuzznet.esr_gradient(**judged), rtol=1e-12)
        return fuzznet.backpropagate(parameters, activations, dy)

    assert len(learn(*clips, gradient=watch, warm_up=20, epochs=1).losses) == 2


def test_target_silent_after_the_warm_up_is_refused_before_any_step(clips):
    x, y = clips
    y[3, 20:] = 0
    steps = []
    with pytest.raises(ValueError, match="a target clip is silent"):
        learn(x, y, gradient=lambda *_: steps.append("one"), warm_up=20, batch_size=1)
    assert not steps


def test_time_limit_and_falling_learning_rate(clips):
    optimizer = GradientDescent(0.01)
    training = learn(*clips, optimizer=optimizer, epochs=10**9, max_seconds=0.3, final_learning_rate=0.001)
    assert len(training.losses) > 3
    assert len(learn(*clips, max_seconds=1e-9).losses) == 1  # one step is always made
    assert 0.001 <= optimizer.learning_rate < 0.002
    falling = GradientDescent(0.01)
    learn(*clips, optimizer=falling, epochs=5, final_learning_rate=0.001)
    assert falling.learning_rate == pytest.approx(0.01 * 0.1 ** (9 / 10))  # at the last of ten steps


class Breaks:
    """Gradient descent that breaks down at a given step."""

    def __init__(self, step):
        self.learning_rate, self.step, self.seen = 0.01, step, []

    def __call__(self, parameters, gradients):
        self.seen.append(parameters)
        broken = len(self.seen) == self.step
        return parameters.map(lambda p, g: p * np.nan if broken else p - 0.01 * g, gradients)


@pytest.mark.parametrize("step", [3, 10])  # in the middle, and with the very last of ten steps
def test_divergence_leaves_the_last_good_parameters(clips, step):
    optimizer = Breaks(step)
    with pytest.raises(DivergenceError, match=f"loss became nan after {step} steps: use a smaller learning_rate") as caught:
        learn(*clips, optimizer=optimizer, epochs=5)
    training = caught.value.training
    assert len(training.losses) == step and np.all(np.isfinite(training.losses))
    assert np.array_equal(training.parameters.kernels, optimizer.seen[-1].kernels)
    assert np.isfinite(mean_esr(training.parameters, *clips))


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_too_large_a_learning_rate_diverges(clips):
    with pytest.raises(DivergenceError, match="use a smaller learning_rate"):
        learn(*clips, optimizer=GradientDescent(1e200), epochs=1, batch_size=7)


def test_nan_in_the_data_stops_the_training(clips):
    x, y = clips
    x[3, 5] = np.nan
    with pytest.raises(DivergenceError, match="loss became nan after"):
        learn(x, y)
    with pytest.raises(ValueError, match="a target clip is silent, or holds NaN"):
        learn(y, x)
    with pytest.raises(ValueError, match="a target clip is silent"):
        learn(y, 0 * y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_seconds": 0}, "max_seconds=0: expected above 0"),
        ({"max_seconds": float("nan")}, "max_seconds=nan"),
        ({"final_learning_rate": -1}, "final_learning_rate=-1: expected a finite number above 0"),
        ({"warm_up": 60}, "warm_up=60: expected at least 0 and below the clip's 60 samples"),
        ({"frozen": ("mixer",)}, "expected names out of"),
    ],
)
def test_settings_out_of_range(clips, settings, message):
    with pytest.raises(ValueError, match=message):
        learn(*clips, **settings)


def test_clips_that_do_not_match(clips):
    x, y = clips
    with pytest.raises(ValueError, match=r"x has shape \(7, 60\), y \(7, 59\)"):
        learn(x, y[:, 1:])
    with pytest.raises(ValueError, match=r"x has shape \(60,\)"):
        learn(x[0], y[0])
    with pytest.raises(ValueError, match=r"y has shape \(7,\)"):
        learn(x, y[:, 0])
    with pytest.raises(ValueError, match=r"x has shape \(60,\): expected \(B, T\)"):
        fit_output(fuzznet.initialize(np.random.default_rng(4), layers=3), x[0], y[0])


def test_fit_output_can_not_be_bettered(clips, rng):
    x, y = clips
    y = y * np.arange(1, 8)[:, None]  # clips of different energy, so that the weights matter
    best = fit_output(fuzznet.initialize(rng, layers=3), x, y)
    y_hat, activations = fuzznet.forward(best, x)
    slope = fuzznet.backpropagate(best, activations, fuzznet.esr_gradient(output=y_hat, target=y)).output
    assert np.max(np.abs(slope)) < 1e-10


def test_fit_output_with_two_kernels_alike(clips):
    x, y = clips
    parameters = fuzznet.initialize(np.random.default_rng(4), layers=3)
    for array in (parameters.kernels, parameters.biases):
        array[:, 1] = array[:, 0]  # so that their weights can be shared out between them in any way
    best = fit_output(parameters, x, y)
    y_hat, activations = fuzznet.forward(best, x)
    slope = fuzznet.backpropagate(best, activations, fuzznet.esr_gradient(output=y_hat, target=y)).output
    assert np.max(np.abs(slope)) < 1e-10 and np.max(np.abs(best.output)) < 100


def test_progress_bar(clips, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    parameters = fuzznet.initialize(np.random.default_rng(4), layers=3)
    train(parameters, *clips, optimizer=GradientDescent(0.01), rng=np.random.default_rng(4), epochs=1)
    shown = capsys.readouterr().err
    assert "training" in shown and "100%" in shown and "esr=" in shown
    learn(*clips, epochs=1)  # with progress=False
    assert capsys.readouterr().err == ""
