"""vLLM's pooling engine on the reference checkpoint. Collected only where vLLM is installed."""

from __future__ import annotations

from typing import Any

import pytest

from qstar_core.config import CountdownRanges, SearchConfig
from qstar_core.domains import countdown_problems
from qstar_core.errors import UserError
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.scoring import given_value
from qstar_core.policies.vllm import VllmPolicy
from qstar_core.search.budget import Budget
from qstar_core.search.driver import run
from qstar_core.values.score import TransformersValue
from qstar_core.values.vllm import VllmValue, sigmoid

FOLDER = resolve_checkpoint("reference:countdown-qvm", "qvm.path")
EAGER = {"enforce_eager": True}
PROBLEMS = countdown_problems.generate("test", 40, CountdownRanges(numbers=(4,)), seed=0)
START = "6 5 4 3 > 8\n6 - 5 = 1 | 4 3 1 > 8\n"
TEXTS = [
    *(problem.prompt for problem in PROBLEMS),
    START,
    f"{START}4 + 3 = 7 | 7 1 > 8\n",
    f"{START}4 + 3 = 7 | 7 1 > 8\n7 + 1 = 8 | 8 > 8",
    f"{START}4 + 3 = 7 | 7 1 > 8\n7 * 1 = 7 | 7 > 8",
    f"{START}4 * 3 = 12 | 12 1 > 8\n",
]
ENDED = [not text.endswith("\n") for text in TEXTS]


@pytest.fixture(scope="module")
def value() -> VllmValue:
    return VllmValue(FOLDER, "float32", 64, engine=EAGER)


@pytest.fixture(scope="module")
def reference() -> TransformersValue:
    return TransformersValue(FOLDER, "float32", "cpu", 64)


def test_values_are_those_of_transformers(value: VllmValue, reference: TransformersValue) -> None:
    expected = reference.score(TEXTS, ENDED)
    assert max(expected) - min(expected) > 0.5
    assert value.score(TEXTS, ENDED) == pytest.approx(expected, abs=1e-4)
    assert value.score(TEXTS, [False] * len(TEXTS)) == pytest.approx(
        reference.score(TEXTS, [False] * len(TEXTS)), abs=1e-4
    )


def test_values_depend_on_neither_order_nor_repetition(value: VllmValue) -> None:
    expected = value.score(TEXTS, ENDED)
    assert value.score(TEXTS[::-1], ENDED[::-1])[::-1] == pytest.approx(expected, abs=1e-5)
    assert (
        value.score([TEXTS[0]] * 3, [False, True, False])[::2]
        == [pytest.approx(expected[0], abs=1e-5)] * 2
    )
    assert value.score([], []) == []


def test_the_key_names_the_engine(value: VllmValue) -> None:
    from qstar_core.config import QvmConfig

    given: dict[str, Any] = {"backend": "vllm", "score_dtype": "float32", "engine": EAGER}
    config = QvmConfig.model_validate({"path": "reference:countdown-qvm", **given})
    assert value.fingerprint == given_value(config)


def test_a_text_that_is_too_long_is_refused(value: VllmValue) -> None:
    with pytest.raises(UserError, match="exceeds the Q-value model's context of 128"):
        value.score(["1 " * 200], [False])
    assert len(value.score([TEXTS[0]], [False])) == 1


def test_policy_and_value_model_share_a_process(
    value: VllmValue, reference: TransformersValue
) -> None:
    folder = resolve_checkpoint("reference:countdown-policy", "policy.path")
    policy = VllmPolicy(folder, "float32", 64, engine=EAGER)
    config = SearchConfig(name="A*", algorithm="astar")
    searched = [
        run(PROBLEMS[:6], config, Budget(200, 1000, 1000), policy, model, run_seed=0)
        for model in (value, reference)
    ]
    for ours, theirs in zip(*searched, strict=True):
        assert ours.error == theirs.error == ""
        assert [n.text for n in ours.nodes] == [n.text for n in theirs.nodes]
        for a, b in zip(ours.nodes[1:], theirs.nodes[1:], strict=True):
            assert a.q == pytest.approx(b.q, abs=1e-4)


def test_what_the_engine_refuses_is_said() -> None:
    with pytest.raises(UserError, match=r"qvm\.engine\.tensor_paralel_size") as refused:
        VllmValue(FOLDER, "float32", engine={"tensor_paralel_size": 2})
    assert "tensor_parallel_size" in refused.value.next_step
    with pytest.raises(UserError, match=r"(?s)does not start.*max_model_len") as refused:
        VllmValue(FOLDER, "float32", engine={"max_model_len": 100_000, **EAGER})
    assert "qvm.engine" in refused.value.next_step


def test_sigmoid_is_that_of_torch_at_all_sizes() -> None:
    import torch

    for logit in (-800.0, -30.0, -1.5, 0.0, 0.3, 12.0, 800.0):
        expected = float(torch.sigmoid(torch.tensor(logit, dtype=torch.float64)))
        assert sigmoid(logit) == pytest.approx(expected, abs=1e-6)


def test_in_bfloat16_nearly_all_are_within_a_hundredth_of_transformers() -> None:
    """Not all: on a text where bfloat16 moves transformers by 0.04, the two differ by 0.03."""
    found = VllmValue(FOLDER, "bfloat16", 64, engine=EAGER).score(TEXTS, ENDED)
    expected = TransformersValue(FOLDER, "bfloat16", "cpu", 64).score(TEXTS, ENDED)
    apart = sorted(abs(a - b) for a, b in zip(found, expected, strict=True))
    assert sum(each < 1e-2 for each in apart) >= 0.9 * len(apart)
    assert sum(apart) / len(apart) < 5e-3
    assert apart[-1] < 0.05
