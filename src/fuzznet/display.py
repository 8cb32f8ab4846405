"""Figures that carry their alternative text, players at true level, and sliders that also work on a still page.

Each object shows itself in a notebook. Its plain text, which the stored chapters keep, is the alternative text.
"""

import base64
import io
import itertools
from html import escape
from importlib.resources import as_file, files

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import soundfile
from IPython.display import display
from PIL import Image

from fuzznet.arrays import to_numpy

# The same signal looks the same from the first page to the last. Colours: Okabe and Ito.
CLEAN = {"color": "#0072B2", "linestyle": "-", "linewidth": 1.2}
TARGET = {"color": "#D55E00", "linestyle": "--", "linewidth": 1.8}
OUTPUT = {"color": "#000000", "linestyle": "-", "linewidth": 1.2}

_numbers = itertools.count(1)


def use_style():
    """Draw all figures from here on in the book's style."""
    with as_file(files("fuzznet") / "style.mplstyle") as path:
        plt.style.use(path)


def glue(**texts):
    """Give computed texts names, by which the prose of a chapter can show them."""
    prefix = "application/papermill.record/"
    for name, text in texts.items():
        metadata = {"scrapbook": {"name": name, "mime_prefix": prefix}}
        display({f"{prefix}text/plain": repr(text)}, raw=True, metadata=metadata)


def _data_url(kind, data):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


class Picture:
    """A finished Matplotlib figure with its alternative text. The figure is drawn once and closed.

    alt: what is to be seen, with numbers from the data. Raises ValueError where it is no sentence.
    """

    def __init__(self, figure, alt):
        if len(alt.split()) < 5:
            raise ValueError(f"alt={alt!r}: expected a sentence that says what is to be seen")
        self.alt, buffer = alt, io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        few_colours, buffer = Image.open(buffer).convert("RGB").quantize(64), io.BytesIO()  # a third of the size
        few_colours.save(buffer, format="png", optimize=True)
        self.png = buffer.getvalue()

    def html(self, hidden=False):
        """The picture as an HTML element."""
        source, state = _data_url("image/png", self.png), " hidden" if hidden else ""
        return f'<img class="fuzznet dark-light" alt="{escape(self.alt)}" src="{source}" width="640"{state}>'

    def _repr_mimebundle_(self, include=None, exclude=None):
        png = base64.b64encode(self.png).decode()
        return {"text/plain": self.alt, "text/html": self.html(), "image/png": png}


class Players:
    """Sounds side by side, each at the level it has: nothing is normalised. The level stands at each player.

    sounds: a dict from label to samples (T,), where 1.0 is full scale. Raises ValueError for a sound that would clip.
    """

    def __init__(self, sounds, sample_rate_hz=44100):
        self.sounds = {label: to_numpy(sound) for label, sound in sounds.items()}
        self.sample_rate_hz = sample_rate_hz
        for label, sound in self.sounds.items():
            peak = np.max(np.abs(sound), initial=0)
            if sound.ndim != 1 or not 0 < peak <= 1:
                raise ValueError(
                    f"{label!r}: shape {sound.shape}, peak {peak}: expected (T,), with a peak above 0 and at most 1"
                )

    def _level(self, label):
        level_db = 10 * np.log10(np.mean(self.sounds[label] ** 2))
        return f"{len(self.sounds[label]) / self.sample_rate_hz:.2f} s, RMS level {level_db:.1f} dB re full scale"

    def _html(self, label):
        buffer = io.BytesIO()
        soundfile.write(buffer, self.sounds[label], self.sample_rate_hz, format="FLAC", subtype="PCM_16")
        source = _data_url("audio/flac", buffer.getvalue())
        return (
            f'<div style="margin: 0.5em 1em 0.5em 0">{escape(label)}<br><small>{self._level(label)}</small><br>'
            f'<audio controls aria-label="{escape(label)}" src="{source}" style="max-width: 100%"></audio></div>'
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        players = "".join(self._html(label) for label in self.sounds)
        return {
            "text/plain": "\n".join(f"{label}: {self._level(label)}" for label in self.sounds),
            "text/html": f'<div class="fuzznet" style="display: flex; flex-wrap: wrap">{players}</div>',
        }


class Explorer:
    """What `explore` returns: a live widget where a kernel listens, and otherwise a slider over finished pictures."""

    def __init__(self, draw, label, values):
        self.label, self.values = label, [str(value) for value in values]
        self.pictures = [draw(value) for value in values]

    def _live(self):
        slider = ipywidgets.SelectionSlider(options=list(zip(self.values, self.pictures)), description=self.label)
        slider.style.description_width = "initial"
        picture = ipywidgets.HTML(slider.value.html())
        slider.observe(lambda change: setattr(picture, "value", change.new.html()), "value")
        return ipywidgets.VBox([slider, picture])

    def _html(self):
        name, first = f"fuzznet-explore-{next(_numbers)}", escape(self.values[0])
        script = (
            "const box = this.parentElement, value = box.dataset.values.split('|')[this.value];"
            "box.querySelectorAll('img').forEach((img, k) => { img.hidden = k != this.value });"
            "box.querySelector('output').value = value; this.setAttribute('aria-valuetext', value)"
        )
        return (
            f'<div class="fuzznet fuzznet-explore" data-values="{escape("|".join(self.values))}">'
            f'<label for="{name}">{escape(self.label)}</label> <input type="range" id="{name}" min="0" value="0" '
            f'max="{len(self.values) - 1}" aria-valuetext="{first}" autocomplete="off" oninput="{script}"> '
            f"<output>{first}</output><br>{''.join(p.html(hidden=k > 0) for k, p in enumerate(self.pictures))}</div>"
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        text = "\n".join(f"{self.label} {value}: {picture.alt}" for value, picture in zip(self.values, self.pictures))
        return {**self._live()._repr_mimebundle_(), "text/plain": text, "text/html": self._html()}


def explore(draw, label, values):
    """A slider that changes a picture, in a live notebook and on a still page alike.

    draw: a function from one of the values to a Picture; label: what is turned; values: its stops, in order.
    Returns: an object that shows itself. Raises ValueError for fewer than two stops, or one with | in it.
    """
    if len(values) < 2 or any("|" in str(value) for value in values):
        raise ValueError(f"values={values!r}: expected at least two stops for the slider, and no | in any")
    return Explorer(draw, label, values)
