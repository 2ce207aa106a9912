"""The model card: a Markdown file beside the weights of a Q-value model or process reward model.

Like the data card (`qstar_core.audit.card`) it is put before the manifest and made of what the run
key hashes, the figures and the rows of the labels: no date, no place, no measured time, so that
equal models have equal cards. Its head is that of a model card of the Hugging Face hub. The card of
a fine-tuned policy is `qstar_core.audit.policy_card`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from qstar_core.audit.card import fenced, loading, markdown
from qstar_core.audit.front_matter import front
from qstar_core.config import CardConfig
from qstar_core.evaluation.chance import at_chance
from qstar_core.evaluation.wording import number
from qstar_core.stage import COMMANDS, kind_of
from qstar_core.store import dataset
from qstar_core.values.side_by_side import model_row

NAME = "README.md"
TASK = "token-classification"
LABELLED = ("labels", "annotations")
"""Kinds of data sets that a model is trained on."""
AUTO = "AutoModelForTokenClassification"
USE = (
    '{} = model(tokenizer(text, return_tensors="pt")["input_ids"])'
    ".logits[0, -1, 0].sigmoid().item()"
)
"""``text`` is the prompt and the steps, the scored one last."""
AT_THE_END = "It reads the value at the last token of a step; elsewhere its output means nothing."
WORDS: dict[str, dict[str, Any]] = {
    "qvm": {
        "title": "Q-value model",
        "name": "Q-value model",
        "tags": ["reasoning", "value-model", "process-supervision", "qstar"],
        "what": "A Q-value model: the value Q(s, a), from 0 to 1, of taking the reasoning step a "
        "after the question and the steps s. It is a token-classification checkpoint with one "
        'label, "Q"; the sigmoid of the logit at the last token of a step is its value.',
        "use": "As the heuristic of a search over reasoning steps (Q\\*, arXiv 2406.14283): score "
        "the steps that the policy proposes, go on with the best. It ranks steps; it does not "
        "write, and it does not say whether a final answer may be trusted.",
        "score": "q",
        "limits": (
            "It was trained on the samples of one policy: for the steps of another one, or of "
            "other questions, neither ranking nor calibration has been measured.",
            "It is calibrated to its labels. A step that could succeed and was not seen to has the "
            "label 0, so a value is rather a lower bound of what is possible.",
            "Calibration holds on average over steps sampled by the policy. Those that a search "
            "selects for their large value are overestimated.",
            AT_THE_END,
        ),
    },
    "prm": {
        "title": "Process reward model",
        "name": "process reward model",
        "tags": ["reasoning", "process-reward-model", "process-supervision", "qstar"],
        "what": "A process reward model: the probability, from 0 to 1, that a reasoning step is "
        "right, given the question and the steps before it. It is a token-classification "
        'checkpoint with one label, "right"; the sigmoid of the logit at the last token of a step '
        "is the probability.",
        "use": "As the reward of steps in a search (R_P of Q\\*, arXiv 2406.14283), or to rank "
        "whole solutions by the rewards of their steps. It judges steps; it does not write, and it "
        "does not say whether a final answer may be trusted.",
        "score": "right",
        "limits": (
            "For the steps of another policy than that of its training data, steps written in "
            "another form, or other questions, neither ranking nor calibration has been measured.",
            "Labels from rollouts call a step right where samples after it succeeded: a right step "
            "that none succeeded from counts as wrong, a wrong one that was mended later as right.",
            "Calibration holds on average over steps like those of its training data. Those that a "
            "search selects for their large reward are overestimated.",
            AT_THE_END,
        ),
    },
}
"""What differs between the two kinds of models."""

Row = dict[str, Any]


def model_card(head: Mapping[str, Any], about: CardConfig, inputs: Mapping[str, str]) -> str:
    """The card of a model that is trained and measured.

    Args:
        head: of the manifest: kind (qvm or prm), key, rows_from, inputs, figures and config.
        about: what the configuration says of it.
        inputs: folders of the data sets it was made from, by stage name.
    """
    config, figures, kind = head["config"], head["figures"], str(head["kind"])
    words = WORDS[kind]
    labels = next(uri for name, uri in inputs.items() if kind_of(name) in LABELLED)
    base = config[kind]["init"] or config["policy"]["path"]
    licence = head.get("licence") or about.licence
    title = f"{words['title']}: {config['domain']['name']}"
    truth = any(row["auc_truth"] is not None for row in figures["heldout"])
    return markdown("model_card.md.j2").render(
        front=front(licence, base, TASK, words["tags"], title, measured(head)),
        head=head,
        about=about,
        title=title,
        words=words,
        licence=licence,
        base=base,
        domain=config["domain"]["name"],
        labels={**model_row(head, dataset.read_manifest(labels)), "key": _labels_key(head)},
        targets=_targets(head),
        counts=_counts(dataset.data_files(labels)),
        figures=figures,
        truth=truth,
        steps=[*figures["heldout"], figures["overall"]],
        at_chance=at_chance(figures["heldout"], words["name"]),
        choices=_choices(figures["regret"]),
        loading=loading(AUTO, USE.format(words["score"])),
        command=f"qstar {COMMANDS[kind]} CONFIG",
        figure=with_interval,
        hashed=fenced(head["rows_from"]),
    )


def measured(head: Mapping[str, Any]) -> list[Row]:
    """The held-out figures as results of the hub's model index; empty where there are none."""
    results = [
        (f"{kind}, {row['step']} steps", name, row[f"{name}_{of}" if name == "auc" else name])
        for row in head["figures"]["heldout"]
        for name, of, kind in (
            ("auc", "truth", "AUC against the exact Q*"),
            ("auc", "label", "AUC against labels"),
            ("brier", "", "Brier score"),
            ("ece", "", "expected calibration error"),
        )
    ]
    metrics = [
        {"type": "roc_auc" if name == "auc" else name, "name": told, "value": value}
        for told, name, value in results
        if value is not None
    ]
    of = {"type": "qstar-labels", "name": f"held-out labels {_labels_key(head)}"}
    return [{"dataset": of, "metrics": metrics}] if metrics else []


def _labels_key(head: Mapping[str, Any]) -> str:
    found: Sequence[str] = [k for name, k in head["inputs"].items() if kind_of(name) in LABELLED]
    return found[0]


def _targets(head: Mapping[str, Any]) -> str:
    """What a process reward model was shown in the place of the labels; empty for Q-values."""
    if head["kind"] != "prm":
        return ""
    prm = head["config"]["prm"]
    if "annotations" in head["inputs"]:
        return f"annotations; neutral steps count as {prm['neutral']}"
    if prm["estimation"] == "soft":
        return "soft estimation: the share of samples after a step that succeed"
    return f"hard estimation: right where more than {prm['threshold']:g} of the samples succeed"


def _counts(files: list[str]) -> Row:
    """Problems, rollouts and steps of the labels."""
    rows = pl.scan_parquet(files)
    counts = rows.select(
        pl.len().alias("steps"), pl.col("problem_id", "rollout_id").n_unique()
    ).collect(engine="streaming")
    return counts.row(0, named=True)


def _choices(regret: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Step, what the choice is measured against, and its figures, where there was one."""
    found = []
    for row in regret:
        for against, its in (("exact Q\\*", row["truth"]), ("labels", row)):
            if its is not None and its["states"]:
                found.append((row["step"], against, its))
    return found


def with_interval(row: Mapping[str, Any], name: str, digits: int = 3) -> str:
    """A figure with its 95 % interval, for a cell; a dash where it is not known."""
    bounds = row["intervals"].get(name)
    told = number(row[name], digits)
    if row[name] is None or bounds is None:
        return told
    return f"{told} ({number(bounds[0], digits)} to {number(bounds[1], digits)})"
