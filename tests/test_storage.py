"""A file holds a network whole or not at all; one that is damaged, foreign or hostile is refused."""

import copy
import dataclasses
import io
import json
import os
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

import fuzznet
from fuzznet.optimizers import Adam, GradientDescent, Momentum
from fuzznet.storage import Checkpoint, Saved, load, load_checkpoint, save, save_checkpoint

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


def test_a_link_stays_and_leads_to_the_new_content(tmp_path, path, parameters):
    (tmp_path / "disk").mkdir()
    path.symlink_to(tmp_path / "disk" / "own.npz")
    for take in (1, 2):
        save(path, parameters, take=take)
        assert path.is_symlink() and load(tmp_path / "disk" / "own.npz").about == {"take": take}
    assert [entry.name for entry in (tmp_path / "disk").iterdir()] == ["own.npz"]


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


def test_a_folder_that_can_not_be_synced_does_no_harm(monkeypatch, path, parameters):
    """As on some network drives: then the file is there, and only the moment when its name reaches the disk is unknown."""
    opened, closed, close = [], [], os.close
    monkeypatch.setattr(os, "open", lambda *_: opened.append(os.dup(0)) or opened[-1])
    monkeypatch.setattr(os, "close", lambda file: closed.append(file) or close(file))
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: fail() if file in opened else fsync(file))
    save(path, parameters, take=1)
    monkeypatch.undo()
    assert load(path).about == {"take": 1} and closed == opened != []


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path, parameters):
    """Not what another one is writing at this moment, nor what belongs to another file."""
    names = (".a[1].npz.0123.partial", ".a[1].npz.4567.partial", ".a1.npz.0123.partial", "a[1].npz.0123.partial")
    for name in names:
        (tmp_path / name).touch()
        if "4567" not in name:
            os.utime(tmp_path / name, (time.time() - 100,) * 2)
    save(tmp_path / "a[1].npz", parameters)
    assert {entry.name for entry in tmp_path.iterdir()} == {*names[1:], "a[1].npz"}


def test_a_new_file_takes_the_place_of_the_old_one(monkeypatch, path, parameters):
    steps, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (steps.append("written"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("moved"), replace(*paths)))
    save(path, parameters, take=1)
    save(path, parameters, take=2)
    assert load(path).about == {"take": 2}
    assert steps == ["written", "moved", "written"] * 2  # the second time the folder, so that the new name is on the disk


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


def test_a_bomb_is_not_unpacked(path, parameters):
    save(path, parameters)
    with np.load(path) as file:
        np.savez_compressed(path, **(dict(file) | {"kernels": np.zeros(10**7)}))
    assert os.path.getsize(path) < 10**5
    tracemalloc.start()
    with pytest.raises(ValueError, match="it would unpack to more than it is, and save packs nothing"):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


# -- checkpoints --------------------------------------------------------------------------------------------------------


def trained(optimizer, parameters, steps):
    for _ in range(steps):
        parameters = optimizer(parameters, parameters.map(np.cos))
    return parameters


MAKERS = (GradientDescent, Momentum, Adam)


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("make", MAKERS)
def test_an_optimizer_goes_on_as_if_never_stopped(path, parameters, make, steps, dtype, xp):
    """With settings that are not the default ones, and a learning rate that has fallen meanwhile."""
    settings = {GradientDescent: {}, Momentum: {"momentum": 0.8}, Adam: {"beta1": 0.7, "beta2": 0.9, "epsilon": 1e-3}}[make]
    optimizer = make(0.03, **settings)
    optimizer.learning_rate = 0.02
    start = trained(optimizer, parameters.astype(dtype), steps)
    here = copy.copy(optimizer)
    for name, value in vars(optimizer).items():
        if isinstance(value, fuzznet.Parameters):
            setattr(here, name, value.map(lambda array: xp.asarray(array, copy=True)))
    save_checkpoint(path, start.map(lambda array: xp.asarray(array, copy=True)), here, step=steps)
    saved = load_checkpoint(path)
    assert isinstance(saved, Checkpoint) and saved.about == {"step": steps} and same(saved.parameters, start)
    assert type(saved.optimizer) is make and vars(saved.optimizer).keys() == vars(optimizer).keys()
    expected, found = trained(optimizer, start, 4), trained(saved.optimizer, saved.parameters, 4)
    assert same(found, expected) and found.kernels.dtype == np.dtype(dtype)


def test_a_checkpoint_is_a_network_and_a_network_is_no_checkpoint(path, parameters):
    save_checkpoint(path, parameters, Adam(), sample_rate_hz=48000)
    saved = load(path)
    assert isinstance(saved, Saved) and same(saved.parameters, parameters) and saved.about == {"sample_rate_hz": 48000}
    save(path, parameters)
    with pytest.raises(ValueError, match="holds a network and no optimizer, so no training can go on from it"):
        load_checkpoint(path)


def test_an_optimizer_of_ones_own_is_refused(path, parameters):
    class Own(Adam):
        pass

    with pytest.raises(ValueError, match="optimizer of type Own: expected one of GradientDescent, Momentum, Adam"):
        save_checkpoint(path, parameters, Own())
    assert not path.exists()


def test_memory_that_is_not_finite_is_not_written(path, parameters):
    optimizer = Momentum()
    optimizer.velocity = parameters.map(lambda array: array * np.inf)
    with pytest.raises(ValueError, match="NaN or infinity"):
        save_checkpoint(path, parameters, optimizer)
    assert not path.exists()


def test_a_cut_or_a_wrong_bit_in_a_checkpoint_is_noticed(path, parameters):
    optimizer = Adam()
    parameters = trained(optimizer, parameters, 3)
    save_checkpoint(path, parameters, optimizer, step=3)
    whole, refused = path.read_bytes(), 0
    cuts = [whole[:length] for length in range(0, len(whole), 31)]
    flips = [whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :] for at in range(0, len(whole), 11)]
    for damaged in cuts + flips:
        path.write_bytes(damaged)
        try:
            saved = load_checkpoint(path)
        except ValueError:
            refused += 1
        else:
            assert damaged not in cuts and same(saved.parameters, parameters) and saved.about == {"step": 3}
            kept, own = vars(saved.optimizer), vars(optimizer)
            assert same(kept.pop("mean"), own["mean"]) and same(kept.pop("square"), own["square"])
            assert kept == {name: own[name] for name in kept}
    assert refused >= len(cuts) + 0.6 * len(flips)


def test_foreign_checkpoints_are_refused(path, parameters):
    arrays = {f"{owner}{name}": getattr(parameters, name) for owner in ("", "velocity.") for name in NAMES}
    optimizer = {"kind": "Momentum", "learning_rate": 0.1, "momentum": 0.9}
    facts = {"format": 1, "fuzznet": "0.1.0", "dilations": [1, 5, 3], "about": {}, "optimizer": optimizer}
    program = np.array([Program()], dtype=object)
    larger = fuzznet.initialize(np.random.default_rng(1), layers=3, kernels=5)

    def npz(without=None, changed=None, **own):
        entries = arrays | {"facts": json.dumps(facts | {"optimizer": optimizer | own})} | (changed or {})
        entries.pop(without, None)
        content = io.BytesIO()
        np.savez(content, **entries)
        return content.getvalue()

    cases = {
        "'Own'": npz(kind="Own"),
        "learning_rate=-1": npz(learning_rate=-1),
        "momentum=2": npz(momentum=2),
        r"expected \['learning_rate', 'momentum', 'velocity'\]": npz(steps=5),
        "'output'": npz(without="velocity.output"),
        "allow_pickle=False": npz(changed={"velocity.kernels": program}),
        "velocity of Momentum has other shapes": npz(changed={f"velocity.{name}": getattr(larger, name) for name in NAMES}),
        "without an optimizer": npz(changed={"facts": json.dumps(facts | {"optimizer": None})}),
        "memory": npz(memory=1),
    }
    path.write_bytes(npz())
    assert same(load_checkpoint(path).optimizer.velocity, parameters)
    for message, file in cases.items():
        path.write_bytes(file)
        for read in (load, load_checkpoint):
            with pytest.raises(ValueError, match=message) as caught:
                read(path)
            assert str(caught.value).startswith(f"{path} holds no network (")
    assert not Program.ran
