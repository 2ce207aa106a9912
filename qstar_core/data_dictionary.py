"""docs/data-dictionary.md, made from the schemas that the tables are written with.

Usage: python -m qstar_core.data_dictionary > docs/data-dictionary.md
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable

import pyarrow as pa

from qstar_core.adaptive import episodes
from qstar_core.annotations import table as annotated
from qstar_core.evaluation import run as searches
from qstar_core.labels import schema as labels
from qstar_core.rollouts import sample
from qstar_core.rollouts.paths import PATH_COLUMNS
from qstar_core.store.columns import description

HEAD = """\
# Data dictionary

The columns of the tables that qstar writes, made from the code by
`python -m qstar_core.data_dictionary > docs/data-dictionary.md`; do not edit it. The files are
Parquet with zstd, and every field of their Arrow schema has its description as metadata. A column
that may be empty is called nullable. Ids are hashes of content (`qstar_core/keys.py`): 24
hexadecimal digits, equal wherever the same thing is meant.
"""
ROLLOUTS = """\
One row per trajectory that the policy sampled from a problem; data set `rollouts/KEY`.
"""
PATHS = """\
What labels are computed from: the columns of rollouts and two more. A row of a pool is a whole
trajectory, its given steps included; its `tokens` count the sampled ones alone.
"""
LABELS = """\
One row per step of every rollout; data set `labels/KEY`. `(rollout_id, step_index)` is unique.
"""
ANNOTATIONS = """\
One row per step of every annotated solution (`prm.annotations`); data set `annotations/KEY`.
"""
SEARCHES = """\
One row per held-out problem and search method; data set `evaluation/KEY`. [results.md](results.md)
reads them. `comparison/KEY` has one more column, `budget`.
"""
EPISODES = """\
One row per configuration that was tried on a question; data sets `episodes/KEY` (drawn at
random) and `adaptive/KEY` (by what was trained); [adaptive.md](adaptive.md). The files'
metadata has `qstar.schema_version` ({version}) and `qstar.space`, the action space as JSON.
"""
LABEL_FILE = """\
The files' metadata has `qstar.schema_version` ({version}), `qstar.method`, `qstar.gamma`,
`qstar.parameters` (JSON) and `qstar.rollouts`, the key of the rollouts that were labelled; their
manifest names the problems data set with the prompts.
In the file these columns are dictionary-encoded, and read as what the table says:
"""
READING = """\
`pyarrow.parquet.read_table(file, read_dictionary=[...])` keeps them as Arrow dictionaries.

    import duckdb, polars
    from datasets import load_dataset

    files = "results/demo/labels/KEY/*.parquet"
    polars.scan_parquet(files)
    duckdb.sql(f"select step_index, avg(y) from '{files}' group by step_index")
    load_dataset("parquet", data_files=files)
"""
WIDTH = 100


def render() -> str:
    """The whole page, as Markdown."""
    repeated = ", ".join(f"`{name}`" for name in labels.REPEATED) + "."
    parts = [
        HEAD,
        f"## Rollouts\n\n{ROLLOUTS}",
        _table(sample.SCHEMA),
        "### Steps of a rollout\n",
        _table(sample.STEP),
        f"## Paths\n\n{PATHS}",
        _table(PATH_COLUMNS),
        f"## Labels\n\n{LABELS}",
        _table(labels.SCHEMA),
        LABEL_FILE.format(version=labels.SCHEMA_VERSION) + textwrap.fill(repeated, WIDTH),
        READING,
        f"## Annotations\n\n{ANNOTATIONS}",
        _table(annotated.SCHEMA),
        f"## Searches\n\n{SEARCHES}",
        _table(searches.SCHEMA),
        "### Nodes of a search tree\n",
        _table(searches.NODE),
        f"## Episodes\n\n{EPISODES.format(version=episodes.SCHEMA_VERSION)}",
        _table(episodes.SCHEMA),
    ]
    return "\n".join(parts)


def _table(fields: Iterable[pa.Field]) -> str:
    rows = ["| column | type | |", "|---|---|---|"]
    for field in fields:
        text = description(field) + (" (nullable)" if field.nullable else "")
        rows.append(f"| `{field.name}` | {_kind(field.type)} | {text} |")
    return "\n".join(rows) + "\n"


def _kind(kind: pa.DataType) -> str:
    if not pa.types.is_list(kind):
        return str(kind)
    return "list of steps" if pa.types.is_struct(kind.value_type) else f"list of {kind.value_type}"


if __name__ == "__main__":
    sys.stdout.write(render())
