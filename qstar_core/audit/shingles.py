"""Near-duplicates of texts: Jaccard similarity of word shingles, exact, by an inverted index.

A text's shingles are all its runs of `WORDS` words (a sign is a word), equal ones counted apart;
the Jaccard similarity of two texts is the size of the intersection over that of the union (Broder
1997, "On the resemblance and containment of documents"). What all texts begin and end with, a
few-shot prompt for example, is left out first if they are not too few.

Two texts that are similar to a degree t share a shingle even among the few rarest of each, namely
``size - ceil(t * size) + 1`` (prefix filtering; Chaudhuri, Ganti and Kaushik, 2006). Only these
are joined, so frequent shingles cost nothing and nothing is approximated.
"""

from __future__ import annotations

import polars as pl

WORDS = 3
TEMPLATE = 10
"""Different texts that must begin or end alike before that counts as a template; fewer of them may
be alike because they are near-duplicates."""
TOKEN = r"\w+|[^\w\s]"
SEPARATOR = "\x1f"


def tokens(frame: pl.DataFrame) -> pl.DataFrame:
    """The words of each text, lower case, without what all texts begin and end with.

    Args:
        frame: with the columns problem_id and prompt.

    Returns:
        problem_id and words (list), in the order of the frame.
    """
    words = pl.col("prompt").str.to_lowercase().str.extract_all(TOKEN)
    split = frame.select("problem_id", words=words)
    joined = split.select(pl.col("words").list.join(SEPARATOR) + SEPARATOR).to_series()
    if joined.n_unique() < TEMPLATE:
        return split
    head = _common(joined)
    reverse = pl.col("words").list.reverse().list.join(SEPARATOR) + SEPARATOR
    tail = _common(split.select(reverse).to_series())
    kept = (pl.col("words").list.len().cast(pl.Int64) - head - tail).clip(lower_bound=0)
    return split.with_columns(words=pl.col("words").list.slice(head, kept))


def _common(joined: pl.Series) -> int:
    """How many words all joined texts begin with; the smallest and the largest text tell."""
    low, high = str(joined.min()), str(joined.max())
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:same].count(SEPARATOR)


def shingles(split: pl.DataFrame) -> pl.DataFrame:
    """The shingles of each text.

    Args:
        split: of `tokens`.

    Returns:
        One row per text and shingle: problem_id, shingle (hash of its words and of how many equal
        ones came before it) and size, the number of shingles of the text. A text of fewer than
        `WORDS` words is one shingle; one without words has none.
    """
    place = pl.int_range(pl.len()).over("problem_id")
    near = [pl.col("words").shift(-k).over("problem_id") for k in range(WORDS)]
    last = pl.max_horizontal(pl.len().over("problem_id").cast(pl.Int64) - WORDS, pl.lit(0))
    exploded = split.filter(pl.col("words").list.len() > 0).explode("words")
    runs = (
        exploded.with_columns(
            place=place,
            last=last,
            run=pl.concat_str(near, separator=SEPARATOR, ignore_nulls=True).hash(),
        )
        .filter(pl.col("place") <= pl.col("last"))
        .with_columns(again=pl.col("run").cum_count().over("problem_id", "run"))
    )
    return runs.select(
        "problem_id",
        shingle=pl.struct("run", "again").hash(),
        size=pl.len().over("problem_id"),
    )


def near_duplicates(left: pl.DataFrame, right: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """All pairs of texts, one of each frame, that are similar.

    Args:
        left: with the columns problem_id (unique) and prompt.
        right: the same.
        threshold: least Jaccard similarity, in (0, 1].

    Returns:
        Columns left, right (ids, never equal) and jaccard, most similar first, then by ids.
    """
    columns = ("problem_id", "prompt")
    both = pl.concat([left.select(columns), right.select(columns)])
    split = tokens(both.unique("problem_id", maintain_order=True))
    all_ = shingles(split)
    often = all_.group_by("shingle").agg(often=pl.len())
    need = (pl.col("size") * threshold - 1e-9).ceil().cast(pl.Int64)
    rare = (
        all_.join(often, on="shingle")
        .sort("problem_id", "often", "shingle")
        .filter(pl.int_range(pl.len()).over("problem_id") <= pl.col("size") - need)
    )
    sides = [pl.DataFrame({"problem_id": f["problem_id"].unique()}) for f in (left, right)]
    ours, theirs = (rare.join(side, on="problem_id", how="semi") for side in sides)
    pairs = (
        ours.select(left="problem_id", shingle="shingle")
        .join(theirs.select(right="problem_id", shingle="shingle"), on="shingle")
        .select("left", "right")
        .unique()
        .filter(pl.col("left") != pl.col("right"))
    )
    shared = (
        pairs.join(all_.rename({"size": "size_left"}), left_on="left", right_on="problem_id")
        .join(all_, left_on=["right", "shingle"], right_on=["problem_id", "shingle"])
        .group_by("left", "right")
        .agg(n=pl.len(), size_left=pl.col("size_left").first(), size=pl.col("size").first())
    )
    union = pl.col("size_left") + pl.col("size") - pl.col("n")
    return (
        shared.select("left", "right", jaccard=pl.col("n") / union)
        .filter(pl.col("jaccard") >= threshold - 1e-9)
        .sort("jaccard", "left", "right", descending=[True, False, False])
    )
