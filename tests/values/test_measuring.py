from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from qstar_core.domains import countdown
from qstar_core.mdp import Problem, state_id
from qstar_core.values.calibration import fits
from qstar_core.values.measuring import by_step, measure

PROBLEMS = [countdown.make_problem([1, 2, k], k + 3) for k in range(3, 60)]
"""k + 2 + 1 reaches the target; so does k + 1 + 2, in another order."""


def plays(problem: Problem) -> list[list[str]]:
    """Two plays that share no step: the first reaches the target, the second does not."""
    numbers, target = countdown.start(problem)
    k, two, one = numbers
    good = [
        countdown.line("+", k, two, countdown.ordered([k + two, one]), target),
        countdown.line("+", k + two, one, (k + 3,), target),
    ]
    bad = [
        countdown.line("-", k, one, countdown.ordered([k - one, two]), target),
        countdown.line("-", k - one, two, (k - 3,), target),
    ]
    return [[text + "\n" for text in play] for play in (good, bad)]


def example(gamma: float = 1.0, shift: float = 0.0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Predictions of an overconfident model, and the labels."""
    rng = np.random.default_rng(3)
    rows: list[dict[str, Any]] = []
    for problem in PROBLEMS:
        for number, play in enumerate(plays(problem)):
            right = number == 0
            for t, action in enumerate(play, 1):
                y = (gamma ** (2 - t) if right else 0.0) if rng.random() < 0.8 else 0.5
                z = 4.0 * (right - 0.5) + rng.normal(0, 3) + shift
                state = state_id(problem.id, [])
                rows.append(
                    {
                        "problem_id": problem.id,
                        "rollout_id": f"{problem.id}-{number}",
                        "step_index": t,
                        "n_steps": 2,
                        "state_id": state if t == 1 else f"{problem.id} {number}",
                        "action_id": f"{problem.id} {number} {t}",
                        "action": action,
                        "gamma": gamma,
                        "y": y,
                        "q": float(expit(2 * z)),
                        "q_star": float(right),
                    }
                )
    frame = pl.DataFrame(rows)
    predictions = frame.select(
        "problem_id", "rollout_id", "y", "q_star", "n_steps", "step_index", "q"
    )
    labels = frame.drop("q", "q_star").sample(fraction=1.0, shuffle=True, seed=0)
    return predictions, labels


def test_figures_come_from_the_half_that_nothing_was_fitted_on() -> None:
    predictions, labels = example()
    found = measure(predictions, labels, PROBLEMS, "temperature", seed=4)
    frame, told = found.predictions, found.figures["calibration"]
    halves = frame.group_by("problem_id").agg(pl.col("reported").first())
    assert all(fits(name, 4) != reported for name, reported in halves.iter_rows())
    assert told["problems"] + told["problems_fitted"] == len(PROBLEMS)
    assert told["temperature"] > 1.2 and told["loss"] < told["loss_before"]
    reported = frame.filter("reported")
    first, final = found.figures["heldout"]
    assert (first["n"], final["n"]) == (len(reported) // 2, len(reported) // 2)
    assert first["ece"] < first["ece_before"] and first["brier"] < first["brier_before"]
    assert found.figures["overall"]["n"] == len(reported)
    assert sum(row["n"] for row in found.figures["reliability"]) == len(reported)
    # the fitting half decides the temperature, the other one does not
    spoilt = predictions.with_columns(
        q=pl.when(pl.col("problem_id").is_in(reported["problem_id"].unique().to_list()))
        .then(0.5)
        .otherwise("q")
    )
    again = measure(spoilt, labels, PROBLEMS, "temperature", seed=4)
    assert again.calibration == found.calibration


def test_without_a_calibration_all_held_out_problems_are_reported() -> None:
    predictions, labels = example()
    found = measure(predictions, labels, PROBLEMS, "none", 0)
    assert found.predictions["reported"].all() and not found.calibration.changes
    assert found.predictions["q"].equals(predictions["q"])
    assert found.figures["calibration"]["problems"] == len(PROBLEMS)
    assert found.figures["reliability"] == found.figures["reliability_before"]


def test_few_problems_fit_nothing_and_say_so() -> None:
    predictions, labels = example()
    some = predictions.filter(pl.col("problem_id").is_in([p.id for p in PROBLEMS[:8]]))
    found = measure(some, labels, PROBLEMS, "platt", 0)
    assert "at least 10 are needed" in found.figures["calibration"]["skipped"]
    assert found.predictions["reported"].all()


def test_nothing_held_out_has_no_figures() -> None:
    predictions, labels = example()
    found = measure(predictions.clear(), labels, PROBLEMS, "temperature", 0).figures
    assert found["overall"]["auc_truth"] is None and found["overall"]["n"] == 0
    assert found["reliability"] == [] and found["calibration"]["problems"] == 0


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_the_exact_value_has_the_discount_of_the_labels(gamma: float) -> None:
    predictions, labels = example(gamma)
    frame = measure(predictions, labels, PROBLEMS, "none", 0).predictions
    right = pl.col("rollout_id").str.ends_with("-0")
    for t in (1, 2):
        exact = frame.filter(right & (pl.col("step_index") == t))["q_star"].unique().to_list()
        assert exact == [gamma ** (2 - t)]
    assert frame["domain"].unique().to_list() == ["countdown"]
    assert set(frame.columns) >= {"state_id", "action_id", "q_raw", "reported"}


def test_regret_is_measured_against_labels_and_truth() -> None:
    predictions, labels = example()
    found = measure(predictions, labels, PROBLEMS, "none", 0)
    first, final, everything = found.figures["regret"]
    assert [row["step"] for row in (first, final, everything)] == ["first", "final", "all"]
    truth = first["truth"]
    assert truth["states"] == len(PROBLEMS) and truth["regret_random"] == 0.5
    wrong = 1 - truth["best"]
    assert 0 < truth["regret"] < 0.5 and truth["regret"] == pytest.approx(wrong)
    low, high = truth["intervals"]["regret"]
    assert low < truth["regret"] < high
    assert final["states"] == 0 and final["single"] == 2 * len(PROBLEMS)


def test_several_domains_have_figures_of_their_own() -> None:
    predictions, labels = example()
    others = [
        Problem("gsm8k" if k % 2 else p.domain, p.prompt, p.reference)
        for k, p in enumerate(PROBLEMS)
    ]
    names = {p.id: o.id for p, o in zip(PROBLEMS, others, strict=True)}
    moved = predictions.with_columns(
        problem_id=pl.col("problem_id").replace(names),
        q_star=pl.when(pl.col("problem_id").replace(names) == pl.col("problem_id")).then("q_star"),
    )
    found = measure(moved, labels, others, "none", 0).figures
    assert {row["domain"] for row in found["by_domain"]} == {"countdown", "gsm8k"}
    of = {(row["domain"], row["step"]): row for row in found["by_domain"]}
    assert of["gsm8k", "all"]["auc_truth"] is None
    assert of["countdown", "all"]["auc_truth"] is not None
    assert found["overall"]["auc_truth"] is None  # unknown of some
    regrets = {(r["domain"], r["step"]): r["truth"] for r in found["regret_by_domain"]}
    assert regrets["gsm8k", "all"] is None and regrets["countdown", "all"] is not None
    assert "by_domain" not in measure(predictions, labels, PROBLEMS, "none", 0).figures


def test_figures_by_step_tell_final_from_first() -> None:
    frame = pl.DataFrame(
        {
            "step_index": [1, 2, 1, 2, 1],
            "n_steps": [2, 2, 2, 2, 1],
            "q": [0.9, 0.8, 0.1, 0.2, 0.7],
            "y": [1.0, 1.0, 0.0, 0.0, 1.0],
            "q_star": [1.0, 1.0, 1.0, 0.0, None],
        }
    )
    first, final = by_step(frame)
    assert (first["step"], first["n"], first["auc_label"]) == ("first", 2, 1.0)
    assert first["auc_truth"] is None  # no negatives
    assert (final["step"], final["n"], final["auc_truth"]) == ("final", 3, None)  # one unknown


def test_intervals_hold_the_figures() -> None:
    predictions, labels = example()
    row = measure(predictions, labels, PROBLEMS, "temperature", 0).figures["overall"]
    assert set(row["intervals"]) == set(row) - {"step", "n", "positives", "intervals"}
    for name, bounds in row["intervals"].items():
        assert bounds[0] <= bounds[1]
        if not name.startswith("ece"):  # biased upwards in a resample
            assert bounds[0] <= row[name] <= bounds[1]
