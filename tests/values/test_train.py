from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification

from qstar_core.config import CountdownRanges, QvmConfig, RolloutsConfig
from qstar_core.domains import countdown_problems
from qstar_core.errors import UserError
from qstar_core.labels.best_of_rollouts import best_of_rollouts
from qstar_core.labels.steps import as_paths
from qstar_core.policies.transformers import TransformersPolicy
from qstar_core.rollouts.sample import sample_rollouts
from qstar_core.values import data
from qstar_core.values.model import load_tokenizer
from qstar_core.values.score import TransformersValue
from qstar_core.values.train import mean_loss, train_qvm
from tests.models import tiny_policy

PROBLEMS = countdown_problems.generate("train", 30, CountdownRanges(numbers=3), seed=0)


@pytest.fixture(scope="module")
def labels() -> pl.DataFrame:
    policy = TransformersPolicy(tiny_policy(), "float64", "cpu", 64)
    table = sample_rollouts(PROBLEMS, policy, RolloutsConfig(samples=4, max_new_tokens=30), 0)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    # the tiny policy never solves anything: call every other rollout correct
    odd = pl.col("sample_index") % 2 == 1
    frame = frame.with_columns(outcome=pl.when(odd).then(pl.lit("correct")).otherwise("outcome"))
    return best_of_rollouts(as_paths(frame.lazy()), 1.0).collect()


def train(labels: pl.DataFrame, out: Path, **settings: object) -> dict[str, object]:
    config = QvmConfig(holdout=0.3, batch_size=16, bf16=False, **settings)  # type: ignore[arg-type]
    figures, predictions = train_qvm(
        labels, PROBLEMS, tiny_policy(), out, config, 0, lambda *args: None
    )
    assert set(predictions.columns) >= {"problem_id", "step_index", "q", "y", "q_star"}
    return figures


def test_training_lowers_the_loss_and_saves_a_standard_checkpoint(
    labels: pl.DataFrame, tmp_path: Path
) -> None:
    short = train(labels, tmp_path / "a", epochs=0.2)
    long = train(labels, tmp_path / "b", epochs=20.0, learning_rate=0.01)
    assert long["loss"] < short["loss"]  # type: ignore[operator]
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "b")
    assert model.config.num_labels == 1


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_training_is_reproducible(labels: pl.DataFrame, tmp_path: Path, loss: str) -> None:
    for name in ("a", "b"):
        train(labels, tmp_path / name, epochs=1.0, loss=loss)
    a, b = (load_file(tmp_path / n / "model.safetensors") for n in ("a", "b"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_held_out_problems_are_disjoint_and_by_hash(labels: pl.DataFrame) -> None:
    held = {p.id for p in PROBLEMS if data.held_out(p.id, 0.3, 0)}
    assert 0 < len(held) < len(PROBLEMS)
    assert held == {p.id for p in reversed(PROBLEMS) if data.held_out(p.id, 0.3, 0)}


NEGATIVE = pl.col("y").list.max() <= 0


@pytest.fixture(scope="module")
def many(labels: pl.DataFrame) -> pl.DataFrame:
    """Trajectories, each under 40 ids."""
    frame = data.trajectories(labels)
    return pl.concat(frame.with_columns(pl.col("end_id") + f"-{k}") for k in range(40))


def test_negatives_that_stay_weigh_as_much_as_all_of_them(many: pl.DataFrame) -> None:
    kept = data.subsample_negatives(many, 0.25, seed=3)
    positive = kept.filter(~NEGATIVE)
    assert positive.drop("weight").equals(many.filter(~NEGATIVE))
    assert set(positive["weight"]) == {1.0}
    negative = kept.filter(NEGATIVE)
    assert set(negative["weight"]) == {4.0}
    assert negative["weight"].sum() == pytest.approx(len(many.filter(NEGATIVE)), rel=0.1)
    assert data.subsample_negatives(many, 1.0, seed=3).drop("weight").equals(many)


def test_whether_a_negative_stays_depends_on_nothing_but_its_id_and_the_seed(
    many: pl.DataFrame,
) -> None:
    def kept(frame: pl.DataFrame, seed: int) -> set[str]:
        return set(data.subsample_negatives(frame, 0.25, seed)["end_id"])

    whole = kept(many, 3)
    assert kept(many.reverse(), 3) == whole
    fewer = many.filter(pl.int_range(pl.len()) % 3 != 0)
    assert kept(fewer, 3) == whole & set(fewer["end_id"])
    assert kept(many, 4) != whole


def test_no_trajectory_left_to_train_on_is_said(labels: pl.DataFrame, tmp_path: Path) -> None:
    hopeless = labels.with_columns(y=pl.lit(0.0))
    with pytest.raises(
        UserError, match=r"none of them a positive .* qvm\.negative_share: 1e-09"
    ) as e:
        train(hopeless, tmp_path / "qvm", negative_share=1e-9)
    assert "labels" in e.value.safe and "qvm.negative_share=1" in e.value.next_step


@pytest.mark.parametrize("kind", ["bce", "mse"])
def test_a_weight_counts_like_so_many_equal_rows(kind: str) -> None:
    logits, targets = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([1.0, 0.0, 0.0])
    weights = torch.tensor([1.0, 3.0, 1.0])
    nothing = torch.zeros(3, dtype=torch.long)
    weighted = data.Batch(nothing, nothing, nothing, targets, weights)
    rows = torch.tensor([0, 1, 1, 1, 2])
    repeated = data.Batch(rows, rows, rows, targets[rows], torch.ones(5))
    assert mean_loss(kind, logits, weighted).item() == pytest.approx(
        mean_loss(kind, logits[rows], repeated).item()
    )


def test_encoding_marks_the_last_token_of_each_step(labels: pl.DataFrame) -> None:
    tokenizer = load_tokenizer(tiny_policy())
    frame = data.trajectories(labels)
    assert len(frame) == frame["end_id"].n_unique()
    encoded = data.encode(frame, {p.id: p.prompt for p in PROBLEMS}, tokenizer)
    for ids, ends, actions in zip(
        encoded.ids, encoded.ends, frame["actions"].to_list(), strict=True
    ):
        assert len(ends) == len(actions)
        assert ends == sorted(ends)
        assert ends[-1] == len(ids) - 1


def test_batches_cover_every_trajectory_once_per_epoch(labels: pl.DataFrame) -> None:
    tokenizer = load_tokenizer(tiny_policy())
    prompts = {p.id: p.prompt for p in PROBLEMS}
    encoded = data.encode(data.trajectories(labels).head(32), prompts, tokenizer)
    seen = torch.cat([b.ids[:, 1:4] for b in data.batches(encoded, 8, 2.0, seed=1)])
    assert len(seen) == 64
    assert data.count_batches(32, 8, 0.01) == 1


def test_scores_do_not_depend_on_their_company(labels: pl.DataFrame, tmp_path: Path) -> None:
    train(labels, tmp_path / "qvm", epochs=1.0)
    texts = [p.prompt + "1 + 1 = 2 | 2 > 3\n" for p in PROBLEMS] + [PROBLEMS[0].prompt]
    ended = [k % 2 == 0 for k in range(len(texts))]
    together = TransformersValue(tmp_path / "qvm", "float64", "cpu", 64).score(texts, ended)
    one = TransformersValue(tmp_path / "qvm", "float64", "cpu", 1)
    assert [one.score([t], [e])[0] for t, e in zip(texts, ended, strict=True)] == together
    assert all(0.0 <= q <= 1.0 for q in together)
    assert one.score([], []) == []


def test_a_score_is_the_sigmoid_of_the_last_logit(labels: pl.DataFrame, tmp_path: Path) -> None:
    train(labels, tmp_path / "qvm", epochs=0.2)
    value = TransformersValue(tmp_path / "qvm", "float64", "cpu", 4)
    text = PROBLEMS[0].prompt
    ids = value.tokenizer(text, return_tensors="pt")["input_ids"]
    expected = torch.sigmoid(value.scorer.model(ids).logits[0, -1, 0]).item()
    assert value.score([text], [False])[0] == pytest.approx(expected, abs=1e-6)
