"""What a person should know of a data set that was made: one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qstar_core.evaluation.chance import at_chance
from qstar_core.evaluation.trees import shorten
from qstar_core.evaluation.wording import unsolvable
from qstar_core.rollouts.figures import drift_in_words
from qstar_core.rollouts.import_survey import QUARANTINE
from qstar_core.store.uri import join

PROMPT_CHARACTERS = 80

Manifest = dict[str, Any]


def remarks(manifest: Manifest) -> list[str]:
    """Remarks on a manifest; none where everything went as planned."""
    figures = manifest.get("figures", {})
    drift = drift_in_words(figures)
    return [
        *_malformed(figures, manifest["uri"]),
        *_left_out(figures),
        *_outcomes(figures.get("outcomes", {})),
        *_quarantined(figures.get("quarantined", []), manifest["uri"]),
        *([drift] if drift else []),
        *_of_labels(figures, "prm" if manifest.get("kind") == "prm" else "qvm"),
        *_of_policy(figures),
    ]


def doubts(manifests: Mapping[str, Manifest]) -> list[str]:
    """What limits the results of a run, whatever the searches do.

    Args:
        manifests: of the stages problems and qvm, as far as they are there.

    Returns:
        How many of the test problems have no solution, and whether the Q-value model is at chance.
    """
    hopeless = unsolvable(manifests.get("problems", {}).get("figures", {}))
    chance = at_chance(manifests.get("qvm", {}).get("figures", {}).get("heldout", []))
    return [said for said in (hopeless, chance) if said]


def _of_labels(figures: dict[str, Any], model: str) -> list[str]:
    """What training has found in its labels and did not refuse."""
    found = []
    if count := figures.get("conflicts"):
        found.append(
            f"{count:,} actions have labels that contradict each other (qstar audit LABELS)"
        )
    for name, count in figures.get("allowed", {}).items():
        found.append(f"{count:,} test problems are trained on, allowed by {model}.allow: {name}")
    return found


def _of_policy(figures: dict[str, Any]) -> list[str]:
    """Of a policy that was fine-tuned."""
    found = []
    if figures.get("too_long"):
        found.append(
            f"{figures['too_long']:,} solutions are longer than sft.max_length and left out"
        )
    before, after = figures.get("heldout_loss_before"), figures.get("heldout_loss")
    if before is not None and after is not None and after >= before:
        found.append(
            f"the held-out loss did not fall ({before:.4f} before, {after:.4f} after): the policy "
            "has learnt nothing that holds elsewhere; more solutions or a smaller "
            "sft.learning_rate may help"
        )
    return found


def _malformed(figures: dict[str, Any], uri: str) -> list[str]:
    """Of problems that were imported with their rollouts."""
    if "malformed" not in figures:
        return []
    count, lines = figures["import"]["malformed"], figures["import"]["lines"]
    first = figures["malformed"][0]
    return [
        f"{count:,} of {lines:,} rows are malformed and left out, for example line "
        f"{first['line']}: {first['reason']} (all of them: {join(uri, QUARANTINE)})"
    ]


def _left_out(figures: dict[str, Any]) -> list[str]:
    """Of problems that were read from files."""
    found = []
    for split in ("train", "test"):
        if rows := figures.get(f"malformed_{split}"):
            first = rows["named"][0]
            found.append(
                f"rows of domain.{split}_file that are left out: {rows['rows']:,}, for example "
                f"row {first['row']}: {first['reason']}"
            )
    return found


def _outcomes(counts: dict[str, int]) -> list[str]:
    """Of imported rollouts."""
    return [", ".join(f"{name} {n:,}" for name, n in counts.items())] if counts else []


def _quarantined(problems: list[dict[str, str]], uri: str) -> list[str]:
    if not problems:
        return []
    first = problems[0]
    count = "1 problem has" if len(problems) == 1 else f"{len(problems):,} problems have"
    error = first["error"].splitlines()[0]
    return [
        f"{count} no rollouts, for example {shorten(first['prompt'], PROMPT_CHARACTERS)}: {error} "
        f"(all of them: qstar show {uri})"
    ]
