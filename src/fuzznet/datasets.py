"""Data sets of clean and distorted guitar notes: fetched on demand, unpacked safely, paired by their names (chapter 19).

Nothing is downloaded unless its licence is accepted. What is said of names and folders comes from the sets' documentation and
from what others published about their copies; no set was at hand here as a whole. So any layout of folders is walked, and only
the names of files, and of the folders of EGFxSet, are relied on.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from fuzznet.downloads import download, unpack


class Dataset(NamedTuple):
    """title, doi, licence, citation, size: texts to show; url: of a file, with {name} for its name; files: {name: MD5}."""

    title: str
    doi: str
    licence: str
    citation: str
    size: str
    url: str
    files: dict


DATASETS = {
    "idmt": Dataset(
        "IDMT-SMT-Audio-Effects: 55,044 notes and chords of guitars and basses, clean and through effects made by software",
        "10.5281/zenodo.7544032",
        "CC BY-NC-ND 4.0 (https://creativecommons.org/licenses/by-nc-nd/4.0/), for evaluation, as its authors put it: name "
        "them, earn no money with it, and pass on no changed version, such as a cut, resampled or newly distorted sound",
        "M. Stein, J. Abeßer, C. Dittmar, G. Schuller: Automatic Detection of Audio Effects in Guitar and Bass Recordings. "
        "128th AES Convention, 2010",
        "about 6.5 GB to download, and about 11 GB more unpacked",
        "https://zenodo.org/records/7544032/files/{name}?download=1",
        {"IDMT-SMT-AUDIO-EFFECTS.zip": "91e845a1b347352993ebd5ba948d5a7c"},
    ),
    "egfxset": Dataset(
        "EGFxSet: 690 clean notes of one guitar, and the same through a Blues Driver, a Tube Screamer Mini and a RAT 2",
        "10.5281/zenodo.7044411",
        "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/): name the authors, and say what you changed",
        "H. Pedroza, G. Meza, I. R. Roman: EGFxSet: Electric Guitar Tones Processed Through Real Effects of Distortion, "
        "Modulation, Delay and Reverb. ISMIR, Late-Breaking Demo, 2022",
        "up to 0.5 GB to download for each of the four files, and 0.5 GB more unpacked",
        "https://zenodo.org/records/7044411/files/{name}?download=1",
        {
            "Clean.zip": "cdb1b401960f56becc8640387910e78a",
            "BluesDriver.zip": "b1d6dce9064a25a1cff2a0c40c30a2e4",
            "TubeScreamer.zip": "b9c46ed65037d0bd17bdf82dc3125beb",
            "RAT.zip": "afe9fc757a51d04126c23159706f4e8e",
        },
    ),
}


def terms(name):
    """What is to be known before a data set is fetched: title, DOI, licence, whom to cite, size. Returns: text."""
    if name not in DATASETS:
        raise ValueError(f"no data set {name!r}: choose from {', '.join(DATASETS)}")
    about = DATASETS[name]
    lines = {"licence": about.licence, "to cite": f"{about.citation}; doi:{about.doi}", "size": about.size}
    return "\n".join([about.title, *(f"  {label}: {text}" for label, text in lines.items())])


def fetch(name, folder, files=None, accept_licence=False, url=None, progress=True):
    """Download a data set by its published checksums, and unpack it, each archive into a folder of its own name.

    What was fetched before is not fetched again, and a download that broke off goes on where it was: run it again. Archives
    stay, and may be deleted. One process at a time for a folder.

    name: "idmt" or "egfxset"; folder: where to; files: some of DATASETS[name].files, all unless given; accept_licence: True
    says that you read it and agree; url: of a mirror, with {name} for a file's name. Returns: folder, a Path.
    Raises ValueError for unknown names, a licence not accepted, a wrong checksum or an archive that is refused, and OSError
    where the network or the disk gives out; each says how to go on.
    """
    text, about, folder = terms(name), DATASETS[name], Path(folder)
    files = list(about.files if files is None else files)
    if not set(files) <= set(about.files):
        raise ValueError(f"files={files}: choose from {', '.join(about.files)}")
    if not accept_licence:
        raise ValueError(f"{text}\nNothing was fetched. If you agree: accept_licence=True, or --accept-licence in a terminal")
    if progress:
        print(text)
    for file in files:
        if not (folder / file).with_suffix("").is_dir():  # what is there is there as a whole
            archive = download((url or about.url).format(name=file), folder / file, about.files[file], progress)
            if progress:
                print(f"unpacking {archive}")
            unpack(archive, archive.with_suffix(""))
    return folder


class Take(NamedTuple):
    """One sound, as its name tells.

    path; dataset: "idmt" or "egfxset"; instrument: "guitar", "bass" or "chords"; pickup: of the guitar, IDMT-SMT-Audio-Effects'
    digit or EGFxSet's folder; style: digit of the way of playing, 0 if unknown; midi: number of the note; string, fret: numbers
    (string 1 is the lowest in IDMT-SMT-Audio-Effects, the highest in EGFxSet), None for chords; effect: "clean", "distortion",
    "overdrive", or the folder in EGFxSet; setting: of the effect, 0 if there is one only; number: of the file, 0 in EGFxSet;
    twin: the same text for a clean sound and for what effects made of it, empty where the name does not tell.
    """

    path: Path
    dataset: str
    instrument: str
    pickup: str
    style: int
    midi: int
    string: int | None
    fret: int | None
    effect: str
    setting: int
    number: int
    twin: str


# ABC-DDEFF-GHHI-KKKKK: instrument, pickup, style; note, string, fret (of chords: kind, 0); effect, setting; number
_IDMT = re.compile(r"([GBP])(\d)(\d)-(\d\d)(\d)(\d\d)-(\d\d\d)(\d)-(\d{5})\.wav", re.IGNORECASE)
_INSTRUMENTS = {"G": ("guitar", 624), "B": ("bass", 624), "P": ("chords", 420)}  # and how many clean takes there are
# What was done, and in which of the 33 equal runs of numbers its first setting lies. Documented is 27 for the guitar. The rest
# follows: 33 runs of 624 notes of the bass, the same of the guitar, then 33 of 420 chords make up the 55,044 files.
_EFFECTS = {"111": ("clean", 0), "441": ("distortion", 27), "442": ("overdrive", 30)}
_EGFX = re.compile(r"([1-6])-(\d|1\d|2[0-2])\.wav", re.IGNORECASE)  # in folders: Clean/Bridge-Middle/6-22.wav
_PICKUPS = ("bridge", "bridgemiddle", "middle", "middleneck", "neck")
_OPEN_STRINGS = (64, 59, 55, 50, 45, 40)  # MIDI, of strings 1 to 6


def _plain(text):
    return re.sub("[^a-z0-9]", "", text.lower())


def _take(path):
    """What the name of a file tells. Returns: Take, or None for a name that is not understood."""
    if found := _IDMT.fullmatch(path.name):
        letter, pickup, style, midi, string, fret, effect, setting, number = found.groups()
        instrument, notes = _INSTRUMENTS[letter.upper()]
        effect, run = _EFFECTS.get(effect, (f"effect {effect[1:]}", None))
        before = run and notes * (run + int(setting) - 1)  # files between the clean take and this one; 0 or None as run is
        twin = "" if before is None else f"idmt {path.name[:9].upper()}-{int(number) - before}"
        place = (None, None) if letter.upper() == "P" else (int(string), int(fret))
        return Take(path, "idmt", instrument, pickup, int(style), int(midi), *place, effect, int(setting), int(number), twin)
    found, (effect, pickup) = _EGFX.fullmatch(path.name), ("", "", *Path(os.path.abspath(path)).parts)[-3:-1]
    if found and _plain(pickup) in _PICKUPS:
        string, fret = map(int, found.groups())
        effect, twin = effect if _plain(effect) != "clean" else "clean", f"egfxset {_plain(pickup)} {string}-{fret}"
        return Take(path, "egfxset", "guitar", pickup, 0, _OPEN_STRINGS[string - 1] + fret, string, fret, effect, 0, 0, twin)
    return None


def catalogue(folder):
    """Every sound in a folder, and in folders in it, whose name is understood. Returns: list of Take, sorted by path.

    Raises FileNotFoundError where there is no such folder.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: no folder; check the path")
    paths = sorted(Path(where) / name for where, _, names in os.walk(folder) for name in names)
    return [take for take in map(_take, paths) if take]


class Pairs(NamedTuple):
    """pairs: list of (clean path, distorted path); lonely: paths whose partner is missing; twice: paths of takes that another
    path holds too, by its name, and that were left out."""

    pairs: list
    lonely: list
    twice: list


def pairs(folder, effect="distortion", setting=None):
    """Find what belongs together, by names alone: each distorted sound with the clean one that it was made of.

    In IDMT-SMT-Audio-Effects the number of the file leads to the partner, and note, string, fret, pickup and style must agree.
    In EGFxSet pickup, string and fret do it.

    folder: the whole set or a part of it, in any layout; effect: "distortion" or "overdrive" there, "BluesDriver",
    "TubeScreamer" or "RAT" here; setting: of the effect, all of them unless given. Returns: Pairs, sorted by path.
    Raises ValueError where no file has this effect, and FileNotFoundError where there is no such folder.
    """
    takes, first = catalogue(folder), {}
    asked = [take for take in takes if _plain(take.effect) == _plain(effect) and setting in (None, take.setting)]
    if not asked:
        there = ", ".join(f"{effect} ({count})" for effect, count in sorted(Counter(take.effect for take in takes).items()))
        chosen = f"effect {effect!r}" + ("" if setting is None else f" in setting {setting}")
        raise ValueError(f"{folder}: no sound with {chosen}; what is there, by its names: {there or 'nothing'}")
    kept = [take for take in takes if take.effect == "clean"] + asked
    for take in kept:
        first.setdefault((take.twin or take.path, take.effect, take.setting), take)
    clean = {take.twin: take.path for take in first.values() if take.effect == "clean"}
    found = sorted((clean[take.twin], take.path) for take in first.values() if take.effect != "clean" and take.twin in clean)
    alone = {take.path for take in first.values()} - {path for pair in found for path in pair}
    return Pairs(found, sorted(alone), sorted({take.path for take in kept} - {take.path for take in first.values()}))


def partner(path, effect="distortion", setting=None):
    """The distorted twin of a clean sound, found by its name in the folder of that sound, or in those around it.

    path: of the clean sound; the others as in `pairs`. Returns: Path, of the lowest setting there is. Raises ValueError for a
    name that tells no clean sound, and FileNotFoundError where there is no partner up to four folders above.
    """
    path = Path(path).resolve()
    take = _take(path)
    if not take or take.effect != "clean":
        raise ValueError(f"{path}: its name tells no clean sound, as G61-40100-1111-20593.wav does; name both files")
    for around in path.parents[:5]:
        if around in (Path.home(), Path(path.anchor)):
            break
        twins = [other for other in catalogue(around) if other.twin == take.twin and _plain(other.effect) == _plain(effect)]
        twins = [other for other in twins if setting in (None, other.setting)]
        if twins:
            return min(twins, key=lambda other: (other.setting, other.path)).path
    raise FileNotFoundError(f"{path}: no twin with effect {effect!r} in the folders around it; name both files")
