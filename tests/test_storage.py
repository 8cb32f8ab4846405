"""A file holds a network whole or not at all; one that is damaged, foreign or hostile is refused."""

import dataclasses
import io
import json
import os
import zipfile

import numpy as np
import pytest

import fuzznet
from fuzznet.storage import Saved, load, save

NAMES = fuzznet.Parameters.NAMES


@pytest.fixture
def parameters(rng):
    return fuzznet.initialize(rng, layers=3, kernels=2, kernel_size=4, dilations=(1, 5, 3))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pedal.npz"


def same(saved, parameters):
    arrays = [(getattr(saved, name), getattr(parameters, name)) for name in NAMES]
    return saved.dilations == parameters.dilations and all(np.array_equal(*pair) for pair in arrays)


@pytest.mark.parametrize("bias", ["kernel", "time"])
def test_a_network_plays_as_before(rng, path, bias, dtype, xp):
    length = 31 if bias == "time" else None
    parameters = fuzznet.initialize(rng, layers=3, kernels=2, bias=bias, clip_length=length).astype(dtype)
    assert save(path, parameters.map(lambda array: xp.asarray(array, copy=True)), sample_rate_hz=44100, pedal="Größe 1") is None
    saved = load(str(path))
    assert isinstance(saved, Saved) and same(saved.parameters, parameters)
    assert {type(getattr(saved.parameters, name)) for name in NAMES} == {np.ndarray}
    assert {getattr(saved.parameters, name).dtype for name in NAMES} == {np.dtype(dtype)}
    assert saved.about == {"sample_rate_hz": 44100, "pedal": "Größe 1"}
    x = rng.normal(size=(2, 31)).astype(dtype)
    np.testing.assert_allclose(fuzznet.forward(saved.parameters, x)[0], fuzznet.forward(parameters, x)[0], rtol=1e-6)


def test_a_file_says_who_wrote_it(path, parameters):
    save(path, dataclasses.replace(parameters, dilations=np.array([1, 5, 3])))  # NumPy's whole numbers are written as ours
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file.files) == sorted([*NAMES, "facts"])
        facts = json.loads(str(file["facts"]))
    assert facts.pop("fuzznet").count(".") == 2
    assert facts == {"format": 1, "dilations": [1, 5, 3], "about": {}}
    assert load(path).parameters.dilations == (1, 5, 3)


def test_the_file_has_the_name_and_the_access_that_were_asked_for(tmp_path, parameters):
    save(tmp_path / "name", parameters)
    (tmp_path / "other").touch()
    assert {entry.name for entry in tmp_path.iterdir()} == {"name", "other"}
    assert (tmp_path / "name").stat().st_mode == (tmp_path / "other").stat().st_mode


def fail(*_):
    raise OSError("no space left")


@pytest.mark.parametrize(("module", "name"), [(np, "savez"), (os, "fsync"), (os, "replace")])
def test_a_failed_write_leaves_the_old_file(monkeypatch, path, parameters, module, name):
    save(path, parameters, take=1)
    before = path.read_bytes()
    monkeypatch.setattr(module, name, lambda *_, **__: fail())
    with pytest.raises(OSError, match="no space left"):
        save(path, parameters, take=2)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_new_file_takes_the_place_of_the_old_one(monkeypatch, path, parameters):
    steps, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (steps.append("written"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("moved"), replace(*paths)))
    save(path, parameters, take=1)
    save(path, parameters, take=2)
    assert load(path).about == {"take": 2} and steps == ["written", "moved"] * 2


LACKED = [np.nan, np.inf, {1, 2}, np.ones(2), np.float32(1), 1j, b"a", object(), {(1, 2): 3}, {1: 2}, (1, 2)]


@pytest.mark.parametrize("fact", LACKED)
def test_facts_that_json_lacks_are_refused(path, parameters, fact):
    with pytest.raises(ValueError, match=r"about=.*keep only finite numbers, texts, and lists and dicts"):
        save(path, parameters, fact=fact)
    assert not any(path.parent.iterdir())


def test_parameters_that_are_no_network_are_not_written(path, parameters):
    one_nan = parameters.output.copy()
    one_nan[1, 1] = np.nan
    cases = {
        "NaN or infinity": {"output": one_nan},
        "expected float32 or float64": {"mixing": np.array([[1, 2], [3, 4]])},
        "expected \\(L, N, K\\)": {"kernels": parameters.kernels[0]},
        "as kernels has": {"biases": parameters.biases[:, :1]},
        "dilation=0": {"dilations": (1, 0, 3)},
    }
    for message, change in cases.items():
        with pytest.raises(ValueError, match=message):
            save(path, dataclasses.replace(parameters, **change))
    assert not any(path.parent.iterdir())


def test_a_path_that_is_no_file(tmp_path, parameters):
    with pytest.raises(FileNotFoundError, match=r"missing\.npz: no file; check the path"):
        load(tmp_path / "missing.npz")
    with pytest.raises(FileNotFoundError, match="a folder, not a file; check the path"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "missing" / "pedal.npz", parameters)


def test_a_cut_or_a_wrong_bit_is_noticed(path, parameters):
    """Each damaged file is refused, or still holds the very same: some bytes of a zip file mean nothing, such as its date."""
    save(path, parameters, sample_rate_hz=44100)
    whole = path.read_bytes()
    cuts = [whole[:length] for length in range(0, len(whole), 13)]
    flips = [whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :] for at in range(0, len(whole), 5)]
    refused = 0
    for damaged in cuts + flips:
        path.write_bytes(damaged)
        try:
            saved = load(path)
        except ValueError as error:
            refused += "copy it again" in str(error)
        else:
            assert damaged not in cuts and same(saved.parameters, parameters) and saved.about == {"sample_rate_hz": 44100}
    assert refused >= len(cuts) + 0.6 * len(flips)


class Program:
    """Something that runs when it is unpickled."""

    ran = False

    def __reduce__(self):
        return setattr, (Program, "ran", True)


def test_foreign_files_are_refused(path, parameters):
    good = {name: getattr(parameters, name) for name in NAMES}
    facts = {"format": 1, "fuzznet": "0.1.0", "dilations": [1, 5, 3], "about": {}}
    program = np.array([Program()], dtype=object)

    def npz(without=None, **changed):
        file = io.BytesIO()
        entries = {**good, "facts": json.dumps(facts), **changed}
        entries.pop(without, None)
        np.savez(file, **entries)
        return file.getvalue()

    def with_facts(**changed):
        return npz(facts=json.dumps(facts | changed))

    npy = io.BytesIO()
    np.save(npy, parameters.kernels)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("facts.npy", "no array")
    cases = {
        "File is not a zip file": [b"", b"a text", npy.getvalue()],
        "magic string is not correct": [zipped.getvalue()],
        "'output'": [npz(without="output")],
        "'facts'": [npz(without="facts")],
        "'velocity'": [npz(velocity=parameters.kernels)],
        "allow_pickle=False": [npz(kernels=program), npz(velocity=program), npz(facts=program)],
        r"\(2, 4\): expected \(L, N, K\)": [npz(kernels=parameters.kernels[0])],
        "as kernels has": [npz(mixing=parameters.mixing.T[:, :1]), with_facts(dilations=[1, 2])],
        "NaN or infinity": [npz(biases=np.full((3, 2, 1), np.inf))],
        "expected float32 or float64": [npz(output=np.ones((3, 2), int))],
        "dilation=1.5": [with_facts(dilations=[1, 1.5, 3])],
        "not iterable": [with_facts(dilations=3), with_facts(about=None)],
        "Expecting value": [npz(facts="no JSON")],
        "format 2 of fuzznet 7.0.0, where 1 is known: update fuzznet": [with_facts(format=2, fuzznet="7.0.0")],
    }
    path.write_bytes(npz())
    assert same(load(path).parameters, parameters)
    for message, files in cases.items():
        for file in files:
            path.write_bytes(file)
            with pytest.raises(ValueError, match=message) as caught:
                load(path)
            assert str(caught.value).startswith(f"{path} holds no network (")
    assert not Program.ran
