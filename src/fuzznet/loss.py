"""The error-to-signal ratio and its gradient (chapter 5)."""

from fuzznet.arrays import check_signal, namespace


def esr(*, output, target):
    """Error-to-signal ratio of each clip.

    sum over t of (target[t] - output[t])^2 / sum over t of target[t]^2

    output, target: (B, T) or (T,). Returns: (B,), or a single number for (T,); 0 is perfect, 1 is no better than silence.
    Raises ValueError for different shapes, or a target that is silent or not finite. Source: Eq. (8).
    """
    energy = target_energy(output, target)
    return namespace(output, target).sum((target - output) ** 2, axis=-1) / energy


def esr_gradient(*, output, target):
    """Gradient of the mean ESR over the clips with respect to the output.

    d[b, t] = 2 (output[b, t] - target[b, t]) / (B * sum over t of target[b, t]^2)

    output, target: (B, T) or (T,), where B is 1. Returns: the shape of output.
    Raises ValueError as `esr` does. Source: Eq. (9), whose sign is mended here.
    """
    energy = target_energy(output, target)
    clips = target.shape[0] if target.ndim == 2 else 1
    return 2 * (output - target) / (clips * energy[..., None])


def target_energy(output, target):
    """The denominator of Eq. (8), after checking that output and target match and that it is not zero. (B,) or ()"""
    xp = namespace(output, target)
    check_signal(output, "output")
    check_signal(target, "target")
    if output.shape != target.shape:
        raise ValueError(f"output has shape {tuple(output.shape)}, target {tuple(target.shape)}: expected the same shape")
    energy = xp.sum(target**2, axis=-1)
    if not bool(xp.all(xp.isfinite(energy) & (energy > 0))):
        raise ValueError(
            "a target clip is silent, or holds NaN or infinity, so its error-to-signal ratio is undefined: leave it out"
        )
    return energy
