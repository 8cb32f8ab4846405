"""Streaming gives what one long clip gives; overlap-add gives back what it cut."""

import numpy as np
import pytest

import fuzznet
from fuzznet import streaming

pytestmark = pytest.mark.usefixtures("library")


@pytest.fixture
def parameters(rng):
    return fuzznet.initialize(rng, layers=4, kernels=3, kernel_size=3, dilations=(1, 5, 2, 9))


@pytest.mark.parametrize("block_size", [1, 7, 64, 500])
def test_stream_is_the_network_in_one_piece(rng, dtype, parameters, block_size):
    x = rng.normal(size=211).astype(dtype)
    stream = fuzznet.Stream(parameters, block_size)
    whole, _ = fuzznet.forward(parameters, x)
    blocks = [stream(x[start : min(start + block_size, 211)]) for start in range(0, 211, block_size)]
    assert {block.dtype for block in blocks} == {x.dtype}
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-12 if dtype == "float64" else 1e-5)


def test_blocks_of_any_length_and_a_reset(rng, parameters):
    stream, x = fuzznet.Stream(parameters, block_size=40), rng.normal(size=120)
    whole, _ = fuzznet.forward(parameters, x)
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
    expected = fuzznet.forward(parameters, np.concatenate([before, before]))[0][64:]
    x2 = x.copy()
    x[:] = 0  # a sound card reuses its buffer; the stream must have its own history
    np.testing.assert_allclose(stream(x2), expected, atol=1e-12)


def test_memory_is_the_receptive_field(parameters):
    stream = fuzznet.Stream(parameters)
    assert 1 + sum(h.shape[0] for h in stream.histories) == fuzznet.receptive_field(3, parameters.dilations)


def test_a_kernel_of_one_tap_needs_no_memory(rng):
    parameters, x = fuzznet.initialize(rng, layers=2, kernels=3, kernel_size=1), rng.normal(size=50)
    np.testing.assert_allclose(fuzznet.Stream(parameters)(x), fuzznet.forward(parameters, x)[0], atol=1e-13)


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
