"""Figures that carry their alternative text, players at true level, and sliders that also work on a printed page.

Each object shows itself in a notebook. Its plain text, which the stored chapters keep, is the alternative text.
"""

import base64
import html
import io
from importlib.resources import as_file, files
from itertools import count

import matplotlib.pyplot as plt
import numpy as np
import soundfile

from fuzznet.arrays import to_numpy

# The same signal looks the same from the first page to the last.
CLEAN = {"color": "#0072B2", "linestyle": "-", "linewidth": 1.2}
TARGET = {"color": "#D55E00", "linestyle": "--", "linewidth": 1.8}
OUTPUT = {"color": "#000000", "linestyle": "-", "linewidth": 1.2}

with files("fuzznet") as _package, as_file(_package / "style.mplstyle") as _style:
    STYLE = str(_style)

_numbers = count(1)


class Picture:
    """A finished Matplotlib figure with its alternative text. The figure is drawn once and closed.

    alt: what is to be seen, with numbers from the data. Raises ValueError where it is missing or no sentence.
    """

    def __init__(self, figure, alt):
        if len(alt.split()) < 5:
            raise ValueError(f"alt={alt!r}: expected a sentence that says what is to be seen")
        self.alt = alt
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", pil_kwargs={"optimize": True})
        plt.close(figure)
        self.png = buffer.getvalue()

    def html(self, hidden=False):
        """The picture as an HTML element."""
        source = f"data:image/png;base64,{base64.b64encode(self.png).decode()}"
        return f'<img class="fuzznet-picture" alt="{html.escape(self.alt)}" src="{source}" style="max-width:100%;width:640px"{" hidden" * hidden}>'

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": self.alt, "text/html": self.html(), "image/png": base64.b64encode(self.png).decode()}


class Players:
    """Sounds side by side, at the level they have. Nothing is normalised; the level is stated below each player.

    sounds: a dict from label to samples (T,), where 1.0 is full scale. Raises ValueError for a sound that would clip.
    """

    def __init__(self, sounds, sample_rate_hz=44100):
        self.sounds = {label: to_numpy(sound) for label, sound in sounds.items()}
        self.sample_rate_hz = sample_rate_hz
        for label, sound in self.sounds.items():
            peak = np.max(np.abs(sound)) if sound.ndim == 1 and sound.size else np.nan
            if not peak <= 1:
                raise ValueError(
                    f"{label!r} has shape {sound.shape} and peak {peak}: expected (T,) with a peak of at most 1.0; make it quieter"
                )

    def _level(self, label):
        sound = self.sounds[label]
        level_db = 20 * np.log10(max(np.sqrt(np.mean(sound**2)), 1e-10))
        return f"{len(sound) / self.sample_rate_hz:.2f} s at {level_db:.1f} dB of full scale"

    def _repr_mimebundle_(self, include=None, exclude=None):
        items = []
        for label, sound in self.sounds.items():
            buffer = io.BytesIO()
            soundfile.write(buffer, sound, self.sample_rate_hz, format="FLAC", subtype="PCM_16")
            source = f"data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode()}"
            items.append(
                f'<figure style="margin:0.5em 1em 0.5em 0"><figcaption>{html.escape(label)}<br><small>{self._level(label)}</small></figcaption>'
                f'<audio controls preload="none" aria-label="{html.escape(label)}" src="{source}" style="max-width:100%"></audio></figure>'
            )
        text = "\n".join(f"{label}: {self._level(label)}" for label in self.sounds)
        return {"text/plain": text, "text/html": f'<div style="display:flex;flex-wrap:wrap">{"".join(items)}</div>'}


class explore:
    """A slider that redraws: live in a notebook, and on a printed page over pictures drawn beforehand.

    draw: a function from one of the values to a Picture; label: what is turned; values: the stops, in order.
    Raises ValueError for fewer than two values.
    """

    def __init__(self, draw, label, values):
        self.draw, self.label, self.values = draw, label, list(values)
        if len(self.values) < 2:
            raise ValueError(f"values={values!r}: expected at least two stops for the slider")
        self.pictures = [draw(value) for value in self.values]

    def _repr_mimebundle_(self, include=None, exclude=None):
        number, last = next(_numbers), len(self.values) - 1
        frames = "".join(picture.html(hidden=k > 0) for k, picture in enumerate(self.pictures))
        names = html.escape("|".join(str(value) for value in self.values))
        script = (
            "const box=this.closest('div');box.querySelectorAll('img').forEach((img,k)=>{img.hidden=k!=this.value});"
            "const name=box.dataset.names.split('|')[this.value];box.querySelector('output').value=name;this.setAttribute('aria-valuetext',name)"
        )
        page = (
            f'<div class="fuzznet-explore" data-names="{names}"><label for="fuzznet-explore-{number}">{html.escape(self.label)}</label> '
            f'<input type="range" id="fuzznet-explore-{number}" min="0" max="{last}" value="0" autocomplete="off" aria-valuetext="{html.escape(str(self.values[0]))}" '
            f'oninput="{script}" style="width:50%"> <output>{html.escape(str(self.values[0]))}</output><br>{frames}</div>'
        )
        text = "\n".join(f"{self.label} {value}: {picture.alt}" for value, picture in zip(self.values, self.pictures))
        return {"text/plain": text, "text/html": page}
