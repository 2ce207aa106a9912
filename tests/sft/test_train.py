from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from qstar_core.config import SftConfig
from qstar_core.errors import UserError
from qstar_core.policies.text import Vocabulary
from qstar_core.sft import train as training
from qstar_core.sft.arguments import arguments, pace
from qstar_core.sft.sequences import Sequences
from qstar_core.training import checkpoints
from tests.models import copied, tiny_policy

SMALL = {"bf16": False, "batch_size": 8, "learning_rate": 1e-3, "epochs": 2.0, "max_length": 64}
PROMPT = 4  # tokens


def made(count: int, seed: int) -> Sequences:
    """Random sequences in which a token often follows the one before it."""
    rng, found = random.Random(seed), Sequences()
    for row in range(count):
        start, length = rng.randrange(3, 40), rng.randrange(8, 20)
        found.ids.append([start + (k if rng.random() < 0.9 else 1) for k in range(length)])
        found.masks.append([0] * PROMPT + [1] * (length - PROMPT))
        found.rows.append(row)
    return found


DATA, HELD = made(60, 0), made(12, 1)


def backwards() -> Sequences:
    """Held-out sequences whose solutions contradict those trained on."""
    other = made(12, 1)
    other.ids = [[*ids[:PROMPT], *reversed(ids[PROMPT:])] for ids in other.ids]
    return other


def config(**more: Any) -> SftConfig:
    return SftConfig.model_validate({**SMALL, **more})


def trained(
    folder: Path,
    chosen: SftConfig,
    data: Sequences = DATA,
    held: Sequences = HELD,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    base: Path | None = None,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights and figures of a training below a folder."""
    start = base or tiny_policy()
    (folder / "resume").mkdir(parents=True, exist_ok=True)
    where = folder / "out", folder / "resume"
    figures = training.train(start, Vocabulary(start), data, held, *where, chosen, 0, progress)
    return load_file(folder / "out" / "model.safetensors"), figures


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_lowers_the_heldout_loss_and_leaves_a_plain_checkpoint(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    weights, figures = trained(tmp_path, config(), progress=lambda *given: told.append(given))
    assert figures["heldout_loss"] < figures["heldout_loss_before"] - 0.05
    assert figures["updates"] == 16 == told[-1][0] == told[-1][1]
    assert "loss" in told[-1][2]
    assert figures["tokens"] == sum(map(sum, DATA.masks))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(model.model.norm.weight, weights["model.norm.weight"])
    assert Vocabulary(tmp_path / "out").eos == Vocabulary(tiny_policy()).eos
    assert not list((tmp_path / "out").glob("*.bin")) + list((tmp_path / "out").glob("adapter*"))


def test_the_loss_is_that_of_the_solutions_tokens(tmp_path: Path) -> None:
    """By hand: the mean of -ln p over the tokens after the prompt, of all held-out sequences."""
    chosen = config(batch_size=12, epochs=1.0)
    _, figures = trained(tmp_path, chosen)
    model = AutoModelForCausalLM.from_pretrained(tiny_policy())
    total = 0.0
    for ids in HELD.ids:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        given = torch.log_softmax(logits[:-1], -1)
        total -= sum(float(given[k - 1, ids[k]]) for k in range(PROMPT, len(ids)))
    assert figures["heldout_loss_before"] == pytest.approx(total / HELD.trained_tokens, abs=1e-4)


@pytest.mark.parametrize(
    "more",
    [{}, {"packing": True, "batch_size": 2}, {"lora": {"rank": 4, "dropout": 0.1}}],
    ids=["plain", "packed", "lora"],
)
def test_a_broken_training_resumes_and_ends_in_equal_weights(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    chosen = config(eval_every=3, **more)
    whole, figures = trained(tmp_path / "whole", chosen)
    asked: list[int] = []

    def crash(done: int, of: int, note: str) -> None:
        if done == of // 2 + 1:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        trained(tmp_path / "broken", chosen, progress=crash)
    again, resumed = trained(
        tmp_path / "broken", chosen, progress=lambda done, *_: asked.append(done)
    )
    assert asked[0] > 1  # it did not begin anew
    assert equal(whole, again)
    assert resumed["history"] == figures["history"]
    assert resumed["published_update"] == figures["published_update"]


def test_pace_and_memory_are_told_and_nothing_pickled_but_torchs_own_is_kept(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    chosen = config(eval_every=8)
    _, figures = trained(tmp_path, chosen, progress=lambda done, of, note: told.append(note))
    assert figures["tokens_per_second"] > 0 and figures["memory_mib"] > 0
    assert any("tokens/s" in note for note in told)
    kept = {file.name for file in (tmp_path / "resume" / "checkpoint-16").iterdir()}
    assert "training_args.bin" not in kept and {"model.safetensors", "optimizer.pt"} <= kept


@pytest.mark.parametrize(("every", "logged"), [(3, 3), (7, 7), (8, 8), (20, 10), (22, 2), (23, 1)])
def test_looks_fall_on_logged_updates(tmp_path: Path, every: int, logged: int) -> None:
    args = arguments(True, tmp_path, config(), 0)
    pace(args, 100, config(eval_every=every))
    assert (args.eval_steps, args.save_steps, args.logging_steps) == (every, every, logged)


def test_a_damaged_checkpoint_is_left_out_with_a_remark(tmp_path: Path) -> None:
    chosen = config(eval_every=4, keep_best=False)
    whole, figures = trained(tmp_path, chosen)
    assert "resumed_from" not in figures
    last = tmp_path / "resume" / "checkpoint-16"
    state = bytearray((last / "optimizer.pt").read_bytes())
    state[len(state) // 2] ^= 1
    (last / "optimizer.pt").write_bytes(state)
    told: list[tuple[int, int, str]] = []
    again, resumed = trained(tmp_path, chosen, progress=lambda *given: told.append(given))
    assert equal(whole, again)
    assert resumed["resumed_from"] == 12
    assert resumed["remarks"] == ["the checkpoint at update 16 is damaged and was left out"]
    assert told[0] == (0, 16, resumed["remarks"][0])


def test_without_its_best_checkpoint_a_training_begins_anew(tmp_path: Path) -> None:
    """Held-out solutions that contradict those trained on: the last checkpoint is not the best."""
    chosen = config(eval_every=2, epochs=6.0, learning_rate=0.01)
    whole, figures = trained(tmp_path, chosen, held=backwards())
    assert figures["published_update"] < figures["updates"]
    best = tmp_path / "resume" / f"checkpoint-{figures['published_update']}"
    weights = best / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    again, resumed = trained(tmp_path, chosen, held=backwards())
    assert equal(whole, again)
    assert "resumed_from" not in resumed
    assert ["without the best" in resumed["remarks"][0], len(resumed["remarks"])] == [True, 2]


def test_other_versions_of_the_packages_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config(eval_every=4)
    trained(tmp_path, chosen)
    now = {**checkpoints.versions(), "trl": "0.0.1"}
    monkeypatch.setattr(checkpoints, "versions", lambda: now)
    _, resumed = trained(tmp_path, chosen)
    assert "resumed_from" not in resumed and "other versions" in resumed["remarks"][0]


def test_packs_train_as_the_solutions_alone_do(tmp_path: Path) -> None:
    """One update over all of them: no difference but in the order of sums."""
    few, nothing = made(10, 3), Sequences()
    alone, _ = trained(tmp_path / "alone", config(batch_size=10, epochs=1.0), few, nothing)
    pack = config(batch_size=8, epochs=1.0, packing=True, max_length=40)
    packed, figures = trained(tmp_path / "packed", pack, few, nothing)
    assert 1 < figures["rows"] < 8 and figures["updates"] == 1
    start = load_file(tiny_policy() / "model.safetensors")
    for name in alone:
        # Adam's first step is the learning rate times the gradient's sign where it is not tiny
        moved = (alone[name] - start[name]).abs() > 9e-4
        assert torch.allclose(alone[name][moved], packed[name][moved], atol=1e-5), name


def test_adapters_are_merged(tmp_path: Path) -> None:
    weights, _ = trained(tmp_path, config(lora={"rank": 4}))
    start = load_file(tiny_policy() / "model.safetensors")
    assert weights.keys() == start.keys()
    moved = {name for name in start if not torch.equal(start[name], weights[name])}
    assert moved and all(".proj" in name or "_proj" in name for name in moved)


def test_a_checkpoint_is_as_precise_as_its_base(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_policy(), dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "base")
    Vocabulary(tiny_policy()).tokenizer.save_pretrained(tmp_path / "base")
    chosen = config(epochs=1.0, gradient_checkpointing=True, bf16=True)
    weights, _ = trained(tmp_path, chosen, base=tmp_path / "base")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}


def test_the_chat_template_stays_with_the_policy(tmp_path: Path) -> None:
    base = copied(tiny_policy(), tmp_path / "base")
    (base / "chat_template.jinja").write_text("{{ messages[0].content }} 1 ")
    trained(tmp_path, config(epochs=1.0), made(8, 0), Sequences(), base=base)
    assert Vocabulary(tmp_path / "out", chat=True).tokenizer.chat_template.endswith(" 1 ")


def test_the_best_checkpoint_is_published(tmp_path: Path) -> None:
    """Held-out solutions that contradict those trained on: the loss on them only rises."""
    other = backwards()
    chosen = config(eval_every=2, epochs=6.0, learning_rate=0.01)
    best, figures = trained(tmp_path / "best", chosen, held=other)
    last, at_end = trained(
        tmp_path / "last", chosen.model_copy(update={"keep_best": False}), held=other
    )
    looks = {
        row["update"]: row["heldout_loss"] for row in figures["history"] if row["heldout_loss"]
    }
    del looks[0]
    assert figures["heldout_loss"] == min(looks.values())
    assert figures["published_update"] < figures["updates"] == at_end["published_update"]
    assert not equal(best, last)


def test_without_heldout_problems_the_last_checkpoint_is_published(tmp_path: Path) -> None:
    _, figures = trained(tmp_path, config(epochs=1.0), held=Sequences())
    assert figures["published_update"] == figures["updates"] == 8
    assert figures["heldout_loss"] is None and figures["loss"] > 0


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the (eval_)?loss is (nan|inf) at update") as caught:
        trained(tmp_path, config(learning_rate=1e30))
    assert "sft.learning_rate=1e+29" in caught.value.next_step
    assert not (tmp_path / "out").exists()


def test_too_little_memory_names_the_settings_that_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: Any, **more: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried")

    monkeypatch.setattr(training.Trainer, "training_step", short)
    with pytest.raises(UserError, match="sft: out of memory in training: CUDA") as caught:
        trained(tmp_path, config())
    for setting in ("gradient_checkpointing", "accumulation", "lora.rank", "max_length"):
        assert f"sft.{setting}" in caught.value.next_step


def test_accumulation_does_not_help_packs() -> None:
    advice = training.needing_less(config(packing=True, gradient_checkpointing=True, lora={}))
    assert advice == ["lower sft.max_length below 64"]


def test_nothing_is_sent_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("TRL's notice of a training")

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", refuse)
    trained(tmp_path, config(epochs=1.0), made(8, 0), Sequences())
