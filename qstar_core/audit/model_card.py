"""The model card: a Markdown file beside the weights of a trained Q-value model.

Like the data card (`qstar_core.audit.card`) it is put before the manifest and made of what the run
key hashes, the figures and the rows of the labels: no date, no place, no measured time, so that
equal models have equal cards. Its head is that of a model card of the Hugging Face hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import yaml

from qstar_core.audit.card import markdown
from qstar_core.config import CardConfig
from qstar_core.evaluation.chance import at_chance
from qstar_core.evaluation.wording import number
from qstar_core.stage import kind_of
from qstar_core.store import dataset
from qstar_core.values.side_by_side import model_row

NAME = "README.md"
TAGS = ["reasoning", "value-model", "process-supervision", "qstar"]
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
LOADING = """\
from transformers import AutoModelForTokenClassification as Model, AutoTokenizer as Tokenizer
tokenizer, model = Tokenizer.from_pretrained("."), Model.from_pretrained(".")
q = model(tokenizer(text, return_tensors="pt")["input_ids"]).logits[0, -1, 0].sigmoid().item()"""
"""``text`` is the prompt and the steps, the scored one last."""
LIMITS = (
    "It was trained on the samples of one policy: for the steps of another one, or of other "
    "questions, neither ranking nor calibration has been measured.",
    "It is calibrated to its labels. A step that could succeed and was not seen to has the label "
    "0, so a value is rather a lower bound of what is possible.",
    "Calibration holds on average over steps sampled by the policy. Those that a search selects "
    "for their large value are overestimated.",
    "It reads the value at the last token of a step; elsewhere its output means nothing.",
)

Row = dict[str, Any]


def model_card(head: Mapping[str, Any], about: CardConfig, inputs: Mapping[str, str]) -> str:
    """The card of a Q-value model that is trained and measured.

    Args:
        head: of the manifest: key, rows_from, inputs, figures and config.
        about: what the configuration says of it.
        inputs: folders of the data sets it was made from, by stage name.
    """
    config, figures = head["config"], head["figures"]
    labels = next(uri for name, uri in inputs.items() if kind_of(name) == "labels")
    manifest = dataset.read_manifest(labels)
    base = config["qvm"]["init"] or config["policy"]["path"]
    licence = head.get("licence") or about.licence
    title = f"Q-value model: {config['domain']['name']}"
    truth = any(row["auc_truth"] is not None for row in figures["heldout"])
    return markdown("model_card.md.j2").render(
        front=yaml.safe_dump(
            front_matter(title, head, base, licence), sort_keys=False, allow_unicode=True
        ),
        head=head,
        about=about,
        title=title,
        licence=licence,
        base=base,
        domain=config["domain"]["name"],
        labels={**model_row(head, manifest), "key": _labels_key(head)},
        counts=_counts(dataset.data_files(labels)),
        figures=figures,
        truth=truth,
        steps=[*figures["heldout"], figures["overall"]],
        at_chance=at_chance(figures["heldout"]),
        choices=_choices(figures["regret"]),
        loading=LOADING,
        figure=with_interval,
        limits=LIMITS,
        hashed=json.dumps(head["rows_from"], indent=1, default=str).replace("`", "\\u0060"),
    )


def front_matter(title: str, head: Mapping[str, Any], base: str, licence: str | None) -> Row:
    """The YAML head of the card.

    ``base_model`` has to be a name on the hub; a folder is named in the text alone.
    """
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
    measured = [
        {"type": "roc_auc" if name == "auc" else name, "name": told, "value": value}
        for told, name, value in results
        if value is not None
    ]
    of = {"type": "qstar-labels", "name": f"held-out labels {_labels_key(head)}"}
    task = {"type": "token-classification"}
    index = [{"name": title, "results": [{"task": task, "dataset": of, "metrics": measured}]}]
    return {
        "library_name": "transformers",
        "pipeline_tag": "token-classification",
        **({"license": licence} if licence else {}),
        **({"base_model": base} if HUB_NAME.fullmatch(base) else {}),
        "tags": TAGS,
        **({"model-index": index} if measured else {}),
    }


def _labels_key(head: Mapping[str, Any]) -> str:
    found: Sequence[str] = [k for name, k in head["inputs"].items() if kind_of(name) == "labels"]
    return found[0]


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
