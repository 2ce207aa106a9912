"""The first pass over a file of imported rollouts: its problems, their rows, and what is wrong.

The problems are those of the file, each once, in the order in which they come first. The *index*
has one row per good line, sorted by the place of its problem, so that the rollouts of any range of
problems are found without reading the rest, and are the same however the ranges are cut. A problem
may have several lines, anywhere; its samples are counted through in the order of the file.

A malformed row is set aside with its line number and the reason, and the rest goes on. So is a row
of a problem that is held out (it stands in ``domain.test_file``), unless the row says itself that
its split is ``test``; and one that contradicts the split of an earlier row.

Memory grows with the number of problems and of lines (some 150 and 32 bytes each), not with the
texts.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from pyarrow import feather

from qstar_core.domains import problem_table
from qstar_core.errors import UserError
from qstar_core.mdp import Problem
from qstar_core.rollouts.import_file import EXAMPLE, MALFORMED, ImportedRow, Line, lines, parse
from qstar_core.rollouts.import_file import reason as reason_of
from qstar_core.store import dataset
from qstar_core.store.entries import verified

PROBLEMS = "part-train.parquet"
INDEX = "lines.arrow"
QUARANTINE = "quarantine.jsonl"
NAMED = 20  # malformed rows that the figures name; the quarantine file has all
INDEX_COLUMNS = ("place", "offset", "first_sample", "samples")
KEPT_CHARACTERS = 200  # of a malformed line
BATCH = 4096  # problems written at once
MEGABYTE = 1_000_000

Progress = Callable[[int, int, str, str], None]


@dataclass
class Survey:
    """What was found so far.

    Attributes:
        places: of the problems, by id.
        splits: 1 for a problem of split ``test``, by place.
        counts: samples, by place.
        index: place, offset, first sample and samples of each good line.
        malformed: number of rows that were set aside.
        named: the first of them.
    """

    places: dict[bytes, int] = field(default_factory=dict)
    splits: bytearray = field(default_factory=bytearray)
    counts: array[int] = field(default_factory=lambda: array("q"))
    index: tuple[array[int], ...] = field(
        default_factory=lambda: tuple(array("q") for _ in INDEX_COLUMNS)
    )
    malformed: int = 0
    named: list[dict[str, Any]] = field(default_factory=list)

    def take(self, line: Line, row: ImportedRow, left_out: frozenset[str]) -> Problem | None:
        """Takes a good row in; returns its problem if that is new.

        Raises:
            ValueError: it contradicts an earlier row or its problem is held out.
        """
        problem, test = row.problem, row.problem.split == "test"
        key = bytes.fromhex(problem.id)
        place = self.places.get(key, len(self.places))
        new = place == len(self.places)
        if not test and problem.id in left_out:
            raise ValueError("the problem is held out: it stands in domain.test_file")
        if not new and self.splits[place] != test:
            raise ValueError("an earlier row puts this problem into the other split")
        if new:
            self.places[key] = place
            self.splits.append(test)
            self.counts.append(0)
        entry = place, line.offset, self.counts[place], len(row.samples)
        for column, value in zip(self.index, entry, strict=True):
            column.append(value)
        self.counts[place] += len(row.samples)
        return problem if new else None

    def table(self) -> pa.Table:
        """The index, sorted by place and then as in the file."""
        columns = [np.frombuffer(column, dtype=np.int64) for column in self.index]
        order = np.argsort(columns[0], kind="stable")
        return pa.table(dict(zip(INDEX_COLUMNS, [c[order] for c in columns], strict=True)))

    def figures(self) -> dict[str, Any]:
        """What `survey` returns, but for the lines."""
        return {
            "malformed": self.malformed,
            "problems": len(self.places),
            "samples": sum(self.counts),
            "named": self.named,
        }


def survey(
    file: Path, domain: str, left_out: frozenset[str], folder: Path, progress: Progress
) -> dict[str, Any]:
    """Reads a file through; writes its problems, the index and the rows that were set aside.

    Args:
        file: with plain lines.
        domain: name of the domain.
        left_out: ids of the held-out problems.
        folder: where `PROBLEMS`, `INDEX` and, if it has rows, `QUARANTINE` are written.
        progress: told the megabytes read.

    Returns:
        Figures: ``lines`` (those not blank), ``malformed``, ``problems`` and ``samples``, and
        ``named``, the first malformed rows.

    Raises:
        UserError: there is no good row.
    """
    found, size, seen = Survey(), file.stat().st_size, 0
    waiting: list[Problem] = []
    with (
        dataset.table_writer(folder / PROBLEMS, problem_table.SCHEMA) as writer,
        (folder / QUARANTINE).open("w", encoding="utf-8") as aside,
    ):
        for line in lines(file):
            seen += 1
            try:
                new = found.take(line, parse(line.content, domain), left_out)
            except MALFORMED as error:
                _set_aside(found, line, reason_of(error), aside)
                continue
            waiting += [new] if new is not None else []
            if len(waiting) >= BATCH:
                writer.write_table(problem_table.table(waiting, "train"))
                waiting.clear()
            progress(line.offset // MEGABYTE, size // MEGABYTE + 1, "MB", f"{seen:,} lines")
        writer.write_table(problem_table.table(waiting, "train"))
    if not found.places:
        raise _nothing_good(seen, found)
    if not found.malformed:
        (folder / QUARANTINE).unlink()
    feather.write_feather(found.table(), str(folder / INDEX), compression="uncompressed")
    return {"lines": seen, **found.figures()}


def _set_aside(found: Survey, line: Line, reason: str, aside: IO[str]) -> None:
    begin = (line.content or b"")[: 4 * KEPT_CHARACTERS].decode("utf-8", "backslashreplace")
    row = {"line": line.number, "reason": reason, "begins": begin[:KEPT_CHARACTERS].rstrip()}
    found.malformed += 1
    if len(found.named) < NAMED:
        found.named.append({"line": line.number, "reason": reason})
    aside.write(json.dumps(row, ensure_ascii=True) + "\n")


def _nothing_good(seen: int, found: Survey) -> UserError:
    if not seen:
        what = "no row in it"
    else:
        first = found.named[0]
        what = f"all {seen:,} rows are malformed; line {first['line']}: {first['reason']}"
    return UserError(f"rollouts.import_file: {what}", next_step=f"a right row: {EXAMPLE}")


def read_index(problems: str, start: int, stop: int) -> dict[str, Any]:
    """The columns of the index for the problems from one place up to another.

    Args:
        problems: folder or URI of the published problems.
        start: place of the first problem.
        stop: place after the last one.

    Returns:
        Arrays of int64 by the names of `INDEX_COLUMNS`.
    """
    manifest = dataset.read_manifest(problems) or {"files": []}
    [path] = verified(problems, [e for e in manifest["files"] if e["name"] == INDEX])
    table = feather.read_table(path, memory_map=True)
    places = table["place"].to_numpy()
    first, last = np.searchsorted(places, [start, stop])
    return {name: table[name].to_numpy()[first:last] for name in INDEX_COLUMNS}
