from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qstar_core.adaptive.actions import ActionSpace
from qstar_core.adaptive.episodes import Result, to_table
from qstar_core.adaptive.training import Questions
from qstar_core.config_adaptive import AdaptiveConfig
from qstar_core.configuring import few_shot, logged
from tests.adaptive.bandits import space_of

SPACE = space_of(3, 2)
CONFIG = AdaptiveConfig(
    logged="all",
    source="logged",
    episodes=1600,
    batch_size=40,
    per_question=4,
    baseline="leave_one_out",
    hidden=(16,),
    linucb=0.5,
    ablations=True,
    save_every=10**6,
)
ACTION = npt.NDArray[np.int64]


def tried(count: int, seed: int) -> tuple[few_shot.Tried, ACTION]:
    """Questions of three kinds: kind k is right with f0 = k alone; and the kinds."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(3, size=count)
    x = np.eye(3)[kinds] + 0.1 * rng.normal(size=(count, 3))
    ids = tuple(f"q{seed}-{k:03d}" for k in range(count))
    batch = logged.draw(SPACE, CONFIG, ids, 0, 0)
    pairs = zip(batch.rows.tolist(), batch.drawn.actions.tolist(), strict=True)
    results = [Result(float(kinds[row] == action[0]), "x", 10) for row, action in pairs]
    return few_shot.Tried(Questions(ids, x), to_table(SPACE, batch, results)), kinds


def test_learners_take_what_suits_a_question_and_fixed_does_not() -> None:
    train, _ = tried(60, 0)
    held_out, kinds = tried(40, 1)
    rewards = held_out.means(SPACE)
    assert rewards.shape == (40, 6) and (rewards.sum(axis=1) == 2).all()
    names = ("policy", "only-f0", "only-f1", "linucb", few_shot.FIXED)
    x = held_out.questions.embeddings
    taken = dict(few_shot.choices(train, x, SPACE, CONFIG, 0, names))
    solved = {name: rewards[np.arange(40), each].mean() for name, each in taken.items()}
    assert min(solved["policy"], solved["only-f0"], solved["linucb"]) > 0.9
    assert solved["only-f1"] == solved["fixed"] < 0.6
    assert (SPACE.numbered(taken["only-f0"])[:, 0] == kinds).mean() > 0.9


def test_a_seed_decides_which_questions_are_learnt_from() -> None:
    train, _ = tried(60, 0)
    part, again, other = (train.some(20, seed) for seed in (1, 1, 2))
    assert part.questions.ids == again.questions.ids != other.questions.ids
    assert part.table.num_rows == 20 * SPACE.size
    assert set(part.table["question_id"].to_pylist()) == set(part.questions.ids)
    whole = dict(zip(train.questions.ids, train.means(SPACE), strict=True))
    assert (part.means(SPACE) == [whole[q] for q in part.questions.ids]).all()
    assert len(train.some(500, 0).questions.ids) == 60


def test_rewards_are_means_and_unknown_ones_count_as_none() -> None:
    train, _ = tried(5, 0)
    nothing = [Result(None, "timeout")] * train.table.num_rows
    batch = logged.draw(SPACE, CONFIG, train.questions.ids, 0, 0)
    twice = pa.concat_tables([train.table, to_table(SPACE, batch, nothing)])
    both = few_shot.Tried(train.questions, twice)
    assert (both.means(SPACE) == train.means(SPACE) / 2).all()


def test_the_most_accurate_one_may_be_dear_and_the_best_one_is_not() -> None:
    train, _ = tried(60, 0)
    tokens = [100 if action[1] else 1 for action in train.table["action"].to_pylist()]
    dear = [float(action[1]) for action in train.table["action"].to_pylist()]
    place = train.table.schema.get_field_index
    table = train.table.set_column(place("tokens"), "tokens", pa.array(tokens))
    table = table.set_column(place("reward"), "reward", pa.array(dear))
    priced = CONFIG.model_copy(update={"price_per_token": 0.05})
    paid = few_shot.Tried(train.questions, table)
    names = (few_shot.FIXED, few_shot.ACCURATE)
    taken = dict(few_shot.choices(paid, train.questions.embeddings, SPACE, priced, 0, names))
    cost = paid.means(SPACE, "tokens")[0]
    assert cost[taken["fixed"][0]] == 1 and cost[taken["accurate"][0]] == 100


def test_the_effect_of_each_value() -> None:
    space: ActionSpace = SPACE
    rewards = np.zeros((4, 3, 2))
    rewards[:3, 2, 1] = 1  # best for three of four questions
    rewards[3, 0, 1] = 1
    rows = few_shot.by_value(rewards.reshape(4, 6), space)
    found = {(row["factor"], row["value"]): row for row in rows}
    assert found["f0", 2] == {
        "factor": "f0",
        "value": 2,
        "alone": 0.75,
        "mean": 0.375,
        "best_for": 0.75,
    }
    assert found["f0", 0]["best_for"] == 0.25 and found["f0", 1]["alone"] == 0.0
    assert found["f1", 1]["best_for"] == 1.0 and found["f1", 0]["mean"] == 0.0
