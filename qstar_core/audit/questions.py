"""Questions that stand twice among the training problems, and test problems among them.

A model that was trained on a test problem, or on a copy of it with a word changed, is measured by
what it remembers. So training refuses labels and annotations with leakage unless it is allowed by
name, and so does a search with a trained model: a model keeps its key, and is not trained again,
where the test problems are other ones than then.

Equal are problems with one id and those with the same words: annotations often come without the
reference that is part of an id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import polars as pl

from qstar_core.annotations.table import annotated_problems
from qstar_core.audit.shingles import SEPARATOR, TOKEN, near_duplicates
from qstar_core.config import RunConfig
from qstar_core.domains.problem_table import read_problems
from qstar_core.errors import UserError
from qstar_core.mdp import Problem

SIMILAR = 0.8
"""Jaccard similarity of word shingles from which on two questions count as near-duplicates."""
EXAMPLES = 3
TRAINED, TUNED, SEARCHED = "trained", "fine-tuned", "searched"
COMMANDS = {
    TRAINED: "qstar train-{} CONFIG",
    TUNED: "qstar train-policy CONFIG",
    SEARCHED: "qstar run CONFIG",
}
"""What to run where leakage is allowed, by what was refused, with the name of the model."""
WORDS = pl.col("prompt").str.to_lowercase().str.extract_all(TOKEN).list.join(SEPARATOR)
"""The words of a question; what else it is made of does not matter."""

Row = dict[str, Any]


def as_frame(problems: Sequence[Problem]) -> pl.DataFrame:
    """Problems as a frame with the columns problem_id and prompt."""
    rows = {"problem_id": [p.id for p in problems], "prompt": [p.prompt for p in problems]}
    return pl.DataFrame(rows, schema={"problem_id": pl.String, "prompt": pl.String})


def duplicates(problems: pl.DataFrame) -> Row:
    """Questions with the same words under several ids, with different references for example.

    Args:
        problems: with the columns problem_id and prompt.

    Returns:
        ``questions`` that stand more than once, the ``problems`` that hold them, and ``examples``
        (prompt, n).
    """
    again = (
        problems.unique("problem_id", maintain_order=True)
        .group_by(WORDS.alias("text"), maintain_order=True)
        .agg(pl.col("prompt").first(), n=pl.len())
        .filter(pl.col("n") > 1)
    )
    examples = again.head(EXAMPLES).select("prompt", "n").to_dicts()
    return {"questions": len(again), "problems": int(again["n"].sum()), "examples": examples}


def leakage(train: pl.DataFrame, test: pl.DataFrame, threshold: float = SIMILAR) -> Row:
    """Test problems among the training problems.

    Args:
        train: training problems, with the columns problem_id and prompt.
        test: test problems, the same.
        threshold: least Jaccard similarity of near-duplicates, see `qstar_core.audit.shingles`.

    Returns:
        ``train`` and ``test`` (distinct problems), ``same`` (test problems that are training
        problems too, by id or words) with ``same_examples`` (prompts), ``near`` (other test
        problems with a near-duplicate among the training problems) with ``near_examples`` (train,
        test, jaccard), and ``threshold``.
    """
    train, test = (f.unique("problem_id", maintain_order=True) for f in (train, test))
    known = pl.col("problem_id").is_in(train["problem_id"].implode())
    words = train.select(WORDS).to_series()
    same = test.filter(known | WORDS.is_in(words.implode()))
    pairs = near_duplicates(train, test, threshold)
    pairs = pairs.join(same.select(right="problem_id"), on="right", how="anti")
    best = pairs.unique("right", keep="first", maintain_order=True).head(EXAMPLES)
    texts = dict(pl.concat([train, test]).select("problem_id", "prompt").iter_rows())
    near = [{"train": texts[a], "test": texts[b], "jaccard": j} for a, b, j in best.iter_rows()]
    return {
        "train": len(train),
        "test": len(test),
        "same": len(same),
        "same_examples": same["prompt"].head(EXAMPLES).to_list(),
        "near": pairs["right"].n_unique(),
        "near_examples": near,
        "threshold": threshold,
    }


def check_leakage(
    problems: str,
    config: RunConfig,
    made: str = TRAINED,
    model: Literal["qvm", "prm", "adaptive"] = "qvm",
    annotations: str | None = None,
) -> Row:
    """`refuse_leakage` of the problems of a run.

    Args:
        problems: folder of its published problems.
        config: of the run; rows of an imported file that are test problems are never trained on.
        made: what is refused.
        model: whose training or use it is.
        annotations: folder of the annotations that it is trained on instead of labels.

    Returns:
        As `refuse_leakage`.
    """
    train, test = (read_problems(problems, split) for split in ("train", "test"))
    if annotations is not None:
        train = annotated_problems(annotations, config.domain.name)
    elif config.rollouts.import_file is not None:
        train = [problem for problem in train if problem.split == "train"]
    return refuse_leakage(train, test, getattr(config, model).allow, made, model)


def refuse_leakage(
    train: Sequence[Problem],
    test: Sequence[Problem],
    allowed: Sequence[str],
    made: str = TRAINED,
    model: str = "qvm",
    given: str = "",
) -> Row:
    """Makes sure that no test problem is trained on, unless that is allowed by name.

    Args:
        train: problems of the labels.
        test: problems of the evaluation.
        allowed: ``qvm.allow`` for example: of ``leakage`` and ``near_duplicates``.
        made: what is refused, a key of `COMMANDS`.
        model: the section of the configuration with ``allow``; ``qstar train-MODEL`` trains it.
        given: field and path of a model that was trained elsewhere; empty for one of this run.

    Returns:
        What was found and allowed: counts by name; empty where nothing was found.

    Raises:
        UserError: names the count, an example and the ways out.
    """
    found = leakage(as_frame(train), as_frame(test))
    if found["same"] and "leakage" not in allowed:
        raise _refusal(
            "leakage",
            f"{found['same']:,} of {found['test']:,} test problems are training problems too",
            found["same_examples"][0].strip(),
            made,
            model,
            given,
        )
    if found["near"] and "near_duplicates" not in allowed:
        pair = found["near_examples"][0]
        raise _refusal(
            "near_duplicates",
            f"{found['near']:,} of {found['test']:,} test problems have a near-duplicate among the "
            f"training problems (Jaccard similarity of word shingles at least {SIMILAR:g})",
            f"{pair['test'].strip()} (test) and {pair['train'].strip()} (training)",
            made,
            model,
            given,
        )
    counts = {"leakage": found["same"], "near_duplicates": found["near"]}
    return {name: count for name, count in counts.items() if count}


def _refusal(name: str, what: str, example: str, made: str, model: str, given: str) -> UserError:
    files = "domain.train_file or test_file" + (", or prm.annotations" if model == "prm" else "")
    files += " (qstar audit LABELS shows more of them)"
    if given:
        files = "domain.test_file, or name a model that was not trained on them"
    return UserError(
        f"{given or ('sft' if made == TUNED else model)}: {what}, for example {example}",
        safe=f"what is made is kept, and nothing was {made}",
        next_step=f"take them out of {files}, then qstar run CONFIG; or go on all the same: "
        f"{COMMANDS[made].format(model)} --set '{model}.allow=[{name}]'",
    )
