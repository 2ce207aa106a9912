"""Texts that were produced elsewhere as rollouts: split into steps by line, graded by the domain.

A row of the table tells plainly what is not known of an imported text:

* ``policy`` is ``imported:NAME`` with the name that the row gives, else ``imported:`` and the first
  digits of the file's SHA-256;
* ``tokens`` are 0, of the steps too: no tokenizer is known, and words are no tokens;
* ``logprob`` of a text, where it is given, stands at its last step, so that the sum over the steps
  is right; otherwise it is 0;
* ``temperature`` is -1, ``seed`` 0, ``finish`` always ``end``.

A line is a step with the newline that ends it; blank lines belong to the step before them. The
steps of a text put together are the text. An empty text is one empty step: a policy that
said nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from qstar_core.keys import ID_DIGITS, content_id
from qstar_core.mdp import Problem, Step
from qstar_core.policies import Sample
from qstar_core.rollouts.grades import graded_many
from qstar_core.rollouts.import_file import ImportedRow, ImportedSample, parse
from qstar_core.rollouts.sample import as_table, rollout_row

UNKNOWN_TEMPERATURE = -1.0
BATCH = 4096  # rollouts written at once
FILLED_LINE = re.compile(r"^[^\S\n]*\S", re.MULTILINE)


def steps_of(text: str) -> list[str]:
    """The lines of a text, each with its newline and the blank lines that follow it.

    Blank lines at the beginning belong to the first one.
    """
    starts = [match.start() for match in FILLED_LINE.finditer(text)]
    return [text[start:stop] for start, stop in pairwise([0, *starts[1:], len(text)])]


def policy_name(row: ImportedRow, sha256: str) -> str:
    """What stands for the fingerprint of the policy that wrote a row's samples."""
    return f"imported:{sha256[:ID_DIGITS] if row.policy is None else row.policy}"


def as_sample(sample: ImportedSample) -> Sample:
    """An imported text as if a policy had just written it."""
    *before, last = steps_of(sample.text)
    end = Step(last, logprob=sample.logprob, ended=True)
    return Sample((*(Step(text) for text in before), end), "end")


def tables(file: Path, index: Mapping[str, Any], domain: str, sha256: str) -> Iterator[pa.Table]:
    """The rollouts of some lines, as tables of `qstar_core.rollouts.sample.SCHEMA`.

    Args:
        file: with plain lines.
        index: of `qstar_core.rollouts.import_survey.read_index`.
        domain: name of the domain.
        sha256: of the file as the user named it.
    """
    waiting: list[_Waiting] = []
    places = zip(index["offset"].tolist(), index["first_sample"].tolist(), strict=True)
    with file.open("rb") as opened:
        for offset, first in places:
            opened.seek(offset)
            found = parse(opened.readline(), domain)
            policy = policy_name(found, sha256)
            for place, imported in enumerate(found.samples, start=first):
                # of equal texts of one problem each is a rollout of its own
                rollout_id = content_id("imported", found.problem.id, policy, imported.text, place)
                sample = as_sample(imported)
                waiting.append(_Waiting(found.problem, rollout_id, sample, policy, place))
            if len(waiting) >= BATCH:
                yield _table(waiting, domain)
                waiting = []
    yield _table(waiting, domain)


class _Waiting(NamedTuple):
    """A rollout that is not yet graded."""

    problem: Problem
    rollout_id: str
    sample: Sample
    policy: str
    place: int


def _table(waiting: Sequence[_Waiting], domain: str) -> pa.Table:
    pairs = [(one.problem, [step.text for step in one.sample.steps]) for one in waiting]
    rows = [
        rollout_row(
            one.problem,
            one.rollout_id,
            one.sample,
            policy=one.policy,
            sample_index=one.place,
            seed=0,
            temperature=UNKNOWN_TEMPERATURE,
            grade=grade,
        )
        for one, grade in zip(waiting, graded_many(domain, pairs), strict=True)
    ]
    return as_table(rows)
