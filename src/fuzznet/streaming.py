"""The network block by block, as the sound comes in, and the report's way for comparison (chapter 16)."""

import math

from fuzznet.arrays import check_signal, namespace
from fuzznet.network import check_parameters, sigmoid


class Stream:
    """The network as a pedal: a block of sound in, the same number of samples out, as if the whole were one clip.

    Each layer remembers the last (K - 1) * dilation samples of its input, and nothing else is needed. Before the first block
    every memory is zero, as at the start of a clip.

    parameters: with one bias a kernel; block_size: the longest block that will come. A call takes x_block, (T,) with T from 1
    to block_size, and returns (T,). Both raise ValueError for anything else. Source: section V of the report.
    """

    def __init__(self, parameters, block_size=64):
        check_parameters(parameters, parameters.biases)
        if parameters.biases.shape[-1] != 1:
            raise ValueError('a bias over time belongs to clips of one length: train with bias="kernel" to stream')
        if block_size < 1:
            raise ValueError(f"block_size={block_size}: expected at least 1")
        self.parameters, self.block_size = parameters, block_size
        self.reset()

    def reset(self):
        """Forget what was played: every memory is zero again."""
        kernels, taps = self.parameters.kernels, self.parameters.kernels.shape[-1]
        zeros = namespace(kernels).zeros
        self.histories = [
            zeros((taps - 1) * dilation, dtype=kernels.dtype, device=kernels.device) for dilation in self.parameters.dilations
        ]

    def __call__(self, x_block):
        check_signal(x_block, "x_block", ndim=1)
        samples = x_block.shape[0]
        if samples > self.block_size:
            raise ValueError(f"x_block has {samples} samples: expected at most block_size={self.block_size}")
        xp, parameters = namespace(x_block, self.parameters.kernels), self.parameters.astype(x_block.dtype)
        x_l, y_block, taps = x_block, xp.zeros_like(x_block), range(parameters.kernels.shape[-1])
        for l, dilation in enumerate(parameters.dilations):
            heard = xp.concat([xp.astype(self.histories[l], x_l.dtype, copy=False), x_l])
            past = heard.shape[0] - samples
            copies = xp.stack([heard[past - tau * dilation : past - tau * dilation + samples] for tau in taps])
            self.histories[l] = xp.asarray(heard[samples:], copy=True)
            z = sigmoid(parameters.kernels[l, ...] @ copies + parameters.biases[l, ...])
            y_block = y_block + parameters.output[l, :] @ z
            if l < len(parameters.dilations) - 1:
                x_l = parameters.mixing[l, :] @ z + x_l
        return y_block


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
