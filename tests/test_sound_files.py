"""Sounds from files and into files, of every kind that people have."""

import errno
import io
import os

import numpy as np
import pytest
import soundfile

from fuzznet.recordings import load_pair, load_sound, rms, save_sound


@pytest.fixture
def write(tmp_path):
    def function(name, sound, sample_rate_hz=8000, **settings):
        soundfile.write(tmp_path / name, sound, sample_rate_hz, **settings)
        return tmp_path / name

    return function


def test_any_pair(write, rng):
    clean, distorted = rng.uniform(-0.9, 0.9, size=(2, 50))
    pair = load_pair(write("a.wav", clean, subtype="FLOAT"), str(write("b.flac", distorted, subtype="PCM_24")))
    np.testing.assert_allclose(pair.clean, clean, atol=1e-7)
    np.testing.assert_allclose(pair.distorted, distorted, atol=1e-6)
    assert pair.sample_rate_hz == 8000
    exact = load_pair(write("a64.wav", clean, subtype="DOUBLE"), write("b64.wav", distorted, subtype="DOUBLE"))
    assert np.array_equal(exact.clean, clean) and np.array_equal(exact.distorted, distorted)


def test_files_that_are_no_pair(write, tmp_path):
    good = write("good.wav", np.full(50, 0.1))
    with pytest.raises(FileNotFoundError, match=r"missing\.wav: no file; check the path"):
        load_pair(tmp_path / "missing.wav", good)
    (tmp_path / "text.wav").write_text("not a sound")
    (tmp_path / "samples.raw").write_bytes(bytes(100))
    with pytest.raises(FileNotFoundError, match=r"a folder, not a file"):
        load_pair(good, tmp_path)
    cases = {
        tmp_path / "samples.raw": "no audio file that can be read",
        tmp_path / "text.wav": "no audio file that can be read .*: convert it",
        write("stereo.wav", np.full((50, 2), 0.1)): "2 channels: expected mono; choose one by channel=0 to 1",
        write("rate.wav", np.full(50, 0.1), 8001): "8000 Hz, .*rate.wav has 8001 Hz: resample one",
        write("short.wav", np.full(49, 0.1)): "50 samples, .*short.wav has 49: cut both",
        write("silent.wav", np.zeros(50)): "silent.wav is silent: check the cable",
        write("empty.wav", np.zeros(0)): "empty.wav holds no samples",
        write("inf.wav", np.full(50, np.inf), subtype="FLOAT"): "inf.wav holds NaN or infinite samples",
        write("nan.wav", np.full(50, np.nan), subtype="FLOAT"): "nan.wav holds NaN or infinite samples: export",
    }
    for path, message in cases.items():
        with pytest.raises(ValueError, match=message):
            load_pair(good, path)


FORMATS = {  # subtype: the largest error that its rounding or its compression makes
    ("WAV", "PCM_U8"): 2**-7, ("WAV", "PCM_16"): 2**-15, ("WAV", "PCM_24"): 2**-23, ("WAV", "PCM_32"): 1e-9,
    ("WAV", "FLOAT"): 1e-7, ("WAV", "DOUBLE"): 0, ("AIFF", "PCM_S8"): 2**-7, ("FLAC", "PCM_16"): 2**-15,
    ("FLAC", "PCM_24"): 2**-23, ("OGG", "VORBIS"): 0.05, ("CAF", "PCM_24"): 2**-23, ("W64", "PCM_16"): 2**-15,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_any_format_and_depth(write, kind, subtype):
    sound = 0.8 * np.sin(2 * np.pi * 440 * np.arange(4000) / 44100)
    path = write("sound.any", sound, 44100, format=kind, subtype=subtype)
    loaded, sample_rate_hz = load_sound(path)
    assert loaded.shape == (4000,) and loaded.dtype == np.float64 and sample_rate_hz == 44100
    np.testing.assert_allclose(loaded, sound, atol=FORMATS[kind, subtype], rtol=0)
    with path.open("rb") as file:
        assert np.array_equal(load_sound(file)[0], loaded)
    memory = io.BytesIO(path.read_bytes())
    for _ in range(2):  # a second time from where the first has left it
        assert np.array_equal(load_sound(memory)[0], loaded)


def test_mp3(write):
    if "MP3" not in soundfile.available_formats():  # libsndfile before 1.1
        pytest.skip("this libsndfile reads no MP3")
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    loaded, _ = load_sound(write("sound.mp3", sound, 44100))
    assert rms(loaded) == pytest.approx(rms(sound), rel=0.02)


def test_channels(write, rng):
    channels = rng.uniform(-0.9, 0.9, size=(50, 6))
    path = write("six.wav", channels, subtype="DOUBLE")
    for channel in range(6):
        assert np.array_equal(load_sound(path, channel=channel)[0], channels[:, channel])
    np.testing.assert_allclose(load_sound(path, channel="mean")[0], np.mean(channels, axis=1), atol=1e-15)
    with pytest.raises(ValueError, match=r"six.wav has 6 channels: expected mono; choose one by channel=0 to 5, or"):
        load_sound(path)
    for wrong in (6, -1, "left"):
        with pytest.raises(ValueError, match=rf"six.wav has 6 channels: there is no channel={wrong!r}; choose one by"):
            load_sound(path, channel=wrong)
    mono = write("mono.wav", channels[:, 0], subtype="DOUBLE")
    for channel in (0, "mean", None):
        assert np.array_equal(load_sound(mono, channel=channel)[0], channels[:, 0])
    with pytest.raises(ValueError, match=r"mono.wav has 1 channel: there is no channel=1"):
        load_sound(mono, channel=1)
    opposite = write("opposite.wav", channels[:, :1] * [1, -1], subtype="DOUBLE")
    with pytest.raises(ValueError, match=r"opposite.wav is silent"):
        load_sound(opposite, channel="mean")
    pair = load_pair(path, mono, channel=0)
    assert np.array_equal(pair.clean, pair.distorted)


@pytest.mark.parametrize("own_rate_hz", [8000, 11025, 44100, 96000])
def test_resampling_keeps_level_and_phase(write, own_rate_hz):
    def tone(sample_rate_hz):
        return 0.5 * np.sin(2 * np.pi * 1000 * np.arange(sample_rate_hz) / sample_rate_hz + 0.3)

    path = write("tone.wav", tone(own_rate_hz), own_rate_hz, subtype="DOUBLE")
    sound, sample_rate_hz = load_sound(path, sample_rate_hz=48000)
    assert sound.shape == (48000,) and sound.dtype == np.float64 and sample_rate_hz == 48000
    middle = slice(4800, -4800)  # the tone has no ends, the file has
    np.testing.assert_allclose(sound[middle], tone(48000)[middle], atol=1e-7)
    assert np.array_equal(load_sound(path, own_rate_hz)[0], tone(own_rate_hz))  # nothing to do, nothing done


def test_a_pair_of_two_rates_is_resampled_only_when_asked(write, rng):
    sound = rng.uniform(-0.5, 0.5, size=7351)
    clean, distorted = write("a.wav", sound, 44100), write("b.wav", rng.uniform(-0.5, 0.5, 8001), 48000)
    with pytest.raises(ValueError, match=r"a.wav has 44100 Hz, .*b.wav has 48000 Hz: .* or ask for it by sample_rate_hz=48000"):
        load_pair(clean, distorted)
    for rate_hz, samples in ((48000, 8001), (44100, 7351)):
        pair = load_pair(clean, distorted, sample_rate_hz=rate_hz)
        assert pair.sample_rate_hz == rate_hz and len(pair.clean) == len(pair.distorted) == samples
    with pytest.raises(ValueError, match=r"has 7351 samples, .* has 7349: cut both"):  # two are more than rounding
        load_pair(clean, write("c.wav", sound[:7349], 44100), sample_rate_hz=44100)
    for wrong in (0, -1, 44100.5, np.nan, np.inf):
        with pytest.raises(ValueError, match=rf"sample_rate_hz={wrong}: expected a whole number above 0"):
            load_sound(clean, sample_rate_hz=wrong)


def test_rounding_to_another_rate_costs_one_sample(write, rng):
    """Of 777 samples at 44.1 kHz, 845.7 are left at 48 kHz: both come out with as many as the shorter one has."""
    clean, distorted = write("a.wav", rng.uniform(size=777), 44100), write("b.wav", rng.uniform(size=845), 48000)
    pair = load_pair(clean, distorted, sample_rate_hz=48000)
    assert len(pair.clean) == len(pair.distorted) == 845
    np.testing.assert_allclose(pair.distorted, load_sound(distorted)[0])


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("AIFF", "PCM_16")])
def test_a_file_that_is_cut_short(write, rng, kind, subtype):
    whole = write("whole.any", rng.uniform(-0.5, 0.5, 9000), format=kind, subtype=subtype).read_bytes()
    for share in (0.02, 0.5, 0.9):
        cut = io.BytesIO(whole[: int(share * len(whole))])
        cut.name = "cut.any"
        with pytest.raises(ValueError, match=r"^cut.any (is no audio file that can be|is cut short: it promises|holds no sam)"):
            load_sound(cut)
    load_sound(io.BytesIO(whole))


def test_headers(write, rng):
    sound = rng.uniform(-0.5, 0.5, 9000)
    whole = write("whole.wav", sound, subtype="PCM_16").read_bytes()
    for header in (b"", whole[:12], whole[:44]):
        with pytest.raises(ValueError, match=r"the file object (is no audio file that can be read|holds no samples)"):
            load_sound(io.BytesIO(header))
    streamed = whole[:4] + b"\xff" * 4 + whole[8:40] + b"\xff" * 4 + whole[44:]  # by a program that could not know the length
    np.testing.assert_allclose(load_sound(io.BytesIO(streamed))[0], sound, atol=2**-15)
    padded = whole[:40] + (18000 + 2).to_bytes(4, "little") + whole[44:]  # one sample too many, as some programs count
    assert len(load_sound(io.BytesIO(padded))[0]) == 9000


def test_messages_name_the_file_that_was_given():
    unnamed, named = io.BytesIO(b"not a sound"), io.BytesIO(b"not a sound")
    named.name = "riff.wav"
    with pytest.raises(ValueError, match=r"^the file object is no audio file that can be read"):
        load_sound(unnamed)
    with pytest.raises(ValueError, match=r"^riff.wav is no audio file that can be read [^<>]*convert it to WAV or FLAC$"):
        load_sound(named)
    named = io.BytesIO(bytes(100))
    named.name = "samples.raw"
    with pytest.raises(ValueError, match=r"^samples.raw is no audio file that can be read"):
        load_sound(named)


@pytest.mark.parametrize("ending", [".wav", ".FLAC"])
def test_saved_sounds_come_back(tmp_path, rng, ending):
    sound = rng.uniform(-1, 1, size=500)
    path = tmp_path / f"sound{ending}"
    path.write_text("an older file")
    save_sound(path, sound, 44100)
    loaded, sample_rate_hz = load_sound(path)
    np.testing.assert_allclose(loaded, sound, atol=2**-23)
    assert sample_rate_hz == 44100 and os.listdir(tmp_path) == [path.name]


def test_a_sound_that_does_not_fit_is_not_clipped(tmp_path):
    loud = np.array([0.5, -1.5])
    save_sound(tmp_path / "loud.wav", loud, 44100)
    assert load_sound(tmp_path / "loud.wav")[0].tolist() == [0.5, -1.5]
    with pytest.raises(ValueError, match=r"loud.flac: the sound peaks at 1.50 of full scale and would clip; write a .wav"):
        save_sound(tmp_path / "loud.flac", loud, 44100)
    with pytest.raises(ValueError, match=r"nan.wav: the sound peaks at nan"):
        save_sound(tmp_path / "nan.wav", np.array([np.nan]), 44100)
    with pytest.raises(ValueError, match=r"loud.mp3: expected a name that ends in .wav or .flac"):
        save_sound(tmp_path / "loud.mp3", loud, 44100)
    with pytest.raises(FileNotFoundError, match=r"loud.wav: no such folder; make it first"):
        save_sound(tmp_path / "missing" / "loud.wav", loud, 44100)
    with pytest.raises(ValueError, match=r"fast.flac, of 768000 Hz: .*does not support this sample rate. Write a .wav"):
        save_sound(tmp_path / "fast.flac", loud / 2, 768000)
    assert os.listdir(tmp_path) == ["loud.wav"]
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(ValueError, match=r"folder.wav: expected a name that ends in .wav or .flac, and that no folder has"):
        save_sound(tmp_path / "folder.wav", loud, 44100)


def test_an_older_sound_survives_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "sound.wav"
    save_sound(path, np.array([0.25]), 44100)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left"):
        save_sound(path, np.array([0.5]), 44100)
    assert load_sound(path)[0].tolist() == [0.25] and os.listdir(tmp_path) == ["sound.wav"]
