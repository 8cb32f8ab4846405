"""The bundled notes are what the circuit makes of the plucked strings."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fuzznet.recordings import NOTES, load_note
from fuzznet.signals import harmonic_spectrum

PATH = Path(__file__).parents[1] / "circuits" / "render_notes.py"


@pytest.fixture
def render_notes():
    spec = importlib.util.spec_from_file_location("render_notes", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_note_is_bundled(render_notes):
    assert tuple(render_notes.NOTES) == NOTES
    files = list(render_notes.FOLDER.glob("*.flac"))
    assert len(files) == 2 * len(NOTES) >= 16
    assert sum(path.stat().st_size for path in files) < 3_000_000


@pytest.mark.parametrize("name", NOTES)
def test_bundled_string_is_the_plucked_one(render_notes, name):
    np.testing.assert_allclose(load_note(name).clean, render_notes.pluck(name), atol=2**-16)


def test_bundled_note_is_what_ngspice_renders(ngspice, render_notes):
    clean, distorted = render_notes.render("D3")
    stored = load_note("D3")
    assert np.array_equal(clean, stored.clean)
    assert np.max(np.abs(distorted - stored.distorted)) < 1e-3
    assert np.max(np.abs(distorted)) > 0.1


def test_pedal_is_lopsided(ngspice, render_notes):
    """A sine comes out with even harmonics, which no symmetric curve could make; they are part of a fuzz's sound."""
    time_s = np.arange(88200) / 44100
    clean = np.where(time_s < 0.5, 0, 0.16 * np.sin(2 * np.pi * 200 * (time_s - 0.5)))  # 4 mV
    amplitudes = harmonic_spectrum(render_notes.distort(clean)[44100:], 200, count=4)
    assert 20 * np.log10(amplitudes[1] / amplitudes[0]) > -40
    assert 20 * np.log10(amplitudes[2] / amplitudes[0]) > -40


def test_circuit_rests_where_the_published_one_does(ngspice, render_notes, tmp_path):
    """Bias points of the published circuit: first collector -0.5 to -0.7 V; the second near -4.5 V before trimming R3."""
    import re
    import subprocess

    netlist = render_notes.NETLIST.read_text()
    head = netlist[: netlist.index(".tran")]
    (tmp_path / "bias.cir").write_text(head + ".control\nop\nprint v(collector1) v(collector2)\nquit\n.endc\n.end\n")
    np.savetxt(tmp_path / "clean.txt", [[0, 0], [1, 0]])
    run = subprocess.run(["ngspice", "-b", "bias.cir"], cwd=tmp_path, capture_output=True, text=True, check=False)
    volts = dict(re.findall(r"v\((collector\d)\) = (\S+)", run.stdout))
    assert -0.7 < float(volts["collector1"]) < -0.5
    assert -5.7 < float(volts["collector2"]) < -4.5


def test_without_ngspice_the_error_says_what_to_install(render_notes, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="apt-get install ngspice"):
        render_notes.distort(np.zeros(88200))
    with pytest.raises(ValueError, match="100 samples: expected 88200"):
        render_notes.distort(np.zeros(100))
