from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.config import PolicyConfig, RunConfig
from qstar_core.errors import UserError
from qstar_core.loading import load_policy
from qstar_core.policies import Policy, SampleRequest, StepRule
from qstar_core.policies.identity import backbone, identity
from qstar_core.policies.script import TOKEN, ScriptPolicy
from tests.policies.contract import PolicyContract

TEXTS = ["a b\nc\nright", "a b\nd\nwrong", "e f g\nwrong", "e f g\nwrong"]
ROWS: list[Any] = [{"prompt": "q\n", "texts": TEXTS}, {"prompt": "r\n", "texts": ["x\ny"]}]


def write(folder: Path, rows: list[Any] = ROWS) -> str:
    file = folder / "script.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


class TestContract(PolicyContract):
    reference = False
    independent = True
    prompts = ("q\n", "r\n")

    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls, tmp_path_factory: pytest.TempPathFactory) -> Policy:
        return ScriptPolicy(write(tmp_path_factory.mktemp("script")))


def ask(count: int = 1, written: str = "", temperature: float = 1.0, **more: Any) -> SampleRequest:
    limits = {"max_steps": 9, "max_new_tokens": 99, **more}
    seeds = tuple(range(count))
    return SampleRequest("q\n", seeds, temperature=temperature, written=written, **limits)


def test_a_sample_is_one_of_the_texts_each_as_likely(tmp_path: Path) -> None:
    [samples] = ScriptPolicy(write(tmp_path)).sample([ask(4000)])
    drawn = Counter("".join(step.text for step in sample.steps) for sample in samples)
    assert set(drawn) == set(TEXTS)
    assert 0.45 < drawn["e f g\nwrong"] / 4000 < 0.55
    assert {sample.finish for sample in samples} == {"end"}
    [sample] = [s for s in samples if s.steps[-1].text == "right"][:1]
    assert [step.tokens for step in sample.steps] == [3, 2, 2]
    logprobs = [step.logprob for step in sample.steps]
    assert logprobs == pytest.approx([math.log(1 / 2), math.log(1 / 2), 0.0], abs=1e-4)


def test_it_goes_on_from_the_steps_that_are_written(tmp_path: Path) -> None:
    policy = ScriptPolicy(write(tmp_path))
    [samples] = policy.sample([ask(50, written="a b\n", max_steps=1)])
    assert {sample.steps[0].text for sample in samples} == {"c\n", "d\n"}
    [[greedy]] = policy.sample([ask(written="a b\n", temperature=0.0)])
    assert [step.text for step in greedy.steps] == ["c\n", "right"]
    with pytest.raises(ValueError, match="no text that begins with"):
        policy.sample([ask(written="z\n")])


def test_steps_of_tokens(tmp_path: Path) -> None:
    policy = ScriptPolicy(write(tmp_path))
    rule = StepRule(newline=False, tokens=2)
    [[sample]] = policy.sample([ask(temperature=0.0, rule=rule)])
    assert [step.text for step in sample.steps] == ["a b", "\nc", "\nright", ""]
    [[cut]] = policy.sample([ask(temperature=0.0, rule=rule, max_new_tokens=3)])
    assert (cut.finish, cut.tokens) == ("length", 3)


@given(st.text())
def test_the_tokens_of_a_text_are_the_text(text: str) -> None:
    assert "".join(TOKEN.findall(text)) == text


def test_a_run_names_the_script_and_its_key_goes_by_the_content(tmp_path: Path) -> None:
    config = PolicyConfig(backend="scripted", path=write(tmp_path))
    policy = load_policy(config)
    assert identity(config) == policy.fingerprint
    write(tmp_path, ROWS[:1])
    assert identity(config) != policy.fingerprint
    with pytest.raises(UserError, match=r"qvm\.init"):
        backbone(RunConfig(out=str(tmp_path), policy=config))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([], "not a JSON object"),
        ({"texts": ["a"]}, "prompt must be a text"),
        ({"prompt": "q"}, "texts must be a list"),
        ({"prompt": "q", "texts": []}, "at least one text"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, row: object, says: str) -> None:
    with pytest.raises(UserError, match=f"row 2: .*{says}"):
        ScriptPolicy(write(tmp_path, [ROWS[0], row]))


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"policy\.path: no such file"):
        identity(PolicyConfig(backend="scripted", path=str(tmp_path / "absent.jsonl")))
