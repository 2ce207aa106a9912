from __future__ import annotations

from typing import Any

import pytest

from qstar_core.values.side_by_side import FIGURES, means, model_row


def manifest(seed: int = 0, loss: str = "bce", exact: bool = True, **more: Any) -> dict[str, Any]:
    """The manifest of a model whose figures depend on the seed."""
    steps = [
        {"step": name, "auc_truth": at + seed / 100 if exact else None, "auc_label": at - 0.1}
        for name, at in (("first", 0.8), ("second", 0.9), ("final", 0.99))
    ]
    regret = [
        {"step": "first", "regret": 0.4, "truth": {"regret": 0.2} if exact else None},
        {"step": "all", "regret": 0.3, "truth": {"regret": 0.1} if exact else None},
    ]
    figures = {
        "updates": 7,
        "trajectories": 5,
        "heldout": steps,
        "regret": regret,
        "overall": {"brier": 0.05, "ece": 0.01, "ece_before": 0.02},
        "calibration": {"temperature": 1.2},
    }
    config = {
        "seed": seed,
        "qvm": {"loss": loss},
        "labels": {"method": "best_of_rollouts", "gamma": 1.0, "rounds": 2},
    }
    decided = {"seed": seed, "labels": f"of seed {seed}", "loss": loss, "epochs": 3.0}
    head = {
        "kind": "qvm",
        "rows_from": decided,
        "key": f"{seed:024d}",
        "uri": "u",
        "config": config,
        "inputs": {"labels": "k"},
    }
    return {**head, "figures": figures, **more}


def test_a_row_has_what_the_model_was_trained_on_and_its_figures() -> None:
    row = model_row(manifest())
    assert (row["loss"], row["labels"], row["gamma"], row["updates"]) == (
        "bce",
        "best_of_rollouts",
        1.0,
        7,
    )
    assert row["against"] == "Q*" and row["temperature"] == 1.2
    assert (row["auc_first"], row["auc_final"]) == (0.8, 0.99)
    assert (row["brier"], row["ece_before"], row["ece"]) == (0.05, 0.02, 0.01)
    assert (row["regret_first"], row["regret_second"]) == (0.2, None)


def test_without_the_exact_value_the_labels_are_the_measure() -> None:
    row = model_row(manifest(exact=False))
    assert row["against"] == "labels"
    assert (row["auc_first"], row["regret_first"]) == (pytest.approx(0.7), 0.4)


def test_a_model_of_an_older_qstar_lacks_figures_only() -> None:
    old = manifest()
    for name in ("regret", "overall", "calibration"):
        del old["figures"][name]
    row = model_row(old)
    assert row["auc_first"] == 0.8 and row["regret_first"] is None and row["ece"] is None


@pytest.mark.parametrize(
    ("inputs", "labels", "said"),
    [
        ({"labels": "k"}, None, "fitted_q, round 3"),
        ({"problems": "p", "labels_1": "k"}, None, "fitted_q, round 1"),
        (
            {"labels_2": "k"},
            {"rows_from": {"method": "fitted_q", "round": 2, "gamma": 0.9}},
            "fitted_q, round 2",
        ),
        (
            {"labels_1": "k"},
            {"rows_from": {"method": "best_of_rollouts", "gamma": 0.9}},
            "best_of_rollouts",
        ),
        (
            {"labels": "k"},
            {"rows_from": {"method": "soft", "eta": 0.1, "gamma": 0.9}},
            "soft, eta 0.1",
        ),
    ],
)
def test_the_round_of_fitted_q_iteration_is_said(
    inputs: dict[str, str], labels: dict[str, Any] | None, said: str
) -> None:
    head = manifest(inputs=inputs)
    head["config"]["labels"] = {"method": "fitted_q", "gamma": 0.9, "rounds": 3}
    row = model_row(head, labels)
    assert row["labels"] == said and row["gamma"] == 0.9


def test_means_are_over_seeds_of_models_that_are_alike_otherwise() -> None:
    rows = [model_row(manifest(seed)) for seed in (0, 1, 2)] + [model_row(manifest(0, "mse"))]
    [mean] = means(rows)
    assert (mean["loss"], mean["labels"], mean["models"]) == ("bce", "best_of_rollouts", 3)
    assert mean["auc_first"] == pytest.approx(0.81) and mean["sd"]["auc_first"] == 0.01
    assert mean["regret_second"] is None and mean["sd"]["regret_second"] is None
    assert set(FIGURES) <= set(mean)


def test_models_that_differ_in_more_than_their_seed_are_not_averaged() -> None:
    twice = [model_row(manifest(0)), model_row(manifest(0)), model_row(manifest(1))]
    assert means(twice) == [] == means([])
    longer = manifest(1)
    longer["rows_from"]["epochs"] = 9.0
    assert means([model_row(manifest(0)), model_row(longer)]) == []


def test_a_process_reward_model_is_a_row_too() -> None:
    head = manifest(kind="prm", inputs={"annotations": "k"})
    head["config"]["prm"] = {"loss": "mse"}
    row = model_row(head, {"rows_from": {"stage": "annotations"}})
    assert (row["loss"], row["labels"], row["gamma"]) == ("mse", "annotations", 1.0)


def test_the_seed_of_a_training_goes_before_that_of_the_run() -> None:
    found = manifest(seed=0)
    found["rows_from"] = {**found["rows_from"], "seed": 7}
    assert model_row(found)["seed"] == 7
