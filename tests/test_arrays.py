"""Each function that takes arrays answers in kind: same library, same precision, same numbers."""

import contextlib
import importlib
import inspect
import sys
import types

import array_api_strict as strict
import numpy as np
import pytest
from ported import MODULES, NUMPY_ALONE

import fuzznet
from fuzznet import (
    arrays,
    convolution,
    fast,
    gradients,
    loss,
    network,
    optimizers,
    postprocessing,
    recordings,
    signals,
    significance,
    storage,
    streaming,
    training,
)

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(3, 47)), RNG.normal(size=(3, 47))
PARAMETERS = fuzznet.initialize(RNG, layers=3, kernels=4, kernel_size=3)
OVER_TIME = fuzznet.initialize(RNG, layers=3, kernels=4, kernel_size=3, bias="time", clip_length=47)
Z, DY, KERNELS = RNG.uniform(size=(3, 4, 47)), RNG.normal(size=(3, 47)), RNG.normal(size=(4, 3))
SOUND = np.concatenate([np.zeros(9), RNG.normal(size=91)])


def backward(function):
    return lambda parameters, x, dy: function(parameters, fuzznet.forward(parameters, x)[1], dy)


def learn(make_optimizer):
    def function(parameters, x, y):
        optimizer = make_optimizer()
        rng = np.random.default_rng(1)
        return training.train(parameters, x, y, optimizer=optimizer, rng=rng, epochs=2, batch_size=2, progress=False).parameters

    return function


def by_rows(parameters, x):
    """The network by the parts of `fast` that streams use too: the undelayed copy alone is x, the others are delayed."""
    (_, _, taps), rows, layers = parameters.kernels.shape, fast.rows_of_layers(parameters.kernels, x.shape[0]), []
    for l, dilation in enumerate(parameters.dilations):
        x_l = rows[l, taps - 1, :]
        delays = [(rows[l, taps - 1 - tau, tau * dilation :], x_l[: -tau * dilation]) for tau in range(1, taps)]
        layers.append(fast.layer_views(rows[l, ...], taps, x_l, rows[l, taps + 1, :], delays))
    layers[0].x[...], xp = x, arrays.namespace(x)
    y_hat = xp.zeros_like(x)
    fast.forward_pass(fast.stacked_weights(parameters), layers, y_hat, arrays.in_place(xp))
    return y_hat


def change(parameters, other, x):
    stream = fuzznet.Stream(parameters, 100)
    stream.change(other, fade=50)
    return stream(x)


# function that takes arrays: how to call it, and with what. `test_table_is_complete` refuses a gap.
CALLS = {
    convolution.convolve: (lambda k, x: convolution.convolve(k, x, 2), KERNELS[0], X),
    convolution.delayed_copies: (lambda x: convolution.delayed_copies(x, 3, 4), X),
    convolution.sum_of_advanced_copies: (lambda r: convolution.sum_of_advanced_copies(r, 5), Z),
    fast.forward_pass: (by_rows, PARAMETERS, SOUND),
    fast.layer_views: (lambda r: fast.layer_views(r, 1, r[0, :], r[2, :], [])[:-1], Z[0]),
    fast.rows_of_layers: (lambda k: fast.rows_of_layers(k, 5), PARAMETERS.kernels),
    fast.stacked_weights: (fast.stacked_weights, PARAMETERS),
    fast.Step: (lambda p, x, y: fast.Step(warm_up=5)(p, x, y)[1], PARAMETERS, X, Y),
    gradients.backpropagate: (backward(gradients.backpropagate), OVER_TIME, X, DY),
    gradients.bias_gradient: (lambda da: gradients.bias_gradient(da, False), Z),
    gradients.input_gradient: (lambda da, k: gradients.input_gradient(da, k, 2), Z, KERNELS),
    gradients.kernel_gradient: (lambda da, x: gradients.kernel_gradient(da, x, 3, 2), Z, X),
    gradients.local_gradients: (backward(gradients.local_gradients), PARAMETERS, X, DY),
    gradients.mixer_gradient: (gradients.mixer_gradient, Z, DY),
    gradients.sigmoid_gradient: (gradients.sigmoid_gradient, Z, Z[:, ::-1]),
    loss.esr: (lambda o, t: loss.esr(output=o, target=t), X, Y),
    loss.esr_gradient: (lambda o, t: loss.esr_gradient(output=o, target=t), X, Y),
    loss.target_energy: (loss.target_energy, X, Y),
    network.forward: (lambda p, x: network.forward(p, x)[0], PARAMETERS, X),
    network.layer_output: (lambda k, b, x: network.layer_output(k, b, x, 2), KERNELS, KERNELS[:, :1], X),
    network.sigmoid: (network.sigmoid, X),
    postprocessing.keep_lowest_frequencies: (lambda x: postprocessing.keep_lowest_frequencies(x, 7), X),
    postprocessing.match_mean: (postprocessing.match_mean, X, Y),
    recordings.best_scalar: (recordings.best_scalar, X, Y),
    recordings.remove_silence: (lambda x, y: recordings.remove_silence(x, y)[1], SOUND, SOUND**2),
    recordings.rms: (recordings.rms, X),
    recordings.split_into_clips: (lambda x: recordings.split_into_clips(x, 13), SOUND),
    recordings.standardize: (recordings.standardize, X),
    signals.harmonic_spectrum: (lambda x: signals.harmonic_spectrum(x, 50, 1000, 12), SOUND),
    signals.random_harmonics: (lambda t: signals.random_harmonics(t, 3, np.random.default_rng(0)), SOUND),
    signals.sawtooth: (lambda t: signals.sawtooth(t, 3), X[0]),
    signals.sine: (lambda t: signals.sine(t, 3), X[0]),
    signals.square: (lambda t: signals.square(t, 3), X[0]),
    streaming.overlap_add: (lambda x: streaming.overlap_add(lambda c: c**2, x, 10), SOUND),
    streaming.render: (lambda p, x: streaming.render(p, x, 30), PARAMETERS, SOUND),
    streaming.Stream: (lambda p, x: fuzznet.Stream(p, 100)(x), PARAMETERS, SOUND),
    streaming.Stream.change: (change, PARAMETERS, PARAMETERS.map(np.cos), SOUND),
    training.fit_output: (training.fit_output, PARAMETERS, X, Y),
    training.train: (learn(lambda: optimizers.Adam(0.01)), PARAMETERS, X, Y),
    optimizers.GradientDescent: (learn(lambda: optimizers.GradientDescent(0.01)), PARAMETERS, X, Y),
    optimizers.Momentum: (learn(lambda: optimizers.Momentum(0.01)), PARAMETERS, X, Y),
    optimizers.Adam: (learn(lambda: optimizers.Adam(0.01)), OVER_TIME, X, Y),
}


def convert(value, xp, dtype, device=None):
    if isinstance(value, fuzznet.Parameters):
        return value.map(lambda array: convert(array, xp, dtype, device))
    return xp.asarray(np.array(value, dtype=dtype, order="C"), copy=True, device=device)


def parts(result):
    if isinstance(result, fuzznet.Parameters):
        return [getattr(result, name) for name in fuzznet.Parameters.NAMES]
    return list(result) if isinstance(result, tuple) else [result]


def test_table_is_complete():
    public = set()
    for module in (importlib.import_module(f"fuzznet.{name}") for name in MODULES):
        for name, thing in vars(module).items():
            own = getattr(thing, "__module__", None) == module.__name__ and name not in NUMPY_ALONE
            if own and inspect.isfunction(thing) and not name.startswith(("_", "check_")):
                public.add(thing)
    assert public - set(CALLS) == {storage.save, storage.save_checkpoint}  # which answer with a file


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_answers_in_kind(function, xp, dtype, record_property):
    call, *arguments = CALLS[function]
    before = [convert(argument, xp, dtype) for argument in arguments]
    untouched = [convert(argument, xp, dtype) for argument in arguments]
    results = parts(call(*before))
    expected = parts(call(*(convert(argument, np, "float64") for argument in arguments)))
    for result, reference in zip(results, expected):
        assert arrays.namespace(result) is arrays.namespace(xp.asarray(1.0))
        assert result.dtype == getattr(xp, dtype)
        assert tuple(result.shape) == reference.shape
        tolerance = 1e-12 if dtype == "float64" else 2e-4
        np.testing.assert_allclose(arrays.to_numpy(result), reference, rtol=tolerance, atol=tolerance)
        differences = np.abs(arrays.to_numpy(result) - reference)
        record_property("largest difference", float(np.max(differences) / np.max(np.abs(reference))))
    for argument, original in zip(before, untouched):  # the caller's arrays are left alone
        for now, then in zip(parts(argument), parts(original)):
            assert np.array_equal(arrays.to_numpy(now), arrays.to_numpy(then))


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_answers_on_the_device_it_was_asked_on(function):
    """array_api_strict pretends to have a second device, and refuses to mix the two or to hand its arrays to NumPy."""
    call, *arguments = CALLS[function]
    device = strict.Device("device1")
    results = parts(call(*(convert(argument, strict, "float64", device) for argument in arguments)))
    expected = parts(call(*(convert(argument, np, "float64") for argument in arguments)))
    for result, reference in zip(results, expected):
        assert result.device == device
        here = np.asarray(result.to_device(strict.Device("CPU_DEVICE")))
        np.testing.assert_allclose(here, reference, rtol=1e-12, atol=1e-12)


def test_parameters_keep_their_library_when_their_type_changes(xp):
    halved = convert(PARAMETERS, xp, "float64").astype(xp.float32)
    assert all(array.dtype == xp.float32 for array in parts(halved))
    assert PARAMETERS.size == 3 * 4 * 3 + 3 * 4 + 2 * 4 + 3 * 4


def test_significance_of_errors_on_any_library(xp):
    pair = [xp.asarray(errors) for errors in ([0.25, 0.5, 0.125], [0.125, 0.25, 0.1875])]
    assert significance.report_p_value(*pair) == significance.report_p_value(*map(arrays.to_numpy, pair))


def test_parameters_are_not_copied_for_nothing():
    assert PARAMETERS.astype(np.float64).kernels is PARAMETERS.kernels


@pytest.mark.parametrize("make", [optimizers.GradientDescent, optimizers.Momentum, optimizers.Adam])
def test_float32_stays_float32_in_training(make):
    rng, settings = np.random.default_rng(0), {"epochs": 2, "progress": False, "final_learning_rate": np.float64(0.001)}
    x, y = X.astype(np.float32), Y.astype(np.float32)
    single, double = PARAMETERS.astype(np.float32), PARAMETERS
    for parameters, sound, target in ((single, x, y), (single, X, Y), (double, x, y)):
        y_hat, _ = fuzznet.forward(parameters, sound)
        assert y_hat.dtype == sound.dtype  # the sound decides
        learned = training.train(parameters, sound, target, optimizer=make(np.float64(0.01)), rng=rng, **settings).parameters
        assert {array.dtype for array in parts(learned)} == {parameters.kernels.dtype}


def test_tones_stay_float32():
    t = SOUND.astype(np.float32)
    for tone in (signals.sine, signals.square, signals.sawtooth):
        assert tone(t, np.float64(440)).dtype == np.float32
    assert signals.random_harmonics(t, np.float64(440), np.random.default_rng(0)).dtype == np.float32


# Single expressions, or within `Step` and `Stream`: there the library itself refuses what is not its own, with its own error.
SINGLE = {convolution.convolve, fast.forward_pass, gradients.input_gradient, gradients.sigmoid_gradient, network.layer_output}
SEVERAL = [function for function, (_, *arguments) in CALLS.items() if len(arguments) > 1 and function not in SINGLE]


@pytest.mark.parametrize("function", SEVERAL, ids=lambda function: function.__name__)
def test_arguments_of_two_libraries_are_refused(function):
    """On its pretended device, so that NumPy can't take an array by mistake; whichever argument is the odd one."""
    call, *arguments = CALLS[function]
    for odd in range(len(arguments)):
        mixed = [convert(argument, np, "float64") for argument in arguments]
        mixed[odd] = convert(arguments[odd], strict, "float64", strict.Device("device1"))
        with pytest.raises(ValueError, match="expected arrays of one library"):
            call(*mixed)


@pytest.mark.parametrize("recordable", [False, True])
@pytest.mark.parametrize(
    "shapes", [((4, 3), (3, 60)), ((5,), (5, 60)), ((4, 60), (60, 3)), ((4, 60), (60,)), ((4, 61), (61, 3))], ids=str
)
def test_products_in_place(shapes, recordable, xp, dtype):
    """Into an array that is there already, and into a new one: few terms a sum or many, whose number may be a prime."""
    a, b = (convert(RNG.normal(size=shape), xp, dtype) for shape in shapes)
    expected, do = arrays.to_numpy(a) @ arrays.to_numpy(b), arrays.in_place(xp, recordable)
    out = xp.zeros(expected.shape, dtype=a.dtype)
    assert do.matmul(a, b, out=out) is out
    products = [out, do.matmul(a, b)]
    if b.ndim == 2:  # a transpose that was never written down
        products.append(do.matmul(a, xp.matrix_transpose(xp.asarray(xp.matrix_transpose(b), copy=True))))
    for product in products:
        np.testing.assert_allclose(arrays.to_numpy(product), expected, atol=1e-13 if dtype == "float64" else 1e-5)


def test_steps_in_place(xp):
    t, dt = (RNG.normal(size=(3, 50)) for _ in range(2))
    do, here, there = arrays.in_place(xp), convert(t, xp, "float64"), convert(dt, xp, "float64")
    do.times_slope(there, here, xp.zeros_like(here))
    np.testing.assert_allclose(arrays.to_numpy(there), dt * (1 - t**2), rtol=1e-14)
    do.move(here[:, 5:], here[:, :-5])  # they overlap
    np.testing.assert_array_equal(arrays.to_numpy(here)[:, 5:], t[:, :-5])
    assert do.tanh(there, out=there) is there
    np.testing.assert_allclose(arrays.to_numpy(there), np.tanh(dt * (1 - t**2)), rtol=1e-14)


@pytest.mark.parametrize("recorded_samples", [0, 10**9], ids=["unrecorded", "recorded"])
def test_a_step_gives_the_same_recorded_or_not(recorded_samples, xp, dtype, monkeypatch):
    """Call after call, with new numbers in the same memory, and for batches of other sizes between them."""
    monkeypatch.setattr(fast, "RECORDED_SAMPLES", recorded_samples)
    step, rng, kept = fast.Step(warm_up=7), np.random.default_rng(8), []
    for clips, samples in ((5, 300), (5, 300), (2, 300), (5, 300), (31, 400), (31, 400)):
        p = fuzznet.initialize(rng, layers=4, kernels=5, kernel_size=3)
        x, y = rng.normal(size=(2, clips, samples))
        found = step(*(convert(thing, xp, dtype) for thing in (p, x, y)))
        y_hat, activations = fuzznet.forward(p, x)
        dy = np.zeros_like(y)
        dy[:, 7:] = fuzznet.esr_gradient(output=y_hat[:, 7:], target=y[:, 7:])
        expected = fuzznet.esr(output=y_hat[:, 7:], target=y[:, 7:]), fuzznet.backpropagate(p, activations, dy)
        kept.append((found, expected))
    for found, expected in kept:  # at the end, so that no later call may have written over them
        for result, reference in zip((found[0], *parts(found[1])), (expected[0], *parts(expected[1]))):
            error = np.linalg.norm(arrays.to_numpy(result) - reference) / np.linalg.norm(reference)
            assert error < (1e-12 if dtype == "float64" else 2e-5)


def test_two_libraries_in_one_call_are_refused():
    with pytest.raises(ValueError, match="expected arrays of one library"):
        arrays.namespace(np.ones(3), strict.ones(3))
    with pytest.raises(ValueError, match=r"got builtins\.list"):
        arrays.namespace([1.0, 2.0])


@pytest.mark.parametrize("wrong", [np.ones(4, int), np.ones(4, complex), np.ones(4, np.float16), np.ones(4, np.longdouble)])
def test_signals_hold_real_floats(wrong):
    with pytest.raises(ValueError, match="expected float32 or float64"):
        arrays.check_signal(wrong, "x")


@pytest.mark.parametrize(
    "call",
    [
        lambda kernel: convolution.convolve_by_definition(kernel, X[0]),
        lambda x: convolution.convolve_by_definition(KERNELS[0], x),
        lambda kernel: convolution.convolve(kernel, X),
        lambda x: convolution.convolve(KERNELS[0], x),
        lambda dy: fuzznet.backpropagate(PARAMETERS, fuzznet.forward(PARAMETERS, X)[1], dy),
        lambda output: loss.esr(output=output, target=Y),
        lambda target: loss.esr(output=X, target=target),
        lambda output: loss.esr_gradient(output=output, target=Y),
        lambda target: loss.esr_gradient(output=X, target=target),
        lambda x: fuzznet.forward(PARAMETERS, x),
        lambda x: postprocessing.keep_lowest_frequencies(x),
        lambda output: postprocessing.match_mean(output, X),
        lambda reference: postprocessing.match_mean(X, reference),
        lambda x: signals.harmonic_spectrum(x, 50, 1000),
        lambda x_block: fuzznet.Stream(PARAMETERS)(x_block),
        lambda x: streaming.overlap_add(lambda clips: clips, x, 10),
        lambda x: streaming.render(PARAMETERS, x),
    ],
    ids=lambda call: "-".join((call.__code__.co_names[-1], *call.__code__.co_varnames)),
)
def test_a_signal_that_is_none_is_named(call):
    """The error names the argument as the docstring does, so that the reader knows which one to mend."""
    [name] = call.__code__.co_varnames
    with pytest.raises(ValueError, match=f"^{name} holds int64: expected float32 or float64"):
        call(np.ones((3, 47), int))
    with pytest.raises(ValueError, match=rf"^{name} has shape \(2, 3, 4\): expected "):
        call(np.ones((2, 3, 4)))


@pytest.mark.parametrize("wrong", [np.ones(()), np.ones((2, 3, 4)), np.ones((0, 5)), np.ones(0)])
def test_signals_are_one_clip_or_several(wrong):
    with pytest.raises(ValueError, match="expected \\(T,\\) or \\(B, T\\)"):
        arrays.check_signal(wrong, "x")


def test_backends():
    assert arrays.backend("numpy").asarray([1.0]).sum() == 1.0
    with pytest.raises(ValueError, match='expected "numpy" or "cupy"'):
        arrays.backend("torch")


def test_cupy_without_a_gpu_says_what_to_do():
    try:
        xp = arrays.backend("cupy")
    except ValueError as error:
        assert 'or use "numpy"' in str(error)
        assert arrays.backend() is arrays.backend("numpy")  # the default falls back
    else:
        assert float(xp.sum(xp.ones(3))) == 3
        assert arrays.backend() is xp


def test_cupy_without_a_device(monkeypatch):
    """A stand-in for CuPy on a machine without a GPU; it raises what the real one, 14.2, was seen to raise there."""

    class CUDARuntimeError(RuntimeError):
        pass

    def get_device_count():
        raise CUDARuntimeError("cudaErrorInsufficientDriver")

    cupy, wrapper = types.ModuleType("cupy"), types.ModuleType("array_api_compat.cupy")
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=get_device_count)
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", wrapper)
    with pytest.raises(ValueError, match=r"finds no GPU .*InsufficientDriver.*nvidia-smi"):
        arrays.backend("cupy")
    assert arrays.backend() is arrays.backend("numpy")


@pytest.fixture
def pretended_cupy(monkeypatch):
    """A stand-in for the parts of CuPy that `arrays` calls, made of NumPy: a graph runs the recorded function again.

    It can't tell whether CuPy's own functions do what they promise, but whether they are called as its source, 14.2, wants it.
    """
    cupy, log = types.ModuleType("cupy"), []

    class Kernel:
        def __init__(self, inputs, outputs, *expressions):
            assert (inputs, outputs) in (("T a, T b", "T y"), ("T dt, T t", "T y"))
            self.names, self.expressions = [name.split()[-1] for name in inputs.split(",")], expressions

        def __call__(self, *arguments, axis=None):
            arguments, out = arguments[:2], arguments[2] if len(arguments) == 3 else None
            values = dict(zip(self.names, np.broadcast_arrays(*arguments)))
            if axis is None:
                np.copyto(out, eval(self.expressions[0].removeprefix("y = "), values))
                return out
            assert self.expressions[1:] == ("a + b", "y = a", "0", "product")
            result = eval(self.expressions[0], values).sum(axis=axis)
            if out is None:
                return result
            assert out.shape == result.shape
            out[...] = result
            return out

    class Stream:
        capturing = False

        def __init__(self, non_blocking):
            assert non_blocking  # another one would wait for the default stream, which a capture may not

        def __enter__(self):
            log.append("enter")

        def __exit__(self, *_):
            log.append("leave")

        def synchronize(self):
            assert not self.capturing
            log.append("wait")

        def begin_capture(self):
            Stream.capturing = True

        def end_capture(self):
            Stream.capturing = False
            return types.SimpleNamespace(launch=lambda: log.append("launch"))

    @contextlib.contextmanager
    def using_allocator(allocator):
        assert allocator(64) == allocator(64) == "memory"
        yield

    cupy.cuda = types.SimpleNamespace(
        Stream=Stream, get_current_stream=lambda: Stream(True), get_allocator=lambda: lambda size: "memory",
        using_allocator=using_allocator,
    )  # fmt: skip
    cupy.ElementwiseKernel = cupy.ReductionKernel = Kernel
    cupy.empty, cupy.matmul, cupy.tanh, cupy.log = np.empty, np.matmul, np.tanh, log
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


@pytest.mark.parametrize("recordable", [False, True])
def test_in_place_as_cupy_is_called(recordable, pretended_cupy):
    do = arrays.in_place(pretended_cupy, recordable)
    assert (do.matmul is np.matmul) is not recordable
    for shapes in (((4, 3), (3, 60)), ((5,), (5, 60)), ((4, 60), (60, 3)), ((4, 61), (61,)), ((1, 7), (7, 1))):
        a, b = (RNG.normal(size=shape) for shape in shapes)
        rows, out = RNG.normal(size=(9, *(a @ b).shape)), np.empty((9, *(a @ b).shape))[4]
        assert do.matmul(a, b, out=out) is out
        np.testing.assert_allclose(out, a @ b, atol=1e-13)
        np.testing.assert_allclose(do.matmul(a, np.array(b.T).T), a @ b, atol=1e-13)
        assert rows.shape[1:] == out.shape
    t, dt = RNG.normal(size=(2, 3, 50))
    expected = dt * (1 - t**2), t[:, :-5].copy()
    do.times_slope(dt, t, None)
    do.move(t[:, 5:], t[:, :-5])
    np.testing.assert_allclose(dt, expected[0], rtol=1e-14)
    np.testing.assert_array_equal(t[:, 5:], expected[1])


def test_a_recorded_function_is_recorded_once_and_played_back(pretended_cupy):
    runs, cuda = [], pretended_cupy.cuda

    def function(a, b):
        runs.append((a, b, cuda.Stream.capturing))
        return a + b, a * b

    assert arrays.recorded(function, np) is function
    graph = arrays.recorded(function, pretended_cupy)
    a, b = RNG.normal(size=(2, 6))
    first = graph(a, b)
    assert [capturing for *_, capturing in runs] == [False, True]
    assert pretended_cupy.log == ["wait", "enter", "wait", "leave", "launch"]
    inputs = runs[-1][:2]
    assert not any(np.may_share_memory(place, array) for place in inputs for array in (a, b))
    second = graph(2 * a, b + 1)
    assert len(runs) == 2 and pretended_cupy.log[-1] == "launch"
    np.testing.assert_array_equal(inputs, (2 * a, b + 1))  # what the graph is going to read
    for result, place in zip((*first, *second), graph.results * 2):
        assert not np.may_share_memory(result, place)
    np.testing.assert_array_equal(first, (a + b, a * b))
    assert len(graph.memory) == 2


def test_a_function_that_fails_while_it_is_recorded_leaves_no_graph(pretended_cupy):
    def function(a):
        if pretended_cupy.cuda.Stream.capturing:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        return (a,)

    graph = arrays.recorded(function, pretended_cupy)
    for _ in range(2):
        with pytest.raises(NotImplementedError, match="cuBLAS"):
            graph(np.ones(3))
        assert graph.graph is None and not pretended_cupy.cuda.Stream.capturing
