"""The configuration of the domain: what is reasoned about, and which problems."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from qstar_core.config_section import Float, Section


class CountdownRanges(Section):
    """Countdown problems: how many numbers, inclusive ranges, and how easy at least."""

    numbers: tuple[int, ...] = (4,)
    """How many numbers, 2 to 6; of several, such as ``[3, 4]``, as many problems of each."""
    min_number: int = Field(default=1, ge=0)
    max_number: int = Field(default=13, ge=1, le=200)
    min_target: int = Field(default=10, ge=0)
    max_target: int = Field(default=100, ge=1, le=200)
    min_solutions: int = Field(default=1, ge=1)
    """Problems that fewer distinct plays solve are left out; more of them make it easier."""
    use_all: bool = True
    """Whether every number must be used. If not, as many problems of a count of numbers need one
    line at least as two, and as three."""

    @model_validator(mode="after")
    def _ordered(self) -> CountdownRanges:
        if self.min_number > self.max_number:
            raise ValueError("min_number must not exceed max_number")
        if self.min_target > self.max_target:
            raise ValueError("min_target must not exceed max_target")
        if self.min_solutions > 1 and not self.use_all:
            raise ValueError("min_solutions counts plays of all numbers; use_all: false has none")
        return self

    @field_validator("numbers", mode="before")
    @classmethod
    def _several(cls, numbers: Any) -> tuple[int, ...]:
        counts = tuple(numbers) if isinstance(numbers, list | tuple) else (numbers,)
        if not counts or any(type(n) is not int or not 2 <= n <= 6 for n in counts):
            raise ValueError("Input should be 2 to 6, such as 4, or several, such as [3, 4]")
        if len(set(counts)) < len(counts):
            raise ValueError("Input should have each count once, such as [3, 4]")
        return counts

    @field_serializer("numbers")
    def _one(self, numbers: tuple[int, ...]) -> int | tuple[int, ...]:
        """One count is a number in manifests and keys: data sets are older than several."""
        return numbers if len(numbers) > 1 else numbers[0]

    def rows(self) -> dict[str, Any]:
        """The default of ``use_all`` is no part of a key: data sets are older than the field."""
        kept = {**super().rows(), "numbers": self.model_dump(mode="json")["numbers"]}
        return kept if not self.use_all else {k: v for k, v in kept.items() if k != "use_all"}


class DomainConfig(Section):
    """What is reasoned about, and how many problems of each split."""

    name: Literal["choice", "countdown", "gsm8k", "math", "mbpp"] = "countdown"
    """countdown generates its problems; the others read them from files, or import rollouts; see
    docs/domains.md."""
    train_problems: int | None = Field(default=None, ge=1)
    """None is all of ``train_file``, or 2000 generated ones; of a file the first ones are used."""
    test_problems: int | None = Field(default=None, ge=1)
    """None is all of ``test_file``, or 500 generated ones; of a file the first ones are used."""
    ranges: CountdownRanges = CountdownRanges()
    """Of generated countdown problems."""
    train_file: str | None = None
    """Training problems instead of generated ones: a file (JSONL, JSON, CSV or Parquet), a path or
    ``s3://`` URI; a folder of the data set's files; or its name on a hub, ``openai/gsm8k``."""
    test_file: str | None = None
    """Evaluation problems instead of generated ones, from the same."""
    test_share: Float | None = Field(default=None, gt=0.0, lt=1.0)
    """Share of the problems of ``train_file`` that are held out by their hash, where the data set
    has no test set of its own."""
    prompt: str | None = None
    """Template of the prompts: one that comes with qstar, such as ``math/few-shot``, or the path of
    a Jinja file; docs/domains.md has them. None is the domain's own prompt."""
    shown_tests: Literal["first", "all", "none"] = "first"
    """Of mbpp: which tests of a problem its prompt shows; a solution has to pass all of them."""

    @model_validator(mode="after")
    def _of_data_sets(self) -> DomainConfig:
        if self.prompt is not None and self.name == "countdown":
            raise ValueError("prompt: countdown has a prompt of its own, which its rules go by")
        if self.test_share is not None and self.name == "countdown":
            raise ValueError("test_share: countdown problems know their split by their hash")
        if self.test_share is not None and (self.train_file is None or self.test_file is not None):
            raise ValueError("test_share is of train_file, where there is no test_file")
        return self
