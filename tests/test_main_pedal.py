"""The commands for a pedal of one's own, from two files to a network that plays a third."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from PIL import Image

import fuzznet
from fuzznet import __main__ as commands
from fuzznet import storage
from fuzznet.recordings import load_sound, rms


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    """Two files of a made pedal, upside down and 5 samples too early, and a third to play."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    clean = 0.1 * np.convolve(rng.normal(size=30015), np.hanning(12), "valid")[:30000]
    soundfile.write("clean.wav", clean[:-5], 48000, subtype="FLOAT")
    soundfile.write("distorted.flac", -0.5 * np.tanh(4 * clean[5:]), 48000, subtype="PCM_24")
    soundfile.write("riff.wav", np.stack([clean[:9000], clean[9000:18000]], axis=1), 48000, subtype="FLOAT")
    return tmp_path


PEDAL = ("pedal", "clean.wav", "distorted.flac", "--sizes", "3x4x3", "--seconds", "0.3")


def run(capsys, *words):
    """The exit status of a command, and what it printed and complained about."""
    return (commands.main(words), *capsys.readouterr())


def test_learn_keep_and_play(folder, capsys):
    status, out, err = run(capsys, *PEDAL, "--align", "--save", "pedal.npz", "--picture", "pedal.png")
    assert (status, err) == (0, "")
    assert "5 samples (0.10 ms) early, upside down" in out and "a causal network can't know" in out
    network, about = storage.load("pedal.npz")
    clean, distorted = (load_sound(name)[0] for name in ("clean.wav", "distorted.flac"))
    samples = len(clean) - 8  # the target went from 5 early to 3 late
    clean, distorted, cut = clean[8:], distorted[:samples], round(0.8 * samples)
    assert network.kernels.shape == (3, 4, 3) and about["sample_rate_hz"] == 48000
    assert (about["x_level"], about["y_level"]) == pytest.approx((rms(clean[:cut]), rms(distorted[:cut])))
    assert f"{network.size} parameters, " in out and f"the last {(samples - cut) / 48000:.1f} s were kept unheard" in out
    played = about["y_level"] * fuzznet.forward(network, (clean / about["x_level"]).astype(np.float32))[0]
    esr = fuzznet.esr(output=played[cut:].astype(float), target=distorted[cut:])
    assert f"ESR of the network: {esr:.4f}" in out and about["esr_output"] == pytest.approx(esr, rel=1e-3)
    assert "of 1 segments" in out and "100% of the whole error" in out
    assert Image.open("pedal.png").width > 300

    status, out, _ = run(capsys, "play", "pedal.npz", "riff.wav", "out.wav", "--channel", "1")
    riff = load_sound("riff.wav", channel=1)[0]
    expected = about["y_level"] * fuzznet.forward(network, (riff / about["x_level"]).astype(np.float32))[0]
    sound, sample_rate_hz = load_sound("out.wav")
    assert status == 0 and sample_rate_hz == 48000 and soundfile.info("out.wav").subtype == "FLOAT"
    np.testing.assert_allclose(sound, expected, atol=1e-5)
    assert out == f"out.wav: 0.2 s at 48000 Hz, peak {np.max(np.abs(sound)):.3f}\n"


def test_several_sizes_give_a_table(folder, capsys):
    status, out, _ = run(capsys, *PEDAL[:3], "--seconds", "0.1", "--sizes", "3x4x3", "2x5x4")
    lines = [line.split() for line in out.splitlines()]
    rows = [line[5:9] for line in lines if line[1:2] == ["x"] and line[0] in ("3", "2")]
    # N (L (K + 3) - 1) parameters, N (L (K + 2) - 1) products, 1 + (K - 1) (2^L - 1) samples
    assert [row[:3] for row in rows] == [["68", "56", "15"], ["65", "55", "10"]]
    assert status == 0 and all(int(row[3]) > 0 for row in rows)
    assert "Boss DS-1                2.1 to 3.2 %    Damskägg et al. 2019" in out and "no ranking" in out


def test_sizes_and_files_are_checked_before_the_training(folder, capsys):
    os.mkdir("folder.npz")
    before = {name: (folder / name).read_bytes() for name in ("clean.wav", "distorted.flac")}
    for words in (
        "--save missing/pedal.npz", "--picture missing/p.png", "--sizes 3x4x3 2x4x3 --save p.npz", "--save folder.npz",
        "--save clean.wav", "--picture distorted.flac", "--save p.png --picture p.png",
    ):  # fmt: skip
        status, out, err = run(capsys, *PEDAL, *words.split())
        ending = ".npz" if "--save" in words else ".png"
        needed = f"can't be written: it takes one size, a name that ends in {ending}, and a folder that is there"
        assert (status, out) == (1, "") and needed in err
    assert before == {name: (folder / name).read_bytes() for name in before}
    for size in ("3x4", "3xax3", "8"):
        with pytest.raises(SystemExit):
            commands.main([*PEDAL, "--sizes", size])
        assert f"--sizes: {size!r}: expected layers x kernels x taps, such as 8x10x3" in capsys.readouterr().err
    for channel in ("left", "-1", "1.5"):
        with pytest.raises(SystemExit):
            commands.main([*PEDAL, f"--channel={channel}"])
        assert f"--channel: {channel!r}: expected a number from 0, or mean" in capsys.readouterr().err
    status, _, err = run(capsys, "pedal", "clean.wav", "none.wav")
    assert status == 1 and err == "python -m fuzznet: none.wav: no file; check the path\n"


def test_sample_rate_and_channels_are_passed_on(folder, capsys):
    status, _, err = run(capsys, "pedal", "riff.wav", "riff.wav", "--seconds", "0.1")
    assert status == 1 and "riff.wav has 2 channels" in err
    words = ("--sizes", "2x2x2", "--seconds", "0.1", "--channel", "mean", "--sample-rate", "96000", "--save", "p.npz")
    status, out, _ = run(capsys, "pedal", "riff.wav", "riff.wav", *words)
    assert status == 0 and "0.2 s at 96000 Hz" in out and storage.load("p.npz").about["sample_rate_hz"] == 96000


def test_play_refuses_another_sample_rate_and_other_files(folder, capsys, rng):
    network = fuzznet.initialize(rng, layers=2, kernels=2)
    facts = {"sample_rate_hz": 44100, "x_level": 0.1, "y_level": 0.5}
    storage.save("p.npz", network, **facts)
    status, _, err = run(capsys, "play", "p.npz", "clean.wav", "out.wav")
    assert status == 1 and "clean.wav has 48000 Hz, and the network learned at 44100 Hz: add --resample" in err
    assert not os.path.exists("out.wav")
    status, out, _ = run(capsys, "play", "p.npz", "clean.wav", "out.flac", "--resample")
    assert status == 0 and "at 44100 Hz" in out
    sound, x = load_sound("out.flac")[0], load_sound("clean.wav", sample_rate_hz=44100)[0]
    np.testing.assert_allclose(sound, 0.5 * fuzznet.forward(network, x / 0.1)[0], atol=1e-5)
    for wrong in ({}, {**facts, "x_level": 0}, {**facts, "y_level": "loud"}, {**facts, "sample_rate_hz": None}):
        storage.save("wrong.npz", network, **wrong)
        status, _, err = run(capsys, "play", "wrong.npz", "clean.wav", "out.wav")
        assert status == 1 and "wrong.npz lacks sample_rate_hz, x_level or y_level" in err


def test_play_does_not_write_over_what_it_reads(folder, capsys, rng):
    storage.save("p.npz", fuzznet.initialize(rng, layers=2, kernels=2), sample_rate_hz=48000, x_level=0.1, y_level=0.5)
    before = load_sound("clean.wav")[0]
    status, _, err = run(capsys, "play", "p.npz", "clean.wav", "./clean.wav")
    assert status == 1 and "clean.wav is the sound to be played: choose another name" in err
    assert np.array_equal(load_sound("clean.wav")[0], before)
    for _ in range(2):  # an older output may be written over
        assert run(capsys, "play", "p.npz", "clean.wav", "out.wav")[0] == 0


def test_play_does_not_clip(folder, capsys, rng):
    storage.save("p.npz", fuzznet.initialize(rng, layers=2, kernels=2), sample_rate_hz=48000, x_level=0.1, y_level=900.0)
    status, out, _ = run(capsys, "play", "p.npz", "clean.wav", "loud.wav")
    peak = np.max(np.abs(load_sound("loud.wav")[0]))
    assert status == 0 and peak > 1 and f"peak {peak:.3f}; above 1 a player clips it: turn it down" in out
    status, _, err = run(capsys, "play", "p.npz", "clean.wav", "loud.flac")
    assert status == 1 and "would clip; write a .wav" in err and not os.path.exists("loud.flac")


def test_play_checks_its_output_before_it_plays(folder, capsys, rng, monkeypatch):
    storage.save("p.npz", fuzznet.initialize(rng, layers=2, kernels=2), sample_rate_hz=48000, x_level=0.1, y_level=0.5)
    monkeypatch.setattr(commands, "render", None)
    for name, message in (("out.mp3", "ends in .wav or .flac"), ("missing/out.wav", "no such folder; make it first")):
        status, _, err = run(capsys, "play", "p.npz", "clean.wav", name)
        assert status == 1 and message in err
    status, _, err = run(capsys, "play", "p.npz", "none.wav", "clean.wav")
    assert status == 1 and err == "python -m fuzznet: none.wav: no file; check the path\n"


@pytest.mark.parametrize(
    ("error", "status", "message"), [(KeyboardInterrupt(), 130, "stopped"), (MemoryError(), 1, "MemoryError")]
)
def test_an_interrupt_and_too_little_memory_end_without_a_traceback(folder, capsys, monkeypatch, error, status, message):
    def end(*_, **__):
        raise error

    monkeypatch.setattr(commands.experiments, "pedal", end)
    assert run(capsys, *PEDAL, "--save", "p.npz")[::2] == (status, f"python -m fuzznet: {message}\n")
    assert not os.path.exists("p.npz")


def test_from_a_terminal(folder):
    words = [sys.executable, "-m", "fuzznet", *PEDAL[:3], "--sizes", "2x2x2", "--seconds", "0.1"]
    shown = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=True)
    assert "ESR of the network: " in shown.stdout
    words[4] = "missing.wav"
    failed = subprocess.run(words, capture_output=True, text=True, cwd=folder)
    assert failed.returncode == 1 and failed.stderr == "python -m fuzznet: missing.wav: no file; check the path\n"
