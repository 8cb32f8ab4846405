import base64
import datetime
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile
from bs4 import BeautifulSoup
from PIL import Image

import fuzznet
from fuzznet import display, experiments, recordings, storage


def picture(value=1, alt="A straight line that rises from 0 to 1."):
    figure, axis = plt.subplots()
    axis.plot([0, value])
    return display.Picture(figure, alt)


def page(thing):
    return BeautifulSoup(thing._repr_mimebundle_()["text/html"], "html.parser")


def bytes_of(element):
    return io.BytesIO(base64.b64decode(element["src"].split(",")[1]))


def test_picture_carries_its_alternative_text():
    alt = 'A line with "quotes" & <signs> in it.'
    shown = picture(alt=alt)
    assert page(shown).img["alt"] == alt
    assert shown._repr_mimebundle_()["text/plain"] == alt
    assert Image.open(bytes_of(page(shown).img)).width > 300
    assert not plt.get_fignums()  # closed, so that it is not drawn twice
    with pytest.raises(ValueError, match="expected a sentence"):
        picture(alt="figure.png")


def test_signals_differ_in_colour_and_in_print():
    looks = [display.CLEAN, display.TARGET, display.OUTPUT]
    assert len({look["color"] for look in looks}) == 3
    assert len({(look["linestyle"], look["color"]) for look in looks}) == 3
    assert display.TARGET["linestyle"] != display.OUTPUT["linestyle"]  # the two that are drawn on top of each other


def test_style_is_read():
    with plt.rc_context():
        display.use_style()
        assert plt.rcParams["figure.figsize"] == [5.6, 3.4]


def test_players_keep_the_level():
    quiet = 0.01 * np.sin(np.arange(4410) / 10)
    players = display.Players({"quiet": quiet, "loud": 50 * quiet})
    sounds = [soundfile.read(bytes_of(audio)) for audio in page(players).find_all("audio")]
    np.testing.assert_allclose(sounds[0][0], quiet, atol=2**-16)
    np.testing.assert_allclose(sounds[1][0], 50 * quiet, atol=2**-16)
    assert [rate for _, rate in sounds] == [44100, 44100]
    first, second = players._repr_mimebundle_()["text/plain"].splitlines()
    assert first == "quiet: 0.10 s, RMS level -43.0 dB re full scale"  # an amplitude of 0.01 is an RMS of -43 dB
    assert second == "loud: 0.10 s, RMS level -9.0 dB re full scale"
    for wrong in (1.01 * np.ones(5), np.zeros(5), np.ones((2, 5)), np.full(5, np.nan)):
        with pytest.raises(ValueError, match="expected \\(T,\\), with a peak above 0 and at most 1"):
            display.Players({"wrong": wrong})


def test_labels_are_text_and_not_markup():
    label = '<b>"a" & b'
    shown = page(display.Players({label: np.full(9, 0.1)}))
    assert shown.audio["aria-label"] == label and label in shown.text and shown.b is None
    shown = page(display.explore(lambda _: picture(), label, [label, 2]))
    assert shown.div["data-values"] == f"{label}|2" and shown.b is None
    assert shown.label.text == shown.output.text == shown.input["aria-valuetext"] == label


def test_explore_on_a_still_page():
    shown = page(display.explore(lambda v: picture(v, f"A straight line that rises to {v}."), "slope", [1, 2, 5]))
    slider = shown.input
    assert (slider["type"], slider["min"], slider["max"]) == ("range", "0", "2")
    assert shown.find("label", attrs={"for": slider["id"]}).text == "slope"
    images = shown.find_all("img")
    assert [image["alt"][-2] for image in images] == ["1", "2", "5"]
    assert [image.has_attr("hidden") for image in images] == [False, True, True]


def test_explore_alive():
    explorer = display.explore(lambda v: picture(v, f"A straight line that rises to {v}."), "slope", [1, 2, 5])
    slider, shown = explorer._live().children
    slider.index = 2
    assert "rises to 5" in shown.value
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()
    for wrong in ([1], ["a|b", "c"]):  # the page parts the stops with |
        with pytest.raises(ValueError, match="at least two stops for the slider, and no"):
            display.explore(picture, "slope", wrong)


def test_glue(capsys):
    display.glue(answer="42")
    assert "'42'" in capsys.readouterr().out


def test_segments_say_where_a_network_fails():
    """A network that fails on the third of four segments, which is quiet, so that its error is small nevertheless."""
    before = plt.get_fignums()
    target = np.sin(np.arange(4000) / 5) * np.repeat([1, 2, 0.01, 1], 1000)
    output = target + np.repeat([0.2, 0.1, 0.05, 0.0], 1000) * np.cos(np.arange(4000) / 5)
    judged = {"output": output, "target": target}
    where = experiments.judge_segments(**judged, sample_rate_hz=1000, start_s=7.0, segment_s=1)
    esr = float(fuzznet.esr(**judged))
    found = experiments.Pedal(None, [], target, output, 1.0, esr, 1.0, 1.0, 1000, where)
    shown = display.segments(found)
    assert shown.alt.startswith("Two panels over the 4.0 s from 7.0 s on, which the network never met. Above, the target and")
    assert "with peaks of 2 and 0.2. Below, the ESR of 4 segments, from 0.000 to " in shown.alt
    assert f" to {where.esr[2]:.3g} at 9.0 s, around {esr:.3f} for all" in shown.alt and where.esr[2] == pytest.approx(25, 0.05)
    assert shown.alt.endswith("the largest, 76%, at 7.0 s.")
    pixels = np.array(Image.open(bytes_of(page(shown).img)).convert("RGB")).reshape(-1, 3)
    sky_blue = np.all(np.abs(pixels.astype(int) - [0x56, 0xB4, 0xE9]) < 8, axis=1)
    assert 0.01 < np.mean(sky_blue) < 0.4  # the bars, the tallest of which is cut off
    silent = found._replace(segments=where._replace(esr=np.array([0.1, np.inf, 0, 0])))
    assert "to inf at 8.0 s" in display.segments(silent).alt
    assert plt.get_fignums() == before


def recorded(delay=4, peak=0.5):
    """The bytes of two WAV files, a second of each: noise, and the same upside down, bent and later."""
    clean = np.random.default_rng(17).normal(size=8000)
    clean *= peak / np.max(np.abs(clean))
    files = []
    for sound in (clean, -np.tanh(3 * np.roll(clean, delay)) / 2):
        file = io.BytesIO()
        soundfile.write(file, sound, 8000, format="WAV", subtype="PCM_24")
        files.append(file.getvalue())
    return files


def uploaded(name, content):
    """What a browser hands to a FileUpload."""
    when = datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC)
    return {"name": name, "type": "audio/wav", "size": len(content), "content": memoryview(content), "last_modified": when}


def click(upload, clean, distorted, capsys):
    """What a click says, after the two files were chosen; None for no file."""
    for widget, content in ((upload.clean, clean), (upload.distorted, distorted)):
        widget.value = () if content is None else (uploaded(f"{widget.description}.wav", content),)
    upload.learn.click()
    assert upload.learn.disabled is False
    return capsys.readouterr().out.replace("\x1b[2K\r", "")  # which clears a line of a terminal


def test_uploaded_files_are_examined_and_learned(capsys, monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr(display, "display", lambda *things: shown.extend(things))
    upload = display.PedalUpload(max_seconds=1)
    said = click(upload, *recorded(delay=-9), capsys)
    assert "9 samples (1.12 ms) early, upside down" in said and "ESR on the last fifth, never met: " in said
    pair, found = upload.pair, upload.found
    assert recordings.lag(pair.clean, pair.distorted) == (3, -1)  # it was moved
    assert found.sample_rate_hz == pair.sample_rate_hz == 8000 and len(found.target) == round(0.2 * len(pair.clean))
    assert f"never met: {found.esr_output:.3f}, doing nothing {found.esr_input:.3f}" in said
    picture, players, link = shown
    assert picture.alt == display.segments(found).alt
    cut = len(pair.clean) - len(found.target)
    np.testing.assert_allclose(players.sounds["target"], pair.distorted[cut:], rtol=1e-5)  # at the level it has
    np.testing.assert_allclose(players.sounds["output"], found.y_level * found.output, rtol=1e-5)
    offered = BeautifulSoup(link.data, "html.parser").a
    assert offered["download"] == "pedal.npz"
    (tmp_path / "pedal.npz").write_bytes(bytes_of({"src": offered["href"]}).getvalue())
    parameters, about = storage.load(tmp_path / "pedal.npz")
    for name in parameters.NAMES:
        assert np.array_equal(getattr(parameters, name), getattr(found.parameters, name))
    facts = {name: getattr(found, name) for name in ("sample_rate_hz", "x_level", "y_level", "esr_output")}
    assert about == facts


def test_what_is_wrong_with_an_upload_is_said_in_words(capsys):
    upload, (clean, distorted) = display.PedalUpload(max_seconds=1), recorded()
    assert click(upload, None, distorted, capsys) .startswith("no clean sound has come: choose a file; one of more than 10 MB")
    assert click(upload, clean, None, capsys) .startswith("no distorted sound has come: choose")
    assert "distorted.wav is no audio file that can be read" in click(upload, clean, b"RIFF? no.", capsys)
    assert "clean.wav is cut short" in click(upload, clean[:-900], distorted, capsys)
    unlike = io.BytesIO()
    soundfile.write(unlike, np.random.default_rng(18).normal(size=8000) / 9, 8000, format="WAV", subtype="PCM_24")
    said = click(upload, clean, unlike.getvalue(), capsys)
    assert "can't align: the two sounds have little in common" in said
    assert upload.pair is upload.found is None and "Traceback" not in said


def test_an_upload_is_resampled_and_a_channel_chosen_where_asked(capsys, monkeypatch):
    monkeypatch.setattr(display, "display", lambda *_: None)
    sounds = [soundfile.read(io.BytesIO(content))[0] for content in recorded()]
    files = []
    for sound in sounds:
        file = io.BytesIO()
        soundfile.write(file, np.stack([sound, 0.5 * sound], axis=1), 8000, format="WAV", subtype="FLOAT")
        files.append(file.getvalue())
    upload = display.PedalUpload(max_seconds=1)
    assert "clean.wav has 2 channels" in click(upload, *files, capsys)
    upload.channel.value, upload.rate.value, upload.align.value = 1, 44100, False
    said = click(upload, *files, capsys)
    assert "clean: clean.wav\ndistorted: distorted.wav\n1.0 s at 44100 Hz" in said and "ESR on the last fifth" in said
    whole = len(sounds[0]) * 44100 // 8000
    assert upload.pair.sample_rate_hz == 44100 and len(upload.pair.clean) == whole
    level = np.sqrt(np.mean(upload.pair.clean**2) / np.mean(sounds[0] ** 2))
    assert level == pytest.approx(0.5, rel=0.05)  # the second channel, less what lies next to half the rate


def test_what_would_clip_is_turned_down_together(capsys, monkeypatch):
    shown, learn = [], experiments.pedal

    def too_loud(pair, max_seconds):
        found = learn(pair, max_seconds=max_seconds, progress=False)
        return found._replace(output=found.output * 4 / (found.y_level * np.max(np.abs(found.output))))

    monkeypatch.setattr(display, "display", lambda *things: shown.extend(things))
    monkeypatch.setattr(experiments, "pedal", too_loud)
    upload = display.PedalUpload(max_seconds=1)
    assert "the output would clip: both are turned down by 12.1 dB" in click(upload, *recorded(), capsys)  # 4 to 0.99
    found, sounds = upload.found, shown[1].sounds
    assert np.max(np.abs(sounds["output"])) == pytest.approx(0.99)
    np.testing.assert_allclose(sounds["target"], found.y_level * found.target * 0.99 / 4, rtol=1e-5)


def test_an_interrupted_training_keeps_nothing(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt  # as the square button of a notebook does

    monkeypatch.setattr(experiments, "pedal", interrupted)
    upload = display.PedalUpload(max_seconds=1)
    assert click(upload, *recorded(), capsys).endswith("stopped: nothing was kept\n")
    assert upload.pair is upload.found is None


def test_an_upload_on_a_still_page_is_a_sentence():
    upload = display.PedalUpload()
    bundle = upload._repr_mimebundle_()
    assert page(upload).text == bundle["text/plain"] == upload.STILL
    assert "application/vnd.jupyter.widget-view+json" in bundle
