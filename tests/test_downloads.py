"""Downloads against a real server on 127.0.0.1 that misbehaves; archives that are damaged or mean harm."""

import gzip
import io
import itertools
import os
import shutil
import stat
import struct
import zipfile
from functools import partial

import numpy as np
import pooch
import pytest
from made_data import Server, idmt_archive, idmt_files, md5, write, zipped

from fuzznet import downloads
from fuzznet.downloads import ArchiveError, download, unpack

CONTENT = np.random.default_rng(7).bytes(400_000)
NAME = "notes.zip"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSE_S", 0)


@pytest.fixture
def server():
    with Server({NAME: CONTENT}) as server:
        yield server


@pytest.fixture
def fetch(server, tmp_path):
    """Downloads the one file; the folder must then hold it and nothing else."""

    def function(content=CONTENT):
        path = download(server.url.format(name=NAME), tmp_path / "data" / NAME, md5(content), progress=False)
        assert path.read_bytes() == content and list(path.parent.iterdir()) == [path]
        return path

    return function


def part(tmp_path, content, tag='"1"'):
    """What an earlier try has left."""
    write({f".{NAME}.partial": content} | ({f".{NAME}.partial-version": tag.encode()} if tag else {}), tmp_path / "data")
    return tmp_path / "data" / f".{NAME}.partial"


def test_a_file_comes_once(fetch, server):
    fetch()
    fetch()
    assert server.log == [(f"/{NAME}", None, None, 200, 400_000)]


def test_another_file_in_its_place_is_replaced(fetch, server, tmp_path):
    write({NAME: b"something else"}, tmp_path / "data")
    fetch()
    assert len(server.log) == 1


@pytest.mark.parametrize("cuts", [[1], [65_536], [399_999], [100_000, 100_000, 100_000], [0, 0, 300_000, 0, 0, 0, 0]])
def test_a_cut_connection_goes_on(fetch, server, cuts):
    server.cuts = list(cuts)
    fetch()
    sent = [entry[-1] for entry in server.log]
    assert len(sent) == len(cuts) + 1 and sum(sent) < 400_000 + 65_536 * len(cuts)
    for _, asked, condition, status, _ in server.log[1:]:
        assert (asked is None) == (condition is None) == (status == 200)
        assert condition in (None, '"1"')


def test_the_next_call_goes_on(fetch, server, monkeypatch):
    monkeypatch.setattr(downloads, "TRIES", 0)
    server.cuts = [200_000]
    with pytest.raises(OSError, match=r"bytes are kept in .*notes\.zip\.partial: run it again to go on from there$") as caught:
        fetch()
    kept = int(str(caught.value).split(" bytes are kept")[0].split()[-1].replace(",", ""))
    assert 200_000 - 65_536 < kept <= 200_000
    monkeypatch.undo()
    fetch()
    assert server.log[1:] == [(f"/{NAME}", f"bytes={kept}-", '"1"', 206, 400_000 - kept)]


def test_a_server_that_knows_no_ranges(fetch, server):
    server.ranges, server.cuts = False, [100_000, 300_000]
    fetch()
    assert [entry[3] for entry in server.log] == [200, 200, 200]


@pytest.mark.parametrize("if_range", [True, False])
def test_a_part_of_another_version_is_thrown_away(fetch, server, tmp_path, if_range):
    part(tmp_path, b"old" * 30_000, '"0"')
    server.if_range = if_range
    fetch()
    assert server.log[0][1:4] == ("bytes=90000-", '"0"', 200 if if_range else 206)
    assert server.log[-1][1:4] == ("bytes=90000-", '"0"', 200) if if_range else (None, None, 200)


@pytest.mark.parametrize("tag", ['"1"', None])
def test_a_part_that_is_longer_than_the_file(fetch, server, tmp_path, tag):
    part(tmp_path, CONTENT + b"more", tag)
    fetch()
    assert [entry[3] for entry in server.log] == [416, 200]


def test_a_part_that_is_all_of_it(fetch, server, tmp_path):
    part(tmp_path, CONTENT)
    fetch()
    assert [entry[3:] for entry in server.log] == [(416, 0)]


def test_a_part_whose_version_is_unknown_must_pass_the_checksum(fetch, server, tmp_path):
    part(tmp_path, CONTENT[:1000], tag=None)
    fetch()
    assert server.log == [(f"/{NAME}", "bytes=1000-", None, 206, 399_000)]
    shutil.rmtree(tmp_path / "data")
    part(tmp_path, b"x" + CONTENT[1:1000], tag=None)
    with pytest.raises(ValueError, match="not the published file"):
        fetch()
    fetch()


def test_a_part_that_begins_elsewhere_is_thrown_away(fetch, server, tmp_path):
    part(tmp_path, CONTENT[:1000])
    server.shift = 1
    fetch()
    assert [entry[3] for entry in server.log] == [206, 200]


def test_a_weak_tag_vouches_for_nothing(fetch, server):
    server.tag, server.modified, server.cuts = 'W/"1"', "Thu, 23 Feb 2023 14:47:38 GMT", [200_000]
    fetch()
    assert server.log[1][2] == server.modified and server.log[1][3] == 206


def test_a_server_that_states_no_version(fetch, server):
    server.tag, server.cuts = None, [200_000]
    fetch()
    assert server.log[1][2] is None and server.log[1][3] == 206


def test_a_server_that_states_no_length(fetch, server):
    server.longer = None
    fetch()
    server.files[NAME], server.cuts = CONTENT[::-1], [5000]  # then a cut looks like the end
    with pytest.raises(ValueError, match="not the published file"):
        fetch(CONTENT[::-1])
    fetch(CONTENT[::-1])


def test_a_server_that_states_too_long_a_length(fetch, server):
    server.longer = 10
    fetch()
    assert [entry[3] for entry in server.log] == [200, 206]


@pytest.mark.parametrize(("headers", "packed"), [({"Content-Encoding": "gzip"}, True), ({"Content-Length": "?"}, False)])
def test_a_length_that_tells_nothing(fetch, server, headers, packed):
    """Of bytes that the server packs, although it was asked not to, or no number at all: the checksum decides."""
    server.longer, server.headers = None, headers
    server.files[NAME] = gzip.compress(CONTENT) if packed else CONTENT
    if packed:
        server.headers |= {"Content-Length": str(len(server.files[NAME]))}
    fetch()


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "data").iterdir())


@pytest.mark.parametrize("wrong", [{"longer": -10}, {"files": {NAME: CONTENT[:-1] + b"?"}}, {"files": {NAME: b""}}])
def test_what_is_not_the_published_file_is_not_kept(fetch, server, tmp_path, wrong):
    right = {"longer": 0, "files": {NAME: CONTENT}}
    vars(server).update(wrong)
    with pytest.raises(ValueError, match=r"127.0.0.1.*not the published file \(MD5 hash .*It was deleted: run it again"):
        fetch()
    assert left(tmp_path) == []
    vars(server).update(right)
    fetch()


def test_a_wrong_answer_is_told(fetch, server, tmp_path):
    server.files = {}
    with pytest.raises(OSError, match="the server answers 404 Not Found: look for the file's new address at its DOI"):
        fetch()
    assert len(server.log) == 1 and left(tmp_path) == []
    server.files, server.statuses = {NAME: CONTENT}, [204]
    with pytest.raises(OSError, match="the server answers 204"):
        fetch()


def test_a_busy_server_is_asked_again_but_not_for_ever(fetch, server, tmp_path):
    server.statuses = [503, 429, 408, 500]
    fetch()
    shutil.rmtree(tmp_path / "data")
    server.log.clear()
    server.statuses = [503] * 50
    with pytest.raises(OSError, match=r"503 Server Error.*\. 0 bytes are kept"):
        fetch()
    assert len(server.log) == downloads.TRIES


def test_a_server_that_brings_nothing_new_is_not_asked_for_ever(fetch, server):
    server.ranges, server.cuts = False, [200_000] * 50
    with pytest.raises(OSError, match="bytes are kept in"):
        fetch()
    assert len(server.log) == 1 + downloads.TRIES


def test_no_server(tmp_path):
    with Server({}) as gone:
        pass
    with pytest.raises(OSError, match=r"Connection.*\. 0 bytes are kept"):
        download(gone.url.format(name=NAME), tmp_path / NAME, md5(CONTENT), progress=False)


def test_the_pauses_grow(fetch, server, monkeypatch):
    pauses = []
    monkeypatch.setattr(downloads, "PAUSE_S", 1.0)
    monkeypatch.setattr(downloads.time, "sleep", pauses.append)
    server.statuses = [503, 503, 503]
    fetch()
    assert pauses == [2, 4, 8]


def test_a_disk_that_is_too_small_is_told_before(fetch, server, tmp_path, monkeypatch):
    part(tmp_path, CONTENT[:100_000])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=299_999))
    with pytest.raises(OSError, match="300,000 bytes are needed, and 299,999 are free: free some space"):
        fetch()
    assert (tmp_path / "data" / f".{NAME}.partial").read_bytes() == CONTENT[:100_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=300_000))
    fetch()


@pytest.fixture
def limit():
    """limit(bytes): the system now refuses to make a longer file."""
    resource = pytest.importorskip("resource", reason="this system has no limit on the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses_on_the_way_keeps_what_came(fetch, server, limit):
    limit(200_000)
    with pytest.raises(OSError, match=r"partial: File too large\. 200,000 bytes are kept: free some space, and run it again"):
        fetch()
    limit(400_000)
    fetch()
    assert server.log[1][1] == "bytes=200000-"


def test_a_file_system_without_links(fetch, monkeypatch):
    def link(*_):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", link)
    fetch()


def test_an_interrupt_while_checking_loses_nothing(fetch, server, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.core, "hash_matches", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch()
    monkeypatch.undo()
    fetch()
    assert [entry[3:] for entry in server.log] == [(200, 400_000), (416, 0)]


# -- archives -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path):
    """Writes an archive of {name: bytes}, or of bytes as they are. Returns: its path."""

    def function(content):
        (tmp_path / "a.zip").write_bytes(content if isinstance(content, bytes) else zipped(content))
        return tmp_path / "a.zip"

    return function


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_archive_of_archives(archive, tmp_path):
    files = idmt_files(notes=[(1, 0)])
    paths = unpack(archive(idmt_archive(files)), tmp_path / "deep" / "idmt")
    found = contents(tmp_path / "deep" / "idmt")
    assert paths == sorted(tmp_path / "deep" / "idmt" / name for name in found)
    where = "IDMT-SMT-AUDIO-EFFECTS/IDMT-SMT-AUDIO-EFFECTS"
    expected = {f"{where}/{name.split('/')[0]}/{name}": content for name, content in files.items()}
    expected |= {name.replace("TS/Gitarre ", "TS/Gitarre_", 1): content for name, content in expected.items() if "2/" in name}
    expected[f"{where}/IDMT-SMT-Audio-Effects-Description.pdf"] = b"%PDF"
    assert found == expected
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "deep"} and len(list((tmp_path / "deep").iterdir())) == 1


def test_folders_and_odd_but_harmless_names(archive, tmp_path):
    files = {"Proben/": b"", "Proben/leer/": b"", "Proben/Gitarre ü.wav": b"1", ".hidden": b"2", "a..b": b"3", "console": b"4"}
    unpack(archive(files | {"Proben/x.ZIP": zipped({"y": b"5"})}), tmp_path / "a")
    assert (tmp_path / "a/Proben/leer").is_dir()
    files = {name: content for name, content in files.items() if content} | {"Proben/x/y": b"5"}
    assert contents(tmp_path / "a") == files


def refused(path, folder, message, kind=ArchiveError, **settings):
    """It is refused, and leaves nothing."""
    around = {p for p in folder.parent.rglob("*")}
    with pytest.raises(kind, match=message):
        unpack(path, folder, **settings)
    assert {p for p in folder.parent.rglob("*")} == around


ELSEWHERE = [
    "/etc/a", "../a", "a/../../b", "a/..", "..", ".", "a/./b", "C:/a", "C:a", "a\\b", "..\\a", "//host/a", "a//b", "a ", "a./b",
    "a\nb", "a\x7f\x00b", "a?b", "a*", "NUL", "aux.wav", "x/con/y", "COM1", "lpt9.txt", "a:stream", "", "con .txt", "CONIN$",
    "com¹.txt",
]  # fmt: skip


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", ELSEWHERE)
def test_names_that_lead_elsewhere(archive, tmp_path, name, nested):
    hostile = hostile_archive(["good", name])
    path = archive({"in.zip": hostile} if nested else hostile)
    refused(path, tmp_path / "data" / "a", r"is refused: '.*' has a name that leads elsewhere, or that Windows can't have")


def hostile_archive(names):
    """The bytes of an archive with these names, which zipfile's own functions would mend."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            member = zipfile.ZipInfo("mended")
            member.filename = name
            file.writestr(member, b"?")
    return archive.getvalue()


@pytest.mark.parametrize(
    ("mode", "why"),
    [(stat.S_IFLNK, "link"), (stat.S_IFCHR, "link or a device"), (stat.S_IFBLK, "device"), (stat.S_IFIFO, "device")],
)
def test_links_and_devices(archive, tmp_path, mode, why):
    path = archive({"good": b""})
    with zipfile.ZipFile(path, "a") as file:
        member = zipfile.ZipInfo("bad")
        member.external_attr = (mode | 0o644) << 16
        file.writestr(member, "/etc/passwd")
    refused(path, tmp_path / "a", rf"'bad' is a .*{why}")


COLLISIONS = [
    ["a.wav", "A.WAV"], ["a.wav", "a.wav"], ["x/a", "X/b"], ["x", "x/a"], ["x/a", "x"], ["x/", "X/"], ["straße", "STRASSE"],
    ["\u00fc.wav", "u\u0308.wav"], ["p.zip", "p/a"], ["p/a", "p.zip"], ["p.zip", "P.ZIP"], ["p", "p.zip"], ["P.zip", "p"],
]  # fmt: skip


@pytest.mark.parametrize("names", COLLISIONS, ids=" and ".join)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_differ_in_nothing_but_case(tmp_path, names):
    inner = zipped({"in": b""})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in names:
            file.writestr(name, inner if name.lower().endswith("zip") else b"")
    refused(tmp_path / "a.zip", tmp_path / "a", "has another's name, upper and lower case aside")


def flip(content, at, value):
    return content[:at] + bytes([content[at] ^ value]) + content[at + 1 :]


def test_encrypted_members(archive, tmp_path):
    content = zipped({"secret": b"?"})
    entry = content.index(b"PK\x01\x02")
    refused(archive(flip(flip(content, entry + 8, 1), 6, 1)), tmp_path / "a", "'secret' is encrypted")


def test_archives_in_archives_in_archives(archive, tmp_path):
    deep = zipped({"2.ZIP": zipped({"deepest": b""})})
    refused(archive({"1.zip": deep}), tmp_path / "a", "'2.ZIP' is an archive in an archive in the archive")


def test_how_much_there_may_be(archive, tmp_path, monkeypatch):
    inner = zipped({f"{i}": bytes(1000) for i in range(4)}, zipfile.ZIP_STORED)
    path = archive({"a.zip": inner, "b": bytes(500)})
    needed = len(inner) + 500 + 4000
    refused(path, tmp_path / "a", rf"4 members of 4,000 bytes, where .* of {3999 - 0:,} are", max_bytes=needed - 501)
    refused(path, tmp_path / "a", r"2 members of .* bytes, where 200,000 of 100 are allowed", max_bytes=100)
    monkeypatch.setattr(downloads, "MAX_MEMBERS", 3)
    refused(path, tmp_path / "a", "4 members of .*, where 3 of")
    monkeypatch.undo()
    assert len(unpack(path, tmp_path / "a", max_bytes=needed)) == 5


def test_the_bound_counts_what_was_written_before(archive, tmp_path):
    parts = {f"{i}.zip": zipped({"x": bytes(1000)}, zipfile.ZIP_STORED) for i in range(3)}
    needed = sum(map(len, parts.values())) + 3000
    refused(archive(parts), tmp_path / "a", "1 members of 1,000 bytes, where .* of 999 are allowed", max_bytes=needed - 1)
    unpack(archive(parts), tmp_path / "a", max_bytes=needed)


@pytest.mark.parametrize("nested", [False, True])
def test_bombs(archive, tmp_path, nested):
    bomb = zipped({"silence": bytes(10_000_000)})
    assert len(bomb) < 11_000
    ballast = {"noise": CONTENT} if nested else {}  # so that the outer archive alone is no bomb
    refused(archive({"in.zip": bomb} | ballast if nested else bomb), tmp_path / "a", "1 members of 10,000,000 bytes, where")


def with_size(content, size):
    """The archive's one member, declared to have another size, in both places where it is written."""
    entry = content.index(b"PK\x01\x02")
    size = struct.pack("<I", size)
    return content[:22] + size + content[26 : entry + 24] + size + content[entry + 28 :]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [10, 300_001])
def test_declarations_that_lie(archive, tmp_path, monkeypatch, size, compression):
    written = []
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: written.append(contents(path)))
    path = archive(with_size(zipped({"lie": CONTENT[:300_000]}, compression), size))
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(path, tmp_path / "a")
    assert len(written[0]["lie"]) <= size and not (tmp_path / "a").exists()


@pytest.mark.parametrize("at", ["content", "directory", "cut", "empty", "text", "inner"])
def test_damaged_archives(archive, tmp_path, at):
    content = zipped({"a.wav": CONTENT, "b/c.wav": b"2"})
    damaged = {
        "content": flip(content, 200_000, 1),
        "directory": flip(content, content.index(b"PK\x01\x02"), 1),
        "cut": content[:-1000],
        "empty": b"",
        "text": b"a text, no archive",
        "inner": zipped({"good": CONTENT, "inner.zip": content[:-10]}),
    }
    refused(archive(damaged[at]), tmp_path / "a", "is damaged .*: fetch it again")
    with pytest.raises(OSError, match=r"No such file.*missing\.zip"):
        unpack(tmp_path / "missing.zip", tmp_path / "a")


def test_members_that_are_hidden(archive, tmp_path):
    """A comment of the first member that is said to be as long as the entry of the second hides that one from zipfile."""
    content = zipped({"first": b"1", "other": b"2"})
    first, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    second = content.index(b"PK\x01\x02", first + 4)
    hiding = content[: first + 32] + struct.pack("<H", end - second) + content[first + 34 :]
    path = archive(hiding)
    assert zipfile.ZipFile(path).namelist() == ["first"]
    refused(path, tmp_path / "a", "is damaged .some of its members are hidden.: fetch it again")


def test_comments_and_many_members(archive, tmp_path, monkeypatch):
    path = archive({f"{i}": b"" for i in range(65_536)})  # more than the old field for their number holds
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"many"
    monkeypatch.setattr(downloads, "MAX_MEMBERS", 65_535)
    refused(path, tmp_path / "a", "refused: 65,536 members")
    with zipfile.ZipFile(archive({"a": b"1"}), "a") as file:
        file.comment = b"few"
    assert len(unpack(path, tmp_path / "a")) == 1


def test_what_is_there_stays(archive, tmp_path):
    path = archive({"new": b"1"})
    write({"a/old": b"2"}, tmp_path)
    refused(path, tmp_path / "a", "a is there already: choose another folder", FileExistsError)
    write({".b.unpacking/half": b"3"}, tmp_path)
    refused(path, tmp_path / "b", "unpacking is there already: another run is unpacking, or was killed", FileExistsError)
    assert contents(tmp_path / "a") == {"old": b"2"}


def test_a_small_disk_is_told_before(archive, tmp_path, monkeypatch):
    path = archive({"x": bytes(600), "y": bytes(400)})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=999))
    refused(path, tmp_path / "a", "nothing of it was kept: .*1,000 bytes are needed, and 999 are free", OSError)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert len(unpack(path, tmp_path / "a")) == 2


def test_a_disk_that_refuses_on_the_way_keeps_no_half_folder(archive, tmp_path, limit):
    path = archive({"small": b"1", "large": CONTENT})
    limit(200_000)
    refused(path, tmp_path / "a", r"unpacking stopped, and nothing of it was kept: .*File too large", OSError)
    limit(400_000)
    assert len(unpack(path, tmp_path / "a")) == 2


@pytest.mark.parametrize("when", range(3))
def test_an_interrupt_leaves_nothing(archive, tmp_path, monkeypatch, when):
    copied, copy = itertools.count(), shutil.copyfileobj

    def interrupt(source, target, length):
        copy(source, target, length)
        if next(copied) == when:
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", interrupt)
    refused(archive({"a": b"1", "b/c": b"2", "d": b"3"}), tmp_path / "a", None, KeyboardInterrupt)


def test_it_is_whole_before_it_has_its_name(archive, tmp_path, monkeypatch):
    steps, rename = [], os.rename
    monkeypatch.setattr(os, "sync", partial(steps.append, "synced"))
    monkeypatch.setattr(os, "rename", lambda *paths: (steps.append(len(contents(paths[0]))), rename(*paths)))
    unpack(archive({"a": b"1", "b": b"2"}), tmp_path / "a")
    assert steps == ["synced", 2]
    monkeypatch.delattr(os, "sync")  # as on Windows
    unpack(archive({"a": b"1"}), tmp_path / "b")
