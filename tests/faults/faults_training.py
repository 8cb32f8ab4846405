"""Trainings that are killed, stopped, or find their disk full: each ends with the numbers of one that nobody disturbed.

Run as a script, this file is such a training. It says what it does, line by line, before and after.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fuzznet
from fuzznet import corpus, optimizers, storage

PAIRS, SAMPLES, CLIP = 4, 30_000, 500
SETTINGS = {"seed": 5, "epochs": 2, "final_learning_rate": 0.001, "progress": False}
NAMES = fuzznet.Parameters.NAMES
STARTS = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def pairs_in(folder):
    clean = sorted(Path(folder).glob("*_clean.wav"))
    return [(path, path.with_name(path.name.replace("clean", "distorted"))) for path in clean]


def train(files, path, every_s, **settings):
    """The training that all tests here disturb."""
    start = fuzznet.initialize(np.random.default_rng(5), layers=3, kernels=4)
    return corpus.train_corpus(
        start, files, optimizer=optimizers.Adam(0.01), checkpoint=path, every_s=every_s, **(SETTINGS | settings)
    )


def files_of(folder):
    return corpus.Corpus(pairs_in(folder), clip_length=CLIP, history=14)


# -- the training as a process of its own -------------------------------------------------------------------------------


class Told(corpus.Corpus):
    """Says which step begins, and fills the disk before one of them."""

    def __init__(self, *arguments, fill=None, **settings):
        super().__init__(*arguments, **settings)
        self.fill = fill

    def batch(self, indices):
        print("step", flush=True)
        if self.fill is not None:
            self.fill -= 1
            if self.fill == 0:
                fill(Path(sys.argv[2]).parent)
        return super().batch(indices)


def fill(folder):
    """Write zeros until there is no room, not even for a byte."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC


def script(folder, path, every_s, die_at, fill_at):
    """die_at: "" or the name of a call in `storage`, and at which of its turns the process kills itself before it is done."""
    save_checkpoint = corpus.save_checkpoint

    def told(*arguments, **about):
        save_checkpoint(*arguments, **about)
        print("kept", about["steps"], flush=True)

    corpus.save_checkpoint = told
    if die_at:
        name, turn = die_at.split(",")
        owner, left = Path if name == "open" else os, [int(turn)]
        call = getattr(owner, name)

        def deadly(*arguments, **settings):
            left[0] -= name != "open" or "b" in "".join(arguments[1:])  # texts are opened by other parts of Python
            if left[0] == 0:
                if name == "open":
                    with call(*arguments) as file:
                        file.write(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **settings)

        setattr(owner, name, deadly)
    files = Told(pairs_in(folder), clip_length=CLIP, history=14, fill=int(fill_at) if fill_at else None)
    try:
        train(files, path, float(every_s))
    except (corpus.Stopped, OSError) as stop:
        print(stop, file=sys.stderr)
        sys.exit(getattr(stop, "status", 1))


def start(folder, path, every_s, die_at="", fill_at=""):
    command = [sys.executable, __file__, folder, path, str(every_s), die_at, fill_at]
    return subprocess.Popen(command, env=STARTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(process, lines, wanted):
    """Read what the process says until so many steps have begun. Puts the lines into `lines`."""
    steps = 0
    while steps < wanted and (line := process.stdout.readline()):
        lines.append(line.split())
        steps += line.startswith("step")


def rest(process):
    """What it says from here on, until its end; communicate() would pass over what is buffered."""
    return process.stdout.read(), process.stderr.read()


def kept(lines):
    """The step of the last checkpoint that the process knew to be on the disk; -1 where there was none."""
    return max((int(line[1]) for line in lines if line[0] == "kept" and len(line) == 2), default=-1)


def is_whole(path, step):
    """Whether there is a checkpoint of that step or a later one; of -1, whether there may be none."""
    try:
        return storage.load_checkpoint(path).about["steps"] >= step
    except FileNotFoundError:
        return step == -1
    except ValueError:
        return False


def contents(path):
    """All that a checkpoint holds, to be compared bit for bit."""
    saved = storage.load_checkpoint(path)
    arrays = [saved.parameters, saved.optimizer.mean, saved.optimizer.square]
    return [getattr(each, name).tobytes() for each in arrays for name in NAMES], saved.about, saved.optimizer.steps


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(2)
    for number in range(PAIRS):
        x = 0.3 * rng.normal(size=SAMPLES)
        for name, sound in (("clean", x), ("distorted", np.tanh(4 * x))):
            soundfile.write(folder / f"{number}_{name}.wav", sound.clip(-1, 1), 44100)
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "network.npz"
    process = start(folder, path, 1e9)
    assert process.wait() == 0, process.stderr.read()
    assert storage.load_checkpoint(path).about["steps"] == 2 * PAIRS * SAMPLES // CLIP
    return contents(path)


# -- the faults ---------------------------------------------------------------------------------------------------------


def test_killed_at_ten_random_moments(folder, undisturbed, tmp_path, tally):
    """Each time in another process, which goes on from the checkpoint of the one before."""
    rng, path, lost, writing, again = np.random.default_rng(10), tmp_path / "network.npz", 0, 0, 0
    for turn in range(10):
        before, lines = set(tmp_path.glob(".*")), []
        process = start(folder, path, every_s=0.02 if turn % 3 == 0 else 0)
        until(process, lines, int(rng.integers(1, 36)))
        time.sleep(rng.uniform(0, 0.004))  # into a step or a checkpoint
        process.kill()
        output, error = rest(process)
        lines += [line.split() for line in output.splitlines()]
        assert process.wait() == -signal.SIGKILL, error
        done = kept(lines[:1]) + sum(line[0] == "step" for line in lines)  # the first line tells where it began
        lost += not is_whole(path, kept(lines))
        found = storage.load_checkpoint(path).about["steps"]
        assert found <= done
        again += done - found
        writing += len(set(tmp_path.glob(".*")) - before)
    for partial in tmp_path.glob(".*"):  # what killed writers left is removed by the next one, once it is old enough
        os.utime(partial, (time.time() - 1000,) * 2)
    assert start(folder, path, 0.02).wait() == 0 and list(tmp_path.iterdir()) == [path]
    lost += contents(path) != undisturbed
    tally(f"SIGKILL at a random moment ({writing} in a write; {again} steps done again)", 10, lost)
    assert not lost


def test_killed_in_the_middle_of_a_write(folder, undisturbed, tmp_path, tally):
    """For certain: with half of it written, before it is on the disk, before it gets its name, before that is on the disk."""
    path, lost, moments = tmp_path / "network.npz", 0, ["open,1", "fsync,2", "open,9", "fsync,15", "replace,7"]
    for moment in moments:
        lines, process = [], start(folder, path, 0, moment)
        output, error = process.communicate()
        assert process.returncode == -signal.SIGKILL, error
        lines = [line.split() for line in output.splitlines()]
        lost += not is_whole(path, kept(lines))
    assert start(folder, path, 0).wait() == 0
    lost += contents(path) != undisturbed
    tally("SIGKILL in the middle of a write", len(moments), lost)
    assert not lost


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_stopped_by_a_signal(folder, undisturbed, tmp_path, tally, number, status):
    rng, path, lost, at = np.random.default_rng(status), tmp_path / "network.npz", 0, 0
    for _ in range(4):
        lines, process = [], start(folder, path, 60)
        until(process, lines, int(rng.integers(1, 60)))
        process.send_signal(number)
        output, error = rest(process)
        at += sum(line[0] == "step" for line in lines) + output.count("step")
        assert process.wait() == status, error
        assert f"stopped after step {at} of 480; {path} holds everything: run the same again to go on" in error
        lost += storage.load_checkpoint(path).about["steps"] != at
    assert start(folder, path, 60).wait() == 0
    lost += contents(path) != undisturbed
    tally(f"{number.name}", 4, lost)
    assert not lost


def test_full_disk(folder, undisturbed, tmp_path, tally):
    """On a small file system in memory, which only the process below sees."""
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small disk (unshare)")
    command = [*inside, sys.executable, __file__, "disk", folder, tmp_path]
    done = subprocess.run(command, env=STARTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    lost = contents(tmp_path / "network.npz") != undisturbed
    tally("full disk, at the first checkpoint and at later ones", 5, lost)
    assert not lost


def disk(folder, out):
    """In a process that may mount: a disk that is full at the start, then before some step, again and again."""
    place = Path(out) / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=True)
    path = place / "network.npz"
    fill(place)
    process = start(folder, path, 0)
    output, error = process.communicate()
    assert process.returncode == 1 and "step" not in output and not path.exists(), error
    assert f"{path} can't be written (No space left on device): nothing was trained yet; make room or name another" in error
    for number, at in enumerate((1, 33)):
        (place / "filler").unlink()
        process = start(folder, path, 0, fill_at=str(at))
        output, error = process.communicate()
        steps = kept([line.split() for line in output.splitlines()])
        assert process.returncode == 1, error
        assert f"(No space left on device): the checkpoint of step {steps} is whole; make room and run the same again" in error
        assert storage.load_checkpoint(path).about["steps"] == steps == (0, 32)[number]
        before = path.read_bytes()
        process = start(folder, path, 1e9)  # still full: told at once, and nothing is harmed
        output, error = process.communicate()
        assert process.returncode == 1 and "step" not in output and path.read_bytes() == before, error
        assert sorted(place.iterdir()) == [place / "filler", path]
    (place / "filler").unlink()
    assert start(folder, path, 0).wait() == 0
    shutil.copy(path, out)


def test_damaged_checkpoint(folder, undisturbed, tmp_path, tally):
    """Cut, or with wrong bits: refused, and left alone. Some bytes of a zip file mean nothing, such as its date."""
    path, rng, lost = tmp_path / "network.npz", np.random.default_rng(8), 0
    with pytest.raises(corpus.Stopped):
        train(Stops(pairs_in(folder), clip_length=CLIP, history=14), path, 1e9)
    whole, expected = path.read_bytes(), contents(path)
    for turn in range(200):
        damaged = bytearray(whole)
        if turn % 4 == 0:
            del damaged[int(rng.integers(len(whole))) :]
        elif turn % 4 == 1:
            at = int(rng.integers(len(whole) - 512))
            damaged[at : at + 512] = bytes(512)  # a sector that was never written
        else:
            damaged[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = contents(path)
        except ValueError:
            with pytest.raises(ValueError, match="holds no network"):
                train(files_of(folder), path, 1e9)
            lost += path.read_bytes() != bytes(damaged)
        else:
            lost += found != expected
    path.write_bytes(whole)
    train(files_of(folder), path, 1e9)
    lost += contents(path) != undisturbed
    tally("damaged checkpoint: refused, or of the same numbers", 200, lost)
    assert not lost


class Stops(corpus.Corpus):
    """Presses Ctrl-C in the hundredth step."""

    steps = 0

    def batch(self, indices):
        self.steps += 1
        if self.steps == 100:
            signal.raise_signal(signal.SIGINT)
        return super().batch(indices)


def test_two_trainings_at_once(folder, undisturbed, tmp_path, tally):
    """On one checkpoint: they waste work, no more. Each finds it whole whenever it looks."""
    path = tmp_path / "network.npz"
    both = [start(folder, path, 0) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    lost = sum(process.returncode != 0 for process in both) + (contents(path) != undisturbed)
    tally("two trainings at once on one checkpoint", 1, lost)
    assert not lost, errors


# -- memory -------------------------------------------------------------------------------------------------------------

LARGE_MB, GROWTH_MB = 320, 8


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_memory_does_not_grow_with_the_files(tmp_path, tally):
    """One pair of 3 MB beside four of 320 MB together: the most memory that the process took differs by 8 MB at the most."""
    peaks_mb = []
    for count, length in ((1, 800_000), (4, LARGE_MB * 10**6 // 16)):
        sound = np.random.default_rng(3).uniform(-0.5, 0.5, length).astype(np.float32)
        for number in range(count):
            soundfile.write(tmp_path / f"{number}_clean.wav", sound, 44100)
            soundfile.write(tmp_path / f"{number}_distorted.wav", sound**3, 44100)
        command = [sys.executable, __file__, "peak", tmp_path]
        done = subprocess.run(command, env=STARTS, capture_output=True, text=True, check=True)
        steps, peak_kb = map(int, done.stdout.split())
        assert steps == count * (length // 16384)
        peaks_mb.append(peak_kb / 1024)
        (tmp_path / "network.npz").unlink()
    lost = not peaks_mb[1] - peaks_mb[0] < GROWTH_MB
    told = f"{peaks_mb[0]:.0f} MB for 3 MB of files, {peaks_mb[1]:.0f} MB for {LARGE_MB} MB"
    tally(f"memory: {told}", 1, lost)
    assert not lost, told


def peak(folder):
    """Train an epoch and judge, with a small network. Prints the steps, and the most memory that was taken, in KB.

    Not by ru_maxrss, which begins with what the process that started this one took.
    """
    files, start = corpus.Corpus(pairs_in(folder), 16384, history=2), fuzznet.initialize(np.random.default_rng(5), 1, 2)
    path = Path(folder) / "network.npz"
    settings = {"optimizer": optimizers.Adam(0.001), "checkpoint": path, "progress": False}
    found = corpus.train_corpus(start, files, **settings)
    corpus.judge(found.parameters, files, found.levels)
    (peak_kb,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(storage.load_checkpoint(path).about["steps"], peak_kb)


if __name__ == "__main__":
    {"disk": disk, "peak": peak}.get(sys.argv[1], lambda *_: script(*sys.argv[1:]))(*sys.argv[2:])
