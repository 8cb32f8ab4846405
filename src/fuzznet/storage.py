"""A learned network in a file, to be played another day (chapter 17)."""

import json
import os
import uuid
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fuzznet.arrays import to_numpy
from fuzznet.network import Parameters, check_parameters


class Saved(NamedTuple):
    """parameters: NumPy arrays, bit for bit as they were saved; about: the facts saved with them, a dict."""

    parameters: Parameters
    about: dict


def save(path, parameters, **about):
    """Write a network to one file (.npz), whole or not at all: where that fails, an older file at path stays as it was.

    about: facts to keep, such as sample_rate_hz=44100, in what JSON has: finite numbers, texts, lists and dicts.
    Raises ValueError for other facts, and for parameters that do not fit each other or are not finite.
    """
    parameters = _checked(parameters.map(to_numpy))
    facts = {"format": 1, "fuzznet": version("fuzznet"), "dilations": list(map(int, parameters.dilations)), "about": about}
    try:
        text = json.dumps(facts, allow_nan=False)
        if json.loads(text)["about"] != about:
            raise TypeError("some would come back as something else")
    except (TypeError, ValueError) as error:
        raise ValueError(f"about={about}: {error}; keep only finite numbers, texts, and lists and dicts of them") from error
    partial = Path(path).with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            np.savez(file, facts=text, **{name: getattr(parameters, name) for name in Parameters.NAMES})
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load(path):
    """Read a network that `save` wrote. Returns: Saved.

    Raises FileNotFoundError for a missing file, and ValueError for one that is damaged or that `save` did not write.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: {'a folder, not a file' if Path(path).is_dir() else 'no file'}; check the path")
    try:
        with zipfile.ZipFile(path) as file:
            stored = {name[:-4]: np.lib.format.read_array(file.open(name), allow_pickle=False) for name in file.namelist()}
        facts = json.loads(str(stored.pop("facts")))
        if facts["format"] != 1:
            raise ValueError(f"format {facts['format']} of fuzznet {facts['fuzznet']}, where 1 is known: update fuzznet")
        return Saved(_checked(Parameters(**stored, dilations=tuple(facts["dilations"]))), dict(facts["about"]))
    except Exception as error:  # damaged bytes make zipfile and NumPy raise nearly anything
        raise ValueError(f"{path} holds no network ({error}): copy it again, or save it with fuzznet.storage.save") from error


def _checked(parameters):
    check_parameters(parameters, parameters.biases)
    if not all(np.all(np.isfinite(getattr(parameters, name))) for name in Parameters.NAMES):
        raise ValueError("parameters hold NaN or infinity: expected finite numbers")
    return parameters
