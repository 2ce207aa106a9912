from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    TrainerCallback,
)

from qstar_core.config import QvmConfig
from qstar_core.errors import UserError
from qstar_core.values import data
from qstar_core.values.calibration import fits
from qstar_core.values.checks import needing_less
from qstar_core.values.model import load_tokenizer
from qstar_core.values.score import TransformersValue
from qstar_core.values.train import Surroundings, judges
from tests.models import copied, tiny_policy

from .families import LINEAR, small
from .labelled import PROBLEMS, labelled, sequences, train


@pytest.fixture(scope="module")
def labels() -> pl.DataFrame:
    return labelled()


def test_training_lowers_the_loss_and_saves_a_standard_checkpoint(tmp_path: Path) -> None:
    notes: list[tuple[int, int, str]] = []
    short = train(tmp_path / "a", epochs=0.2)
    long = train(tmp_path / "b", notes=notes, epochs=20.0, learning_rate=0.01)
    assert long["loss"] < short["loss"]
    assert long["tokens_per_second"] > 0 and 0 < long["padding_share"] < 1
    assert long["memory_mib"] > 0 and "resumed_from" not in long
    done, of, note = notes[-1]
    assert done == of == long["updates"] and "loss 0." in note and "tokens/s" in note
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "b")
    assert model.config.num_labels == 1


@pytest.mark.parametrize("loss", ["bce", "mse", "ranking"])
def test_training_is_reproducible(tmp_path: Path, loss: str) -> None:
    for name in ("a", "b"):
        train(tmp_path / name, epochs=1.0, loss=loss, calibration="platt")
    assert_equal_weights(tmp_path / "a", tmp_path / "b")


def assert_equal_weights(a: Path, b: Path, within: float = 0.0) -> None:
    one, other = (load_file(folder / "model.safetensors") for folder in (a, b))
    assert one.keys() == other.keys()
    for name in one:
        assert float((one[name] - other[name]).abs().max()) <= within, name


class Killed(Exception):
    pass


def killed_at(update: int) -> TrainerCallback:
    """Stands in for ``kill -9``: nothing is cleared away."""

    class Kill(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step == update:
                raise Killed

    return Kill()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "adamw", "accumulation": 2},
        {"loss": "ranking", "calibration": "platt", "weighting": "interval", "pack_tokens": 64},
        {"keep_best": True, "eval_every": 2},
        {"lora_rank": 2},
    ],
    ids=str,
)
def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings = {"epochs": 2.0, "learning_rate": 0.01, "save_every": 3, **settings}
    whole = train(tmp_path / "whole", **settings)
    kept = tmp_path / "kept"
    with pytest.raises(Killed):
        train(tmp_path / "lost", Surroundings(kept, [killed_at(8)]), **settings)
    assert not list(kept.rglob("*.bin"))
    resumed = train(tmp_path / "resumed", Surroundings(kept), **settings)
    assert resumed["resumed_from"] == 6
    assert_equal_weights(tmp_path / "whole", tmp_path / "resumed")
    assert resumed["loss"] == whole["loss"] and resumed.get("best") == whole.get("best")


def test_a_damaged_checkpoint_is_left_out_with_a_remark(tmp_path: Path) -> None:
    settings = {"epochs": 2.0, "save_every": 3}
    train(tmp_path / "whole", **settings)
    kept = tmp_path / "kept"
    with pytest.raises(Killed):
        train(tmp_path / "lost", Surroundings(kept, [killed_at(8)]), **settings)
    file = kept / "checkpoint-6" / "optimizer.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    notes: list[tuple[int, int, str]] = []
    resumed = train(tmp_path / "resumed", Surroundings(kept), notes=notes, **settings)
    assert resumed["resumed_from"] == 3
    assert resumed["remarks"] == ["the checkpoint at update 6 is damaged and was left out"]
    assert notes[0][2] == resumed["remarks"][0]
    assert_equal_weights(tmp_path / "whole", tmp_path / "resumed")


def test_parts_packing_and_recomputed_activations_give_the_same_weights(tmp_path: Path) -> None:
    ways: dict[str, dict[str, Any]] = {
        "parts": {"accumulation": 4},
        "packed": {"pack_tokens": 96},
        "recomputed": {"gradient_checkpointing": True},
    }
    padded = train(tmp_path / "plain", epochs=0.5, optimizer="adamw")
    for name, how in ways.items():
        found = train(tmp_path / name, epochs=0.5, optimizer="adamw", **how)
        assert found["loss"] == pytest.approx(padded["loss"], rel=1e-5)
        assert_equal_weights(tmp_path / "plain", tmp_path / name, within=2e-3)
        if name == "recomputed":
            assert_equal_weights(tmp_path / "plain", tmp_path / name)


def test_a_model_that_mixes_packed_trajectories_is_refused(tmp_path: Path) -> None:
    """Qwen3-Next has linear attention, whose state goes on from one trajectory to the next."""
    tokenizer = load_tokenizer(tiny_policy())
    config = small("qwen3_next", vocab_size=len(tokenizer), **LINEAR)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "mixes")
    tokenizer.save_pretrained(tmp_path / "mixes")
    with pytest.raises(UserError, match=r"qvm\.pack_tokens: Qwen3Next.* see each other") as caught:
        train(tmp_path / "out", backbone=tmp_path / "mixes", pack_tokens=96)
    assert "--set qvm.pack_tokens=0" in caught.value.next_step
    assert not (tmp_path / "out").exists()
    train(tmp_path / "out", backbone=tmp_path / "mixes", epochs=0.1)


def test_the_best_weights_are_those_of_the_lowest_held_out_loss(tmp_path: Path) -> None:
    settings = {"epochs": 30.0, "learning_rate": 0.05, "eval_every": 5}
    last = train(tmp_path / "last", **settings)
    best = train(tmp_path / "best", keep_best=True, **settings)
    assert best["best"]["update"] < best["updates"] and best["best"]["loss"] > 0
    assert "best" not in last
    brier = [sum(row["brier"] * row["n"] for row in found["heldout"]) for found in (last, best)]
    assert brier[1] < brier[0]


def test_a_lora_adapter_is_merged_and_changes_only_what_it_covers(tmp_path: Path) -> None:
    train(tmp_path / "lora", epochs=2.0, lora_rank=4, learning_rate=0.01)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "lora")
    before = load_file(tiny_policy() / "model.safetensors")
    after = load_file(tmp_path / "lora" / "model.safetensors")
    assert not [name for name in after if "lora" in name or "base_layer" in name]
    moved = {n for n in before if n in after and not torch.equal(before[n], after[n])}
    assert moved and all("proj" in name for name in moved)
    assert model.config.num_labels == 1


def test_everything_at_once(tmp_path: Path) -> None:
    figures = train(
        tmp_path / "all",
        Surroundings(tmp_path / "kept"),
        epochs=1.0,
        lora_rank=2,
        gradient_checkpointing=True,
        pack_tokens=96,
        accumulation=2,
        bf16=True,
        keep_best=True,
        weighting="interval",
        loss="ranking",
        calibration="platt",
    )
    assert figures["best"]["loss"] > 0
    AutoModelForTokenClassification.from_pretrained(tmp_path / "all")


def test_labels_outside_of_the_range_are_refused(tmp_path: Path) -> None:
    for wrong in (1.5, -0.1, float("nan"), None):
        bad = labelled().with_columns(
            y=pl.when(pl.int_range(pl.len()) == 7).then(wrong).otherwise("y")
        )
        with pytest.raises(UserError, match=r"1 of .* outside of \[0, 1\].*step \d") as caught:
            train(tmp_path / "out", labels=bad)
        assert "labels are kept" in caught.value.safe


def test_a_loss_that_diverges_is_said_with_its_update(tmp_path: Path) -> None:
    kept = Surroundings(tmp_path / "kept")
    with pytest.raises(UserError, match=r"of update \d+ of \d+ is (nan|inf).*rate of 1e\+30") as e:
        train(tmp_path / "out", kept, learning_rate=1e30, epochs=3.0, save_every=1)
    assert "lower the learning rate" in e.value.next_step and "checkpoints" in e.value.safe
    assert list((tmp_path / "kept").glob("checkpoint-*/complete.json"))


@pytest.mark.parametrize(("holdout", "name"), [(1e-9, "held out"), (1 - 1e-9, "to train on")])
def test_an_empty_split_is_said(tmp_path: Path, holdout: float, name: str) -> None:
    with pytest.raises(UserError, match=f"no trajectory is {name}") as caught:
        train(tmp_path / "out", holdout=holdout)
    assert "qvm.holdout" in caught.value.next_step


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = copied(tiny_policy(), tmp_path / "mixed", vocab_size=20)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:20].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"do not belong together.*20 embeddings"):
        train(tmp_path / "out", backbone=folder)


def test_a_context_that_is_too_short_is_said(tmp_path: Path) -> None:
    folder = copied(tiny_policy(), tmp_path / "short", max_position_embeddings=16)
    with pytest.raises(UserError, match="the model's context is 16"):
        train(tmp_path / "out", backbone=folder)


@pytest.mark.parametrize(
    "place",
    [
        "transformers.PreTrainedModel.set_attn_implementation",
        "transformers.PreTrainedModel.to",
        "qstar_core.values.trainer.step_logits",
    ],
)
def test_memory_that_runs_out_names_what_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """When the model is loaded, put on the device, or trained."""

    def short(*_: Any, **more: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(place, short)
    with pytest.raises(UserError, match="qvm: out of memory in training") as caught:
        train(tmp_path / "out", pack_tokens=128)
    first, *others = caught.value.next_step.split(", or ")
    assert first.startswith("set qvm.gradient_checkpointing=true (equal weights")
    assert [other.split(" ")[1] for other in others] == [
        "qvm.accumulation",
        "qvm.pack_tokens",
        "qvm.batch_size",
    ]


def test_what_no_longer_helps_is_not_advised() -> None:
    config = QvmConfig(batch_size=6, accumulation=2, gradient_checkpointing=True)
    assert needing_less("prm", config)[0] == "raise prm.accumulation to 3"
    config = QvmConfig(batch_size=6, accumulation=6, gradient_checkpointing=True)
    assert needing_less("prm", config) == ["lower prm.batch_size below 6"]


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
        train(tmp_path / "qvm", labels=hopeless, negative_share=1e-9)
    assert "labels" in e.value.safe and "qvm.negative_share=1" in e.value.next_step


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


@pytest.mark.parametrize("by", ["trajectory", "problem"])
def test_an_epoch_has_every_trajectory_once(labels: pl.DataFrame, by: str) -> None:
    tokenizer = load_tokenizer(tiny_policy())
    prompts = {p.id: p.prompt for p in PROBLEMS}
    encoded = data.encode(data.trajectories(labels).head(32), prompts, tokenizer)
    order = data.training_order(encoded, 8, 8, 1, by)
    assert sorted(order[:32]) == sorted(order[32:]) == list(range(32))
    assert order[:32].tolist() != order[32:].tolist()
    assert data.training_order(encoded, 8, 3, 1, by).tolist() == order[:24].tolist()
    assert data.training_order(encoded, 8, 3, 2, by).tolist() != order[:24].tolist()
    assert data.count_batches(32, 8, 0.01) == 1
    problems = encoded.frame["problem_id"].gather(order[:32]).to_list()
    changes = sum(a != b for a, b in pairwise(problems))
    assert (changes == len(set(problems)) - 1) == (by == "problem")


def test_steps_of_narrow_intervals_weigh_more(labels: pl.DataFrame) -> None:
    tokenizer = load_tokenizer(tiny_policy())
    prompts = {p.id: p.prompt for p in PROBLEMS}
    frame = data.subsample_negatives(data.trajectories(labels), 0.5, 0)
    encoded = data.encode(frame, prompts, tokenizer, "interval")
    inner = [(low[:-1], high[:-1]) for low, high in frame["low", "high"].iter_rows()]
    surest = max(1 / (b - a) ** 2 for both in inner for a, b in zip(*both, strict=True))
    for weights, low, high, whole in zip(
        encoded.weights, frame["low"], frame["high"], frame["weight"], strict=True
    ):
        widths = [b - a for a, b in zip(low[:-1], high[:-1], strict=True)]
        assert weights[:-1] == pytest.approx([whole / width**2 for width in widths])
        assert weights[-1] == pytest.approx(whole * surest)  # a grade is in no doubt
    with pytest.raises(UserError, match="success_low"):
        data.encode(frame.drop("low", "high"), prompts, tokenizer, "interval")


def test_scores_do_not_depend_on_their_company(tmp_path: Path) -> None:
    train(tmp_path / "qvm", epochs=1.0)
    texts = [p.prompt + "1 + 1 = 2 | 2 > 3\n" for p in PROBLEMS] + [PROBLEMS[0].prompt]
    ended = [k % 2 == 0 for k in range(len(texts))]
    together = TransformersValue(tmp_path / "qvm", "float64", "cpu", 64).score(texts, ended)
    one = TransformersValue(tmp_path / "qvm", "float64", "cpu", 1)
    assert [one.score([t], [e])[0] for t, e in zip(texts, ended, strict=True)] == together
    assert all(0.0 <= q <= 1.0 for q in together)
    assert one.score([], []) == []


def test_a_score_is_the_sigmoid_of_the_last_logit(tmp_path: Path) -> None:
    train(tmp_path / "qvm", epochs=0.2)
    value = TransformersValue(tmp_path / "qvm", "float64", "cpu", 4)
    text = PROBLEMS[0].prompt
    ids = value.tokenizer(text, return_tensors="pt")["input_ids"]
    expected = torch.sigmoid(value.scorer.model(ids).logits[0, -1, 0]).item()
    assert value.score([text], [False])[0] == pytest.approx(expected, abs=1e-6)


def test_the_best_weights_are_chosen_by_the_half_that_reports_nothing() -> None:
    held = sequences()
    chosen = judges(held, QvmConfig(calibration="platt"), 0)
    problems = set(chosen.frame["problem_id"])
    assert problems == {p for p in set(held.frame["problem_id"]) if fits(p, 0)}
    assert 0 < len(chosen) < len(held)
    places = [held.frame["rollout_id"].to_list().index(r) for r in chosen.frame["rollout_id"]]
    assert chosen.ids == [held.ids[place] for place in places]
    assert chosen.targets == [held.targets[place] for place in places]
    assert judges(held, QvmConfig(calibration="none"), 0) is held
