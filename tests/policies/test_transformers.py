from __future__ import annotations

import random

import pytest
import torch

from qstar_core.errors import UserError
from qstar_core.keys import sample_seed
from qstar_core.policies import Policy, SampleRequest, StepRule, batching, transformers
from qstar_core.policies.transformers import TransformersPolicy
from tests.models import tiny_policy
from tests.policies.contract import FOLDER, PolicyContract, exact

PROMPTS = ["13 10 9 4 > 24\n", "8 3 > 24\n", "12 8 8 6 2 > 72\n", "7 7 1 > 49\n"]


def policy(batch_size: int = 8, dtype: str = "float64") -> TransformersPolicy:
    return TransformersPolicy(tiny_policy(), dtype, "cpu", batch_size)


def asks(
    n: int = 5, steps: int = 3, temperature: float = 1.0, new: int = 40
) -> list[SampleRequest]:
    return [
        SampleRequest(
            p, tuple(sample_seed(0, p, k) for k in range(n)), steps, new, temperature, StepRule()
        )
        for p in PROMPTS
    ]


class TestFloat64(PolicyContract):
    independent = True
    tolerance = 1e-5

    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls) -> Policy:
        return exact()


class TestFloat32(PolicyContract):
    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls) -> Policy:
        return TransformersPolicy(FOLDER, "float32", "cpu", 48)


def test_samples_do_not_depend_on_the_batch() -> None:
    requests = asks()
    alone = [policy(1).sample([r])[0] for r in requests]
    together = policy(64).sample(requests)
    shuffled = list(enumerate(requests))
    random.Random(0).shuffle(shuffled)
    mixed = policy(7).sample([r for _, r in shuffled])
    assert together == alone
    assert [mixed[[k for k, _ in shuffled].index(i)] for i in range(len(requests))] == alone


def test_distinct_seeds_give_distinct_samples_and_equal_seeds_equal_ones() -> None:
    [one] = policy().sample([SampleRequest(PROMPTS[0], (1, 2, 1), 3, 40, 1.0)])
    assert one[0] == one[2]
    assert one[0] != one[1]


def test_greedy_equals_generate() -> None:
    engine = policy()
    samples = engine.sample(asks(n=1, steps=100, temperature=0.0, new=20))
    for prompt, [sample] in zip(PROMPTS, samples, strict=True):
        ids = engine.vocabulary.tokenizer(prompt, return_tensors="pt")["input_ids"]
        out = engine.model.generate(ids, max_new_tokens=20, do_sample=False)[0, ids.shape[1] :]
        expected = engine.vocabulary.tokenizer.decode(out, skip_special_tokens=True)
        assert "".join(step.text for step in sample.steps) == expected


def test_logprobs_are_those_of_the_model() -> None:
    engine = policy()
    [[sample]] = engine.sample([SampleRequest(PROMPTS[0], (5,), 1, 12, 1.0)])
    text = PROMPTS[0] + sample.steps[0].text
    ids = engine.vocabulary.tokenizer(text, return_tensors="pt")["input_ids"]
    start = len(engine.vocabulary.tokenizer(PROMPTS[0])["input_ids"])
    with torch.no_grad():
        logprobs = torch.log_softmax(engine.model(ids).logits[0].double(), -1)
    total = sum(float(logprobs[t - 1, ids[0, t]]) for t in range(start, ids.shape[1]))
    assert sample.steps[0].logprob == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("tokens", [1, 3, 5])
def test_steps_of_a_fixed_number_of_tokens(tokens: int) -> None:
    rule = StepRule(newline=False, tokens=tokens)
    [[sample]] = policy().sample([SampleRequest(PROMPTS[0], (7,), 4, 100, 1.0, rule)])
    assert all(step.tokens == tokens or step.ended for step in sample.steps)
    assert len(sample.steps) <= 4


def test_limits() -> None:
    for sample in policy().sample(asks(n=20, steps=2, new=15))[0]:
        assert sample.tokens <= 15
        assert len(sample.steps) <= 2
        assert sample.finish in ("end", "steps", "length")
        assert (sample.finish == "end") == sample.steps[-1].ended


def test_progress_counts_samples_and_tokens() -> None:
    seen: list[tuple[int, int]] = []
    answers = policy(4).sample(asks(), lambda n, tokens: seen.append((n, tokens)))
    assert sum(n for n, _ in seen) == 20
    assert sum(t for _, t in seen) == sum(s.tokens for a in answers for s in a)


def test_an_empty_prompt_and_an_overlong_one_are_refused() -> None:
    with pytest.raises(UserError, match="empty"):
        policy().sample([SampleRequest("", (1,), 1, 5, 1.0)])
    with pytest.raises(UserError, match="context"):
        policy().sample([SampleRequest("7 " * 200 + "> 24\n", (1,), 1, 5, 1.0)])


def test_the_fingerprint_names_precision() -> None:
    assert policy(dtype="float64").fingerprint == policy(2, "float64").fingerprint
    assert policy(dtype="float64").fingerprint != policy(dtype="float32").fingerprint


def test_the_tokenizer_gives_texts_back() -> None:
    tokenizer = policy().vocabulary.tokenizer
    text = "13 10 9 4 > 24\n13 - 9 = 4 | 10 4 4 > 24\n8 / 8/3 = 3 | 3 > 24\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_prompts_of_very_different_lengths_are_not_padded_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests = [
        SampleRequest(prompt, (1, 2), 2, 20, 1.0)
        for prompt in ("7 > 7\n", "8 3 1 2 5 > 24\n", "9 " * 60 + "> 24\n", "7 7 1 > 49\n")
    ]
    together = policy(64).sample(requests)
    monkeypatch.setattr(batching, "SLACK_TOKENS", 0)
    engine, widths = policy(64), []
    run = engine._run

    def spy(rows: list[transformers.Row]) -> None:
        widths.append([len(row.prompt) for row in rows])
        run(rows)

    monkeypatch.setattr(engine, "_run", spy)
    assert engine.sample(requests) == together
    assert len(widths) >= 2 and sum(map(len, widths)) == 8
    assert all(max(lengths) <= 2 * min(lengths) for lengths in widths)
