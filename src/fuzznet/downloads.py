"""Large files from the network: downloads that go on where they broke off, archives that are not trusted (chapter 19)."""

import os
import re
import shutil
import stat
import time
import unicodedata
import zipfile
from pathlib import Path, PurePosixPath

import pooch
import requests

from fuzznet.training import progress_bar

TRIES = 5  # attempts in a row that bring nothing, before a download gives up
PAUSE_S = 1.0  # before the second of them; doubled before each next one
MAX_MEMBERS = 200_000  # of an archive; IDMT-SMT-Audio-Effects has 55,044 sounds in all
MAX_RATIO = 100  # unpacked size by packed size; sounds shrink to a half, and a bomb to a thousandth
pooch.get_logger().setLevel("WARNING")  # the progress bar says the rest


def download(url, path, md5, progress=True):
    """Download a file and check it, going on from where an earlier try broke off.

    What has come is kept beside path, under .NAME.partial, with the version of the file that the server states (its ETag).
    The rest is asked for by HTTP's Range and If-Range: a server that knows neither, or has another version now, sends all of
    it anew. A file that is there with the right checksum is not downloaded.

    path: where to; md5: the published checksum. Returns: path. Raises ValueError for a wrong checksum, after which nothing is
    kept, and OSError where the network or the disk gives out, after which all that came is kept.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")

    def downloader(url, output, _):
        _resume(url, partial, progress)
        os.remove(output)
        try:
            os.link(partial, output)  # so that nothing is lost where the checking is interrupted
        except OSError:  # a file system without links
            os.replace(partial, output)

    try:
        pooch.retrieve(url, f"md5:{md5}", path.name, path.parent, downloader=downloader)
    except ValueError as error:
        _forget(partial)
        raise ValueError(
            f"{url}: what came is not the published file ({error}). It was deleted: run it again, and if it stays so, "
            "something between the server and here changes it, or the server holds another version"
        ) from error
    _forget(partial)
    return path


def _version_file(partial):
    return partial.with_name(f"{partial.name}-version")  # holds the ETag of what the partial file is a part of


def _forget(partial):
    partial.unlink(missing_ok=True)
    _version_file(partial).unlink(missing_ok=True)


def _resume(url, partial, progress):
    """Bring the rest of url into partial, over as many connections as it takes while each brings something."""
    idle, most = 0, 0
    while True:
        try:
            if _receive(url, partial, progress):
                return
            problem = "the connection was cut"
        except requests.RequestException as error:
            problem = error
        have = _size(partial)
        idle, most = (0, have) if have > most else (idle + 1, most)
        if idle == TRIES:
            raise OSError(f"{url}: {problem}. {have:,} bytes are kept in {partial}: run it again to go on from there")
        time.sleep(PAUSE_S * 2**idle if idle else 0)


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _receive(url, partial, progress):
    """One connection. Returns whether partial is now all of the file. What belongs to another version of it is thrown away."""
    have, version = _size(partial), _version_file(partial)
    known = version.read_text("utf-8") if have and version.exists() else ""
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": known} if known else {})
    with requests.get(url, headers=headers, stream=True, timeout=(30, 60)) as answer:
        status, length, tag = answer.status_code, answer.headers.get("Content-Length", ""), answer.headers.get("ETag", "W/")
        length = "" if "Content-Encoding" in answer.headers else length  # which tells of the packed bytes, in spite of identity
        tag = answer.headers.get("Last-Modified", "") if tag.startswith("W/") else tag
        found = re.match(r"bytes (\d+|\*)\S*/(\d+)", answer.headers.get("Content-Range", ""))
        first, total = map(str, found.groups()) if found else ("", "")
        if status == 416 and total == str(have):
            return True
        if status == 416 or (status == 206 and (first != str(have) or (known and tag and tag != known))):
            _forget(partial)
            return False
        if status in (408, 429) or status >= 500:
            answer.raise_for_status()
        if status not in (200, 206):
            raise OSError(f"{url}: the server answers {status} {answer.reason}: look for the file's new address at its DOI")
        have = have if status == 206 else 0
        end = int(total) if total else have + int(length) if length.isdecimal() else None
        _write(answer, partial, have, end, tag, progress)
    return end is None or _size(partial) == end


def _write(answer, partial, have, end, tag, progress):
    _check_space(partial.parent, (end or have) - have)
    name, mode = partial.stem[1:], "ab" if have else "wb"
    try:
        with (
            partial.open(mode) as file,
            progress_bar(total=end, initial=have, unit="B", unit_scale=True, desc=name, disable=not progress) as bar,
        ):
            if not have:
                _version_file(partial).write_text(tag, "utf-8")  # the partial file is empty now: no old bytes under a new tag
            for block in answer.iter_content(2**12):  # of a block that is cut off, nothing comes
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    except requests.RequestException:
        raise
    except OSError as error:
        kept = f"{_size(partial):,} bytes are kept: free some space, and run it again to go on"
        raise OSError(f"{partial}: {error.strerror or error}. {kept}") from error


def _check_space(folder, needed):
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{folder}: {needed:,} bytes are needed, and {free:,} are free: free some space, or choose another disk")


def unpack(archive, folder, max_bytes=40 * 10**9):
    """Unpack a zip archive, and the zip archives in it, into a new folder: whole or not at all.

    An archive in the archive becomes a folder of its name beside it, and is removed.

    Refused are names that lead out of the folder or that some system can't have, names that differ in nothing but case,
    links, devices, encrypted members, archives within those in the archive, more than max_bytes in all, and, in each archive,
    more than MAX_MEMBERS members and more than MAX_RATIO times its size. zipfile writes no more of a member than its declared
    size, which is what is counted.
    Returns: the paths of the files, sorted. Raises ValueError for an archive that is refused or damaged, FileExistsError for
    a folder that is there, and OSError where the disk is full.
    """
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.unpacking")
    for there, what in (folder, "choose another folder, or delete it"), (partial, "another run is unpacking, or was killed"):
        if there.exists():
            raise FileExistsError(f"{there} is there already: {what}; if nothing of it is needed, delete it and run again")
    partial.mkdir(parents=True)
    try:
        _unpack(Path(archive), partial, max_bytes, deeper=True)
        getattr(os, "sync", int)()  # the files, before their folder gets its name; Windows has none
        os.rename(partial, folder)
    except OSError as error:
        raise OSError(f"{archive}: unpacking stopped, and nothing of it was kept: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _unpack(archive, folder, room, deeper):
    """Unpack into a folder that is there. Returns what is left of room, in bytes."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
            if _count(archive, file.comment) not in (len(members), 0xFFFF):  # more than 16 bits hold
                raise zipfile.BadZipFile("some of its members are hidden")
            _check_members(archive, members, room, deeper)
            _check_space(folder, sum(member.file_size for member in members))
            for member in members:
                path = folder / member.filename
                (path if member.is_dir() else path.parent).mkdir(parents=True, exist_ok=True)
                if member.is_dir():
                    continue
                with file.open(member) as source, path.open("xb") as target:
                    shutil.copyfileobj(source, target, 2**20)
                if path.stat().st_size != member.file_size:
                    raise zipfile.BadZipFile(f"{member.filename} is not as long as declared")
                room -= member.file_size
                if _is_zip(member):
                    path.with_suffix("").mkdir()
                    room = _unpack(path, path.with_suffix(""), room, deeper=False)
                    path.unlink()
    except (OSError, ArchiveError):
        raise
    except Exception as error:  # damaged bytes make zipfile raise nearly anything
        raise ArchiveError(f"{archive} is damaged ({error}): fetch it again") from error
    return room


def _count(archive, comment):
    """How many members an archive says it has, which zipfile does not compare with how many it finds."""
    with archive.open("rb") as file:
        file.seek(-22 - len(comment), os.SEEK_END)
        return int.from_bytes(file.read(12)[10:], "little")


class ArchiveError(ValueError):
    """An archive that is damaged, or that looks like no honest data set."""


_IMPOSSIBLE = re.compile(  # absolute, with "..", a drive, a backslash, or what Windows can't have
    r"^/|^$|//|[. ](/|$)|[\x00-\x1f<>:\"|?*\\]|(^|/)(con|prn|aux|nul|con(in|out)\$|(com|lpt)[\d¹²³]) *(\.|/|$)", re.IGNORECASE
)


def _is_zip(member):
    return member.filename.lower().endswith(".zip")


def _check_members(archive, members, room, deeper):
    total = sum(member.file_size for member in members)
    limit = min(room, MAX_RATIO * archive.stat().st_size)
    if len(members) > MAX_MEMBERS or total > limit:
        much = f"{len(members):,} members of {total:,} bytes, where {MAX_MEMBERS:,} of {limit:,} are allowed"
        raise ArchiveError(f"{archive} is refused: {much}; if you trust it, unpack it with another program")
    for member in members:
        name, kind = member.orig_filename, stat.S_IFMT(member.external_attr >> 16)
        for wrong, why in (
            (_IMPOSSIBLE.search(name), "has a name that leads elsewhere, or that Windows can't have"),
            (kind not in (0, stat.S_IFREG, stat.S_IFDIR), "is a link or a device"),
            (member.flag_bits & 1, "is encrypted"),
            (_is_zip(member) and not deeper, "is an archive in an archive in the archive"),
        ):
            if wrong:
                raise ArchiveError(f"{archive} is refused: {name!r} {why}; ask who made it")
    if name := _collision(members):
        raise ArchiveError(f"{archive} is refused: {name!r} has another's name, upper and lower case aside; ask who made it")


def _collision(members):
    """The first member that needs a name which another one has, upper and lower case aside. Returns: its name, or None."""
    owners = {}
    for member in members:
        path = PurePosixPath(member.filename)
        needs = {folder: str(folder) for folder in list(path.parents)[:-1]}  # a folder may belong to many
        needs[path] = str(path) if member.is_dir() else id(member)
        if _is_zip(member):
            needs[path.with_suffix("")] = id(member)
        for name, owner in needs.items():
            if owners.setdefault(unicodedata.normalize("NFC", str(name)).casefold(), owner) != owner:
                return member.filename
    return None
