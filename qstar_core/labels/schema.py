"""The one table of all labels: an Arrow schema whose fields say what they are.

Repeated strings are dictionary-encoded in the Parquet file and plain strings in its Arrow schema.
Arrow's own dictionary type is no smaller on disk, and polars makes categoricals of it, which join
with no other table. Who wants it in memory asks for it:
``pyarrow.parquet.read_table(file, read_dictionary=list(REPEATED))``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from qstar_core.keys import canonical_json
from qstar_core.store.columns import column
from qstar_core.store.dataset import ROW_GROUP_ROWS

SCHEMA_VERSION = 1
"""Raised when a column is added or changes its meaning."""

SCHEMA = pa.schema(
    [
        column(
            "problem_id",
            pa.string(),
            "The problem; its prompt is the row with this id in the problems data set of the "
            "rollouts that the file's metadata names (qstar.rollouts)",
        ),
        column("rollout_id", pa.string(), "The trajectory that the step is taken from"),
        column(
            "state_id",
            pa.string(),
            "The state s_t before the step: hash of the problem and the steps so far",
        ),
        column(
            "action_id",
            pa.string(),
            "The step a_t taken in s_t; it names the state after it as well",
        ),
        column("step_index", pa.int32(), "t, from 1 to n_steps"),
        column("n_steps", pa.int32(), "T, the number of steps of the trajectory"),
        column("action", pa.string(), "Text of the step, the newline that ends it included"),
        column(
            "action_tokens", pa.int32(), "Policy tokens of the step, end of text included", True
        ),
        column(
            "action_logprob",
            pa.float64(),
            "Sum of their log-probabilities at temperature 1, in nats",
            True,
        ),
        column("ended", pa.bool_(), "Whether the policy ended the text after this step"),
        column("y", pa.float64(), "The label: the value of taking a_t in s_t, from 0 to 1"),
        column("gamma", pa.float64(), "Discount per step, in (0, 1]"),
        column("method", pa.string(), "How the label was computed, see docs/labels.md"),
        column("parameters", pa.string(), "The method's own parameters, as JSON"),
        column(
            "n_samples",
            pa.int32(),
            "Trajectories through the step that the label was computed from, at least 1",
        ),
        column("successes", pa.int32(), "How many of them are correct"),
        column(
            "success_low",
            pa.float64(),
            "Lower bound of the 95 % Wilson interval of successes / n_samples; see docs/labels.md "
            "for the methods whose samples are independent",
        ),
        column("success_high", pa.float64(), "Upper bound of the same interval"),
        column(
            "outcome",
            pa.string(),
            "Outcome of the trajectory: correct, wrong, no_answer, timeout or grader_error",
        ),
        column("grader", pa.string(), "What decided the outcome"),
        column("grader_version", pa.string(), "Version of the grader"),
        column("policy", pa.string(), "Fingerprint of the policy that sampled the trajectory"),
        column("split", pa.string(), "Split of the problem"),
    ]
)
REPEATED = (
    "problem_id",
    "action",
    "method",
    "parameters",
    "outcome",
    "grader",
    "grader_version",
    "policy",
    "split",
)
"""Columns that are dictionary-encoded. The ids of steps and trajectories are not: they repeat a few
times and next to each other, which zstd alone makes smaller."""
_HASHES = ("problem_id", "rollout_id", "state_id", "action_id")
"""Columns whose smallest and largest value say nothing."""


def file_schema(method: str, gamma: float, parameters: Mapping[str, Any], **more: str) -> pa.Schema:
    """The schema with the metadata of one file: method, gamma, parameters, version.

    Args:
        method: name of the method.
        gamma: discount per step.
        parameters: the method's own.
        more: what else is to be on record, such as the key of the rollouts.
    """
    facts = {
        "schema_version": str(SCHEMA_VERSION),
        "method": method,
        "gamma": repr(gamma),
        "parameters": canonical_json(dict(parameters)),
        **more,
    }
    return SCHEMA.with_metadata({f"qstar.{name}": value for name, value in facts.items()})


def to_table(labels: pl.DataFrame) -> pa.Table:
    """Labels as an Arrow table of `SCHEMA`.

    Raises:
        ValueError: a column is missing, or a value that must be there.
    """
    large = labels.to_arrow(compat_level=pl.CompatLevel.oldest())
    return large.select(SCHEMA.names).cast(SCHEMA)


class LabelFile:
    """A Parquet file that labels are written to piece by piece; for ``with``."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            use_dictionary=list(REPEATED),
            write_statistics=[name for name in schema.names if name not in _HASHES],
        )

    def __enter__(self) -> LabelFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def write(self, labels: pl.DataFrame) -> None:
        """Adds the labels of some problems."""
        table = to_table(labels).replace_schema_metadata(self._writer.schema.metadata)
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
