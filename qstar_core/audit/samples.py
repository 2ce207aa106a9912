"""The stored paths as groups of n samples, to see what a label method makes of n.

Group g of n are the rollouts of each problem with the sample indices from g n to before (g + 1) n,
and of the pools the continuations with these indices of the states that these rollouts visited.
Disjoint groups are independent draws. The paths of a tree search are not: its first n are the
group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from qstar_core.audit.source import Source
from qstar_core.labels.steps import ROOT, as_paths
from qstar_core.mdp import Problem
from qstar_core.rollouts.regrade import regrade

IN_ORDER = ("mcts",)
"""Sources whose paths are not independent of those before them."""


def sizes(source: Source) -> dict[str, int]:
    """Samples per problem or state of each source of paths.

    Of an adaptive pool those that it draws in any case count; of a search all its paths.
    """
    most = {ROOT: _largest(source.files(ROOT))}
    for pool in source.pools:
        shape = source.manifest_of(pool)["rows_from"]
        drawn = shape.get("samples") or _largest(source.files(pool))
        most[shape["kind"]] = max(most.get(shape["kind"], 1), drawn)
    return most


def search_tokens(source: Source, problems: int) -> float | None:
    """Policy tokens per problem of the searches, simulations that found nothing new included.

    Args:
        source: of the labels.
        problems: that were searched.

    Returns:
        By the manifests of the pools, because the rows of a search count what was new in them
        alone; None where one does not say.
    """
    pools = (source.manifest_of(pool) for pool in source.pools)
    spent = [pool["figures"].get("tokens") for pool in pools if _is_search(pool)]
    return None if None in spent else sum(spent) / problems


def _is_search(pool: Mapping[str, Any]) -> bool:
    return pool["rows_from"]["kind"] in IN_ORDER


def _largest(files: Sequence[str]) -> int:
    """One more than the largest sample index."""
    top = pl.scan_parquet(list(files)).select(pl.col("sample_index").max()).collect().item()
    return 1 if top is None else int(top) + 1


def doubled(samples: int) -> list[int]:
    """1, 2, 4, ... up to a number of samples, and that number."""
    return sorted({*(2**k for k in range(samples.bit_length()) if 2**k <= samples), samples})


def groups(n: int, used: Iterable[str], there: Mapping[str, int]) -> int:
    """Disjoint groups of n that all sources have; at least the first.

    Args:
        n: samples of a group.
        used: sources that are asked for.
        there: of `sizes`; sources that are not in it do not count.
    """
    found = [name for name in used if name in there]
    if any(name in IN_ORDER for name in found):
        return 1
    return max(1, min(there[name] for name in found) // n)


def chunks(source: Source, problems: Mapping[str, Problem]) -> Iterator[pl.DataFrame]:
    """The paths of some problems, a file of rollouts at a time, with those of the pools.

    They are graded as today's grader does, as labels made today are (`regrade`).

    Args:
        source: of the labels.
        problems: those wanted, by id.

    Yields:
        The columns of rollouts with source and prefix_steps, and ``branch``: the id of the last
        action that was given, which names the state a path was continued from; null where
        nothing was given, or a search decided what is.
    """
    chosen = pl.Series(list(problems), dtype=pl.String).implode()
    is_chosen = pl.col("problem_id").cast(pl.String).is_in(chosen)
    pools = [pl.scan_parquet(file) for pool in source.pools for file in source.files(pool)]
    given = pl.col("steps").list.get(pl.col("prefix_steps") - 1, null_on_oob=True)
    continued = (pl.col("prefix_steps") > 0) & ~pl.col("source").is_in(IN_ORDER)
    for file in source.files(ROOT):
        roots = pl.scan_parquet(file).filter(is_chosen).pipe(as_paths).collect()
        if roots.is_empty():
            continue
        ours = pl.col("problem_id").cast(pl.String).is_in(roots["problem_id"].unique().implode())
        more = [pool.filter(ours).collect().select(roots.columns) for pool in pools]
        paths = pl.concat([roots, *(part for part in more if len(part))], how="vertical_relaxed")
        graded = regrade(paths.lazy(), source.domain, lambda: problems).collect()
        yield graded.with_columns(branch=pl.when(continued).then(given.struct.field("action_id")))


def group(paths: pl.DataFrame, n: int, number: int) -> pl.DataFrame:
    """The paths of one group.

    Args:
        paths: of `chunks`.
        n: samples of a group.
        number: of the group, from 0.
    """
    drawn = paths.filter(pl.col("sample_index") // n == number)
    ids = pl.col("steps").list.eval(pl.element().struct.field("action_id"))
    visited = drawn.filter(pl.col("source") == ROOT).select(ids).explode("steps").to_series()
    branch = pl.col("branch")
    kept = branch.is_null() | branch.is_in(visited.unique().implode())
    return drawn.filter(kept).drop("branch")
