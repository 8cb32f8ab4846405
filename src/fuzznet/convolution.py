"""Causal dilated convolution: the definition in loops, and the array form (chapters 2 and 3)."""

import operator

import numpy as np

from fuzznet.arrays import check_signal, namespace


def convolve_by_definition(kernel, x, dilation=1):
    """Causal dilated convolution of two NumPy arrays, sample by sample: slow, and plainly right.

    y[t] = sum over tau of kernel[tau] x[t - tau * dilation], where x is 0 before its first sample

    kernel: (K,); x: (T,). Returns: (T,). Raises ValueError for a wrong shape, type or dilation.
    Source: Eq. (1) with dilation 1, Eq. (2) with any other.
    """
    check_signal(kernel, "kernel", ndim=1)
    check_signal(x, "x", ndim=1)
    check_dilation(dilation)
    y = np.zeros_like(x)
    for t in range(len(x)):
        for tau in range(len(kernel)):
            past = t - tau * dilation
            if past >= 0:
                y[t] += kernel[tau] * x[past]
    return y


def convolve(kernel, x, dilation=1):
    """Causal dilated convolution.

    y[..., t] = sum over tau of kernel[tau] x[..., t - tau * dilation], where x is 0 before its first sample

    kernel: (K,); x: (B, T) or (T,). Returns: the shape of x.
    Raises ValueError for a wrong shape, type or dilation. Source: Eq. (1), (2).
    """
    check_signal(x, "x")
    check_signal(kernel, "kernel", ndim=1)
    check_dilation(dilation)
    return kernel @ delayed_copies(x, kernel.shape[0], dilation)


def delayed_copies(x, kernel_size, dilation):
    """What each tap of a kernel meets, one row a tap.

    copies[..., tau, t] = x[..., t - tau * dilation], where x is 0 before its first sample

    x: (..., T). Returns: (..., K, T). Source: the terms of Eq. (2).
    """
    xp = namespace(x)
    samples = x.shape[-1]
    copies = xp.zeros((*x.shape[:-1], kernel_size, samples), dtype=x.dtype, device=x.device)
    for tau in range(kernel_size):
        delay = min(tau * dilation, samples)
        copies[..., tau, delay:] = x[..., : samples - delay]
    return copies


def sum_of_advanced_copies(rows, dilation):
    """The adjoint of `delayed_copies`: each row is moved back to where it came from, and all are added.

    x[..., s] = sum over tau of rows[..., tau, s + tau * dilation]

    rows: (..., K, T). Returns: (..., T). Source: the step that Eq. (18) leaves out.
    """
    xp = namespace(rows)
    samples = rows.shape[-1]
    total = xp.asarray(rows[..., 0, :], copy=True)
    for tau in range(1, rows.shape[-2]):
        delay = min(tau * dilation, samples)
        total[..., : samples - delay] += rows[..., tau, delay:]
    return total


def receptive_field(kernel_size, dilations):
    """How many samples of the input, the present one included, one sample of the output can depend on.

    1 + (kernel_size - 1) * sum of the dilations

    Raises ValueError for a kernel without taps or a dilation below 1. Source: Fig. 3 and 4.
    """
    if kernel_size < 1:
        raise ValueError(f"kernel_size={kernel_size}: expected at least 1")
    dilations = [check_dilation(dilation) for dilation in dilations]
    return 1 + (kernel_size - 1) * sum(dilations)


def check_dilation(dilation):
    """The dilation as an int. Raises ValueError unless it is a whole number from 1."""
    try:
        whole = operator.index(dilation)
    except TypeError:
        whole = 0
    if whole < 1:
        raise ValueError(f"dilation={dilation}: expected a whole number from 1; 1 is an ordinary convolution")
    return whole
