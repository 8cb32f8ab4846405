"""The command train: whole notes kept unheard, a training that goes on, and what it says."""

import os
import re
import shutil
import signal
import subprocess
import sys

import made_data
import numpy as np
import pytest
import soundfile

from fuzznet import corpus, datasets, network, storage
from fuzznet.__main__ import main
from fuzznet.optimizers import Adam

NOTES = ((1, 0), (2, 5), (3, 2), (3, 0), (2, 0), (4, 0))  # string and fret; (2, 5) and (3, 0) are both MIDI 50
SMALL = ("--layers", "3", "--kernels", "2", "--epochs", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    files = made_data.idmt_files(NOTES, settings=(1, 2), length=26_000)
    return made_data.write(files, tmp_path_factory.mktemp("idmt"))


def run(capsys, *words):
    status = main(["train", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_folder_but_for_some_notes(capsys, folder, tmp_path):
    path = tmp_path / "network.npz"
    words = (folder, path, *SMALL, "--setting", "2", "--hold-out", "2", "--seed", "3")
    status, shown, _ = run(capsys, *words)
    assert status == 0 and "6 pairs, 0 files without a partner" in shown and f"written: {path}" in shown
    kept = set(map(int, re.search(r"3 notes are learned, 2 kept unheard \(MIDI (\d+), (\d+)\)", shown).groups()))
    pairs = datasets.pairs(folder, "distortion", 2).pairs
    midi = {take.path: take.midi for take in datasets.catalogue(folder)}
    sides = [[pair for pair in pairs if (midi[pair[0]] in kept) == side] for side in (False, True)]
    learned, unheard = (corpus.Corpus(side, history=14) for side in sides)
    start = network.initialize(np.random.default_rng(3), 3, 2, 3).astype(np.float32)
    settings = {"seed": 3, "epochs": 2, "final_learning_rate": 0.01 / 20, "progress": False}
    expected = corpus.train_corpus(start, learned, optimizer=Adam(0.01), checkpoint=tmp_path / "own.npz", **settings)
    assert path.read_bytes() == (tmp_path / "own.npz").read_bytes()
    for name, parameters in (("network", expected.parameters), ("doing nothing", None)):
        errors = corpus.judge(parameters, unheard, expected.levels)
        line = f"{len(unheard.pairs)} unheard files, {name}: median {np.median(errors):.4f}, worst {np.max(errors):.4f}"
        assert line in shown
    assert " ".join(f"{loss:.4f}" for loss in expected.losses) in shown
    assert run(capsys, *words)[:2] == (0, shown)  # the finished training is only judged again


def test_a_share_of_the_notes(capsys, folder, tmp_path):
    words = (folder, tmp_path / "a.npz", *SMALL, "--setting", "1", "--effect", "overdrive")
    assert "4 notes are learned, 1 kept unheard" in run(capsys, *words)[1]
    assert "3 notes are learned, 2 kept unheard" in run(capsys, folder, tmp_path / "b.npz", *words[2:], "--hold-out", "0.4")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--setting", "1", "--hold-out", "5"], "--hold-out 5 of 5 notes"),
        (["--setting", "1", "--hold-out", "0"], "--hold-out 0 of 5 notes"),
        (["--setting", "1", "--hold-out", "-0.1"], "--hold-out -0.1 of 5 notes"),
        (["--setting", "1", "--hold-out", "nan"], "NaN"),
        ([], r"holds settings \[1, 2\] of the effect, each a pedal of its own: choose --setting"),
        (["--setting", "1", "--instrument", "bass"], "holds no pairs of bass: choose --instrument"),
        (["--effect", "reverb"], "no sound with effect 'reverb'"),
        (["--setting", "1", "--learning-rate", "-1"], "learning_rate=-1"),
        (["--setting", "1", "--every", "-1"], "every_s=-1"),
        (["--setting", "1", "--kernels", "0"], "kernels=0"),
    ],
)
def test_words_that_make_no_training(capsys, folder, tmp_path, words, message):
    status, _, error = run(capsys, folder, tmp_path / "network.npz", *words)
    assert status == 1 and re.search(message, error) and not any(tmp_path.iterdir())


def test_files_that_lack_their_partners(capsys, folder, tmp_path):
    for _, path in datasets.pairs(folder, "distortion", 1).pairs[:1]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    status, _, error = run(capsys, tmp_path, tmp_path / "network.npz")
    assert status == 1 and "holds no pairs" in error


def test_notes_kept_at_another_sample_rate(capsys, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    words = (tmp_path / "copy", tmp_path / "network.npz", *SMALL, "--setting", "1", "--epochs", "1")
    kept = int(re.search(r"1 kept unheard \(MIDI (\d+)\)", run(capsys, *words)[1])[1])
    for take in datasets.catalogue(tmp_path / "copy"):
        if take.midi == kept:
            soundfile.write(take.path, soundfile.read(take.path)[0], 48000)
    (tmp_path / "network.npz").unlink()
    status, _, error = run(capsys, *words)
    assert status == 1 and "44100 Hz in the notes learned, 48000 Hz in those kept unheard: convert them to one" in error


def test_a_signal_ends_it_and_the_same_command_goes_on(monkeypatch, capsys, folder, tmp_path):
    words = (*SMALL, "--setting", "1")
    shown = run(capsys, folder, tmp_path / "undisturbed.npz", *words)[1]
    batch, met = corpus.Corpus.batch, []

    def interrupted(self, indices):
        met.append(indices)
        if len(met) == 7:
            signal.raise_signal(signal.SIGTERM)
        return batch(self, indices)

    monkeypatch.setattr(corpus.Corpus, "batch", interrupted)
    path = tmp_path / "network.npz"
    status, _, error = run(capsys, folder, path, *words)
    assert status == 143 and re.search(r"stopped after step 7 of \d+; .* holds everything: run the same again", error)
    assert storage.load_checkpoint(path).about["steps"] == 7
    again = run(capsys, folder, path, *words)
    assert again[0] == 0 and again[1].splitlines()[:-1] == shown.splitlines()[:-1]
    assert path.read_bytes() == (tmp_path / "undisturbed.npz").read_bytes()

    def at_once(*_, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "judge", at_once)
    status, _, error = run(capsys, folder, path, *words)
    assert status == 130 and f"stopped; {path} is whole: run the same again to go on" in error
    monkeypatch.setattr(corpus.Corpus, "levels", at_once)
    status, _, error = run(capsys, folder, tmp_path / "new.npz", *words)
    assert status == 130 and "stopped; nothing was trained yet: run the same again to go on" in error


def test_from_the_command_line(folder, tmp_path):
    """In a process of its own: its exit status, its error, and a network that the command play accepts."""
    path = tmp_path / "network.npz"
    command = [sys.executable, "-m", "fuzznet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "train", folder, path, *SMALL, "--setting", "1"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and "unheard files, network: median" in done.stdout, done.stderr
    clean = datasets.pairs(folder, "distortion", 1).pairs[0][0]
    played = subprocess.run([*command, "play", path, clean, tmp_path / "out.wav"], env=environment, capture_output=True)
    assert played.returncode == 0 and (tmp_path / "out.wav").stat().st_size > 26_000
    other = subprocess.run(
        [*command, "train", folder, path, *SMALL, "--setting", "2"], env=environment, capture_output=True, text=True
    )
    assert other.returncode == 1 and "is of another training (other sounds)" in other.stderr
