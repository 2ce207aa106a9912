"""Settings of every test session: nothing of the user's is touched, nothing is sent anywhere."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.s3 import S3Server

pytest_plugins = ["tests.browser"]

# pytest-xdist's workers inherit the home that the first process made, and leave it to that one.
if "QSTAR_TEST_HOME" not in os.environ:
    os.environ["QSTAR_TEST_HOME"] = tempfile.mkdtemp(prefix="qstar-test-")
    atexit.register(shutil.rmtree, os.environ["QSTAR_TEST_HOME"], ignore_errors=True)

# One for each process of the tests: two servers must not make the tables of one database at once
OWN = f"prefect-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
os.environ["PREFECT_HOME"] = str(Path(os.environ["QSTAR_TEST_HOME"]) / OWN)
os.environ["QSTAR_CACHE"] = str(Path(os.environ["QSTAR_TEST_HOME"]) / "cache")
os.environ.pop("PREFECT_API_URL", None)  # no server that the user started
for setting in [name for name in os.environ if name.startswith("AWS_")]:
    os.environ.pop(setting)  # nor an account of the user's
os.environ.update(
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    HF_HUB_OFFLINE="1",
    SE_OFFLINE="true",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",
)

# A busy machine must not fail a test: neither limit says anything about the code.
untimed = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("local", untimed)
settings.register_profile("ci", untimed, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for clocks comes first, so that others run beside it."""
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server for the session."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with its endpoint and credentials in the environment."""
    for name, value in s3_server.env().items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """The URI of a new bucket that this process may use."""
    return s3.bucket()
