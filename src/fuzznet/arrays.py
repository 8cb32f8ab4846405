"""NumPy or CuPy behind the array API standard (chapter 14). The only module that names CuPy."""

import array_api_compat
import numpy as np


def namespace(*arrays):
    """The array API namespace that the arrays share, such as NumPy's or CuPy's.

    Raises ValueError where an argument is no array, or where two libraries meet in one call.
    """
    try:
        return array_api_compat.array_namespace(*arrays)
    except TypeError as error:
        kinds = ", ".join(sorted({type(a).__module__.split(".")[0] + "." + type(a).__name__ for a in arrays}))
        raise ValueError(
            f"got {kinds}: expected arrays of one library; convert them, for example with np.asarray"
        ) from error


def check_signal(x, name, ndim=(1, 2)):
    """Raise ValueError unless x is an array of float32 or float64 with one of the given numbers of axes, and not empty."""
    xp = namespace(x)
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if x.dtype not in (xp.float32, xp.float64):
        raise ValueError(f"{name} holds {x.dtype}: expected float32 or float64; convert it, for example with xp.astype")
    if x.ndim not in allowed or 0 in x.shape:
        shapes = " or ".join({1: "(T,)", 2: "(B, T)"}[n] for n in allowed)
        raise ValueError(f"{name} has shape {tuple(x.shape)}: expected {shapes}, with at least one sample")


def backend(name=None):
    """The array library of that name, "numpy" or "cupy", behind the array API standard; without a name, the best there is.

    That is CuPy where it is installed and finds a GPU, and NumPy elsewhere.
    Raises ValueError for any other name, and where CuPy is asked for by name and can't be had.
    """
    if name is None:
        try:
            return backend("cupy")
        except ValueError:
            return backend("numpy")
    if name == "numpy":
        import array_api_compat.numpy

        return array_api_compat.numpy
    if name != "cupy":
        raise ValueError(f'backend {name!r}: expected "numpy" or "cupy", or no name for the best there is')
    try:
        import array_api_compat.cupy
        import cupy

        cupy.cuda.runtime.getDeviceCount()
    except ImportError as error:
        raise ValueError(f'CuPy is not installed ({error}): install fuzznet[gpu], or use "numpy"') from error
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise ValueError(f'CuPy finds no GPU ({error}): check the driver with nvidia-smi, or use "numpy"') from error
    return array_api_compat.cupy  # pragma: no cover - needs a GPU


def to_numpy(x):
    """The same numbers as a NumPy array, brought back from the GPU where need be."""
    if array_api_compat.is_cupy_array(x):
        return x.get()  # pragma: no cover - needs a GPU
    return np.asarray(x)
