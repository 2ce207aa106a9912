from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.sft.examples import run_of
from tests.training.stage import answer, started


def tuned(out: Path, **sft: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights and figures of a policy that a worker has fine-tuned."""
    spec, config = run_of(out, epochs=1.0, holdout=0.2, **sft)
    whole = {**spec, "stage": "sft", "key": "key", "config": config.model_dump(mode="json")}
    with started(whole) as worker:
        event = answer(worker)
    assert event["event"] == "result", event
    [weights] = Path(spec["uri"]).rglob("model.safetensors")
    return load_file(weights), event["result"]["figures"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"packing": True, "max_length": 64, "batch_size": 2}])
def test_two_processes_fine_tune_as_one_does(tmp_path: Path, more: dict[str, Any]) -> None:
    alone, one = tuned(tmp_path / "one", **more)
    both, two = tuned(tmp_path / "two", processes=2, **more)
    assert two["processes"] == 2 and "processes" not in one
    assert two["updates"] == one["updates"] > 1
    assert two["heldout_loss"] == pytest.approx(one["heldout_loss"], rel=0.02)
    assert alone.keys() == both.keys()
    assert sum(float((alone[n] - both[n]).square().sum()) for n in alone) < 1e-2
