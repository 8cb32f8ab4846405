"""The network block by block, as the sound comes in, and the report's way for comparison (chapter 16)."""

import collections
import math

from fuzznet.arrays import check_signal, in_place, namespace
from fuzznet.fast import forward_pass, layer_views, rows_of_layers, stacked_weights
from fuzznet.network import check_parameters
from fuzznet.training import progress_bar


class Stream:
    """The network as a pedal: a block of sound in, the same number of samples out, as if the whole were one clip.

    Each layer remembers the last (K - 1) * dilation samples of its input, and nothing else is needed. Before the first block
    every memory is zero, as at the start of a clip. All memory is made once; only the output of a block is new.

    parameters: with one bias a kernel, of which a copy is kept; block_size: the longest block that will come. A call takes
    x_block, (T,) with T from 1 to block_size, and returns (T,). Both raise ValueError for anything else, and for numbers that
    are not finite; a block that is refused leaves no trace. Source: section V of the report.
    """

    def __init__(self, parameters, block_size=64):
        if block_size < 1:
            raise ValueError(f"block_size={block_size}: expected at least 1")
        self.block_size, self._waiting = block_size, collections.deque(maxlen=1)  # of networks, with the length of their fade
        self._playing, self._coming, self._fade, self._until_fade = self._network(parameters), None, 0, 0

    def _network(self, parameters):
        check_parameters(parameters, parameters.biases)
        if parameters.biases.shape[-1] != 1:
            raise ValueError('a bias over time belongs to clips of one length: train with bias="kernel" to stream')
        if not all(_finite(getattr(parameters, name)) for name in parameters.NAMES):
            raise ValueError("the parameters hold NaN or infinity: expected finite numbers")
        return _Network(parameters, self.block_size, parameters.kernels.dtype)

    @property
    def parameters(self):
        """Those that play; after `change` the new ones, as soon as the old ones are faded out."""
        return self._playing.parameters

    @property
    def histories(self):
        """What each layer remembers: L arrays of (K - 1) * dilation samples, the newest last. The next block changes them."""
        return self._playing.histories

    def reset(self):
        """Forget what was played: every memory is zero again. Parameters on their way in are there at once."""
        newest = self._waiting.pop()[0] if self._waiting else self._coming
        self._playing, self._coming = newest or self._playing, None
        for heard in self._playing.heard:
            heard[...] = 0

    def change(self, parameters, fade=1024):
        """Let other parameters play from the next block on, without a click.

        They listen until their memory is full, receptive field - 1 samples, and are then faded in over `fade` samples.
        Meanwhile both networks are computed. A change in the middle of another one waits for its end; of several that wait,
        the last one counts. The parameters may be of any sizes, and another thread may play meanwhile.

        y = (1 - w) y_old + w y_new, where w rises from 0 to 1 as (1 - cos(pi n / fade)) / 2

        Raises ValueError as `Stream` does, for parameters of another library, and unless fade is finite and at least 1.
        """
        if not 1 <= fade < math.inf:
            raise ValueError(f"fade={fade}: expected a number of samples from 1")
        namespace(parameters.kernels, self.parameters.kernels)
        self._waiting.append((self._network(parameters), float(fade)))

    def __call__(self, x_block):
        check_signal(x_block, "x_block", ndim=1)
        if x_block.shape[0] > self.block_size:
            raise ValueError(f"x_block has {x_block.shape[0]} samples: expected at most block_size={self.block_size}")
        namespace(x_block, self.parameters.kernels)
        if not _finite(x_block):
            raise ValueError("x_block holds NaN or infinity: expected finite numbers; the stream goes on with the next block")
        self._playing = self._playing.in_type(x_block.dtype)
        y_block = self._playing(x_block)
        if self._coming is None and self._waiting:
            self._coming, self._fade = self._waiting.pop()
            self._until_fade = sum(history.shape[0] for history in self._coming.histories)
        return y_block if self._coming is None else self._crossfade(x_block, y_block)

    def _crossfade(self, x_block, y_block):
        self._coming = self._coming.in_type(x_block.dtype)
        xp, samples = namespace(x_block), x_block.shape[0]
        n = xp.arange(1, samples + 1, dtype=x_block.dtype, device=x_block.device) - self._until_fade
        weight = 0.5 - 0.5 * xp.cos(math.pi / self._fade * xp.clip(n, 0, self._fade))
        y_block = y_block + weight * (self._coming(x_block) - y_block)
        self._until_fade -= samples
        if self._until_fade <= -self._fade:
            self._playing, self._coming = self._coming, None
        return y_block


def _finite(array):
    xp = namespace(array)
    return bool(xp.all(xp.isfinite(array)))


class _Network:
    """One set of parameters, in one precision, and its memory."""

    def __init__(self, parameters, block_size, dtype):
        xp, kernels, taps = namespace(parameters.kernels), parameters.kernels, parameters.kernels.shape[-1]
        self.block_size, self.dtype, self.taps = block_size, dtype, taps
        self.parameters = parameters.map(lambda array: xp.asarray(array, copy=True))
        self.weights, self.do = stacked_weights(parameters.astype(dtype)), in_place(xp)
        self.rows = rows_of_layers(self.weights.kernels[:1, :, :-1], block_size)[0, ...]  # which all layers use in turn
        self.heard = []
        for dilation in parameters.dilations:  # what a layer heard before the block, and the block; below it the output so far
            self.heard.append(xp.zeros((2, (taps - 1) * dilation + block_size), dtype=dtype, device=kernels.device))
        self._lay_out(block_size)

    def _lay_out(self, samples):
        """Views for blocks of so many samples; kept until one of another length comes."""
        taps, rows, self.samples = self.taps, self.rows[:, :samples], samples
        self.layers, self.histories, self.ends = [], [], []
        for heard, dilation in zip(self.heard, self.parameters.dilations):
            past = (taps - 1) * dilation
            x_and_y = heard[:, past : past + samples]
            delays = [(rows[tap, :], heard[0, tap * dilation : tap * dilation + samples]) for tap in range(taps - 1)]
            delays.append((rows[taps - 1 : taps + 2 : 2, :], x_and_y))
            self.layers.append(layer_views(rows, taps, x_and_y[0, :], x_and_y[1, :], delays))
            self.histories.append(heard[0, :past])
            self.ends.append(heard[0, samples : samples + past])

    def __setstate__(self, state):  # of a copy or a pickle, in which views are arrays of their own
        vars(self).update(state)
        self._lay_out(self.samples)

    def in_type(self, dtype):
        """The same network and memory in this precision."""
        if dtype == self.dtype:
            return self
        other = _Network(self.parameters, self.block_size, dtype)
        for heard, own in zip(other.heard, self.heard):
            heard[...] = namespace(own).astype(own, dtype)
        return other

    def __call__(self, x_block):
        if x_block.shape[0] != self.samples:
            self._lay_out(x_block.shape[0])
        self.layers[0].x[...] = x_block
        y_block = namespace(x_block).empty_like(x_block)
        forward_pass(self.weights, self.layers, y_block, self.do)
        for history, end in zip(self.histories, self.ends):
            self.do.move(history, end)
        return y_block


def render(parameters, x, block_size=8192, progress=False):
    """The network's output for a sound of any length, in memory that does not grow with it.

    The same as `forward`, whose activations take L (N + 1) numbers a sample, but through a `Stream` in blocks that fit into
    the cache of a processor.

    x: (T,); progress: whether to show a bar. Returns: (T,). Raises ValueError as `Stream` does.
    """
    check_signal(x, "x", ndim=1)
    stream, y = Stream(parameters, block_size), namespace(x, parameters.kernels).empty_like(x)
    for start in progress_bar(range(0, x.shape[0], block_size), desc="rendering", unit="block", disable=not progress):
        end = min(start + block_size, x.shape[0])
        if not _finite(x[start:end]):
            raise ValueError(f"x holds NaN or infinity from sample {start} to {end - 1}: expected finite numbers")
        y[start:end] = stream(x[start:end])
    return y


def overlap_add(process, x, clip_length=1000):
    """A sound through a process that knows only clips, spliced as the report proposed: Hann windows that overlap by half.

    y[t] = sum over clips c of w[t - c H] process(x[c H ... c H + clip_length - 1])[t - c H], with H = clip_length / 2
    and w[n] = (1 - cos(2 pi n / clip_length)) / 2, so that the windows over each sample add up to 1

    process: a function from clips (B, clip_length) to clips of the same shape; x: (T,), silence before and after;
    clip_length: even. Returns: (T,). Raises ValueError for a wrong shape or clip_length. Source: section V of the report.
    """
    check_signal(x, "x", ndim=1)
    if clip_length < 2 or clip_length % 2:
        raise ValueError(f"clip_length={clip_length}: expected an even number from 2, so that two halves overlap")
    xp, hop, samples = namespace(x), clip_length // 2, x.shape[0]
    halves = -(-samples // hop) + 2  # half a clip of silence before, and at least as much after
    padded = xp.zeros(halves * hop, dtype=x.dtype, device=x.device)
    padded[hop : hop + samples] = x
    rows = xp.reshape(padded, (halves, hop))
    n = xp.arange(clip_length, dtype=x.dtype, device=x.device)
    window = 0.5 - 0.5 * xp.cos(2 * math.pi * n / clip_length)
    y = process(xp.concat([rows[:-1, :], rows[1:, :]], axis=1)) * window
    total = xp.reshape(y[:-1, hop:] + y[1:, :hop], (-1,))
    return total[:samples]
