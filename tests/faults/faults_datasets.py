"""Faults while a data set is fetched, unpacked and paired. Lost is what is missing, half there or wrongly taken for good."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from made_data import Server, egfx_files, idmt_archive, idmt_files, md5, write, zipped

from fuzznet import datasets, downloads
from fuzznet.downloads import ArchiveError, download, unpack

CONTENT = np.random.default_rng(8).bytes(1_500_000)
NAME = "set.zip"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSE_S", 0)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_cut_connections(tmp_path, tally):
    """Cut at random, as often as it takes; and what had come is not asked for again."""
    chance, tried, lost = random.Random(1), 0, 0
    for round_ in range(15):
        cuts = [chance.randrange(70_000, 500_000) for _ in range(chance.randrange(1, 9))]
        with Server({NAME: CONTENT}, cuts) as server:
            path = download(server.url.format(name=NAME), tmp_path / f"{round_}" / NAME, md5(CONTENT), progress=False)
        used, sent = len(cuts) - len(server.cuts), sum(entry[-1] for entry in server.log)
        tried += used
        lost += path.read_bytes() != CONTENT or list(path.parent.iterdir()) != [path] or sent > len(CONTENT) + 65_536 * used
    tally("connection cut while downloading", tried, lost)
    assert tried >= 30 and lost == 0


PROGRAM = """
import sys
from fuzznet.downloads import download
download(sys.argv[1], sys.argv[2], sys.argv[3], progress=False)
"""


def test_killed_downloads(tmp_path, tally):
    """Killed after a random number of bytes was sent, by SIGKILL, and once by Ctrl-C; then run again."""
    chance, lost = random.Random(2), 0
    for round_ in range(6):
        path = tmp_path / f"{round_}" / NAME
        with Server({NAME: CONTENT}, pause=chance.randrange(100_000, 1_400_000)) as server:
            url = server.url.format(name=NAME)
            program = [sys.executable, "-c", PROGRAM, url, path, md5(CONTENT)]
            child = subprocess.Popen(program, stderr=subprocess.DEVNULL)
            assert server.sent.wait(60)
            child.send_signal(signal.SIGINT if round_ == 0 else signal.SIGKILL)
            child.wait()
            lost += path.exists()  # nothing half has the name of the whole
            server.pause = None
            download(url, path, md5(CONTENT), progress=False)
        lost += path.read_bytes() != CONTENT
    tally("killed while downloading", 6, lost)
    assert lost == 0


def test_wrong_bytes(tmp_path, tally):
    """One bit is another, somewhere; or some bytes are missing or too many."""
    chance, lost = random.Random(3), 0
    for round_ in range(30):
        wrong, at = bytearray(CONTENT), chance.randrange(len(CONTENT))
        if round_ < 20:
            wrong[at] ^= 1 << chance.randrange(8)
        else:
            wrong[at : at + round_ % 2] = b"" if round_ % 2 else b"?"
        with Server({NAME: bytes(wrong)}) as server:
            try:
                download(server.url.format(name=NAME), tmp_path / NAME, md5(CONTENT), progress=False)
                lost += 1
            except ValueError as error:
                lost += "not the published file" not in str(error) or any(tmp_path.iterdir())
    tally("wrong checksum", 30, lost)
    assert lost == 0


def test_damaged_archives(tmp_path, tally):
    """A bit is another, or the end is missing: refused, and nothing left; or, where the bit means nothing, all is as it was."""
    chance, tried, lost, refused = random.Random(4), 250, 0, 0
    archive, inner = tmp_path / NAME, zipped({"a/1.wav": CONTENT[:3000], "a/2.wav": CONTENT[3000:3100]})
    good = zipped({"x/part.zip": inner, "x/read.me": b"read"})
    archive.write_bytes(good)
    unpack(archive, tmp_path / "good")
    expected = contents(tmp_path / "good")
    for round_ in range(tried):
        damaged, at = bytearray(good), chance.randrange(len(good))
        if round_ % 10:
            damaged[at] ^= 1 << chance.randrange(8)
        else:
            del damaged[at:]
        archive.write_bytes(damaged)
        try:
            unpack(archive, tmp_path / "bad")
        except (ArchiveError, OSError):
            refused += 1
            lost += any("bad" in path.name for path in tmp_path.iterdir())
        else:
            lost += contents(tmp_path / "bad") != expected
            shutil.rmtree(tmp_path / "bad")
    tally("damaged archive", tried, lost)
    assert lost == 0 and refused > 0.8 * tried


def small_disk():
    """The words before a command that gives it file systems of its own, or None."""
    for own in (["unshare", "-m"], ["unshare", "-Urm"]):
        try:
            if subprocess.run([*own, "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True).returncode == 0:
                return own
        except FileNotFoundError:
            return None
    return None


def on_small_disk(program, folder, *arguments):
    """Run a program where folder is a file system of 512 KiB. Returns: what it prints, as words."""
    own = small_disk()
    if own is None:
        pytest.skip("no small file system can be made here: neither as root nor by unshare")
    folder.mkdir()
    mount = 'mount -t tmpfs -o size=512k none "$0" && exec "$@"'
    command = [*own, "sh", "-c", mount, folder, sys.executable, "-c", program, folder, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "TQDM_DISABLE": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


FULL_DOWNLOAD = """
import subprocess, sys
from pathlib import Path
from fuzznet.downloads import download
folder, md5, urls = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
for url in urls:
    lost, path = 0, folder / "set.zip"
    subprocess.run(["mount", "-o", "remount,size=512k", folder], check=True)
    (folder / "others").write_bytes(bytes(100_000))
    try:
        download(url, path, md5, progress=False)
        lost += 1
    except OSError as error:
        lost += "run it again" not in str(error) and "are needed" not in str(error)
    lost += path.exists()
    kept = sum(path.stat().st_size for path in folder.glob(".set.zip.partial"))
    subprocess.run(["mount", "-o", "remount,size=4m", folder], check=True)
    lost += download(url, path, md5, progress=False).stat().st_size != 1_500_000
    lost += sorted(folder.iterdir()) != [folder / "others", path] or (folder / "others").read_bytes() != bytes(100_000)
    path.unlink()
    print(lost, kept)
"""


def test_full_disk_while_downloading(tmp_path, tally):
    """Told before where the server states the length; met on the way where it does not, and then what came is kept."""
    lost, rounds = 0, 5
    with Server({NAME: CONTENT}) as open_, Server({NAME: CONTENT}, longer=None) as silent:
        urls = [server.url.format(name=NAME) for server in (open_, silent)] * rounds
        words = on_small_disk(FULL_DOWNLOAD, tmp_path / "disk", md5(CONTENT), *urls)
    lost, kept = sum(map(int, words[::2])), list(map(int, words[1::2]))
    assert len(kept) == 2 * rounds and kept[::2] == [0] * rounds and 300_000 < min(kept[1::2]) < max(kept[1::2]) + 1 < 450_000
    assert [entry[1] for entry in silent.log[1::2]] == [f"bytes={count}-" for count in kept[1::2]]
    tally("full disk while downloading", len(kept), lost)
    assert lost == 0


FULL_UNPACKING = """
import subprocess, sys
from pathlib import Path
from fuzznet.downloads import unpack
import shutil
folder, cases = Path(sys.argv[1]), sys.argv[2:]
for archive, filled in zip(cases[::2], cases[1::2]):
    lost, told = 0, "nothing"
    subprocess.run(["mount", "-o", "remount,size=512k", folder], check=True)
    (folder / "others").write_bytes(bytes(int(filled)))
    try:
        unpack(archive, folder / "set")
        lost += 1
    except OSError as error:
        told = "before" if "are needed" in str(error) else "on_the_way"
        lost += "nothing of it was kept" not in str(error)
    lost += list(folder.iterdir()) != [folder / "others"]
    subprocess.run(["mount", "-o", "remount,size=8m", folder], check=True)
    lost += len(unpack(archive, folder / "set")) != 401
    shutil.rmtree(folder / "set")
    print(lost, told)
"""


def test_full_disk_while_unpacking(tmp_path, tally):
    """Small files take more room than their bytes: the disk is full on the way. Large ones are told before."""
    small = {f"{i}.txt": b"?" * 10 for i in range(400)}
    cases = [(filled, {**small, "noise": CONTENT[:length]}) for filled in (0, 200_000, 400_000) for length in (1, 530_000)]
    arguments = []
    for round_, (filled, files) in enumerate([*cases, *cases]):
        archive = tmp_path / f"{round_}.zip"
        archive.write_bytes(zipped({"part.zip": zipped(files)} if round_ >= len(cases) else files))
        arguments += [archive, filled]
    words = on_small_disk(FULL_UNPACKING, tmp_path / "disk", *arguments)
    lost, told = sum(map(int, words[::2])), words[1::2]
    tally("full disk while unpacking", len(told), lost)
    assert lost == 0 and told == ["on_the_way", "before"] * len(cases)


KILLED_UNPACKING = """
import shutil, sys
from fuzznet.downloads import unpack
copy, left = shutil.copyfileobj, int(sys.argv[3])
def stop(*arguments):
    global left
    copy(*arguments)
    left -= 1
    if left == 0:
        print("now", flush=True)
        sys.stdin.read()
shutil.copyfileobj = stop
unpack(sys.argv[1], sys.argv[2])
"""


def test_killed_unpacking(tmp_path, tally):
    """Killed after some files: nothing has the final name; told what is left; after its removal all is as it should be."""
    archive, lost = tmp_path / NAME, 0
    archive.write_bytes(idmt_archive(idmt_files(notes=[(1, 0)])))
    for files in (1, 2, 4, 6):
        folder = tmp_path / f"{files}" / "set"
        program = [sys.executable, "-c", KILLED_UNPACKING, archive, folder, str(files)]
        child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"now\n"
        child.kill()
        child.communicate()
        lost += folder.exists()
        with pytest.raises(FileExistsError, match="or was killed; if nothing of it is needed, delete it and run again"):
            unpack(archive, folder)
        shutil.rmtree(folder.with_name(".set.unpacking"))
        lost += len(unpack(archive, folder)) != 7
    tally("killed while unpacking", 4, lost)
    assert lost == 0


def test_missing_partners(tmp_path, tally):
    """Any files are missing: every other one is in its pair, or among the lonely ones."""
    chance, tried, lost = random.Random(5), 0, 0
    notes = [(string, fret) for string in range(1, 7) for fret in (0, 7)]
    names = [name for name in idmt_files(notes, settings=(1,), length=44_000) if name.endswith(".wav")]
    write(dict.fromkeys([*names, *egfx_files()], b""), tmp_path / "all")
    whole = {effect: datasets.pairs(tmp_path / "all", effect).pairs for effect in ("distortion", "overdrive", "RAT")}
    for round_ in range(30):
        folder = tmp_path / f"{round_}"
        shutil.copytree(tmp_path / "all", folder)
        gone = set(chance.sample(sorted(path.relative_to(folder) for path in folder.rglob("*.wav")), chance.randrange(1, 20)))
        for path in gone:
            (folder / path).unlink()
        tried += len(gone)
        for effect, before in whole.items():
            before = [tuple(path.relative_to(tmp_path / "all") for path in pair) for pair in before]
            found = datasets.pairs(folder, effect)
            expected = [tuple(folder / path for path in pair) for pair in before if not gone & set(pair)]
            alone = {folder / path for pair in before for path in pair if path not in gone and gone & set(pair)}
            lost += found.pairs != expected or not alone <= set(found.lonely)
    tally("missing partner", tried, lost)
    assert lost == 0
