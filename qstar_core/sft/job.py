"""The work of the stage ``sft``: select, tokenise, fine-tune, publish a policy checkpoint.

The data set is a Hugging Face folder and ``selected.parquet``, the solutions it was trained on;
``policy.path`` of the next run may name it as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from qstar_core.audit.questions import TUNED, check_leakage
from qstar_core.config import RunConfig
from qstar_core.domains import DOMAINS
from qstar_core.domains.problem_table import read_problems
from qstar_core.finishing import put
from qstar_core.loading import expect
from qstar_core.mdp import Problem
from qstar_core.policies.identity import sft_base
from qstar_core.policies.licence import licence_of
from qstar_core.policies.text import Vocabulary
from qstar_core.prm_stages import value_holdouts
from qstar_core.rollouts.regrade import regrade
from qstar_core.sft import selection
from qstar_core.sft.sequences import Sequences, encode
from qstar_core.store import dataset, open_store
from qstar_core.training.needed import POLICY, check_installed
from qstar_core.training.processes import is_first

Progress = Callable[[int, int, str, str], None]
Spec = dict[str, Any]


def sft(spec: Spec, config: RunConfig, progress: Progress) -> dict[str, Any]:
    """Fine-tunes the policy on the correct rollouts of a run; returns the shard's receipt.

    Raises:
        UserError: a package is missing, too few problems are solved, a test problem would be
            trained on, or the base checkpoint is not the planned one.
    """
    check_installed("sft", POLICY)
    from qstar_core.sft.train import train  # TRL is heavy
    from qstar_core.values.trackers import following

    uri = spec["uri"]
    followers = following(config.runtime.trackers, uri)
    allowed = check_leakage(spec["inputs"]["problems"], config, TUNED)
    problems = {p.id: p for p in read_problems(spec["inputs"]["problems"], "train")}
    folder, found = sft_base(config)
    expect(spec, "base", found)
    chosen = select(spec, config, problems)
    vocabulary = Vocabulary(folder, config.policy.chat)
    data, heldout, rows = tokenised(chosen, problems, vocabulary, config)
    store = open_store(uri)
    scratch, resume = store.scratch(), store.kept(spec["shard"])

    def report(update: int, of: int, note: str) -> None:
        progress(update, of, "updates", note)

    figures: dict[str, Any] = selection.figures(rows)
    figures |= {"too_long": data.too_long + heldout.too_long, "padding": data.padding}
    how = scratch, resume, config.sft, config.seed, report, followers
    figures |= train(folder, vocabulary, data, heldout, *how)
    if not is_first():
        return {}
    figures["licence"] = licence_of(folder)
    if allowed:
        figures["allowed"] = allowed
    dataset.write_table(scratch / "selected.parquet", rows.to_arrow())
    return _put(spec, scratch, resume, figures)


def select(spec: Spec, config: RunConfig, problems: dict[str, Problem]) -> pl.DataFrame:
    """The solutions to train on, graded by today's grader; columns `selection.SELECTED`.

    Problems that value models of the run are measured on are not among them: the next round's model
    starts from the policy that is trained here, and would have seen them.
    """
    from qstar_core.values.data import held_out  # torch is heavy

    files = dataset.data_files(spec["inputs"]["rollouts"])
    rollouts = pl.scan_parquet(files)
    if config.rollouts.import_file is not None:  # it may have held-out problems too
        rollouts = rollouts.filter(pl.col("split") == "train")
    holdouts = value_holdouts(config)
    unseen = [p for p in sorted(problems) if any(held_out(p, *holdout) for holdout in holdouts)]
    rollouts = rollouts.filter(~pl.col("problem_id").is_in(unseen))
    rollouts = regrade(rollouts, config.domain.name, lambda: problems)
    forms = forms_of(rollouts, problems, config) if config.sft.distinct == "form" else None
    return selection.select(rollouts, config.sft, config.seed, forms)


def forms_of(
    rollouts: pl.LazyFrame, problems: dict[str, Problem], config: RunConfig
) -> dict[str, str] | None:
    """The canonical form of each correct rollout by its id; None where the domain knows none."""
    form = getattr(DOMAINS[config.domain.name], "solution_form", None)
    if form is None:
        return None
    texts = pl.col("steps").list.eval(pl.element().struct.field("text"))
    rows = (
        rollouts.filter(pl.col("outcome") == "correct")
        .select("rollout_id", "problem_id", texts)
        .collect()
    )
    return {
        rollout: form(problems[problem], list(steps)) for rollout, problem, steps in rows.rows()
    }


def tokenised(
    chosen: pl.DataFrame, problems: dict[str, Problem], vocabulary: Vocabulary, config: RunConfig
) -> tuple[Sequences, Sequences, pl.DataFrame]:
    """What is trained on and what is held out, and the rows of both that are not too long."""
    prompts = {problem_id: problem.prompt for problem_id, problem in problems.items()}
    made, kept = [], []
    for held in (False, True):
        part = chosen.filter(pl.col("heldout") == held)
        made.append(encode(part, prompts, vocabulary, config.sft.max_length))
        kept.append(part[made[-1].rows])
    return made[0], made[1], pl.concat(kept)


def _put(spec: Spec, scratch: Path, resume: Path, figures: dict[str, Any]) -> dict[str, Any]:
    """Finishes the shard and removes what it would have resumed from."""
    receipt = put(spec, scratch, sorted(f for f in scratch.iterdir() if f.is_file()), figures)
    shutil.rmtree(resume, ignore_errors=True)
    return receipt
