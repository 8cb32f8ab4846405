"""Streaming gives what one long clip gives, whatever comes in between; overlap-add gives back what it cut."""

import copy
import pickle
import threading
import tracemalloc

import numpy as np
import pytest

import fuzznet
from fuzznet import streaming
from fuzznet.arrays import to_numpy

pytestmark = pytest.mark.usefixtures("library")
numpy_alone = pytest.mark.parametrize("library", ["numpy"], indirect=True)  # where memory is counted, or threads meet


@pytest.fixture
def parameters(rng):
    return fuzznet.initialize(rng, layers=4, kernels=3, kernel_size=3, dilations=(1, 5, 2, 9))  # hears 34 samples of the past


@pytest.fixture
def other(rng):
    return fuzznet.initialize(rng, layers=3, kernels=5, kernel_size=4, dilations=(2, 1, 7))  # hears 30


def network(parameters, x):
    return fuzznet.forward(parameters, x)[0]


def in_blocks(stream, x, block_size):
    return np.concatenate([stream(x[start : start + block_size]) for start in range(0, len(x), block_size)])


def tolerance(dtype):
    return 1e-12 if dtype == "float64" else 1e-5


# Blocks


@pytest.mark.parametrize("block_size", [1, 7, 64, 500])
def test_stream_is_the_network_in_one_piece(rng, dtype, parameters, block_size):
    x = rng.normal(size=211).astype(dtype)
    found = in_blocks(fuzznet.Stream(parameters, block_size), x, block_size)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, network(parameters, x), atol=tolerance(dtype))


def test_blocks_of_any_length_and_a_reset(rng, parameters):
    stream, x = fuzznet.Stream(parameters, block_size=40), rng.normal(size=120)
    whole = network(parameters, x)
    for _ in range(2):
        blocks = [stream(x[a:b]) for a, b in [(0, 1), (1, 40), (40, 43), (43, 83), (83, 120)]]
        np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-12)
        assert not np.allclose(stream(x[:40]), whole[:40])  # it remembers
        stream.reset()


def test_a_stream_leaves_the_callers_block_alone(rng, parameters):
    stream, x = fuzznet.Stream(parameters), rng.normal(size=64)
    before = x.copy()
    stream(x)
    assert np.array_equal(x, before)
    expected = network(parameters, np.concatenate([before, before]))[64:]
    x2 = x.copy()
    x[:] = 0  # a sound card reuses its buffer; the stream must have its own history
    np.testing.assert_allclose(stream(x2), expected, atol=1e-12)


def test_what_a_stream_has_answered_stays(rng, parameters):
    stream, x = fuzznet.Stream(parameters), rng.normal(size=(2, 64))
    first = stream(x[0])
    kept = first.copy()
    stream(x[1])
    assert np.array_equal(first, kept)


def test_blocks_may_be_any_view_of_memory(rng, parameters):
    stereo = rng.normal(size=(90, 2))
    for view in (stereo[:, 1], stereo[::-3, 0], np.broadcast_to(stereo[0, 0], 30)):
        np.testing.assert_allclose(in_blocks(fuzznet.Stream(parameters), view, 13), network(parameters, view), atol=1e-12)


def test_precision_may_change_in_mid_stream(rng, parameters):
    x, stream = rng.normal(size=120), fuzznet.Stream(parameters)
    precisions = ["float64", "float32", "float32", "float64"]
    blocks = [stream(block.astype(precision)) for block, precision in zip(np.split(x, 4), precisions)]
    assert [block.dtype for block in blocks] == precisions
    np.testing.assert_allclose(np.concatenate(blocks), network(parameters, x), atol=1e-5)


def test_a_stream_keeps_its_own_copy_of_the_parameters(rng, parameters, other):
    x, old, new = rng.normal(size=64), copy.deepcopy(parameters), copy.deepcopy(other)
    stream = fuzznet.Stream(old)
    old.kernels[...] = 0
    np.testing.assert_allclose(stream(x), network(parameters, x), atol=1e-12)
    x = x.astype("float32")
    stream.reset()
    np.testing.assert_allclose(stream(x), network(parameters, x), atol=1e-5)
    stream.change(new)
    new.kernels[...] = 0
    stream.reset()
    np.testing.assert_allclose(stream(x), network(other, x), atol=1e-5)


def test_a_copy_goes_on_by_itself(rng, library, parameters):
    x, stream = rng.normal(size=90), fuzznet.Stream(parameters, 50)
    stream(x[:45])
    copies = [copy.deepcopy(stream)]
    if library == "numpy":
        copies.append(pickle.loads(pickle.dumps(stream)))
    stream(rng.normal(size=45))
    for twin in copies:
        np.testing.assert_allclose(twin(x[45:]), network(parameters, x)[45:], atol=1e-12)
        twin.reset()
        assert not any(np.any(to_numpy(history)) for history in twin.histories)


def test_memory_is_the_receptive_field(parameters):
    stream = fuzznet.Stream(parameters)
    assert 1 + sum(h.shape[0] for h in stream.histories) == fuzznet.receptive_field(3, parameters.dilations)


def test_a_kernel_of_one_tap_needs_no_memory(rng):
    parameters, x = fuzznet.initialize(rng, layers=2, kernels=3, kernel_size=1), rng.normal(size=50)
    np.testing.assert_allclose(in_blocks(fuzznet.Stream(parameters), x, 9), network(parameters, x), atol=1e-13)


def test_a_single_layer_and_dilations_longer_than_any_block(rng):
    parameters, x = fuzznet.initialize(rng, layers=1, kernels=2, kernel_size=3, dilations=[150]), rng.normal(size=400)
    np.testing.assert_allclose(in_blocks(fuzznet.Stream(parameters), x, 7), network(parameters, x), atol=1e-13)


def test_bad_streams_are_refused(rng, parameters):
    over_time = fuzznet.initialize(rng, bias="time", clip_length=64)
    with pytest.raises(ValueError, match='bias="kernel"'):
        fuzznet.Stream(over_time)
    with pytest.raises(ValueError, match="block_size=0"):
        fuzznet.Stream(parameters, 0)
    with pytest.raises(ValueError, match="at most block_size=64"):
        fuzznet.Stream(parameters)(np.ones(65))
    with pytest.raises(ValueError, match="x_block has shape"):
        fuzznet.Stream(parameters)(np.ones((2, 64)))


# Changes


def crossfaded(old, new, x, at, fade):
    """By definition: `new` listens from sample `at`, then all that it lacks is its weight w."""
    n = np.arange(1, len(x) - at + 1) - (fuzznet.receptive_field(new.kernels.shape[-1], new.dilations) - 1)
    w = (1 - np.cos(np.pi * np.clip(n, 0, fade) / fade)) / 2
    return np.concatenate([old[:at], (1 - w) * old[at:] + w * network(new, x[at:])])


@pytest.mark.parametrize("fade", [1, 10, np.int64(77), np.float64(200)])
def test_a_change_is_a_crossfade(rng, dtype, parameters, other, fade):
    x, stream = rng.normal(size=400).astype(dtype), fuzznet.Stream(parameters, 64)
    blocks = [stream(x[:20]), stream(x[20:50])]
    stream.change(other, fade)
    blocks += [in_blocks(stream, x[50:150], 33), in_blocks(stream, x[150:], 64)]
    assert {block.dtype for block in blocks} == {np.dtype(dtype)}
    expected = crossfaded(network(parameters, x), other, x, 50, fade)
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=tolerance(dtype))
    done = 50 + 30 + int(fade)
    np.testing.assert_allclose(expected[done:], network(other, x)[done:], atol=tolerance(dtype))


def test_precision_may_change_in_mid_change(rng, parameters, other):
    x, stream = rng.normal(size=120), fuzznet.Stream(parameters)
    stream.change(other, fade=60)
    blocks = [stream(x[:40]), stream(x[40:80].astype("float32")), stream(x[80:])]
    assert [block.dtype for block in blocks] == ["float64", "float32", "float64"]
    np.testing.assert_allclose(np.concatenate(blocks), crossfaded(network(parameters, x), other, x, 0, 60), atol=1e-5)


def clicks(y, a, b, fade):
    """Where y steps further than both networks, and the fade between them at its steepest, allow by themselves."""
    allowed = np.maximum(np.abs(np.diff(a)), np.abs(np.diff(b))) + np.pi / (2 * fade) * np.abs(b - a)[:-1]
    return np.flatnonzero(np.abs(np.diff(y)) > allowed + 1e-12)


def test_a_change_does_not_click(parameters, other):
    x, stream = np.sin(np.arange(2000) / 50), fuzznet.Stream(parameters)
    a, b = network(parameters, x), network(other, x)
    before = in_blocks(stream, x[:640], 64)
    stream.change(other)
    y = np.concatenate([before, in_blocks(stream, x[640:], 64)])
    assert clicks(y, a, b, 1024).size == 0
    hard = np.concatenate([a[:640], b[640:]])
    assert clicks(hard, a, b, 1024).tolist() == [639]
    cold = y + np.concatenate([np.zeros(640), 0.1 * (network(other, x[640:]) - b[640:])])  # heard before it has listened
    assert 639 in clicks(cold, a, b, 1024)


def test_changes_all_the_time_do_not_click(parameters, other):
    x, stream, ys = np.sin(np.arange(4000) / 50), fuzznet.Stream(parameters), []
    for start in range(0, 4000, 40):
        stream.change([other, parameters][start // 40 % 2], fade=150)
        ys.append(stream(x[start : start + 40]))
    a, b, y = network(parameters, x), network(other, x), np.concatenate(ys)
    assert clicks(y[34:], a[34:], b[34:], 150).size == 0
    assert np.min(np.abs(y - a)[200:]) < 1e-9 and np.min(np.abs(y - b)[200:]) < 1e-9  # both were heard


def test_a_change_in_a_change_waits_and_the_last_one_counts(rng, parameters, other):
    x, stream = rng.normal(size=600), fuzznet.Stream(parameters, 50)
    third, never = fuzznet.initialize(rng, layers=2, kernels=1), fuzznet.initialize(rng, layers=1, kernels=1)
    stream.change(never)
    stream.change(other, fade=100)  # before a block came: the first one counts no more
    blocks = [stream(x[:50])]
    stream.change(never)
    blocks.append(stream(x[50:100]))
    stream.change(third, fade=40)
    blocks.append(in_blocks(stream, x[100:], 50))
    first = crossfaded(network(parameters, x), other, x, 0, 100)  # fades until sample 130, in the block to 150
    np.testing.assert_allclose(np.concatenate(blocks), crossfaded(first, third, x, 150, 40), atol=1e-12)


@pytest.mark.parametrize("seed", range(15))
def test_any_changes_at_any_time(seed):
    """Random networks and blocks. A change begins with the first block that finds none on its way."""
    rng = np.random.default_rng(seed)

    def draw():
        layers, kernels, taps = rng.integers(1, 5, size=3)
        return fuzznet.initialize(rng, layers, kernels, taps, dilations=rng.integers(1, 12, size=layers))

    playing, x, start, done, waiting, ys = draw(), rng.normal(size=900), 0, 0, None, []
    stream, expected = fuzznet.Stream(playing, 40), network(playing, x)
    while start < len(x):
        if rng.uniform() < 0.2:
            waiting = draw(), rng.uniform(1, 120)
            stream.change(*waiting)
        if waiting and start >= done:
            (new, fade), waiting = waiting, None
            expected = crossfaded(expected, new, x, start, fade)
            done = start + fuzznet.receptive_field(new.kernels.shape[-1], new.dilations) - 1 + fade
        ys.append(stream(x[start : start + rng.integers(1, 41)]))
        start += len(ys[-1])
    np.testing.assert_allclose(np.concatenate(ys), expected, atol=1e-12)


def test_parameters_are_those_that_play(rng, parameters, other):
    stream = fuzznet.Stream(parameters)
    stream.change(other, fade=34)
    for playing in (parameters, parameters, other):  # 30 samples of listening, 34 of fading
        assert np.array_equal(to_numpy(stream.parameters.kernels), playing.kernels)
        stream(rng.normal(size=32))


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_a_reset_ends_a_change_at_once(rng, parameters, other, blocks):
    x, stream = rng.normal(size=200), fuzznet.Stream(parameters)
    stream.change(other)
    for _ in range(blocks):
        stream(rng.normal(size=60))
    if blocks == 2:
        stream.change(parameters)  # waits
    stream.reset()
    np.testing.assert_allclose(in_blocks(stream, x, 64), network(parameters if blocks == 2 else other, x), atol=1e-12)


def test_bad_changes_are_refused_and_the_old_parameters_play_on(rng, parameters, other):
    x, stream = rng.normal(size=64), fuzznet.Stream(parameters)
    for fade in (0, -3, np.nan, np.inf):
        with pytest.raises(ValueError, match="fade="):
            stream.change(other, fade)
    with pytest.raises(ValueError, match='bias="kernel"'):
        stream.change(fuzznet.initialize(rng, bias="time", clip_length=64))
    np.testing.assert_allclose(in_blocks(stream, x, 16), network(parameters, x), atol=1e-12)


@numpy_alone
def test_another_thread_may_change_the_parameters(rng, parameters, other):
    x, stream, ys = rng.normal(size=20_000), fuzznet.Stream(parameters), []

    def turn_the_knob():
        for k in range(301):
            stream.change([other, parameters][k % 2], fade=20)

    thread = threading.Thread(target=turn_the_knob)
    thread.start()
    for start in range(0, len(x), 20):
        ys.append(stream(x[start : start + 20]))
        if start == 10_000:
            thread.join()
    assert np.all(np.isfinite(np.concatenate(ys)))
    np.testing.assert_allclose(np.concatenate(ys[-100:]), network(other, x)[-2000:], atol=1e-12)


# Silence, and numbers that are none


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("changing", [False, True])
def test_a_block_that_is_no_sound_leaves_no_trace(rng, parameters, other, wrong, changing):
    x, stream, spared = rng.normal(size=160), fuzznet.Stream(parameters), fuzznet.Stream(parameters)
    for at in (0, 13, 39):
        bad = x[:40].copy()
        bad[at] = wrong
        if changing:
            stream.change(other, fade=50)
            spared.change(other, fade=50)
        with pytest.raises(ValueError, match="x_block holds NaN or infinity"):
            stream(bad)
        assert np.array_equal(in_blocks(stream, x, 40), in_blocks(spared, x, 40))  # bit for bit


@pytest.mark.parametrize("name", fuzznet.Parameters.NAMES)
def test_parameters_that_are_no_numbers_are_refused(rng, parameters, name):
    wrong, stream = copy.deepcopy(parameters), fuzznet.Stream(parameters)
    getattr(wrong, name)[-1, -1] = np.nan
    with pytest.raises(ValueError, match="parameters hold NaN or infinity"):
        fuzznet.Stream(wrong)
    with pytest.raises(ValueError, match="parameters hold NaN or infinity"):
        stream.change(wrong)


def test_after_a_sound_too_loud_for_any_number_the_stream_recovers(rng, parameters):
    x, steep = rng.normal(size=200), parameters.map(lambda array: 5 * array)
    stream = fuzznet.Stream(steep)
    with np.errstate(all="ignore"):
        stream(1.7e308 * rng.choice([-1, 1], 64))  # infinite inside, and infinity less infinity is NaN
        found = in_blocks(stream, x, 64)
    np.testing.assert_allclose(found[34:], network(steep, x)[34:], atol=1e-12)


def test_silence_settles(rng, dtype, parameters):
    stream = fuzznet.Stream(parameters)
    answers = [in_blocks(stream, np.zeros(200, dtype), 64)]
    in_blocks(stream, 5 * rng.normal(size=200).astype(dtype), 64)
    answers.append(in_blocks(stream, np.zeros(200, dtype), 64))
    np.testing.assert_allclose(answers[0], network(parameters, np.zeros(200, dtype)), atol=tolerance(dtype))
    for answer in answers:  # as far as a sound is remembered, and no further
        assert np.ptp(answer[:34]) > 1e-3
        np.testing.assert_allclose(answer[34:], answers[0][-1], atol=tolerance(dtype))


@pytest.mark.parametrize("share", [1, 1 / 3, 1 / 1024])
def test_numbers_next_to_zero(rng, dtype, parameters, share):
    x = (share * np.finfo(dtype).tiny * rng.choice([-1, 1], 200)).astype(dtype)
    assert np.all(x != 0)
    found = in_blocks(fuzznet.Stream(parameters), x, 64)
    np.testing.assert_allclose(found, in_blocks(fuzznet.Stream(parameters), 0 * x, 64), atol=tolerance(dtype))


# Long sounds


def soak(parameters, minutes, block_size, rng):
    """Noise in float32, streamed in blocks of random length, against the network in one piece in float64.

    Returns: the largest error of each minute, and by how many bytes memory grew over the second half.
    """
    past, worst, stream, start = np.zeros(0), [], fuzznet.Stream(parameters, block_size), None
    field = fuzznet.receptive_field(parameters.kernels.shape[-1], parameters.dilations)
    for second in range(round(60 * minutes)):
        if second == 30 * minutes:
            tracemalloc.start()
        x = rng.standard_normal(44100, np.float32)
        sizes = rng.integers(1, block_size + 1, size=4 * 44100 // block_size)
        blocks = np.split(x, np.cumsum(sizes)[np.cumsum(sizes) < 44100])
        assert max(map(len, blocks)) <= block_size
        y = np.concatenate([stream(block) for block in blocks])
        heard = np.concatenate([past, x.astype(float)])
        error = np.max(np.abs(y - network(parameters, heard)[len(past) :]))
        past = heard[len(heard) - field + 1 :]
        worst += [0] if second % 60 == 0 else []
        worst[-1] = np.maximum(worst[-1], error)  # which keeps NaN
        if second == 30 * minutes:
            start, _ = tracemalloc.get_traced_memory()
    end, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return worst, end - start


@numpy_alone
def test_ten_minutes_of_sound(rng, parameters):
    worst, growth = soak(parameters, 10, 1024, rng)
    assert len(worst) == 10 and 0 < np.max(worst) < 1e-5
    assert max(worst[1:]) < 1.5 * worst[0]  # no drift
    assert growth < 10_000


@pytest.mark.parametrize("changing", [False, True])
@numpy_alone
def test_nothing_grows_from_block_to_block(rng, parameters, other, changing):
    x, stream = rng.normal(size=64), fuzznet.Stream(parameters)

    def play(blocks):
        for k in range(blocks):
            if changing:
                stream.change([other, parameters][k % 2], fade=100)
            stream(x[: 1 + k % 64])

    play(200)
    tracemalloc.start()
    play(200)
    (before, _), _ = tracemalloc.get_traced_memory(), tracemalloc.reset_peak()
    play(2000)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200_000  # so much Python keeps for itself; all outputs are 520,000, a network is 20,000 or more
    assert peak - before < 400_000


@pytest.mark.parametrize("block_size", [1, 7, 64, 211, 4096])
def test_render_is_the_network_in_one_piece(rng, dtype, parameters, block_size):
    x = rng.normal(size=211).astype(dtype)
    y = streaming.render(parameters, x, block_size)
    assert y.shape == x.shape and y.dtype == x.dtype
    np.testing.assert_allclose(y, network(parameters, x), atol=tolerance(dtype))


@numpy_alone
def test_render_takes_the_same_memory_for_ten_times_the_sound(rng, parameters):
    beyond = []
    for samples in (20_000, 200_000):
        x = rng.normal(size=samples)
        tracemalloc.start()
        y = streaming.render(parameters, x, 1000)
        beyond.append(tracemalloc.get_traced_memory()[1] - y.nbytes)
        tracemalloc.stop()
    assert abs(beyond[1] - beyond[0]) < 10_000 < beyond[0] < 1_000_000


def test_render_says_where_a_sound_is_none(parameters):
    x = np.zeros(1000)
    x[432] = np.nan
    with pytest.raises(ValueError, match=r"^x holds NaN or infinity from sample 400 to 499"):
        streaming.render(parameters, x, 100)
    with pytest.raises(ValueError, match="block_size=0"):
        streaming.render(parameters, x, 0)


def test_render_shows_how_far_it_is(parameters, monkeypatch, capsys):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    streaming.render(parameters, np.zeros(50), 10)
    assert capsys.readouterr().err == ""
    streaming.render(parameters, np.zeros(50), 10, progress=True)
    assert "rendering: 100%" in capsys.readouterr().err


# Overlap-add


@pytest.mark.parametrize("samples", [1, 5, 10, 99, 100, 101])
@pytest.mark.parametrize("clip_length", [2, 10, 64])
def test_overlap_add_of_nothing_done_is_the_sound(rng, dtype, samples, clip_length):
    x = rng.normal(size=samples).astype(dtype)
    y = streaming.overlap_add(lambda clips: clips, x, clip_length)
    assert y.shape == x.shape and y.dtype == x.dtype
    np.testing.assert_allclose(y, x, atol=1e-12 if dtype == "float64" else 1e-6)


def test_overlap_add_by_definition(rng):
    x, length, hop = rng.normal(size=23), 8, 4
    window, expected = np.hanning(9)[:8], np.zeros(23 + 100)
    padded = np.concatenate([np.zeros(hop), x, np.zeros(100)])
    for start in range(0, 32, hop):
        expected[start : start + length] += window * padded[start : start + length] ** 2
    np.testing.assert_allclose(streaming.overlap_add(lambda clips: clips**2, x, length), expected[hop : hop + 23], atol=1e-12)


@pytest.mark.parametrize("clip_length", [0, 7])
def test_clips_that_do_not_halve_are_refused(clip_length):
    with pytest.raises(ValueError, match="even number"):
        streaming.overlap_add(lambda clips: clips, np.ones(20), clip_length)


@pytest.mark.parametrize("block_size", [1, 64, 1000])
def test_single_precision_differs_from_the_whole_by_less_than_a_millionth(rng, block_size):
    """With the report's network: relative to the largest output, as everywhere where float32 is judged."""
    parameters, x = fuzznet.initialize(rng).astype(np.float32), rng.normal(size=4000).astype(np.float32)
    stream, (whole, _) = fuzznet.Stream(parameters, block_size), fuzznet.forward(parameters, x)
    joined = np.concatenate([stream(x[start : start + block_size]) for start in range(0, 4000, block_size)])
    assert np.max(np.abs(joined - whole)) < 1e-6 * np.max(np.abs(whole))
