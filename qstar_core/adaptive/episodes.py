"""Episodes: which configuration a question got, how probable that was, and what came of it.

They are stored as one Parquet table, so that other policies can be judged by them later
(`off_policy`): the propensities are those of the policy that drew the action, at the tau of then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qstar_core.adaptive.actions import Actions, ActionSpace, Drawn
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.store.columns import column

SCHEMA_VERSION = 1
"""Raised when a column is added or changes its meaning."""

SCHEMA = pa.schema(
    [
        column("episode_id", pa.string(), "The episode, by what determines it"),
        column("episode_index", pa.int64(), "Place among the episodes of its training, from 0"),
        column("question_id", pa.string(), "The question, a row of the problems data set"),
        column("space", pa.string(), "Id of the action space; the file's metadata holds it whole"),
        column(
            "action",
            pa.list_(pa.field("element", pa.int32(), nullable=False)),
            "Index of the value of each factor, in the order of the space's factors",
        ),
        column(
            "propensities",
            pa.list_(pa.field("element", pa.float64(), nullable=False)),
            "Probability that each of them was drawn with, in (0, 1]; their product is that of the "
            "action; empty where it is unknown",
            True,
        ),
        column("tau", pa.float64(), "Temperature of exploration", True),
        column("seed", pa.int64(), "Seed that the action was drawn with"),
        column("policy", pa.string(), "Fingerprint of the configuration policy that drew it"),
        column("reward", pa.float64(), "Reward, from 0 to 1; empty where it is not known", True),
        column("tokens", pa.int64(), "Cost: policy tokens of all its samples", True),
        column(
            "outcome",
            pa.string(),
            "What the reward was made from: an outcome of the grader, scored by a reward model, a "
            "judge's verdict, or what failed",
        ),
        column(
            "sample_ids",
            pa.list_(pa.field("element", pa.string(), nullable=False)),
            "The samples of the policy, rows of the rollouts data set",
        ),
    ]
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Episodes whose actions are drawn and whose rewards are to come.

    Attributes:
        first: index of the first of them; the others follow.
        question_ids: one per episode.
        rows: [n], the places of their questions among those of the training.
        seeds: [n], from (run seed, question id, episode index).
        tau: temperature of exploration; None where there is none.
        drawn: actions and propensities.
        policy: fingerprint of the policy that drew them.
    """

    first: int
    question_ids: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    seeds: npt.NDArray[np.uint64]
    tau: float | None
    drawn: Drawn
    policy: str

    def __len__(self) -> int:
        return len(self.question_ids)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an episode.

    Attributes:
        reward: in [0, 1]; None where it is not known, which is not the same as 0.
        outcome: what it was made from, or what failed.
        tokens: the cost.
        sample_ids: of the samples.
        reason: a word on the outcome.
    """

    reward: float | None
    outcome: str
    tokens: int | None = None
    sample_ids: tuple[str, ...] = ()
    reason: str = ""


def results_of(table: pa.Table) -> list[Result]:
    """What came of stored episodes, in the order of the rows."""
    columns = ("reward", "outcome", "tokens", "sample_ids")
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    return [Result(r, outcome, tokens, tuple(ids)) for r, outcome, tokens, ids in rows]


def file_schema(space: ActionSpace, **more: str) -> pa.Schema:
    """The schema with the metadata of one file: version, action space, and what else is given."""
    facts = {"schema_version": str(SCHEMA_VERSION), "space": space.model_dump_json(), **more}
    return SCHEMA.with_metadata({f"qstar.{name}": value for name, value in facts.items()})


def to_table(space: ActionSpace, batch: Batch, results: Sequence[Result]) -> pa.Table:
    """The rows of a batch, in its order, with the metadata of `file_schema`."""
    drawn, rows = batch.drawn, []
    for k, (question, result) in enumerate(zip(batch.question_ids, results, strict=True)):
        seed, index = int(batch.seeds[k]), batch.first + k
        action = drawn.actions[k].tolist()
        shape = [question, space.id, action, batch.policy, batch.tau, index, seed]
        rows.append(
            {
                "episode_id": content_id("episode", *shape),
                "episode_index": index,
                "question_id": question,
                "space": space.id,
                "action": action,
                "propensities": _row(drawn.propensities, k),
                "tau": batch.tau,
                "seed": seed,
                "policy": batch.policy,
                "reward": result.reward,
                "tokens": result.tokens,
                "outcome": result.outcome,
                "sample_ids": list(result.sample_ids),
            }
        )
    return pa.Table.from_pylist(rows, schema=file_schema(space))


def space_of(schema: pa.Schema) -> ActionSpace:
    """The action space that a file of episodes names in its metadata.

    Raises:
        UserError: there is none, or another version of the table.
    """
    facts: Mapping[bytes, bytes] = schema.metadata or {}
    if facts.get(b"qstar.schema_version") != str(SCHEMA_VERSION).encode():
        raise UserError(
            "the table holds no episodes of this version of qstar",
            next_step="make the episodes anew",
        )
    return ActionSpace.model_validate_json(facts[b"qstar.space"])


def actions_of(table: pa.Table) -> Actions:
    """The actions of some episodes, [n, factors]."""
    return np.array(table["action"].to_pylist(), dtype=np.int64)


def _row(propensities: npt.NDArray[np.float64] | None, k: int) -> list[float] | None:
    return None if propensities is None else [float(p) for p in propensities[k]]
