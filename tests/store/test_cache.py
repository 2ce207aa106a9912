"""Copies in the cache are verified and shared; scratch space of dead processes is cleared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qstar_core.store import cache

ROOT = Path(__file__).parents[2]
CONTENT = b"some rows"
ENTRY = {"name": "part.parquet", "bytes": len(CONTENT)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    cache.leave()
    monkeypatch.setenv("QSTAR_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    cache.leave()


@pytest.fixture
def entry(tmp_path: Path) -> dict[str, object]:
    (tmp_path / "x").write_bytes(CONTENT)
    return {**ENTRY, "sha256": cache.sha256_of(tmp_path / "x")}


class Source:
    """Counts what is fetched from it."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.fetched = 0

    def fetch(self, name: str, target: Path) -> None:
        self.fetched += 1
        target.write_bytes(self.content)


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.root() == tmp_path / "cache"
    monkeypatch.delenv("QSTAR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.root() == tmp_path / "xdg" / "qstar"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.root() == tmp_path / ".cache" / "qstar"


def test_equal_files_are_fetched_once(entry: dict[str, object]) -> None:
    source = Source()
    folder = cache.copies([entry], source.fetch)
    assert (folder / "part.parquet").read_bytes() == CONTENT
    assert cache.copies([entry], source.fetch) == folder
    assert source.fetched == 1


def test_a_damaged_copy_is_fetched_anew(entry: dict[str, object]) -> None:
    source = Source()
    path = cache.copies([entry], source.fetch) / "part.parquet"
    for damaged in (CONTENT[:-1], CONTENT[::-1]):
        time.sleep(0.01)  # another time of change
        path.write_bytes(damaged)
        cache.copies([entry], source.fetch)
        assert path.read_bytes() == CONTENT
    path.unlink()
    cache.copies([entry], source.fetch)
    assert source.fetched == 4


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[::-1]])
def test_what_is_not_as_its_entry_says_is_refused(
    entry: dict[str, object], own_cache: Path, content: bytes
) -> None:
    with pytest.raises(cache.Damaged, match=r"part\.parquet"):
        cache.copies([entry], Source(content).fetch)
    assert list((own_cache / "files").iterdir()) == []


def test_many_at_once_get_the_same_copy(entry: dict[str, object]) -> None:
    source = Source()
    with ThreadPoolExecutor(16) as pool:
        folders = set(pool.map(lambda _: cache.copies([entry], source.fetch), range(64)))
    assert len(folders) == 1
    assert (folders.pop() / "part.parquet").read_bytes() == CONTENT


def test_the_cache_is_private(own_cache: Path) -> None:
    cache.scratch()
    assert own_cache.stat().st_mode & 0o777 == 0o700


def test_scratch_of_a_killed_process_is_cleared_and_that_of_a_living_one_kept(
    own_cache: Path,
) -> None:
    program = (
        "import sys; from qstar_core.store import cache\n"
        "(cache.scratch() / 'model').write_text('x'); print('made', flush=True)\n"
        "sys.stdin.read()\n"
    )

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "QSTAR_CACHE": str(own_cache)},
        )
        assert process.stdout
        assert process.stdout.readline() == "made\n"
        return process

    killed, living = start(), start()
    killed.kill()
    killed.communicate()
    mine = cache.scratch()
    left = {p.name.partition("-")[0] for p in (own_cache / "scratch").iterdir()}
    assert left == {str(living.pid), str(os.getpid())}
    living.communicate("")
    cache.leave()
    assert not mine.exists()
    assert list((own_cache / "scratch").iterdir()) == []


def test_all_of_the_cache_may_be_removed(entry: dict[str, object], own_cache: Path) -> None:
    source = Source()
    cache.copies([entry], source.fetch)
    shutil.rmtree(own_cache / "files")
    assert (cache.copies([entry], source.fetch) / "part.parquet").is_file()
    assert source.fetched == 2


def test_threads_that_come_first_together_share_one_folder_that_goes_with_them(
    own_cache: Path,
) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: cache.scratch(), range(32)))
    assert len({folder.parent for folder in made}) == 1
    cache.leave()
    assert not list((own_cache / "scratch").iterdir())
