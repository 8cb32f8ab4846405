"""Data sets with true names, made here: fetched over 127.0.0.1, paired, learned from; and real notes, where there are some."""

import os
import random
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_data import RATE_HZ, SAMPLES, Server, egfx_archives, egfx_files, idmt_archive, idmt_files, idmt_name, md5, write

from fuzznet import datasets, downloads, experiments, recordings
from fuzznet.__main__ import main
from fuzznet.datasets import DATASETS, catalogue, fetch, pairs, partner

REAL = Path(os.environ.get("FUZZNET_RECORDINGS", Path(__file__).parents[2] / "shared" / "recordings")) / "idmt_clean"


@pytest.fixture
def real():
    """The four notes of IDMT-SMT-Audio-Effects that may lie beside the repository."""
    if not REAL.is_dir():
        pytest.skip("the real notes are not here: set FUZZNET_RECORDINGS to a folder that holds idmt_clean")
    return REAL


@pytest.fixture
def idmt(tmp_path):
    return write(idmt_files(settings=(1, 2)), tmp_path / "idmt")


@pytest.fixture
def egfx(tmp_path):
    return write(egfx_files(), tmp_path / "egfx")


@pytest.fixture
def served(monkeypatch):
    """A server of made archives, and their checksums in place of the published ones."""
    archives = {"idmt": {"IDMT-SMT-AUDIO-EFFECTS.zip": idmt_archive()}, "egfxset": egfx_archives()}
    for name, files in archives.items():
        assert set(files) == set(DATASETS[name].files)
        checksums = {file: md5(content) for file, content in files.items()}
        monkeypatch.setitem(DATASETS, name, DATASETS[name]._replace(files=checksums))
    monkeypatch.setattr(downloads, "PAUSE_S", 0)
    with Server(archives["idmt"] | archives["egfxset"]) as server:
        yield server


# -- fetching -----------------------------------------------------------------------------------------------------------


def test_what_is_published():
    assert DATASETS["idmt"].files == {"IDMT-SMT-AUDIO-EFFECTS.zip": "91e845a1b347352993ebd5ba948d5a7c"}
    assert list(DATASETS["egfxset"].files) == ["Clean.zip", "BluesDriver.zip", "TubeScreamer.zip", "RAT.zip"]
    for about in DATASETS.values():
        record = about.doi.removeprefix("10.5281/zenodo.")
        assert about.url == f"https://zenodo.org/records/{record}/files/{{name}}?download=1"
        assert all(re.fullmatch("[0-9a-f]{32}", checksum) for checksum in about.files.values())
    assert "pass on no changed version" in DATASETS["idmt"].licence and "no money" in DATASETS["idmt"].licence


@pytest.mark.parametrize("name", DATASETS)
def test_nothing_is_fetched_before_the_licence_is_accepted(served, tmp_path, name, capsys):
    about = DATASETS[name]
    with pytest.raises(ValueError, match=r"Nothing was fetched\. If you agree: accept_licence=True, or --accept") as caught:
        fetch(name, tmp_path / "data", url=served.url)
    assert all(text in str(caught.value) for text in (about.title, about.licence, about.citation, about.doi, about.size))
    assert main(["fetch", name, str(tmp_path / "data")]) == 1
    assert str(caught.value) in capsys.readouterr().err
    assert served.log == [] and not (tmp_path / "data").exists()


def test_a_set_is_fetched_unpacked_and_paired(served, tmp_path, capsys):
    folder = fetch("idmt", str(tmp_path / "data"), accept_licence=True, url=served.url)
    told = [*datasets.terms("idmt").splitlines(), f"unpacking {folder / 'IDMT-SMT-AUDIO-EFFECTS.zip'}"]
    assert folder == tmp_path / "data" and capsys.readouterr().out.splitlines() == told
    assert sorted(path.name for path in folder.iterdir()) == ["IDMT-SMT-AUDIO-EFFECTS", "IDMT-SMT-AUDIO-EFFECTS.zip"]
    assert [len(part) for part in pairs(folder)] == [2, 0, 0]
    assert [len(part) for part in pairs(folder, "overdrive")] == [2, 0, 2]
    found = {path.name: path.read_bytes() for path in folder.rglob("*.wav")}
    assert found == {name.split("/")[-1]: content for name, content in idmt_files().items() if name.endswith(".wav")}


def test_only_what_is_missing_is_fetched(served, tmp_path, capsys):
    fetch("egfxset", tmp_path, ["RAT.zip"], accept_licence=True, url=served.url, progress=False)
    (tmp_path / "RAT.zip").unlink()
    served.cuts = [5_000]
    fetch("egfxset", tmp_path, accept_licence=True, url=served.url, progress=False)
    fetched = ["RAT.zip", "Clean.zip", "Clean.zip", "BluesDriver.zip", "TubeScreamer.zip"]
    assert [path.strip("/") for path, *_ in served.log] == fetched
    assert all(len(pairs(tmp_path, effect).pairs) == 4 for effect in ("BluesDriver", "TubeScreamer", "RAT"))
    assert capsys.readouterr().out == ""


def test_a_wrong_checksum_ends_it(served, tmp_path):
    served.files["BluesDriver.zip"] = served.files["RAT.zip"]
    with pytest.raises(ValueError, match=r"BluesDriver\.zip: what came is not the published file"):
        fetch("egfxset", tmp_path, accept_licence=True, url=served.url, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Clean", "Clean.zip"]


def test_unknown_names(tmp_path):
    with pytest.raises(ValueError, match="no data set 'guitarset': choose from idmt, egfxset"):
        fetch("guitarset", tmp_path, accept_licence=True)
    with pytest.raises(ValueError, match=r"files=\['Chorus.zip'\]: choose from Clean.zip, BluesDriver.zip"):
        fetch("egfxset", tmp_path, ["Chorus.zip"], accept_licence=True)


def test_the_command(served, tmp_path, capsys, monkeypatch):
    for name, about in list(DATASETS.items()):
        monkeypatch.setitem(DATASETS, name, about._replace(url=served.url))
    data = str(tmp_path / "data")
    assert main(["fetch", "egfxset", data, "--accept-licence", "--files", "Clean.zip", "RAT.zip"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("EGFxSet: 690 clean notes") and out.endswith(f"next: python -m fuzznet pairs {data}\n")
    assert main(["fetch", "egfxset", data, "--files", "TubeScreamer.zip"]) == 1

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "download", interrupt)
    assert main(["fetch", "egfxset", data, "--accept-licence"]) == 130
    assert "stopped; what came is kept, and the same command goes on from there" in capsys.readouterr().err


# -- names --------------------------------------------------------------------------------------------------------------

# Names of real files, as others published them: (name, instrument, pickup, style, MIDI, string, fret, effect, setting, number)
KNOWN = [
    ("G61-40100-1111-20593.wav", "guitar", "6", 1, 40, 1, 0, "clean", 1, 20593),
    ("G93-65601-1111-21205.wav", "guitar", "9", 3, 65, 6, 1, "clean", 1, 21205),
    ("G73-64505-4411-37732.wav", "guitar", "7", 3, 64, 5, 5, "distortion", 1, 37732),
    ("G73-45200-3341-33944.wav", "guitar", "7", 3, 45, 2, 0, "effect 34", 1, 33944),
    ("B11-42304-1111-00031.wav", "bass", "1", 1, 42, 3, 4, "clean", 1, 31),
    ("P64-43110-1111-41185.wav", "chords", "6", 4, 43, None, None, "clean", 1, 41185),
]


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known[0])
def test_known_names(tmp_path, known):
    path = write({f"any/{known[0]}": b""}, tmp_path) / "any" / known[0]
    [take] = catalogue(tmp_path)
    assert take[:-1] == (path, "idmt", *known[1:])


def test_the_made_names_follow_the_known_ones():
    """Those that are known of the guitar fit one rule of numbers, which the made set follows."""
    assert idmt_name(1, 0) == KNOWN[0][0] and idmt_name(6, 1, "G93") == KNOWN[1][0]
    assert idmt_name(5, 5, "G73", "441") == KNOWN[2][0]
    assert idmt_name(4, 1, "G93") == "G93-56401-1111-21179.wav"
    setting_3 = idmt_name(5, 5, "G73", "441", 3)
    assert int(setting_3[15:20]) == int(idmt_name(5, 5, "G73")[15:20]) + 16848 + 624 * 2


def test_egfxset_names(egfx):
    takes = catalogue(egfx)
    assert len(takes) == 4 * 2 * 2 and {take.dataset for take in takes} == {"egfxset"}
    there = [take for take in takes if take.path.parent == egfx / "RAT" / "Bridge-Middle"]
    lowest, highest = sorted(there, key=lambda take: take.midi)
    assert lowest[1:11] == ("egfxset", "guitar", "Bridge-Middle", 0, 40, 6, 0, "RAT", 0, 0)
    assert highest[1:8] == ("egfxset", "guitar", "Bridge-Middle", 0, 86, 1, 22)


def test_all_notes_of_egfxset(tmp_path):
    """138 notes for each of five pickups, from E2 to D6."""
    pickups = ("Bridge", "Bridge-Middle", "Middle", "Middle-Neck", "Neck")
    names = [f"{p}/{string}-{fret}.wav" for p in pickups for string in range(1, 7) for fret in range(23)]
    write({f"{effect}/{name}": b"" for effect in ("Clean", "RAT") for name in names}, tmp_path)
    takes = catalogue(tmp_path / "Clean")
    assert len(takes) == 690 and len({take.twin for take in takes}) == 690
    assert (min(take.midi for take in takes), max(take.midi for take in takes)) == (40, 86)
    assert [len(part) for part in pairs(tmp_path, "rat")] == [690, 0, 0]


UNKNOWN = [
    "G61-40100-1111-2059.wav", "X61-40100-1111-20593.wav", "G61-40100-1111-20593.flac", "._G61-40100-1111-20593.wav",
    "G61-40100-808-O2.1T10-20593.wav", "a.wav", "Clean/Bridge/7-0.wav", "Clean/Bridge/1-23.wav", "Clean/Bridge/0-1.wav",
    "Clean/Attic/1-1.wav", "1-1.wav", "Clean/Bridge/1-01.wav",
]  # fmt: skip


def test_other_names_are_passed_over(tmp_path):
    assert catalogue(write(dict.fromkeys(UNKNOWN, b""), tmp_path)) == []


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing: no folder; check the path"):
        catalogue(tmp_path / "missing")


# -- pairs --------------------------------------------------------------------------------------------------------------


def test_pairs_of_idmt(idmt):
    found = pairs(idmt)
    assert found.lonely == found.twice == [] and len(found.pairs) == 4
    for clean, distorted in found.pairs:
        assert clean.name[:9] == distorted.name[:9] and clean.name[9:15] == "-1111-" and distorted.name[9:13] == "-441"
        assert int(distorted.name[15:20]) == int(clean.name[15:20]) + 16848 + 624 * (int(distorted.name[13]) - 1)
    assert found.pairs == sorted(found.pairs)
    second = pairs(str(idmt), "Overdrive", setting=2).pairs
    assert [distorted.name[10:14] for _, distorted in second] == ["4422", "4422"]
    assert [clean for clean, _ in second] == sorted({clean for clean, _ in found.pairs})


def test_a_pair_is_the_same_note(idmt):
    clean, distorted = (soundfile.read(path)[0] for path in pairs(idmt, setting=1).pairs[0])
    np.testing.assert_allclose(distorted, 0.5 * np.tanh(8 * clean / np.max(np.abs(clean))), atol=1e-3)
    assert len(clean) == SAMPLES and soundfile.info(pairs(idmt).pairs[0][0]).samplerate == RATE_HZ


@pytest.mark.parametrize("seed", range(5))
def test_missing_partners(idmt, seed):
    whole, chance = pairs(idmt).pairs, random.Random(seed)
    gone = set(chance.sample(sorted({path for pair in whole for path in pair}), 3))
    for path in gone:
        path.unlink()
    found = pairs(idmt)
    assert found.pairs == [pair for pair in whole if not set(pair) & gone]
    there, paired = {path for pair in whole for path in pair} - gone, {path for pair in found.pairs for path in pair}
    assert found.lonely == sorted(there - paired)


STRANGERS = ["G61-50205-4411-37460", "G61-51206-4411-37459", "G62-50205-4411-37459", "G61-50205-4412-37459"]


@pytest.mark.parametrize("other", STRANGERS)
def test_a_number_or_a_note_that_does_not_fit_is_no_partner(tmp_path, other):
    clean = "G61-50205-1111-20611.wav"
    write({clean: b"", f"{other}.wav": b""}, tmp_path)
    assert pairs(tmp_path) == ([], [tmp_path / name for name in sorted([clean, f"{other}.wav"])], [])
    write({"G61-50205-4411-37459.WAV": b""}, tmp_path)
    assert len(pairs(tmp_path).pairs) == 1


def test_the_same_take_twice(idmt):
    clean, distorted = pairs(idmt).pairs[0]
    again = [idmt / "z" / path.name for path in (clean, distorted)]
    write({path.name: b"" for path in (clean, distorted)}, idmt / "z")
    found = pairs(idmt)
    assert len(found.pairs) == 4 and (clean, distorted) in found.pairs and found.twice == again and found.lonely == []


def test_pairs_of_egfxset(egfx):
    found = pairs(egfx, "Tube Screamer")
    assert len(found.pairs) == 4 and found.lonely == found.twice == []
    for clean, distorted in found.pairs:
        assert distorted == egfx / "TubeScreamer" / clean.relative_to(egfx / "Clean")
    (egfx / "Clean" / "Bridge" / "6-0.wav").unlink()
    assert pairs(egfx, "RAT").lonely == [egfx / "RAT" / "Bridge" / "6-0.wav"]


def test_a_folder_may_be_told_from_where_one_is(egfx, monkeypatch):
    monkeypatch.chdir(egfx / "RAT")
    assert {(take.effect, take.pickup, str(take.path)) for take in catalogue("Bridge")} == {
        ("RAT", "Bridge", str(Path("Bridge/1-22.wav"))), ("RAT", "Bridge", str(Path("Bridge/6-0.wav"))),
    }  # fmt: skip
    monkeypatch.chdir("Bridge")
    assert [take[8] for take in catalogue(".")] == ["RAT", "RAT"] and len(pairs("../..", "RAT").pairs) == 4
    monkeypatch.chdir("/")
    assert datasets._take(Path("1-1.wav")) is None


def test_sets_do_not_mix(tmp_path):
    write(idmt_files() | egfx_files(), tmp_path)
    assert [len(pairs(tmp_path, effect).pairs) for effect in ("distortion", "RAT")] == [2, 4]


def test_an_effect_that_is_not_there(egfx, tmp_path):
    there = r"BluesDriver \(4\), RAT \(4\), TubeScreamer \(4\), clean \(4\)"
    with pytest.raises(ValueError, match=rf"no sound with effect 'distortion'; what is there, by its names: {there}"):
        pairs(egfx)
    with pytest.raises(ValueError, match=r"effect 'RAT' in setting 2; what"):
        pairs(egfx, "RAT", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="by its names: nothing"):
        pairs(tmp_path / "empty")


def test_partner(idmt, egfx):
    for effect, setting in ("distortion", 1), ("distortion", 2), ("overdrive", 2):
        for clean, distorted in pairs(idmt, effect, setting).pairs:
            assert partner(clean, effect, setting) == distorted
    assert partner(str(clean)).name[10:14] == "4411"
    assert partner(egfx / "Clean" / "Bridge" / "6-0.wav", "rat") == egfx / "RAT" / "Bridge" / "6-0.wav"


def test_no_partner(idmt, tmp_path, monkeypatch):
    clean, distorted = pairs(idmt, setting=2).pairs[0]
    for wrong in (distorted, tmp_path / "a.wav"):
        with pytest.raises(ValueError, match=r"its name tells no clean sound, as G61-40100-1111-20593\.wav does; name"):
            partner(wrong)
    with pytest.raises(FileNotFoundError, match="no twin with effect 'distortion' in the folders around it; name both files"):
        partner(clean, setting=3)
    monkeypatch.setattr(Path, "home", lambda: idmt)  # is not searched, and nothing above it
    with pytest.raises(FileNotFoundError, match="no twin with effect 'overdrive'"):
        partner(clean, "overdrive")


def test_the_list(idmt, capsys):
    gone = pairs(idmt).pairs[0][0]
    gone.unlink()
    write({idmt_name(2, 5): b""}, idmt / "z")
    assert main(["pairs", str(idmt), "--setting", "2"]) == 0
    samples = Path("Gitarre monophon/Samples")
    assert capsys.readouterr().out.splitlines() == [
        "note  string  fret  setting  clean and distorted",
        f"D3         2     5        2  {samples / 'NoFX' / idmt_name(2, 5)}",
        f"                             {samples / 'Distortion' / idmt_name(2, 5, effect='441', setting=2)}",
        f"{samples / 'Distortion' / idmt_name(1, 0, effect='441', setting=2)} lacks its partner",
        f"{Path('z') / idmt_name(2, 5)} is left out, since another file has the same name",
        "1 pairs, 1 files without a partner, 1 left out",
    ]
    assert main(["pairs", str(idmt), "--effect", "RAT"]) == 1
    assert "no sound with effect 'RAT'" in capsys.readouterr().err


def test_the_list_of_the_other_set_and_of_chords(egfx, tmp_path, capsys):
    assert main(["pairs", str(egfx), "--effect", "RAT"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == f"D6         1    22           {Path('Clean/Bridge/1-22.wav')}"
    write({"P64-43110-1111-41185.wav": b"", f"P64-43110-4412-{41185 + 420 * 28}.wav": b""}, tmp_path / "chords")
    assert main(["pairs", str(tmp_path / "chords")]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "G2                        2  P64-43110-1111-41185.wav"


# -- the report's experiment --------------------------------------------------------------------------------------------


def values(out):
    found = re.findall(r"^(input|raw output|processed output) +(\d\.\d{3}) ± (\d\.\d{3})$", out, re.MULTILINE)
    return {name: (float(mean), float(deviation)) for name, mean, deviation in found}


def test_the_reports_experiment(idmt, capsys):
    clean, distorted = pairs(idmt, setting=1).pairs[1]
    assert main(["note", str(clean)]) == 0
    out = capsys.readouterr().out
    assert f"clean:     {clean}\ndistorted: {distorted}\n" in out
    assert "begins at 0.500 s; 66 clips of 1000 samples follow: 50 learned, 15 others judged" in out
    expected = experiments.single_note(recordings.load_pair(clean, distorted))
    for name, errors in zip(("input", "raw output", "processed output"), expected[5:]):
        assert values(out)[name] == (pytest.approx(np.mean(errors), abs=6e-4), pytest.approx(np.std(errors), abs=6e-4))
    assert main(["note", str(clean), str(distorted), "--better", "--seed", "1"]) == 0
    better = values(capsys.readouterr().out)
    assert better["raw output"][0] < 0.02 < better["input"][0]
    assert main(["note", str(clean), "--effect", "overdrive", "--setting", "3"]) == 1
    assert "no twin with effect 'overdrive'" in capsys.readouterr().err


def test_real_notes_begin_late_and_make_65_clips(real):
    takes = catalogue(real)
    assert len(takes) == 4 and all(take[1:5] == ("idmt", "guitar", "9", 3) and take.effect == "clean" for take in takes)
    for take in takes:
        assert take.number == 20593 + 78 * 7 + 13 * (take.string - 1) + take.fret
        pair = recordings.load_pair(take.path, take.path)
        assert (len(pair.clean), pair.sample_rate_hz) == (SAMPLES, RATE_HZ)
        rest, _ = recordings.remove_silence(pair.clean, pair.distorted)
        assert 0.47 < (SAMPLES - len(rest)) / RATE_HZ < 0.49 and len(rest) // 1000 in (66, 67)
        distorted = pair._replace(distorted=np.tanh(8 * pair.clean / np.max(np.abs(pair.clean))))
        clips = experiments.prepare_clips(distorted, np.random.default_rng(0))
        assert len(clips.x) == 50 and len(clips.x_test) == 15


def test_the_experiment_on_a_real_note(real, tmp_path, capsys):
    """A real clean note, with a distorted twin that is made here and found by its true name."""
    take = catalogue(real)[0]
    sound, rate_hz = soundfile.read(take.path)
    write({f"Samples/NoFX/{take.path.name}": take.path.read_bytes(), "Samples/Distortion/x": b""}, tmp_path)
    name = f"{take.path.name[:9]}-4411-{take.number + 16848}.wav"
    soundfile.write(tmp_path / "Samples" / "Distortion" / name, 0.5 * np.tanh(8 * sound / np.max(np.abs(sound))), rate_hz)
    assert main(["note", str(tmp_path / "Samples" / "NoFX" / take.path.name), "--better"]) == 0
    found = values(capsys.readouterr().out)
    assert found["raw output"][0] < 0.5 * found["input"][0]
