from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.mdp import Step
from qstar_core.policies import Sample, SampleRequest, StepRule
from qstar_core.policies.journal import Journal

ASK = SampleRequest("1 2 = 3\n", (5, 2**62), 3, 40, 0.7, StepRule(True, 24), "1 + 2\n")
STEPS = st.builds(
    Step,
    st.text(max_size=20),
    st.integers(0, 99),
    st.floats(allow_nan=False, max_value=0),
    st.booleans(),
)
SAMPLES = st.builds(
    Sample, st.lists(STEPS, max_size=3).map(tuple), st.sampled_from(["end", "steps"])
)


@given(samples=st.lists(SAMPLES, min_size=2, max_size=2))
def test_samples_come_back_as_they_were(
    samples: list[Sample], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "shard.jsonl"
    first = Journal(path)
    assert not first
    first.add("p", ASK, samples)
    first.save()
    found = Journal(path)
    assert found and found.get("p", ASK) == samples
    found.save()  # what was found is kept for the run after that
    assert Journal(path).get("p", ASK) == samples
    found.remove()
    assert not path.exists()
    found.remove()


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "1 2 = 4\n"},
        {"seeds": (5,)},
        {"max_steps": 2},
        {"max_new_tokens": 41},
        {"temperature": 0.8},
        {"rule": StepRule(False, 24)},
        {"written": ""},
    ],
)
def test_another_request_is_another_answer(change: dict[str, object], tmp_path: Path) -> None:
    journal = Journal(tmp_path / "shard.jsonl")
    journal.add("p", ASK, [Sample((Step("a\n", 2),), "steps")] * 2)
    journal.save()
    found = Journal(journal.path)
    assert found.get("p", ASK) is not None
    assert found.get("q", ASK) is None
    assert found.get("p", replace(ASK, **change)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content", ["{", '{"request": "a"}\n', "\xff", '{"request": 1, "samples": [3]}\n']
)
def test_a_damaged_file_is_not_used(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "shard.jsonl"
    path.write_bytes(content.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert not Journal(path)
    assert "is damaged, so its samples are drawn again" in caplog.text
