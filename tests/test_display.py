import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile
from bs4 import BeautifulSoup
from PIL import Image

from fuzznet import display


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
