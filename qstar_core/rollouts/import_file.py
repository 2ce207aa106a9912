"""A user's file of rollouts from elsewhere: JSON lines of a question, its reference, sampled texts.

A row is ``{"question", "reference", "samples": [text, ...]}``; a sample may also be an object
``{"text", "logprob"}``. ``id``, ``split`` (``"train"`` or ``"test"``) and ``policy`` (a name for
what made the samples) are optional, further fields are left alone. Rows are found again by their
byte offset, so the file is read from a local, uncompressed copy in the cache where it is on S3 or
compressed with gzip.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from qstar_core.domains import problem_rows, problem_sets
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.mdp import Problem
from qstar_core.store import cache
from qstar_core.store.uri import is_remote

FIELD = "rollouts.import_file"
MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_STEPS = 2000  # lines of one sample: each has the ids of all before it hashed
SHARE = 0.9  # of the free disk space that a copy may take
SPLITS = ("train", "test")
MALFORMED = (ValueError, TypeError, KeyError, RecursionError, OverflowError)
"""What a malformed row raises; Unicode and JSON errors are ValueErrors."""
EXAMPLE = (
    '{"question": "Tom has 3 apples and buys 4. How many?", "reference": "7", '
    '"samples": ["3 + 4 = 7\\n#### 7", "3 + 4 = 8\\n#### 8"]}'
)


@dataclass(frozen=True, slots=True)
class ImportedSample:
    """A text that some policy wrote, and its log-probability there in nats (0: not known)."""

    text: str
    logprob: float = 0.0


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A row: its problem, the samples in their order, the name of their policy if it has one."""

    problem: Problem
    samples: tuple[ImportedSample, ...]
    policy: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file: its number from 1, where it begins, and its bytes; None if too long."""

    number: int
    offset: int
    content: bytes | None


def sha256(path: str, field: str = FIELD, example: str = EXAMPLE) -> str:
    """The SHA-256 of the file as it lies there; read once per process unless it changes.

    Args:
        path: of the file, or its ``s3://`` URI.
        field: of the configuration that names it, for errors.
        example: a right row, for errors.

    Raises:
        UserError: there is no such file.
    """
    return _digest(local(path, field, example))


def _digest(file: Path) -> str:
    found = file.stat()
    return _digest_of(str(file), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=16)
def _digest_of(file: str, size: int, mtime_ns: int) -> str:
    return cache.sha256_of(Path(file))


def local(path: str, field: str = FIELD, example: str = EXAMPLE) -> Path:
    """The file itself, or its copy in the cache if it lies on S3; arguments as of `sha256`.

    Raises:
        UserError: there is no such file.
    """
    found = _from_s3(path, field) if is_remote(path) else Path(path)
    if found is None or not found.is_file():
        step = f"name a file with rows like {example}"
        raise UserError(f"{field}: no such file: {path}", next_step=step)
    return found


def _from_s3(uri: str, field: str) -> Path | None:
    from qstar_core.store.s3 import S3Store

    folder, _, name = uri.rpartition("/")
    store = S3Store(folder)
    store.check(field)
    listed = [found for found in store.objects(name) if found.name == name]
    if not listed:
        return None
    [found] = listed
    place = cache.folder("imports") / content_id([found.name, found.size, found.etag])
    copy = place / "file"
    if copy.is_file() and copy.stat().st_size == found.size:
        return copy
    cache.discard(place)
    made = cache.scratch()
    store.download(name, made / copy.name)
    return cache.settle(made, place) / copy.name


def uncompressed(path: str, field: str = FIELD) -> Path:
    """A local file with the plain lines: the file itself, or its copy in the cache.

    Raises:
        UserError: there is no such file, it is a broken gzip file, or too large for the disk.
    """
    file = local(path, field)
    with file.open("rb") as opened:
        if opened.read(len(problem_rows.GZIP)) != problem_rows.GZIP:
            return file
    place = cache.folder("imports") / _digest(file)
    if place.is_dir():
        return place / "lines"
    made = cache.scratch()
    try:
        with gzip.open(file) as source, (made / "lines").open("wb") as target:
            _copy(source, target, shutil.disk_usage(made).free, f"{field}: {path}")
    except problem_rows.BROKEN_GZIP as error:
        what, step = f"{field}: {path} is a broken gzip file: {error}", f"gzip -t {path}"
        raise UserError(what, next_step=f"{step}   checks it") from error
    return cache.settle(made, place) / "lines"


def _copy(source: io.BufferedIOBase, target: IO[bytes], free: int, path: str) -> None:
    """Copies in blocks, as long as the disk has room: a small file may hold more than that."""
    room = int(SHARE * free)
    while block := source.read(problem_rows.BLOCK):
        room -= len(block)
        if room < 0:
            target.truncate(0)
            raise UserError(
                f"{path} holds more, when it is unpacked, than the cache has room for: "
                f"{SHARE:.0%} of the {free:,} bytes that were free there",
                next_step=f"free space in {cache.root()}, or set QSTAR_CACHE to a larger disk",
            )
        target.write(block)


def lines(file: Path) -> Iterator[Line]:
    """The lines of a file that are not blank, never more than `MAX_LINE_BYTES` at once."""
    number = offset = 0
    with file.open("rb") as opened:
        while read := opened.readline(MAX_LINE_BYTES + 1):
            number, start, content = number + 1, offset, read
            offset += len(read)
            long = len(read) > MAX_LINE_BYTES
            while long and read and not read.endswith(b"\n"):
                read = opened.readline(MAX_LINE_BYTES + 1)
                offset += len(read)
            if content.strip():
                yield Line(number, start, None if long else content)


def parse(content: bytes | None, domain: str) -> ImportedRow:
    """The row of a line.

    Args:
        content: of the line; None for one that is too long.
        domain: whose problems they are, a key of `problem_sets.SOURCES`.

    Raises:
        ValueError: or another one of `MALFORMED`: the row is malformed; see `reason`.
    """
    if content is None:
        raise ValueError(f"longer than {MAX_LINE_BYTES:,} bytes")
    row = json.loads(content.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    if not isinstance(row, dict):
        raise TypeError("not a JSON object")
    for field in ("question", "reference", "samples"):
        if field not in row:
            raise KeyError(f"field {field!r} is missing")
    question, split = _text(row, "question"), row.get("split")
    if split is not None and split not in SPLITS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r:.80}")
    source = problem_sets.SOURCES[domain]
    problem: Problem = source.from_question(question, row["reference"], split)
    if split is not None and split != problem.split:
        raise ValueError(f"the problem belongs to split {problem.split!r}, not {split!r}")
    policy = _text(row, "policy") if row.get("policy") is not None else None
    return ImportedRow(problem, _samples(row["samples"]), policy)


def _text(row: dict[str, Any], field: str) -> str:
    value = row[field]
    if not isinstance(value, str):
        raise TypeError(f"{field} must be a text, got {value!r:.80}")
    value.encode()  # lone surrogates, which JSON can write, are no text
    return value


def _samples(samples: object) -> tuple[ImportedSample, ...]:
    if not isinstance(samples, list):
        raise TypeError(f"samples must be a list of texts, got {samples!r:.80}")
    if not samples:
        raise ValueError("samples is empty")
    return tuple(_sample(place, sample) for place, sample in enumerate(samples))


def _sample(place: int, sample: object) -> ImportedSample:
    if isinstance(sample, str):
        sample = {"text": sample}
    if not isinstance(sample, dict) or not isinstance(sample.get("text"), str):
        raise TypeError(f"samples.{place} is neither a text nor an object with one: {sample!r:.80}")
    logprob = sample.get("logprob")
    if logprob is None:
        logprob = 0.0
    if isinstance(logprob, bool) or not isinstance(logprob, int | float):
        raise TypeError(f"samples.{place}.logprob must be a number, got {logprob!r:.80}")
    if not math.isfinite(logprob):
        raise ValueError(f"samples.{place}.logprob must be finite, got {logprob}")
    if logprob > 0:
        raise ValueError(f"samples.{place}.logprob must not be above 0, got {logprob}")
    text = _text(sample, "text")
    if text.count("\n") >= MAX_STEPS:
        raise ValueError(f"samples.{place} has more than {MAX_STEPS:,} lines")
    return ImportedSample(text, float(logprob))


def reason(error: Exception) -> str:
    """Why a row is malformed, in a few words."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte {error.start + 1} of the line: {error.reason})"
    if isinstance(error, UnicodeEncodeError):
        return f"no text: {error.reason}"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} (column {error.colno})"
    if isinstance(error, KeyError):
        return str(error.args[0])
    return str(error)
