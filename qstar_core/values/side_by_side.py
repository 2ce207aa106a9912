"""Trained Q-value models as rows: what each was trained on, and how good it is.

Read from manifests alone, without torch. Models that were trained by an older qstar lack some
figures, which are None then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from qstar_core.config import LABEL_PARAMETERS
from qstar_core.keys import content_id

STEPS = ("first", "second", "final")
"""Steps whose figures are compared."""
GROUP = ("loss", "labels", "gamma", "settings")
"""What models share whose figures are averaged over seeds."""
OF_SEED = ("seed", "labels")
"""What the run key hashes and another seed changes: the labels are of other rollouts."""
KINDS = ("qvm", "prm")
"""Kinds of data sets that are value models; a process reward model is measured in the same way."""
FIGURES = (
    *(f"auc_{step}" for step in STEPS),
    "brier",
    "ece_before",
    "ece",
    *(f"regret_{step}" for step in STEPS),
)

Row = dict[str, Any]


def model_row(manifest: Mapping[str, Any], labels: Mapping[str, Any] | None = None) -> Row:
    """One model.

    Args:
        manifest: of a data set of kind qvm.
        labels: manifest of its labels if it is there; without it their method is that of the run's
            configuration.

    Returns:
        uri, key, loss, labels (the method, its parameters, and the round of fitted Q iteration),
        gamma, seed, settings (hash of all that decides the training but seed and labels), updates,
        trajectories, temperature, against (``Q*`` where it is known, else ``labels``) and
        the `FIGURES`: AUC and regret among siblings by step against that, and Brier score and
        calibration error, before and after calibration, of all steps against the labels.
    """
    config, figures, decided = manifest["config"], manifest["figures"], manifest["rows_from"]
    steps = {row["step"]: row for row in figures.get("heldout", [])}
    regret = {row["step"]: row for row in figures.get("regret", [])}
    overall = figures.get("overall", {})
    exact = any(row["auc_truth"] is not None for row in steps.values())
    auc = "auc_truth" if exact else "auc_label"
    lost = {n: (row["truth"] if exact else row) or {} for n, row in regret.items()}
    return {
        "uri": manifest.get("uri"),
        "key": manifest["key"],
        "loss": config[manifest.get("kind", "qvm")].get("loss"),
        **_of_labels(manifest, labels),
        "seed": decided.get("seed", config["seed"]),
        "settings": content_id({k: v for k, v in decided.items() if k not in OF_SEED}),
        "updates": figures.get("updates"),
        "trajectories": figures.get("trajectories"),
        "temperature": figures.get("calibration", {}).get("temperature"),
        "against": "Q*" if exact else "labels",
        **{f"auc_{step}": steps.get(step, {}).get(auc) for step in STEPS},
        **{name: overall.get(name) for name in ("brier", "ece_before", "ece")},
        **{f"regret_{step}": lost.get(step, {}).get("regret") for step in STEPS},
    }


def _of_labels(manifest: Mapping[str, Any], labels: Mapping[str, Any] | None) -> Row:
    """Method, parameters, round and discount of the labels."""
    made_from = manifest["config"]["labels"] if labels is None else labels["rows_from"]
    if "method" not in made_from:
        return {"labels": str(made_from.get("stage")), "gamma": 1.0}  # such as annotations
    method = made_from["method"]
    own = [n for n in LABEL_PARAMETERS.get(method, ()) if made_from.get(n) is not None]
    told = [f"{name} {made_from[name]}" for name in own]
    if method == "fitted_q":
        name = next((n for n in manifest["inputs"] if n.startswith("labels")), "labels")
        configured = name.partition("_")[2] or made_from.get("rounds")
        told.append(f"round {made_from.get('round', configured)}")
    return {"labels": ", ".join([method, *told]), "gamma": made_from["gamma"]}


def means(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The means of models that differ in nothing but their seeds.

    Returns:
        For every group of at least two, in the order of the rows: loss, labels, gamma, models, and
        of each of `FIGURES` the mean, and in ``sd`` the standard deviation between seeds (divided
        by n - 1); None where a model lacks the figure.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in GROUP), []).append(row)
    found = []
    for shared, its in groups.items():
        if len(its) < 2 or len({row["seed"] for row in its}) < len(its):
            continue
        mean: Row = {**dict(zip(GROUP, shared, strict=True)), "models": len(its), "sd": {}}
        for name in FIGURES:
            values = [row[name] for row in its]
            mean[name], mean["sd"][name] = _mean_and_sd(values)
        found.append(mean)
    return found


def _mean_and_sd(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None, None
    return round(fmean(known), 6), round(stdev(known), 6)
