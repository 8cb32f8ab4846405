"""A learned network in a file, to be played another day (chapter 17), or trained on (chapter 19)."""

import contextlib
import glob
import inspect
import io
import json
import os
import time
import uuid
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fuzznet.arrays import to_numpy
from fuzznet.network import Parameters, check_parameters
from fuzznet.optimizers import Adam, GradientDescent, Momentum

STALE_S = 60  # a partial file that has not grown for so long belongs to a run that was killed
OPTIMIZERS = {kind.__name__: kind for kind in (GradientDescent, Momentum, Adam)}


class Saved(NamedTuple):
    """parameters: NumPy arrays, bit for bit as they were saved; about: the facts saved with them, a dict."""

    parameters: Parameters
    about: dict


class Checkpoint(NamedTuple):
    """parameters, about: as in Saved; optimizer: a new one with the settings and the memory of the one that was saved."""

    parameters: Parameters
    optimizer: Any
    about: dict


def save(path, parameters, **about):
    """Write a network to one file (.npz), whole or not at all: where that fails, an older file at path stays as it was.

    about: facts to keep, such as sample_rate_hz=44100, in what JSON has: finite numbers, texts, lists and dicts.
    Raises ValueError for other facts, and for parameters that do not fit each other or are not finite.
    """
    _write(path, {"": parameters}, {"about": about})


def save_checkpoint(path, parameters, optimizer, **about):
    """Write all that a training needs to go on: what `save` writes, and the optimizer with what it remembers.

    optimizer: one of `fuzznet.optimizers`; about: as in `save`. Raises ValueError as `save` does, and for another optimizer.
    """
    if type(optimizer) not in OPTIMIZERS.values():
        raise ValueError(f"optimizer of type {type(optimizer).__name__}: expected one of {', '.join(OPTIMIZERS)}")
    memory = {name: value for name, value in vars(optimizer).items() if isinstance(value, Parameters)}
    numbers = {name: value for name, value in vars(optimizer).items() if name not in memory}
    _write(path, {"": parameters, **memory}, {"about": about, "optimizer": {"kind": type(optimizer).__name__, **numbers}})


def load(path):
    """Read a network that `save` wrote, or that of a checkpoint. Returns: Saved.

    Raises FileNotFoundError for a missing file, and ValueError for one that is damaged or that neither wrote.
    """
    parameters, _, about = _read(path)
    return Saved(parameters, about)


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote. Returns: Checkpoint. Raises what `load` does, and ValueError for a network alone."""
    checkpoint = _read(path)
    if checkpoint.optimizer is None:
        raise ValueError(f"{path} holds a network and no optimizer, so no training can go on from it: read it with load")
    return checkpoint


def _write(path, arrays, facts):
    """arrays: {"": the network's parameters, name: others of the same form}; facts: what JSON has."""
    arrays = {owner: _checked(parameters.map(to_numpy)) for owner, parameters in arrays.items()}
    about, dilations = facts["about"], list(map(int, arrays[""].dilations))
    try:
        text = json.dumps({"format": 1, "fuzznet": version("fuzznet"), "dilations": dilations, **facts}, allow_nan=False)
        if json.loads(text)["about"] != about:
            raise TypeError("some would come back as something else")
    except (TypeError, ValueError) as error:
        raise ValueError(f"about={about}: {error}; keep only finite numbers, texts, and lists and dicts of them") from error
    names = ((owner, name) for owner in arrays for name in Parameters.NAMES)
    content = io.BytesIO()
    np.savez(content, facts=text, **{f"{owner}.{name}".lstrip("."): getattr(arrays[owner], name) for owner, name in names})
    replace_file(path, content.getbuffer())


def replace_file(path, content):
    """Put the content into the file at path, whole or not at all, on the disk when this returns.

    A link stays, and what it leads to is replaced. Each writer has a partial file of its own beside it, so two of them at once
    do not mix. Those of killed ones are removed. content: bytes.
    """
    path = Path(os.path.realpath(path))
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with contextlib.suppress(OSError):  # another process may do the same
            if time.time() - stale.stat().st_mtime > STALE_S:
                stale.unlink()
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the new name, too, where the system can: a folder can't be opened everywhere
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _check_file(path):
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: {'a folder, not a file' if Path(path).is_dir() else 'no file'}; check the path")


def _read(path):
    """Checkpoint, whose optimizer is None for a network alone."""
    _check_file(path)
    try:
        with zipfile.ZipFile(path) as file:
            if sum(member.file_size for member in file.infolist()) > os.path.getsize(path):
                raise ValueError("it would unpack to more than it is, and save packs nothing")
            stored = {name[:-4]: np.lib.format.read_array(file.open(name), allow_pickle=False) for name in file.namelist()}
        facts = json.loads(str(stored.pop("facts")))
        if facts["format"] != 1:
            raise ValueError(f"format {facts['format']} of fuzznet {facts['fuzznet']}, where 1 is known: update fuzznet")
        arrays = {"": {}}
        for name, array in stored.items():
            owner, _, own = name.rpartition(".")
            arrays.setdefault(owner, {})[own] = array
        arrays = {owner: _checked(Parameters(**own, dilations=tuple(facts["dilations"]))) for owner, own in arrays.items()}
        parameters, optimizer = arrays.pop(""), facts.get("optimizer")
        if optimizer is not None:
            optimizer = _optimizer(parameters, memory=arrays, **optimizer)
        elif arrays:
            raise ValueError(f"arrays {list(arrays)} without an optimizer")
        return Checkpoint(parameters, optimizer, dict(facts["about"]))
    except Exception as error:  # damaged bytes make zipfile and NumPy raise nearly anything
        raise ValueError(f"{path} holds no network ({error}): copy it again, or save it with fuzznet.storage.save") from error


def _optimizer(parameters, memory, kind, **numbers):
    """The optimizer of a checkpoint: made anew with its settings, which are checked, then given its memory."""
    settings = inspect.signature(OPTIMIZERS[kind]).parameters
    optimizer = OPTIMIZERS[kind](**{name: numbers[name] for name in settings})
    if {*numbers, *memory} != {*vars(optimizer)}:
        raise ValueError(f"{kind} with {sorted([*numbers, *memory])}: expected {sorted(vars(optimizer))}")
    for name, value in memory.items():
        if value.map(np.shape) != parameters.map(np.shape):
            raise ValueError(f"{name} of {kind} has other shapes than the parameters")
    vars(optimizer).update(numbers, **memory)
    return optimizer


def _checked(parameters):
    check_parameters(parameters, parameters.biases)
    if not all(np.all(np.isfinite(getattr(parameters, name))) for name in Parameters.NAMES):
        raise ValueError("parameters hold NaN or infinity: expected finite numbers")
    return parameters
