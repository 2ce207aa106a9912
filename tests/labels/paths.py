"""Tables of paths from short descriptions, and random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

from qstar_core.domains import countdown
from qstar_core.rollouts.paths import PATHS


@dataclass(frozen=True)
class Path:
    """A whole trajectory."""

    actions: str
    """One letter per step."""
    correct: bool = False
    source: str = "rollouts"
    given: int = 0
    """Leading steps that were not sampled."""
    problem: str = "p"

    def action_id(self, t: int) -> str:
        """Of step t, from 1."""
        return f"{self.problem}/{self.actions[:t]}"

    def state_id(self, t: int) -> str:
        """Before step t."""
        return f"{self.problem}/{self.actions[: t - 1]}."


def roots(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.source == "rollouts"]


def arrow(paths: Sequence[Path]) -> pa.Table:
    """The rows of `PATHS`, rollouts named r0, r1, ... in their order within a problem."""
    seen: dict[tuple[str, str], int] = {}
    rows = []
    for path in paths:
        index = seen[path.problem, path.source] = seen.get((path.problem, path.source), -1) + 1
        rows.append(_row(path, index))
    return pa.Table.from_pylist(rows, schema=PATHS)


def _row(path: Path, index: int) -> dict[str, Any]:
    length = len(path.actions)
    steps = [
        {
            "text": action,
            "tokens": t,
            "logprob": -0.5 * t,
            "ended": t == length,
            "state_id": path.state_id(t),
            "action_id": path.action_id(t),
        }
        for t, action in enumerate(path.actions, start=1)
    ]
    return {
        **dict.fromkeys(PATHS.names, ""),
        "rollout_id": f"{path.problem}-{path.source}-{index}",
        "problem_id": path.problem,
        "sample_index": index,
        "seed": index,
        "steps": steps,
        "n_steps": length,
        "tokens": length,
        "outcome": "correct" if path.correct else "wrong",
        "grader": countdown.GRADER,
        "grader_version": countdown.GRADER_VERSION,
        "policy": "f",
        "temperature": 1.0,
        "split": "train",
        "source": path.source,
        "prefix_steps": path.given,
    }


def table(paths: Sequence[Path]) -> pl.LazyFrame:
    """The same for a method."""
    frame = pl.from_arrow(arrow(paths))
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()


def rows(labels: pl.LazyFrame, *columns: str) -> list[tuple[Any, ...]]:
    return labels.select(*columns).collect().rows()


POOLS = ("states", "stronger", "mcts", "binary_search")


@st.composite
def _path(draw: st.DrawFn, sources: Sequence[str]) -> Path:
    actions = draw(st.text("ab", min_size=1, max_size=5))
    source = draw(st.sampled_from(sources))
    given = 0 if source == "rollouts" else draw(st.integers(0, len(actions)))
    return Path(actions, draw(st.booleans()), source, given, draw(st.sampled_from("pq")))


TREES = st.builds(
    lambda first, others: [*first, *others],
    st.lists(_path(["rollouts"]), min_size=1, max_size=8),
    st.lists(_path(["rollouts", *POOLS]), max_size=16),
)
"""Rollouts and pools of two problems, over an alphabet so small that they share prefixes."""
GAMMAS = st.sampled_from([1.0, 0.9, 0.5])
