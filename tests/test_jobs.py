from __future__ import annotations

import pytest

from qstar_core.errors import UserError
from qstar_core.jobs import expect


def test_a_checkpoint_that_changed_after_the_plan_is_refused() -> None:
    expect({"models": {"policy": "abc"}}, "policy", "abc")
    expect({}, "policy", "abc")
    with pytest.raises(UserError, match="policy's checkpoint has changed") as caught:
        expect({"models": {"policy": "abc"}}, "policy", "def")
    assert "run the same command again" in caught.value.next_step
