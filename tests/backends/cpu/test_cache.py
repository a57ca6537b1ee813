"""The cache of object code: what is stored comes back whole or not at all, whatever happens to the files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
import warnings

import pytest

from graphad.backends.cache import ObjectCache, key_of, object_cache
from graphad.config import config
from graphad.errors import CacheWarning
from tests.threads import side_by_side

KEY = key_of("some", "text")


def only_file(directory):
    (path,) = directory.iterdir()
    return path


def test_what_is_put_is_got_by_another_cache_of_the_directory(tmp_path):
    ObjectCache(str(tmp_path)).put(KEY, b"code")
    assert ObjectCache(str(tmp_path)).get(KEY) == b"code"
    assert ObjectCache(str(tmp_path)).get(key_of("other")) is None
    assert only_file(tmp_path).name == KEY + ".o"


def test_the_directory_is_created_when_first_written(tmp_path):
    cache = ObjectCache(str(tmp_path / "a" / "b"))
    assert cache.get(KEY) is None
    assert not (tmp_path / "a").exists()
    cache.put(KEY, b"")
    assert cache.get(KEY) == b""


def test_what_is_used_is_made_once(tmp_path):
    calls = []
    cache = ObjectCache(str(tmp_path))
    for _ in range(2):
        assert cache.use(KEY, lambda: calls.append(1) or b"made", bytes) == b"made"
    assert calls == [1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:10],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:-2] + bytes([data[-2] ^ 1]) + data[-1:],
        lambda data: b"GRAPHAD" + data[7:],
    ],
    ids=["empty", "header cut", "truncated", "longer", "bit flipped", "other format"],
)
def test_a_damaged_file_is_deleted_and_made_anew(tmp_path, damage):
    cache = ObjectCache(str(tmp_path))
    cache.put(KEY, b"some code")
    path = only_file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(KEY) is None
    assert not path.exists()
    assert cache.use(KEY, lambda: b"some code", bytes) == b"some code"
    assert ObjectCache(str(tmp_path)).get(KEY) == b"some code"


def test_none_keeps_code_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = ObjectCache(None)
    cache.put(KEY, b"code")
    assert cache.get(KEY) == b"code"
    assert ObjectCache(None).get(KEY) is None
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_as_a_directory_is():
    cache = ObjectCache(None, max_bytes=100)
    for n in range(10):
        cache.put(key_of(str(n)), bytes(30))
    cache.put(key_of("9"), bytes(40))  # again: counted once
    assert [n for n in range(10) if cache.get(key_of(str(n))) is not None] == [7, 8, 9]
    cache.put(KEY, bytes(1000))
    assert cache.get(KEY) == bytes(1000)  # the last one stays in any case
    assert cache.get(key_of("9")) is None


def test_an_unwritable_directory_warns_once_and_keeps_code_in_memory(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    cache = ObjectCache(str(tmp_path / "file" / "below"))
    with pytest.warns(CacheWarning, match="cannot write the cache directory .*below.*Set GRAPHAD_CACHE"):
        cache.put(KEY, b"code")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.put(key_of("2"), b"more")
    assert cache.get(KEY) == b"code"
    assert cache.get(key_of("2")) == b"more"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_read(tmp_path):
    ObjectCache(str(tmp_path)).put(KEY, b"code")
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        cache = ObjectCache(str(tmp_path))
        assert cache.get(KEY) == b"code"
        with pytest.warns(CacheWarning):
            cache.put(key_of("2"), b"more")
        assert cache.get(KEY) == b"code"
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_the_oldest_files_are_evicted_first(tmp_path):
    cache = ObjectCache(str(tmp_path), max_bytes=1000)
    keys = [key_of(str(i)) for i in range(10)]
    for i, key in enumerate(keys):
        cache.put(key, bytes(150))
        os.utime(tmp_path / f"{key}.o", (1000 + i, 1000 + i))
    cache.evict()
    left = [key for key in keys if (tmp_path / f"{key}.o").exists()]
    assert left == keys[-len(left) :]
    assert 0 < sum(path.stat().st_size for path in tmp_path.iterdir()) <= 800


def test_reading_a_file_makes_it_young(tmp_path):
    cache = ObjectCache(str(tmp_path), max_bytes=500)
    keys = [key_of(str(i)) for i in range(3)]
    for i, key in enumerate(keys):
        cache.put(key, bytes(140))
        os.utime(tmp_path / f"{key}.o", (1000 + i, 1000 + i))
    assert cache.get(keys[0]) is not None
    cache.evict()
    assert (tmp_path / f"{keys[0]}.o").exists()
    assert not (tmp_path / f"{keys[1]}.o").exists()


def test_a_small_cache_is_not_swept(tmp_path):
    cache = ObjectCache(str(tmp_path))
    for i in range(130):
        cache.put(key_of(str(i)), bytes(10))
    assert len(list(tmp_path.iterdir())) == 130


def test_putting_sweeps_now_and_then(tmp_path):
    cache = ObjectCache(str(tmp_path), max_bytes=2000)
    for i in range(200):
        cache.put(key_of(str(i)), bytes(100))
    assert len(list(tmp_path.iterdir())) < 100


WRITER = """
import sys
from graphad.backends.cache import ObjectCache, key_of
cache = ObjectCache(sys.argv[1])
for turn in range(100):
    for i in range(4):
        cache.put(key_of(str(i)), str(i).encode() * 20000)
        got = cache.get(key_of(str(i)))
        assert got == str(i).encode() * 20000, (turn, i, got and len(got))
"""


def test_processes_and_threads_may_write_the_same_keys(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    cache, problems = ObjectCache(str(tmp_path)), []

    def work(_number):
        for _ in range(50):
            cache.put(KEY, b"thread" * 1000)
            if cache.get(KEY) != b"thread" * 1000:
                problems.append("other contents")

    side_by_side(work, 3)
    for process in processes:
        assert process.wait(timeout=60) == 0, process.stderr.read().decode()
        process.stderr.close()
    assert problems == []
    assert not list(tmp_path.glob("*.tmp"))


def test_left_over_unfinished_files_count_and_go(tmp_path):
    unfinished = tmp_path / "x.o.1-2-3.tmp"
    unfinished.write_bytes(bytes(2000))
    os.utime(unfinished, (1000, 1000))
    cache = ObjectCache(str(tmp_path), max_bytes=1000)
    cache.put(KEY, b"code")
    cache.evict()
    assert not unfinished.exists()
    assert cache.get(KEY) == b"code"


def test_the_cache_of_the_configuration(tmp_path):
    with config.override(cache_dir=str(tmp_path / "here")):
        object_cache().put(KEY, b"code")
        assert object_cache() is object_cache()
    assert only_file(tmp_path / "here").name == KEY + ".o"
    with config.override(cache_dir=None):
        object_cache().put(KEY, b"memory")
        assert object_cache().get(KEY) == b"memory"


def test_recently_read_files_are_not_touched(tmp_path):
    cache = ObjectCache(str(tmp_path))
    cache.put(KEY, b"code")
    recent = time.time() - 60
    os.utime(only_file(tmp_path), (recent, recent))
    cache.get(KEY)
    assert only_file(tmp_path).stat().st_mtime == pytest.approx(recent, abs=1)
