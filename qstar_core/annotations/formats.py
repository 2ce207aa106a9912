"""The rows of a file of step annotations, in three formats that are told apart by their fields.

* PRM800K (arXiv 2305.20050; the files of github.com/openai/prm800k): ``question.problem`` and
  ``label.steps``, each with the completions that were offered, their ratings -1, 0 or 1, and which
  of them the solution went on with. Every completion that was not chosen ends a solution of its
  own, so the steps before it count once for each.
* Math-Shepherd (arXiv 2312.08935; the hub's peiyi9979/Math-Shepherd): ``input`` is the question and
  the steps, each followed by the tag ``ки``; ``label`` is the same text with ``+`` or ``-`` in the
  place of the tags.
* plain: ``question`` (or ``prompt``, ``problem``), ``steps`` (or ``completions``) and ``labels``,
  one per step: true or false, a number from 0 to 1, or a rating -1, 0, 1. ``reference`` and
  ``finished`` (whether the last step ends the solution) are optional.

Integers 0 and 1 do not say which scale they are of. They are ratings, of which 0 is neutral, where
a -1 stands anywhere in the file, else 0 is wrong.
"""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from qstar_core.rollouts.import_file import MAX_LINE_BYTES, MAX_STEPS

EXAMPLE = (
    '{"question": "Tom has 3 apples and buys 4. How many?", '
    '"steps": ["3 + 4 = 8", "#### 8"], "labels": [false, false]}'
)
TAG = "ки"
FIRST_STEP = "Step 1:"
ANSWER = "# Answer"  # in the last step of a finished solution of PRM800K
MARKS = {"+": 1.0, "-": 0.0}

Scale = Literal["rating", "value", "integer"]
"""Of labels: -1, 0, 1; a number from 0 to 1; 0 and 1, which may be either."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A solution with a label for each step, and whether its last step ends it."""

    steps: tuple[str, ...]
    labels: tuple[float, ...]
    finished: bool


@dataclass(frozen=True, slots=True)
class AnnotatedRow:
    """A row: question, reference if it has one, solutions, and the scale of their labels."""

    question: str
    reference: object
    solutions: tuple[Solution, ...]
    scale: Scale
    format: str


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Plain(_Row):
    """A row of question, steps and labels."""

    question: str = Field(validation_alias=AliasChoices("question", "prompt", "problem"))
    steps: list[str] = Field(min_length=1, validation_alias=AliasChoices("steps", "completions"))
    labels: list[bool | int | float]
    reference: Any = None
    finished: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Plain:
        if len(self.labels) != len(self.steps):
            raise ValueError(f"{len(self.steps)} steps, but {len(self.labels)} labels")
        low = -1 if all(isinstance(label, int) for label in self.labels) else 0
        for place, label in enumerate(self.labels):
            if not low <= label <= 1:
                raise ValueError(f"labels.{place} must be from {low} to 1, got {label}")
        return self

    def row(self) -> AnnotatedRow:
        """The row; bool is a kind of int in Python and none of JSON's."""
        whole = all(type(label) is int for label in self.labels)
        scale: Scale = ("rating" if -1 in self.labels else "integer") if whole else "value"
        labels = tuple(float(label) for label in self.labels)
        solution = Solution(tuple(self.steps), labels, self.finished)
        return AnnotatedRow(self.question, self.reference, (solution,), scale, "plain")


class _Completion(_Row):
    text: str
    rating: Literal[-1, 0, 1] | None = None


class _Offered(_Row):
    completions: list[_Completion] | None = None
    human_completion: _Completion | None = None
    chosen_completion: int | None = None


class _Steps(_Row):
    steps: list[_Offered]


class _Question(_Row):
    problem: str


class Prm800k(_Row):
    """A row of PRM800K."""

    question: _Question
    label: _Steps

    def row(self) -> AnnotatedRow:
        """The chosen solution after those that end in a completion that was not chosen."""
        before: list[tuple[str, float]] = []
        found: list[Solution] = []
        for step in self.label.steps:
            offered = step.completions or []
            chosen = step.chosen_completion
            for place, each in enumerate(offered):
                if place != chosen and each.rating is not None:
                    found.append(_solution([*before, (each.text, float(each.rating))]))
            if chosen is not None and 0 <= chosen < len(offered):
                rating = offered[chosen].rating
                before.append((offered[chosen].text, float(rating or 0)))
            elif step.human_completion is not None:  # written by the annotator
                before.append((step.human_completion.text, 1.0))
            else:
                before = [] if found and len(found[-1].steps) > len(before) else before
                break
        found += [_solution(before)] if before else []
        if not found:
            raise ValueError("no step of it has a rating")
        return AnnotatedRow(self.question.problem, None, tuple(found), "rating", "prm800k")


def _solution(steps: list[tuple[str, float]]) -> Solution:
    texts, labels = zip(*steps, strict=True)
    return Solution(texts, labels, ANSWER in texts[-1])


class MathShepherd(_Row):
    """A row of Math-Shepherd."""

    input: str
    label: str

    def row(self) -> AnnotatedRow:
        """The solution, its steps with their ``Step N:``."""
        *parts, rest = self.input.split(TAG)
        labels: list[float] = []
        place = 0
        for part in parts:
            if not self.label.startswith(part, place):
                raise ValueError(f"label differs from input before step {len(labels) + 1}")
            place += len(part) + 1
            mark = self.label[place - 1 : place]
            if mark not in MARKS:
                raise ValueError(f"neither + nor - in the place of tag {len(labels) + 1}")
            labels.append(MARKS[mark])
        if self.label[place:].strip() != rest.strip() or rest.strip():
            raise ValueError(f"a text behind the last {TAG}")
        question, first, start = (parts or [""])[0].partition(FIRST_STEP)
        if not first:
            raise ValueError(f"no {FIRST_STEP!r} before the first {TAG}")
        solution = Solution((first + start, *parts[1:]), tuple(labels), True)
        return AnnotatedRow(question, None, (solution,), "value", "math_shepherd")


def parse(content: bytes | None) -> AnnotatedRow:
    """The row of a line.

    Args:
        content: of the line; None for one that is too long.

    Raises:
        ValueError: or another one of `import_file.MALFORMED`: the row is malformed.
    """
    if content is None:
        raise ValueError(f"longer than {MAX_LINE_BYTES:,} bytes")
    row = json.loads(content.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    if not isinstance(row, dict):
        raise TypeError("not a JSON object")
    kind: type[Plain | Prm800k | MathShepherd] = Plain
    if isinstance(row.get("question"), dict):
        kind = Prm800k
    elif "input" in row:
        kind = MathShepherd
    try:
        found = kind.model_validate(row).row()
    except ValidationError as error:
        raise ValueError(_in_words(error)) from error
    _check(found)
    return found


def _check(row: AnnotatedRow) -> None:
    if not row.question.strip():
        raise ValueError("the question is empty")
    row.question.encode()  # lone surrogates, which JSON can write, are no text
    for solution in row.solutions:
        if len(solution.steps) > MAX_STEPS:
            raise ValueError(f"more than {MAX_STEPS:,} steps")
        for place, step in enumerate(solution.steps):
            if not step.strip():
                raise ValueError(f"step {place + 1} is empty")
            step.encode()


def _in_words(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")


def value(label: float, scale: Scale, signed: bool, neutral: Literal["right", "wrong"]) -> float:
    """The probability that a step is right, in [0, 1], that a label stands for.

    Args:
        label: as it was given.
        scale: of its row.
        signed: whether a -1 stands in the file.
        neutral: what a rating of 0 counts as.
    """
    if scale == "value" or (scale == "integer" and not signed):
        return label
    return {-1.0: 0.0, 0.0: float(neutral == "right"), 1.0: 1.0}[label]
