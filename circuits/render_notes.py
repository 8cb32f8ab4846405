"""Render the bundled notes: a plucked string, sent through a Fuzz Face in ngspice.

    python circuits/render_notes.py            all notes, into src/fuzznet/notes/
    python circuits/render_notes.py D3 A4      only these

Each note is a pair of FLAC files, two seconds at 44.1 kHz, 16 bit, half a second of silence before the onset.
Full scale (a sample of 1.0) is 25 mV at the pedal's input and 1 V at its output.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from fuzznet.signals import plucked_string

SAMPLE_RATE_HZ = 44100
SILENCE_S, SOUND_S = 0.5, 1.5
PEAK = 0.32  # of full scale, so 8 mV: a guitar turned down, where the fuzz still answers to the string
NOTES = {"E2": 40, "A2": 45, "D3": 50, "G3": 55, "B3": 59, "E4": 64, "A4": 69, "E5": 76}  # MIDI numbers
NETLIST = Path(__file__).with_name("fuzz_face.cir")
FOLDER = Path(__file__).parents[1] / "src" / "fuzznet" / "notes"


def pluck(name):
    """The clean note: silence, then a string plucked with a seed of its own. (88200,)"""
    midi = NOTES[name]
    frequency_hz = 440 * 2 ** ((midi - 69) / 12)
    string = plucked_string(frequency_hz, SOUND_S, np.random.default_rng(midi), SAMPLE_RATE_HZ)
    return PEAK * np.concatenate([np.zeros(round(SILENCE_S * SAMPLE_RATE_HZ)), string])


def distort(clean):
    """What the pedal makes of a clean sound, both (T,) with T two seconds, by ngspice."""
    expected = round((SILENCE_S + SOUND_S) * SAMPLE_RATE_HZ)
    if len(clean) != expected:
        raise ValueError(f"{len(clean)} samples: expected {expected}, the two seconds that the netlist runs for")
    if shutil.which("ngspice") is None:
        raise FileNotFoundError(
            "ngspice is not installed. Debian, Ubuntu: apt-get install ngspice. macOS: brew install ngspice"
        )
    with tempfile.TemporaryDirectory() as folder:
        times = np.arange(len(clean)) / SAMPLE_RATE_HZ
        np.savetxt(Path(folder) / "clean.txt", np.column_stack([times, clean]), fmt="%.9g")
        shutil.copy(NETLIST, folder)
        run = subprocess.run(["ngspice", "-b", NETLIST.name], cwd=folder, capture_output=True, text=True)
        result = Path(folder) / "distorted.txt"
        if run.returncode or not result.exists():
            raise RuntimeError(f"ngspice wrote no result and said:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
        return np.loadtxt(result)[: len(clean), 1]


def render(name):
    """The pair of a note: clean, distorted, each (88200,).

    The clean note is rounded to 16 bits first, so that the pedal hears just what the file holds.
    """
    clean = np.round(pluck(name) * 2**15) / 2**15
    return clean, distort(clean)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"some of {', '.join(NOTES)}; all of them if none is given"
    )
    names = parser.parse_args().names or list(NOTES)
    unknown = [name for name in names if name not in NOTES]
    if unknown:
        parser.error(f"unknown note {', '.join(unknown)}: choose from {', '.join(NOTES)}")
    FOLDER.mkdir(exist_ok=True)
    for name in tqdm(names, unit="note"):
        try:
            pair = render(name)
        except FileNotFoundError as error:
            parser.error(str(error))
        for kind, sound in zip(["clean", "distorted"], pair):
            soundfile.write(FOLDER / f"{name}_{kind}.flac", sound, SAMPLE_RATE_HZ, subtype="PCM_16")


if __name__ == "__main__":
    main()
