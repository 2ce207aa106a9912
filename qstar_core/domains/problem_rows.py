"""The rows of a data set of problems, whatever it lies in: a file, a folder, or a hub.

Files are JSONL (plain or gzip), a JSON list (``.json``), CSV with a heading (``.csv``) or Parquet
(``.parquet``). A folder holds the files of a data set with its splits in their names, as the
`datasets` library reads it. A hub name is ``owner/name``, with ``:configuration`` and ``:split``
where the data set needs them; `datasets` keeps a copy, so it is fetched once.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from qstar_core.errors import UserError
from qstar_core.store import cache

GZIP = b"\x1f\x8b"  # how a gzip file begins
BLOCK = 1024 * 1024
MAX_BYTES = 2 * 1024**3
"""Of an unpacked file of problems; some millions of them."""
BROKEN_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)

Row = tuple[int, object]
"""Number from 1, and what stands there: a text of JSON, or what was read."""

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(?::[\w.+-]*)?(?::[\w.+-]+)?", re.ASCII)
FILE_SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".gz", ".txt", ".yaml")
SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
CONFIGURATIONS: dict[str, tuple[str, ...]] = {
    "openai/gsm8k": ("main",),
    "EleutherAI/hendrycks_math": SUBJECTS,
    "google-research-datasets/mbpp": ("full",),
    "cais/mmlu": ("all",),
    "truthfulqa/truthful_qa": ("multiple_choice",),
}
"""What is meant where only the name of a data set is given."""


def is_hub_name(path: str) -> bool:
    """Whether a path that is no file and no folder is the name of a data set on a hub."""
    named = HUB_NAME.fullmatch(path) is not None
    return named and not path.endswith(FILE_SUFFIXES) and not Path(path).exists()


def of_file(path: str, content: bytes) -> Iterator[Row]:
    """The rows of a file; blank lines have none.

    Raises:
        UserError: it is not UTF-8, or not what its name says.
    """
    suffixes = Path(path).suffixes
    if content.startswith(GZIP):
        try:
            content = _unpacked(path, content)
        except BROKEN_GZIP as error:
            step = f"gzip -t {path}   checks it"
            raise UserError(f"{path}: broken gzip file: {error}", next_step=step) from error
    if ".parquet" in suffixes:
        yield from enumerate(_parquet(path, content), start=1)
    elif ".csv" in suffixes:
        yield from enumerate(
            _csv(path, _decode(path, content.removeprefix(codecs.BOM_UTF8))), start=1
        )
    else:
        text = _decode(path, content)
        if ".json" in suffixes and text.lstrip().startswith("["):
            yield from enumerate(_json_list(path, text), start=1)
            return
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield number, line


def _parquet(path: str, content: bytes) -> list[dict[str, Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        found: list[dict[str, Any]] = parquet.read_table(io.BytesIO(content)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        step = "name a Parquet file, or one of another kind with its own suffix"
        raise UserError(f"{path}: no Parquet file: {error}", next_step=step) from error
    return found


def _csv(path: str, text: str) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        yield from reader
    except csv.Error as error:
        step = (
            "quote fields that hold line breaks or quotes; a field has 131,072 characters at most"
        )
        raise UserError(
            f"{path}, after line {reader.line_num}: no CSV: {error}", next_step=step
        ) from error


def _json_list(path: str, text: str) -> list[object]:
    try:
        found: list[object] = json.loads(text)
    except (ValueError, RecursionError) as error:
        step = "write one JSON list of rows, or one row per line in a .jsonl file"
        raise UserError(f"{path}: no JSON: {error}", next_step=step) from error
    return found


def _decode(path: str, content: bytes) -> str:
    if content.startswith(codecs.BOM_UTF8):
        raise UserError(
            f"{path}, row 1, byte 1: the file begins with a byte order mark",
            next_step="save it as UTF-8 without a byte order mark",
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, row {row}, byte {error.start + 1} of the file: not UTF-8 ({error.reason})",
            next_step="save it as UTF-8",
        ) from error


def _unpacked(path: str, content: bytes) -> bytes:
    """What a gzip file holds, read in blocks: a small file may hold more than the memory."""
    blocks, size = [], 0
    with gzip.open(io.BytesIO(content)) as source:
        while block := source.read(BLOCK):
            blocks.append(block)
            size += len(block)
            if size > MAX_BYTES:
                raise UserError(
                    f"{path}: more than {MAX_BYTES:,} bytes when it is unpacked",
                    next_step="split it, or take only the problems that the run needs",
                )
    return b"".join(blocks)


def of_folder(path: str, split: str) -> list[Row]:
    """The rows of a split of the data set that lies in a folder.

    Raises:
        UserError: `datasets` cannot read it, or it has no such split.
    """
    listed = sorted(file for file in Path(path).rglob("*") if file.is_file())
    stats = [(str(file), file.stat()) for file in listed]
    state = tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    return _folder(path, split, state)


@lru_cache(maxsize=4)
def _folder(path: str, split: str, state: object) -> list[Row]:
    loaded = _load(path, None, split, path, cache_dir=str(cache.folder("datasets")))
    return list(enumerate(loaded, start=1))


@lru_cache(maxsize=4)
def of_hub(name: str, split: str) -> list[Row]:
    """The rows of a split of a data set on the Hugging Face hub, or of its copy here.

    Args:
        name: ``owner/name``, ``owner/name:configuration`` or ``owner/name:configuration:split``.
        split: ``"train"`` or ``"test"``, unless the name says another one.

    Raises:
        UserError: it cannot be reached, or has no such split.
    """
    repository, *said = name.split(":")
    wanted: tuple[str | None, ...] = CONFIGURATIONS.get(repository, (None,))
    if said and said[0]:
        wanted = (said[0],)
    split = said[1] if len(said) > 1 else split
    rows = [row for which in wanted for row in _load(repository, which, split, name)]
    return list(enumerate(rows, start=1))


def _load(path: str, which: str | None, split: str, named: str, **given: Any) -> Iterable[object]:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    datasets.disable_progress_bars()
    try:
        loaded: Iterable[object] = datasets.load_dataset(path, which, split=split, **given)
    except (ConnectionError, OfflineModeIsEnabled, HfHubHTTPError, FileNotFoundError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{named}: the data set is not here, and it cannot be fetched: {first}",
            next_step="check the name and the network; or fetch its files elsewhere and name their "
            "folder in domain.train_file or domain.test_file",
        ) from error
    except (ValueError, datasets.exceptions.DatasetGenerationError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{named}: datasets cannot read its split {split!r}: {first}",
            next_step="name a file of it; of a hub, owner/name:CONFIGURATION:SPLIT says which",
        ) from error
    return loaded


def digest(rows: Iterable[Row]) -> str:
    """The SHA-256 of rows that are in no single file: equal rows, equal digest."""
    found = hashlib.sha256()
    for _, row in rows:
        found.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return found.hexdigest()
