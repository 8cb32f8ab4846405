"""What the report does to the network's output before it is judged (chapter 12)."""

from fuzznet.arrays import check_signal, namespace


def match_mean(output, reference):
    """Shift each clip of the output so that its mean is that of the reference.

    output - mean of output + mean of reference

    output, reference: (B, T) or (T,), the same shape. Returns: the shape of output. Source: section IV.2 of the report.
    """
    xp = namespace(output, reference)
    check_signal(output, "output")
    check_signal(reference, "reference")
    if output.shape != reference.shape:
        raise ValueError(f"output has shape {tuple(output.shape)}, reference {tuple(reference.shape)}: expected the same shape")
    return output - xp.mean(output, axis=-1, keepdims=True) + xp.mean(reference, axis=-1, keepdims=True)


def keep_lowest_frequencies(x, count=100):
    """Keep the first bins of the real Fourier transform of each clip, 0 Hz included, and silence the others.

    Bin k lies at k * sample rate / T: for 1000 samples at 44.1 kHz, 100 bins reach to 4.37 kHz.

    x: (B, T) or (T,). Returns: the shape of x. Raises ValueError unless count is from 1 to the T // 2 + 1 bins there are.
    Source: section IV.2 of the report.
    """
    xp = namespace(x)
    check_signal(x, "x")
    spectrum = xp.fft.rfft(x)
    bins = spectrum.shape[-1]
    if not 1 <= count <= bins:
        raise ValueError(f"count={count}: expected from 1 to {bins}, the bins of a clip of {x.shape[-1]} samples")
    kept = xp.where(xp.arange(bins, device=x.device) < count, spectrum, xp.zeros_like(spectrum))
    return xp.fft.irfft(kept, n=x.shape[-1])
