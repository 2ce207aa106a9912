"""A file of step annotations as training rows: one per step of each solution, with its label.

A step of an annotated solution ends with a newline, as one that a policy writes; the last one of a
finished solution does not. Line breaks within a step are kept. Malformed rows are set aside with
their line number and the reason; so that integers 0 and 1 are read right (`formats`) the file is
read twice. Memory grows with the number of problems and of solutions, not with the texts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa

from qstar_core.annotations.formats import EXAMPLE, AnnotatedRow, Solution, parse, value
from qstar_core.domains import problem_sets
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.mdp import Problem
from qstar_core.rollouts.import_file import MALFORMED, Line, lines, reason
from qstar_core.rollouts.import_survey import KEPT_CHARACTERS, MEGABYTE, NAMED, QUARANTINE
from qstar_core.rollouts.sample import step_ids
from qstar_core.store import dataset
from qstar_core.store.columns import column

FILE = "part-annotations.parquet"
BATCH = 20_000  # rows written at once
SCHEMA = pa.schema(
    [
        column("problem_id", pa.string(), "The problem; a hash of the next two columns too"),
        column("prompt", pa.string(), "The question, as a policy is asked it"),
        column(
            "reference",
            pa.string(),
            "The right answer, as JSON; null in it where the file says none",
        ),
        column("rollout_id", pa.string(), "The solution: hash of its problem, steps and labels"),
        column("state_id", pa.string(), "The state before the step"),
        column("action_id", pa.string(), "The step taken in it"),
        column("step_index", pa.int32(), "t, from 1 to n_steps"),
        column("n_steps", pa.int32(), "T, the number of steps of the solution"),
        column("action", pa.string(), "Text of the step, the newline that ends it included"),
        column("ended", pa.bool_(), "Whether the solution ends with this step"),
        column("y", pa.float64(), "The label: the probability that the step is right, 0 to 1"),
        column("gamma", pa.float64(), "Always 1: nothing is discounted"),
        column("n_samples", pa.int32(), "Judgements behind the label, always 1"),
        column("success_low", pa.float64(), "Lower bound of the label, always 0: nothing is known"),
        column("success_high", pa.float64(), "Upper bound of the label, always 1"),
        column("line", pa.int64(), "Line of the file that has the solution first, from 1"),
    ]
)
"""What training reads of labels has the names and types that it has there."""

Progress = Callable[[int, int, str, str], None]


def problem_of(row: AnnotatedRow, domain: str) -> Problem:
    """The problem of a row.

    Raises:
        ValueError: or another one of `MALFORMED`: its reference is malformed or missing.
    """
    source = problem_sets.SOURCES[domain]
    if row.reference is not None:
        problem: Problem = source.from_question(row.question, row.reference, "train")
        return problem
    without = getattr(source, "without_reference", None)
    if without is None:
        raise KeyError("field 'reference' is missing")
    asked: Problem = without(row.question)
    return asked


def texts(solution: Solution) -> list[str]:
    """The steps of a solution as the actions of a trajectory."""
    stripped = [step.strip() for step in solution.steps]
    lines = [f"{step}\n" for step in stripped]
    return [*lines[:-1], stripped[-1]] if solution.finished else lines


@dataclass
class Found:
    """What was found so far; ``named`` are the first malformed rows, ``right`` adds up labels."""

    lines: int = 0
    malformed: int = 0
    named: list[dict[str, Any]] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    problems: set[bytes] = field(default_factory=set)
    solutions: set[bytes] = field(default_factory=set)
    repeated: int = 0
    steps: int = 0
    right: float = 0.0

    def figures(self, signed: bool) -> dict[str, Any]:
        """The receipt's figures; the first part as those of imported rollouts."""
        read = {
            "lines": self.lines,
            "malformed": self.malformed,
            "formats": dict(self.formats),
            "problems": len(self.problems),
            "solutions": len(self.solutions),
            "repeated": self.repeated,
            "steps": self.steps,
            "right_share": self.right / max(1, self.steps),
            "zero_is": "neutral" if signed else "wrong",
        }
        return {"import": read, **({"malformed": self.named} if self.named else {})}


def write_annotations(
    file: Path,
    domain: str,
    neutral: Literal["right", "wrong"],
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Reads a file; writes `FILE` and, if rows were set aside, the quarantine.

    Args:
        file: with plain lines.
        domain: name of the domain that asks the questions.
        neutral: what a rating of 0 counts as.
        folder: where the files are written.
        progress: told the megabytes read.

    Returns:
        Figures: ``import`` (counts; ``zero_is`` says what 0 means among integers), ``malformed``.

    Raises:
        UserError: there is no good row.
    """
    signed = any(row.scale == "rating" for row in _good(file))
    found, size = Found(), file.stat().st_size
    waiting: list[dict[str, Any]] = []
    with (
        dataset.table_writer(folder / FILE, SCHEMA) as writer,
        (folder / QUARANTINE).open("w", encoding="utf-8") as aside,
    ):
        for line in lines(file):
            found.lines += 1
            try:
                row = parse(line.content)
                waiting += _rows(found, line, row, problem_of(row, domain), (signed, neutral))
            except MALFORMED as error:
                aside.write(_set_aside(found, line, reason(error)))
            if len(waiting) >= BATCH:
                writer.write_table(pa.Table.from_pylist(waiting, schema=SCHEMA))
                waiting.clear()
            progress(line.offset // MEGABYTE, size // MEGABYTE + 1, "MB", f"{found.steps:,} steps")
        writer.write_table(pa.Table.from_pylist(waiting, schema=SCHEMA))
    if not found.steps:
        raise _nothing_good(found)
    if not found.malformed:
        (folder / QUARANTINE).unlink()
    return found.figures(signed)


def _good(file: Path) -> Iterator[AnnotatedRow]:
    for line in lines(file):
        try:
            yield parse(line.content)
        except MALFORMED:
            continue


def _rows(
    found: Found,
    line: Line,
    row: AnnotatedRow,
    problem: Problem,
    reading: tuple[bool, Literal["right", "wrong"]],
) -> list[dict[str, Any]]:
    """The rows of the solutions of a line that are new, counted."""
    rows: list[dict[str, Any]] = []
    found.formats[row.format] += 1
    found.problems.add(bytes.fromhex(problem.id))
    for solution in row.solutions:
        actions = texts(solution)
        labels = [value(label, row.scale, *reading) for label in solution.labels]
        solution_id = content_id("annotated", problem.id, actions, labels)
        if bytes.fromhex(solution_id) in found.solutions:
            found.repeated += 1
            continue
        found.solutions.add(bytes.fromhex(solution_id))
        found.steps += len(labels)
        found.right += sum(labels)
        ids = step_ids(problem, actions)
        for t, ((state, action), text, y) in enumerate(zip(ids, actions, labels, strict=True), 1):
            place = {"state_id": state, "action_id": action, "step_index": t, "n_steps": len(ids)}
            label = {"action": text, "y": y, "gamma": 1.0, "n_samples": 1}
            bounds = {"success_low": 0.0, "success_high": 1.0, "line": line.number}
            of: dict[str, Any] = {
                "problem_id": problem.id,
                "prompt": problem.prompt,
                "rollout_id": solution_id,
            }
            of |= {"reference": problem.reference, "ended": solution.finished and t == len(ids)}
            rows.append({**of, **place, **label, **bounds})
    return rows


def _set_aside(found: Found, line: Line, why: str) -> str:
    begin = (line.content or b"")[: 4 * KEPT_CHARACTERS].decode("utf-8", "backslashreplace")
    found.malformed += 1
    if len(found.named) < NAMED:
        found.named.append({"line": line.number, "reason": why})
    row = {"line": line.number, "reason": why, "begins": begin[:KEPT_CHARACTERS].rstrip()}
    return json.dumps(row, ensure_ascii=True) + "\n"


def _nothing_good(found: Found) -> UserError:
    what = "no row in it"
    if found.lines:
        first = found.named[0]
        what = f"all {found.lines:,} rows are malformed; line {first['line']}: {first['reason']}"
    return UserError(f"prm.annotations: {what}", next_step=f"a right row: {EXAMPLE}")


def annotated_problems(uri: str, domain: str) -> list[Problem]:
    """The problems of published annotations, ordered by their text.

    Args:
        uri: folder of the data set.
        domain: name of the domain that asks them.
    """
    rows = pl.scan_parquet(dataset.data_files(uri)).select("prompt", "reference").unique()
    ordered = rows.sort("prompt", "reference").collect()
    return [Problem(domain, *row) for row in ordered.iter_rows()]
