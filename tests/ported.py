"""The package with another array library inside, for tests and chapters that are written in NumPy.

`port(library)` wraps each function of the package that takes arrays: NumPy arrays that come in are converted to the library,
what comes out is converted back. Calls within the package stay in the library. So one and the same test, or chapter, runs on
every library, and only what the package itself computes can tell the difference.
array_api_strict works on its second, pretended device, whose arrays NumPy can't take by mistake.
"""

import functools
import importlib
import inspect
import sys
from unittest import mock

import array_api_strict as strict
import numpy as np

import fuzznet
from fuzznet.arrays import backend, to_numpy
from fuzznet.training import DivergenceError

MODULES = (
    "convolution", "fast", "gradients", "loss", "network", "optimizers", "postprocessing", "recordings", "signals", "storage",
    "streaming", "training",
)  # fmt: skip
# These are meant for NumPy alone, as their docstrings say, or take no arrays.
NUMPY_ALONE = {
    "align", "convolve_by_definition", "examine", "initialize", "lag", "load", "load_checkpoint", "load_note", "load_pair",
    "load_sound", "random_split", "plucked_string", "progress_bar", "receptive_field", "replace_file", "save_sound",
    "time_axis",
}  # fmt: skip


def through(thing, convert):
    """The same thing with each array in it converted: in parameters, tuples, lists and dicts, at any depth."""
    if isinstance(thing, fuzznet.Parameters):
        return thing.map(convert)
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return type(thing)(*(through(part, convert) for part in thing))
    if isinstance(thing, tuple | list):
        return type(thing)(through(part, convert) for part in thing)
    if isinstance(thing, dict):
        return {key: through(part, convert) for key, part in thing.items()}
    return convert(thing)


inside = []  # the functions of the package that are running, the outermost first


class Outsider:
    """A function that a test or a chapter hands in: it is written in NumPy, and gets and returns it."""

    def __init__(self, function, enter, leave):
        vars(self).update(function=function, enter=enter, leave=leave)

    def __call__(self, *arguments, **settings):
        arguments, settings = through((arguments, settings), self.leave)
        within, inside[:] = inside[:], []
        try:
            return through(self.function(*arguments, **settings), self.enter)
        finally:
            inside[:] = within

    def __getattr__(self, name):
        return getattr(self.function, name)

    def __setattr__(self, name, value):
        setattr(self.function, name, value)


def converters(xp):
    """How a thing enters the library, and how it leaves it."""
    here, there = (strict.Device("CPU_DEVICE"), strict.Device("device1")) if xp is strict else (None, None)
    kind = type(xp.asarray(1.0))

    def enter(thing):
        if isinstance(thing, np.ndarray) and hasattr(xp, thing.dtype.name):
            return xp.asarray(thing, copy=True, device=there)
        own = inspect.getmodule(thing if inspect.isroutine(thing) else type(thing))
        known = getattr(own, "__name__", "").startswith(("fuzznet", "numpy"))
        return Outsider(thing, enter, leave) if callable(thing) and not known else thing

    def leave(thing):
        if isinstance(thing, Outsider):
            return thing.function
        if isinstance(thing, kind):
            return to_numpy(thing.to_device(here) if here else thing)[()]
        return thing

    return enter, leave


def ported(function, xp):
    """The function with its arrays in xp, answering in kind: NumPy where NumPy came in."""
    enter, leave = converters(xp)

    @functools.wraps(function)
    def wrapper(*arguments, **settings):
        seen = []
        through((arguments, settings), lambda thing: seen.append(isinstance(thing, np.ndarray)))
        if inside or not any(seen):  # NumPy within the package is a leak, and must fail
            return function(*arguments, **settings)
        arguments, settings = through((arguments, settings), enter)
        inside.append(function)
        try:
            return through(function(*arguments, **settings), leave)
        except DivergenceError as error:
            error.training = through(error.training, leave)
            raise
        finally:
            inside.pop()

    return wrapper


def port(xp, *others):
    """Patches, not yet started, that put xp into all functions of the package, in its modules and in the others given."""
    modules = [importlib.import_module(f"fuzznet.{name}") for name in MODULES]
    wrappers, patches = {}, []
    for module in modules:
        for name, thing in vars(module).items():
            if getattr(thing, "__module__", None) != module.__name__ or name in NUMPY_ALONE or name.startswith(("_", "check_")):
                continue
            if inspect.isfunction(thing):
                wrappers[thing] = ported(thing, xp)
            elif inspect.isclass(thing) and "__call__" in vars(thing):  # an optimizer or a stream
                for method in {"__init__", "__call__", "change"} & set(vars(thing)):
                    patches.append(mock.patch.object(thing, method, ported(vars(thing)[method], xp)))
    wrappers[to_numpy] = lambda x: to_numpy(converters(xp)[1](x))
    package = [module for name, module in sys.modules.items() if name.split(".")[0] == "fuzznet"]
    for module in (*package, *others):
        for name, thing in vars(module).items():
            if inspect.isfunction(thing) and thing in wrappers:
                patches.append(mock.patch.object(module, name, wrappers[thing]))
    return patches


def start(name):
    """Put the library of that name, "strict" or "cupy", into the package for good."""
    for patch in port(strict if name == "strict" else backend(name)):
        patch.start()
