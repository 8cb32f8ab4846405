"""Small data sets with the true names and layout of IDMT-SMT-Audio-Effects and EGFxSet, of sounds made here.

What is known of the layout: IDMT-SMT-AUDIO-EFFECTS.zip holds, two folders deep, one zip for each part, such as
"Gitarre monophon.zip", and one of them twice; in that lie Samples/NoFX, Samples/Distortion and so on, and Lists with XML.
Of EGFxSet, Clean.zip holds Clean/Bridge-Middle/6-22.wav.
"""

import contextlib
import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import soundfile

from fuzznet.recordings import load_note

SAMPLES, RATE_HZ = 88_201, 44_100  # of each sound in IDMT-SMT-Audio-Effects
OPEN_STRINGS = (40, 45, 50, 55, 59, 64)  # MIDI, from the lowest
BUNDLED = {40: "E2", 45: "A2", 50: "D3", 55: "G3", 59: "B3", 64: "E4", 69: "A4", 76: "E5"}
SETS = ("G61", "G62", "G63", "G73", "G81", "G82", "G83", "G93")  # the first, the fourth and the last are known to be so


def idmt_name(string=1, fret=0, style="G61", effect="111", setting=1):
    """The true name: within each of eight sets of 78 notes, numbers go on fret by fret, then string by string."""
    run = {"111": 0, "441": 27, "442": 30}[effect] + setting - 1
    number = 20_593 + 624 * run + 78 * SETS.index(style) + 13 * (string - 1) + fret
    return f"{style}-{OPEN_STRINGS[string - 1] + fret:02d}{string}{fret:02d}-{effect}{setting}-{number:05d}.wav"


def clean_sound(midi, length=SAMPLES):
    """The bundled note nearest to this one, as long as the sets' own."""
    nearest = min(BUNDLED, key=lambda known: (abs(known - midi), known))
    sound = load_note(BUNDLED[nearest]).clean
    return np.resize(np.append(sound, 0.0), length)


def wav(sound, rate_hz=RATE_HZ, subtype="PCM_16"):
    """The bytes of a WAV file."""
    file = io.BytesIO()
    soundfile.write(file, sound, rate_hz, format="WAV", subtype=subtype)
    return file.getvalue()


def idmt_files(notes=((1, 0), (2, 5)), settings=(1,), length=SAMPLES):
    """{path in the set: bytes} of clean, distorted and overdriven guitar notes, each a (string, fret)."""
    files = {}
    for string, fret in notes:
        clean = clean_sound(OPEN_STRINGS[string - 1] + fret, length)
        files[f"Gitarre monophon/Samples/NoFX/{idmt_name(string, fret)}"] = wav(clean)
        for setting in settings:
            for effect, place, drive in ("441", "monophon/Samples/Distortion", 8), ("442", "monophon2/Samples/Overdrive", 3):
                distorted = wav(0.5 * np.tanh(drive * setting * clean / np.max(np.abs(clean))))
                files[f"Gitarre {place}/{idmt_name(string, fret, effect=effect, setting=setting)}"] = distorted
    files["Gitarre monophon/Lists/list.xml"] = b"<liste/>"
    files["Gitarre monophon/ReadMe.txt"] = b"made for tests"
    return files


def egfx_files(effects=("Clean", "BluesDriver", "TubeScreamer", "RAT"), pickups=("Bridge", "Bridge-Middle"), length=2_000):
    """{path in the set: bytes} of the lowest and the highest note."""
    files = {}
    for drive, effect in enumerate(effects):
        for pickup in pickups:
            for place, midi in ("6-0", 40), ("1-22", 86):
                sound = clean_sound(midi, 24_000 + length)[24_000:]
                sound = np.tanh(9 * drive * sound) if drive else sound
                files[f"{effect}/{pickup}/{place}.wav"] = wav(sound, 48_000, "PCM_24")
    return files


def zipped(files, compression=zipfile.ZIP_DEFLATED):
    """The bytes of a zip archive of {name: bytes}."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as file:
        for name, content in files.items():
            file.writestr(zipfile.ZipInfo(name, (2023, 1, 17, 12, 0, 0)), content, compression)
    return archive.getvalue()


def idmt_archive(files=None):
    """The one archive of archives, with one of its parts twice, as published. Returns: bytes."""
    parts = {}
    for name, content in (idmt_files() if files is None else files).items():
        parts.setdefault(name.split("/")[0], {})[name] = content
    inner = {f"{name}.zip": zipped(part) for name, part in parts.items()}
    inner |= {name.replace(" ", "_"): content for name, content in inner.items() if "2" in name}
    inner["IDMT-SMT-Audio-Effects-Description.pdf"] = b"%PDF"
    return zipped({f"IDMT-SMT-AUDIO-EFFECTS/IDMT-SMT-AUDIO-EFFECTS/{name}": content for name, content in inner.items()})


def egfx_archives(files=None):
    """Returns: {archive name: bytes}."""
    archives = {}
    for name, content in (egfx_files() if files is None else files).items():
        archives.setdefault(f"{name.split('/')[0]}.zip", {})[name] = content
    return {name: zipped(content) for name, content in archives.items()}


def write(files, folder):
    """Write {path: bytes} below a folder. Returns: the folder, a Path."""
    for name, content in files.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Path(folder)


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Server:
    """A server of {name: bytes} on 127.0.0.1, which misbehaves as told. Use it in a with statement.

    cuts: how many bytes to send before each connection breaks, one a request, none when used up; statuses: answers for the
    first requests; ranges: whether it knows Range; if_range: If-Range; tag: the ETag; modified: the
    Last-Modified; longer: what it adds to the length it states, None to state none; shift: what it adds to where a part
    begins; headers: what it says besides; log: (path, Range, If-Range, status, bytes sent) of each request; sent, go_on:
    events around a pause after so many bytes: pause.
    """

    def __init__(self, files, cuts=(), statuses=(), **settings):
        self.files, self.cuts, self.statuses, self.log = files, list(cuts), list(statuses), []
        self.ranges, self.if_range, self.tag, self.modified = True, True, '"1"', None
        self.longer, self.shift, self.pause, self.headers = 0, 0, None, {}
        self.sent, self.go_on = threading.Event(), threading.Event()
        vars(self).update(settings)

    def __enter__(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/{{name}}"
        return self

    def __exit__(self, *_):
        self.go_on.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def answer(self, request):
        asked, condition = request.headers["Range"], request.headers["If-Range"]
        content = self.files.get(request.path.strip("/"))
        status = self.statuses.pop(0) if self.statuses else 200 if content is not None else 404
        start, whole = 0, len(content or b"")
        current = condition in (None, self.tag, self.modified) or not self.if_range
        if status == 200 and asked and self.ranges and current:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            status = 206 if start < whole else 416
        body = content[start:] if status in (200, 206) else b""
        cut = self.cuts.pop(0) if self.cuts and body else len(body)
        self.log.append((request.path, asked, condition, status, min(cut, len(body))))
        request.send_response(status)
        for name, text in ("ETag", self.tag), ("Last-Modified", self.modified), *self.headers.items():
            if text:
                request.send_header(name, text)
        if status == 206:
            request.send_header("Content-Range", f"bytes {start + self.shift}-{whole - 1}/{whole}")
        if status == 416:
            request.send_header("Content-Range", f"bytes */{whole}")
        if self.longer is not None:
            request.send_header("Content-Length", str(len(body) + (self.longer if status == 200 else 0)))
        request.end_headers()
        with contextlib.suppress(OSError):  # nobody may be there any more
            if self.pause is not None:
                request.wfile.write(body[: self.pause])
                self.sent.set()
                self.go_on.wait()
            request.wfile.write(body[self.pause or 0 : cut])
