"""Figures that carry their alternative text, players at true level, and sliders that also work on a still page.

Each object shows itself in a notebook. Its plain text, which the stored chapters keep, is the alternative text.
"""

import base64
import io
import itertools
import tempfile
from html import escape
from importlib.resources import as_file, files
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import soundfile
from IPython.display import HTML, display
from PIL import Image
from threadpoolctl import threadpool_limits

from fuzznet import experiments, recordings, storage
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


def segments(found):
    """Where a network fails on the part of a recording that it never met: the error over time, and segment by segment.

    found: `experiments.Pedal`. Returns: Picture.
    """
    (edges_s, esr, share), figure = found.segments, plt.figure(figsize=(5.6, 5))
    above, below = figure.subplots(2, 1, sharex=True)
    samples = len(found.target)
    frames = np.unique(np.linspace(0, samples, 600, endpoint=False, dtype=int))
    time_s = np.interp(frames, [0, samples], edges_s[[0, -1]])
    looks = (("target", found.target, TARGET["color"], 0.35), ("error", found.target - found.output, OUTPUT["color"], 1))
    for label, sound, colour, alpha in looks:
        low, high = np.minimum.reduceat(sound, frames), np.maximum.reduceat(sound, frames)
        above.fill_between(time_s, low, high, step="post", color=colour, alpha=alpha, linewidth=0, label=label)
    highest = 1.35 * np.max(np.abs(found.target))
    above.set(ylabel="sample, RMS of the\nlearned part 1", ylim=(-highest, highest))
    top = 1.35 * max(np.max(share), min(np.max(esr), 4 * found.esr_output), found.esr_output)
    below.stairs(np.minimum(esr, top), edges_s, fill=True, color="#56B4E9", label="ESR of the segment")
    below.stairs(share, edges_s, color="#000000", linewidth=1.5, label="its share of the error")
    below.axhline(found.esr_output, color="#D55E00", linestyle="--", label="ESR of all")
    below.set(xlabel="time in the recording, s", ylabel="ESR, or share of the error", ylim=(0, top))
    for axis in (above, below):
        axis.legend(loc="upper right", ncol=3, fontsize=9, columnspacing=1, handlelength=1.2)
    worst, heaviest, length_s = np.argmax(esr), np.argmax(share), edges_s[-1] - edges_s[0]
    peaks = " and ".join(f"{np.max(np.abs(sound)):.2g}" for _, sound, _, _ in looks)
    return Picture(
        figure,
        f"Two panels over the {length_s:.1f} s from {edges_s[0]:.1f} s on, which the network never met. Above, the target and, "
        f"in front of it, the error, with peaks of {peaks}. Below, the ESR of {len(esr)} segments, from {np.min(esr):.3f} to "
        f"{esr[worst]:.3g} at {edges_s[worst]:.1f} s, around {found.esr_output:.3f} for all, and the share that each has in "
        f"the whole error: the largest, {share[heaviest]:.0%}, at {edges_s[heaviest]:.1f} s.",
    )


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


class PedalUpload:
    """Upload buttons for a clean and a distorted sound, and one that examines them, learns the pedal, and offers the network.

    Where no kernel listens a sentence stands in its place. What is wrong with a file is said in words, below the buttons.

    max_seconds: of training, until the reader chooses others. `.pair` and `.found` are the `recordings.Pair` that was learned
    last and what `experiments.pedal` found, or None.
    """

    STILL = (
        "In a running notebook two upload buttons stand here, for a clean and a distorted sound. A third one examines both, "
        "learns the pedal with a progress bar, shows where it fails, plays target and output, and offers the network as a file."
    )

    def __init__(self, max_seconds=60.0):
        self.pair = self.found = None
        accept, style = ".wav,.flac,.aif,.aiff,.ogg,.mp3", {"description_width": "initial"}
        self.clean, self.distorted = (
            ipywidgets.FileUpload(accept=accept, description=name, layout={"width": "auto"}) for name in ("clean", "distorted")
        )
        rates = [("as it is", None), ("44100 Hz", 44100), ("48000 Hz", 48000)]
        channels = [("the only one", None), ("the first", 0), ("the second", 1), ("the mean", "mean")]
        self.rate = ipywidgets.Dropdown(options=rates, description="sample rate", style=style)
        self.channel = ipywidgets.Dropdown(options=channels, description="channel", style=style)
        label = "move the distorted sound to where it is 3 samples late"
        self.align = ipywidgets.Checkbox(True, description=label, indent=False, layout={"width": "auto"})
        self.seconds = ipywidgets.BoundedFloatText(max_seconds, min=1, max=3600, description="seconds", style=style)
        self.learn, self.output = ipywidgets.Button(description="examine and learn"), ipywidgets.Output()
        self.learn.on_click(self._clicked)

    def _live(self):
        rows = (self.clean, self.distorted), (self.rate, self.channel), (self.align,), (self.seconds, self.learn)
        return ipywidgets.VBox([*map(ipywidgets.HBox, rows), self.output])

    def _repr_mimebundle_(self, include=None, exclude=None):
        still = f'<p class="fuzznet"><em>{self.STILL}</em></p>'
        return {**self._live()._repr_mimebundle_(), "text/plain": self.STILL, "text/html": still}

    def _clicked(self, _):
        self.learn.disabled = True
        self.output.clear_output()
        with self.output:
            try:
                self._examine_and_learn()
            except (ArithmeticError, OSError, ValueError) as error:
                print(error)
            except KeyboardInterrupt:
                print("stopped: nothing was kept")
        self.learn.disabled = False

    def _examine_and_learn(self):
        clean, distorted = map(_content, (self.clean, self.distorted))
        print(f"clean: {clean.name}\ndistorted: {distorted.name}")
        pair = recordings.load_pair(clean, distorted, self.rate.value, self.channel.value)
        print(recordings.examine(pair))
        pair = recordings.align(pair) if self.align.value else pair
        with threadpool_limits(1):  # matrices this small are multiplied fastest by one core
            found = experiments.pedal(pair, max_seconds=self.seconds.value)
        self.pair, self.found = pair, found
        print(f"ESR on the last fifth, never met: {found.esr_output:.3f}, doing nothing {found.esr_input:.3f}")
        sounds = {"target": found.y_level * found.target, "output": found.y_level * found.output}
        peak = max(np.max(np.abs(sound)) for sound in sounds.values())
        if peak > 1:
            print(f"the output would clip: both are turned down by {20 * np.log10(peak / 0.99):.1f} dB")
            sounds = {name: 0.99 / peak * sound for name, sound in sounds.items()}
        display(segments(found), Players(sounds, found.sample_rate_hz))
        with tempfile.TemporaryDirectory() as folder:
            storage.save(Path(folder) / "pedal.npz", found.parameters, **found.facts)
            source = _data_url("application/octet-stream", (Path(folder) / "pedal.npz").read_bytes())
        display(HTML(f'<a download="pedal.npz" href="{source}">Download pedal.npz</a>, for storage.load'))


def _content(upload):
    """What was uploaded, as a file object."""
    if not upload.value:
        advice = "choose a file; one of more than 10 MB is dropped on the way, and after that run this cell again"
        raise ValueError(f"no {upload.description} sound has come: {advice}")
    file = io.BytesIO(upload.value[0]["content"])
    file.name = upload.value[0]["name"]
    return file
