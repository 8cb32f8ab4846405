"""NumPy or CuPy behind the array API standard (chapter 14). The only module that names CuPy."""

import math
from collections.abc import Callable
from typing import NamedTuple

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


class InPlace(NamedTuple):
    """Functions that can write into an array that is there already, for which the standard has no word (chapter 18).

    matmul(a, b, out=None); tanh(x, out=None); times_slope(dt, t, scratch), which turns dt into dt (1 - t^2); move(to, source),
    which may overlap.
    """

    matmul: Callable
    tanh: Callable
    times_slope: Callable
    move: Callable


def in_place(xp, recordable=False):
    """InPlace for a library: NumPy's and CuPy's own functions, and a copy for any other.

    recordable: with CuPy, products that `recorded` can take in; those by cuBLAS it can't.
    """
    if array_api_compat.is_numpy_namespace(xp):
        return InPlace(np.matmul, np.tanh, _times_slope, np.copyto)
    if on_gpu(xp):
        return _cupy_in_place(recordable)

    def copied(function):
        def call(*arguments, out=None):
            result = function(*arguments)
            if out is None:
                return result
            out[...] = result
            return out

        return call

    def times_slope(dt, t, scratch):
        dt *= 1 - t * t

    def move(to, source):
        to[...] = xp.asarray(source, copy=True)

    return InPlace(copied(xp.matmul), copied(xp.tanh), times_slope, move)


def _times_slope(dt, t, scratch):
    np.multiply(t, t, out=scratch)
    np.subtract(1, scratch, out=scratch)
    np.multiply(dt, scratch, out=dt)


def _cupy_in_place(recordable):
    import cupy

    slope = cupy.ElementwiseKernel("T dt, T t", "T y", "y = dt * (1 - t * t)", "times_slope")  # one pass in place of three
    product = cupy.ReductionKernel("T a, T b", "T y", "a * b", "a + b", "y = a", "0", "product")

    def matmul(a, b, out=None):
        rows, columns = a if a.ndim == 2 else a[None, :], b if b.ndim == 2 else b[:, None]
        out = cupy.empty(a.shape[:-1] + b.shape[1:], a.dtype) if out is None else out
        (count, terms), width = rows.shape, columns.shape[1]
        result = out.reshape(count, width)
        if terms <= result.size:
            product(rows[:, :, None], columns[None, :, :], result, axis=1)
        else:  # few long sums: in parts, so that they keep all of the GPU busy
            parts = next(size for size in range(math.isqrt(terms), 0, -1) if terms % size == 0)
            rows, columns = rows.reshape(count, parts, -1, 1), columns.reshape(1, parts, -1, width)
            product(rows, columns, axis=2).sum(axis=1, out=result)
        return out

    def times_slope(dt, t, scratch):
        slope(dt, t, dt)

    def move(to, source):
        to[...] = source.copy()

    return InPlace(matmul if recordable else cupy.matmul, cupy.tanh, times_slope, move)


def on_gpu(xp):
    """Whether a library computes on a GPU: CuPy does."""
    return array_api_compat.is_cupy_namespace(xp)


def recorded(function, xp):
    """The function itself; with CuPy, its work on the GPU recorded at the first call, and played back with one start.

    function: from arrays to a tuple of arrays, always of the same shapes; it must not bring anything back from the GPU.
    """
    return _Graph(function) if on_gpu(xp) else function


class _Graph:
    """A function's CUDA graph, with the memory that it reads and writes."""

    def __init__(self, function):
        self.function, self.graph = function, None

    def __call__(self, *arrays):
        if self.graph is None:
            self._record(arrays)
        for place, array in zip(self.inputs, arrays):
            place[...] = array
        self.graph.launch()
        return tuple(result.copy() for result in self.results)  # the next launch writes over them

    def _record(self, arrays):
        import cupy

        self.inputs, self.memory, allocate = [array.copy() for array in arrays], [], cupy.cuda.get_allocator()

        def kept(size):  # nobody else may get it while the graph lives
            self.memory.append(allocate(size))
            return self.memory[-1]

        cupy.cuda.get_current_stream().synchronize()
        stream = cupy.cuda.Stream(non_blocking=True)
        with stream:
            self.function(*self.inputs)  # once for its own sake: it compiles and loads the kernels
            stream.synchronize()
            with cupy.cuda.using_allocator(kept):
                stream.begin_capture()
                try:
                    self.results = self.function(*self.inputs)
                finally:
                    graph = stream.end_capture()
        self.graph = graph
