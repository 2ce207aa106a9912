from __future__ import annotations

from pathlib import Path

from qstar_core import data_dictionary
from qstar_core.adaptive.episodes import SCHEMA as EPISODES
from qstar_core.labels.schema import SCHEMA as LABELS
from qstar_core.rollouts.sample import SCHEMA as ROLLOUTS
from qstar_core.rollouts.sample import STEP
from qstar_core.store.columns import description

FILE = Path(__file__).parents[1] / "docs" / "data-dictionary.md"


def test_the_file_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == data_dictionary.render(), (
        "next: python -m qstar_core.data_dictionary > docs/data-dictionary.md"
    )


def test_every_column_is_described() -> None:
    page = data_dictionary.render()
    for field in (*ROLLOUTS, *STEP, *LABELS, *EPISODES):
        assert description(field), field.name
        assert f"| `{field.name}` |" in page
