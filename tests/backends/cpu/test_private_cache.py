"""Whose code is run: a cache is its user's alone, every file in it is checked, and what is of no use is made anew.

The tests of files speak to `ObjectCache` alone, those of programs to no cache at all: they hold for any other that
keeps files by key.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from graphad.backends import private_files
from graphad.backends.cache import ObjectCache, key_of
from graphad.backends.llvm import library
from graphad.errors import CacheWarning

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has access lists instead")
KEY, OTHER = key_of("some", "text"), key_of("other", "text")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def file_of(folder, key=KEY):
    return folder / f"{key}.o"


@pytest.fixture(params=[0o000, 0o002, 0o022], ids="umask {:03o}".format)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_folder_and_files_are_the_owners_alone(tmp_path, umask):
    ObjectCache(str(tmp_path / "cache")).put(KEY, b"code")
    assert mode(tmp_path / "cache") == 0o700
    assert mode(file_of(tmp_path / "cache")) == 0o600


# --- folders that are refused


def refused(folder, match):
    """Nothing is read from the folder nor written into it; code is kept in memory, and the reason is told once."""
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    cache = ObjectCache(str(folder))
    assert cache.get(KEY) is None
    with pytest.warns(CacheWarning, match=match):
        cache.put(OTHER, b"mine")
    cache.put(KEY, b"mine")
    cache.forget(OTHER)
    assert (cache.get(KEY), cache.get(OTHER)) == (b"mine", None)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_folder_that_everybody_may_write_is_refused(tmp_path):
    ObjectCache(str(tmp_path)).put(KEY, b"theirs")
    for permissions in (0o777, 0o1777, 0o707):
        tmp_path.chmod(permissions)
        refused(tmp_path, rf"(?s)everybody may write to it \(mode {permissions:04o}\).*chmod 700.*or set GRAPHAD_CACHE")
    tmp_path.chmod(0o700)
    assert ObjectCache(str(tmp_path)).get(KEY) == b"theirs"


def test_a_folder_of_somebody_else_is_refused(tmp_path, monkeypatch):
    ObjectCache(str(tmp_path)).put(KEY, b"theirs")
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    refused(
        tmp_path, rf"it belongs to user {me}, and this process runs as user {me + 1}.*Set GRAPHAD_CACHE to a folder"
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_link_that_somebody_else_has_made_is_refused(tmp_path):
    mine, link = tmp_path / "mine", tmp_path / "link"
    mine.mkdir()
    link.symlink_to(mine)
    ObjectCache(str(link)).put(KEY, b"code")
    assert ObjectCache(str(link)).get(KEY) == b"code", "a link of one's own is followed"
    os.lchown(link, 1234, 1234)
    refused(link, "it belongs to user 1234")


def test_a_folder_of_one_s_group_is_used_as_its_files_are_checked_one_by_one(tmp_path):
    tmp_path.chmod(0o775)
    cache = ObjectCache(str(tmp_path))
    cache.put(KEY, b"code")
    assert cache.get(KEY) == b"code"


# --- files that are not read


def planted(path, kind, monkeypatch):
    """Put something else in the place of a file."""
    whole = path.read_bytes()
    if kind == "link":
        path.rename(path.with_suffix(".elsewhere"))
        path.symlink_to(path.with_suffix(".elsewhere"))
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif kind == "device":
        path.unlink()
        path.symlink_to("/dev/zero")
    elif kind == "writable":
        path.chmod(0o620)
    elif kind == "foreign":
        real = os.fstat

        def fstat(descriptor):
            found = list(real(descriptor))
            found[stat.ST_UID] += 1
            return os.stat_result(found)

        monkeypatch.setattr(os, "fstat", fstat)
    elif kind == "other key":
        path.write_bytes(private_files.seal(OTHER, b"code"))
    elif kind == "renamed":
        path.write_bytes(whole.replace(OTHER.encode(), KEY.encode()).replace(KEY.encode(), OTHER.encode()))


@pytest.mark.parametrize("kind", ["link", "pipe", "device", "writable", "foreign", "other key", "renamed"])
def test_what_is_not_a_private_file_of_this_key_is_not_read(tmp_path, kind, monkeypatch):
    cache = ObjectCache(str(tmp_path))
    cache.put(KEY, b"code")
    with monkeypatch.context() as patch:
        planted(file_of(tmp_path), kind, patch)
        assert cache.get(KEY) is None
        assert cache.use(KEY, lambda: b"anew", bytes) == b"anew"
    assert ObjectCache(str(tmp_path)).get(KEY) == b"anew"
    assert stat.S_ISREG(file_of(tmp_path).lstat().st_mode)
    assert mode(file_of(tmp_path)) == 0o600


def test_one_file_under_the_name_of_another_is_not_read(tmp_path):
    cache = ObjectCache(str(tmp_path))
    cache.put(OTHER, b"other code")
    os.rename(file_of(tmp_path, OTHER), file_of(tmp_path))
    assert cache.get(KEY) is None


def test_every_bit_is_checked():
    whole = private_files.seal("key", b"code")
    for at in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        assert private_files.unseal("key", bytes(damaged)) is None
    assert private_files.unseal("key", whole) == b"code"
    assert private_files.unseal("ke", private_files.seal("k", b"ecode")) is None


def test_files_of_others_in_the_folder_stay(tmp_path):
    mine = [tmp_path / name for name in ("main.o", "notes.tmp", "report.txt")]
    for path in mine:
        path.write_bytes(bytes(5000))
        os.utime(path, (1000, 1000))
    cache = ObjectCache(str(tmp_path), max_bytes=1000)
    for n in range(10):
        cache.put(key_of(str(n)), bytes(200))
    cache.evict()
    assert all(path.exists() for path in mine)
    assert len(list(tmp_path.glob("*.o"))) < 10


# --- what cannot be loaded


def test_what_cannot_be_loaded_is_deleted_and_made_anew(tmp_path):
    def load(code):
        if code != b"good":
            raise ValueError("no code")
        return "loaded"

    for cache in (ObjectCache(str(tmp_path)), ObjectCache(None)):
        cache.put(KEY, b"bad")
        assert cache.use(KEY, lambda: b"good", load) == "loaded"
        assert cache.get(KEY) == b"good"
        cache.forget(KEY)
        with pytest.raises(ValueError, match="no code"):
            cache.use(KEY, lambda: b"bad", load)
        assert cache.get(KEY) is None, "it is not kept either"


PROGRAM = """
import numpy as np, graphad, graphad.numpy as gnp
x = np.linspace(-1, 1, 7, dtype=np.float32)
f = graphad.jit(lambda x: gnp.sort(gnp.sin(x) * x))
print(np.asarray(f(x)).tobytes().hex(), np.asarray(f(x)).tobytes().hex())
g = graphad.jit(lambda x: gnp.sum(x * 2), device="cuda:emulated")
print(float(g(x)))
"""


def run_program(folder):
    environment = {**os.environ, "GRAPHAD_CACHE": str(folder), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-Werror", "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def contents(folder):
    cache = ObjectCache(str(folder))
    return {path.stem: cache.get(path.stem) for path in folder.iterdir()}


def test_whatever_is_stored_is_made_anew_if_it_is_of_no_use(tmp_path):
    """Programs, elementary functions, routines, the entry and PTX alike."""
    said, stored = run_program(tmp_path), contents(tmp_path)
    assert len(stored) >= 5
    others = list(stored.values())
    for n, key in enumerate(stored):
        useless = (b"no object code", others[n - 1], b"")[n % 3]  # another's code does link, but not under this name
        if useless in (b"no object code", b"") and stored[key].lstrip().startswith(b"//"):
            useless = b"\xff"  # PTX: any text would be read
        ObjectCache(str(tmp_path)).put(key, useless)
    assert run_program(tmp_path) == said
    assert contents(tmp_path) == stored


def test_the_architecture_is_part_of_the_key(monkeypatch):
    before = library.object_key("object", "text")
    monkeypatch.setattr("platform.machine", lambda: "another")
    assert library.object_key("object", "text") != before
