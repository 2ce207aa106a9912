from __future__ import annotations

from collections.abc import Iterator

import pytest

from qstar_core.domains import DOMAINS
from tests.search.trees import make_domain


@pytest.fixture(scope="package", autouse=True)
def toy_domain() -> Iterator[None]:
    """The domain ``toy`` of tests/search/trees.py, for the tests of this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DOMAINS, "toy", make_domain())
        yield
