"""Trainings: they learn, they do not with the sign turned round, they go on where they were."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qstar_core.adaptive import reinforce
from qstar_core.adaptive.episodes import Batch, Result
from qstar_core.adaptive.policy import ConfigPolicy
from qstar_core.adaptive.training import Questions, Reinforce, train
from qstar_core.config_adaptive import ReinforceConfig
from qstar_core.errors import UserError
from qstar_core.keys import sample_seed
from tests.adaptive.bandits import Bandit, contextual, results, space_of, start
from tests.adaptive.killed import CONFIG, SAVE_EVERY, learn

ROOT = Path(__file__).parents[2]
ARMS = np.array([0.05, 0.2, 0.3, 0.1, 1.0, 0.25, 0.15])
CHANCE = ARMS.mean()


def seven_arms(seed: int) -> float:
    """Expected reward, between 0 and 1, of a policy that learnt which of seven arms is good."""
    order = np.random.default_rng(seed).permutation(len(ARMS))
    questions = Questions(tuple(f"q{k}" for k in range(10)), np.ones((10, 2)))
    config = ReinforceConfig(episodes=2000, batch_size=20)
    training = start(space_of(7), questions, config, seed)
    arms = ARMS[order]

    def collect(batch: Batch) -> Sequence[Result]:
        return results(arms[batch.drawn.actions[:, 0]], batch.seeds)

    before = training.policy.probabilities(questions.embeddings[:1])[0][0] @ arms
    assert before == pytest.approx(CHANCE)
    policy = train(training, collect)
    return float(arms[policy.best(questions.embeddings[:1])[0, 0]])


def test_seven_arms_go_from_chance_to_the_best_for_twenty_seeds() -> None:
    found = [seven_arms(seed) for seed in range(20)]
    assert min(found) >= 0.95, found


def on_held_out(seed: int, config: ReinforceConfig) -> tuple[float, float]:
    """(learned, best fixed) as shares of the oracle's expected reward, on other questions."""
    bandit = contextual(seed)
    questions, kinds = bandit.questions(400, 1)
    training = start(bandit.space, questions, config, seed)
    policy = train(training, lambda batch: bandit.collect(batch, kinds))
    others, held_out = bandit.questions(400, 2)
    oracle = bandit.expected(held_out, bandit.best[held_out]).mean()
    learned = bandit.expected(held_out, policy.best(others.embeddings)).mean()
    everything = bandit.space.all_actions()
    fixed = max(bandit.expected(held_out, np.tile(a, (400, 1))).mean() for a in everything)
    return float(learned / oracle), float(fixed / oracle)


@pytest.mark.parametrize("seed", [0, 1])
def test_three_factors_and_300_configurations_reach_nine_tenths_of_the_oracle(seed: int) -> None:
    assert contextual(seed).space.size == 300
    learned, fixed = on_held_out(seed, ReinforceConfig(episodes=5000))
    assert learned >= 0.9
    assert fixed < 0.6  # no single configuration would do


def test_with_the_sign_turned_round_it_does_not_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    right = reinforce.surrogate

    def wrong(*arguments: object) -> torch.Tensor:
        log_probs, actions, advantages, bonus = arguments
        return right(log_probs, actions, -advantages, bonus)  # type: ignore[operator, arg-type]

    monkeypatch.setattr(reinforce, "surrogate", wrong)
    learned, fixed = on_held_out(0, ReinforceConfig(episodes=5000))
    assert learned < fixed < 0.9


@pytest.mark.parametrize(
    "settings", [{"baseline": "none"}, {"baseline": "leave_one_out", "per_question": 2}]
)
def test_every_baseline_learns_two_arms(settings: dict[str, object]) -> None:
    questions = Questions(("a", "b"), np.array([[1.0], [-1.0]]))
    best = np.array([[0], [1]])
    bandit = Bandit(space_of(2), questions.embeddings, best)
    config = ReinforceConfig.model_validate({"episodes": 1000, "batch_size": 20, **settings})
    training = start(bandit.space, questions, config, 0)
    policy = train(training, lambda batch: bandit.collect(batch, np.array([0, 1])))
    assert (policy.best(questions.embeddings) == best).all()


def test_a_price_makes_it_choose_the_cheap_one() -> None:
    questions = Questions(("a",), np.ones((1, 1)))

    def chosen(price: float) -> int:
        config = ReinforceConfig(episodes=600, batch_size=20, price_per_token=price)
        training = start(space_of(2), questions, config, 0)

        def collect(batch: Batch) -> Sequence[Result]:
            arms = batch.drawn.actions[:, 0]
            found = results(np.where(arms == 1, 0.9, 0.7), batch.seeds)
            pairs = zip(found, arms, strict=True)
            return [replace(result, tokens=100 if arm else 10) for result, arm in pairs]

        return int(train(training, collect).best(questions.embeddings)[0, 0])

    assert chosen(0.0) == 1
    assert chosen(0.005) == 0  # 0.9 - 0.5 against 0.7 - 0.05


def batches(training: Reinforce, bandit: Bandit, kinds: np.ndarray) -> list[Batch]:
    found: list[Batch] = []
    train(training, lambda b: bandit.collect(b, kinds), store=lambda b, r: found.append(b))
    return found


def test_seeds_belong_to_run_question_and_episode_whatever_the_order_of_the_questions() -> None:
    bandit = contextual(0)
    questions, kinds = bandit.questions(12, 1)
    config = ReinforceConfig(episodes=60, batch_size=20)
    first = batches(start(bandit.space, questions, config, 3), bandit, kinds)
    order = np.random.default_rng(0).permutation(12)
    ids = tuple(questions.ids[k] for k in order)
    mixed = Questions(ids, questions.embeddings[order])
    second = batches(start(bandit.space, mixed, config, 3), bandit, kinds)
    for one, two in zip(first, second, strict=True):
        assert one.question_ids == two.question_ids
        assert (one.drawn.actions == two.drawn.actions).all()
        for k, question in enumerate(one.question_ids):
            assert one.seeds[k] == sample_seed(3, question, one.first + k)
    visits = [q for batch in first for q in batch.question_ids]
    for epoch in range(5):
        assert sorted(visits[12 * epoch : 12 * (epoch + 1)]) == sorted(questions.ids)


def test_episodes_of_a_question_stand_together() -> None:
    bandit = contextual(0)
    questions, _ = bandit.questions(12, 1)
    config = ReinforceConfig(episodes=60, batch_size=20, per_question=4, baseline="leave_one_out")
    ids = start(bandit.space, questions, config, 0).draw().question_ids
    assert [len(set(ids[k : k + 4])) for k in range(0, 20, 4)] == [1] * 5
    assert len(set(ids)) == 5


def test_what_could_not_be_judged_teaches_nothing() -> None:
    questions = Questions(("a",), np.ones((1, 1)))
    training = start(space_of(2), questions, ReinforceConfig(episodes=20, batch_size=10), 0)
    before = training.policy.fingerprint
    figures = training.update(training.draw(), [Result(None, "timeout")] * 10)
    assert figures["unknown"] == 10 and training.policy.fingerprint == before
    assert training.episode == 10


def test_a_bad_reward_leaves_everything_as_it_was() -> None:
    questions = Questions(("a",), np.ones((1, 1)))
    training = start(space_of(2), questions, ReinforceConfig(episodes=10, batch_size=10), 0)
    before, batch = training.policy.fingerprint, training.draw()
    with pytest.raises(UserError, match="question a is 2"):
        training.update(batch, [Result(1.0, "scored")] * 9 + [Result(2.0, "scored")])
    with pytest.raises(UserError, match="9 results of a batch of 10"):
        training.update(batch, [Result(1.0, "scored")] * 9)
    assert training.policy.fingerprint == before and training.episode == 0
    training.update(batch, [Result(1.0, "scored")] * 10)
    with pytest.raises(UserError, match="the training is at episode 10"):
        training.update(batch, [Result(1.0, "scored")] * 10)


@pytest.mark.parametrize(
    ("ids", "rows"), [((), 0), (("a", "a"), 2), (("a", "b"), 3)], ids=["none", "twice", "rows"]
)
def test_questions_that_cannot_be_trained_on(ids: tuple[str, ...], rows: int) -> None:
    with pytest.raises(UserError, match="questions"):
        Questions(ids, np.ones((rows, 2))).sorted()


def equal(one: ConfigPolicy, two: ConfigPolicy) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kill_at", [100, 240])
def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path, kill_at: int) -> None:
    command = [sys.executable, "-m", "tests.adaptive.killed", str(tmp_path), str(kill_at)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    places = sorted(p.name for p in tmp_path.iterdir())
    assert places and places[-1] == f"checkpoint-{kill_at // SAVE_EVERY * SAVE_EVERY}"
    resumed: list[int] = []
    bandit = contextual(0)
    questions, kinds = bandit.questions(40, 1)
    training = start(bandit.space, questions, CONFIG, 7)
    assert training.resume(tmp_path) > 0
    train(
        training,
        lambda batch: bandit.collect(batch, kinds),
        folder=tmp_path,
        progress=lambda episode, figures: resumed.append(episode),
    )
    assert resumed[0] > SAVE_EVERY
    assert equal(training.policy, learn(None))


def test_a_damaged_checkpoint_is_left_out(tmp_path: Path) -> None:
    straight = learn(tmp_path)
    last = max(tmp_path.iterdir(), key=lambda p: int(p.name.split("-")[1]))
    (last / "optimizer.safetensors").write_bytes(b"")
    assert equal(learn(tmp_path), straight)


def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    learn(tmp_path)
    bandit = contextual(0)
    questions, _ = bandit.questions(40, 1)
    with pytest.raises(UserError, match="other questions or settings"):
        start(bandit.space, questions, CONFIG, 8).resume(tmp_path)
    assert list(tmp_path.iterdir())
