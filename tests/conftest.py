"""Settings of every test session: nothing of the user's is touched, nothing is sent anywhere."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

# pytest-xdist's workers inherit the home that the first process made, and leave it to that one.
if "QSTAR_TEST_HOME" not in os.environ:
    os.environ["QSTAR_TEST_HOME"] = tempfile.mkdtemp(prefix="qstar-test-")
    atexit.register(shutil.rmtree, os.environ["QSTAR_TEST_HOME"], ignore_errors=True)

os.environ["PREFECT_HOME"] = str(Path(os.environ["QSTAR_TEST_HOME"]) / "prefect")
os.environ.pop("PREFECT_API_URL", None)  # no server that the user started
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
