"""Prefect's settings for a laptop, and which Prefect server a command talks to.

Prefect reads its settings when it is imported, so `apply` comes before that. Whatever the user
has set in the environment wins. Nothing here imports Prefect.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # Task runs are recorded one by one unless told otherwise, slower than they are made.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    # Whole seconds: anything below 1 is rounded to 0 and the recorder spins.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "qstar_core",
    # The threads that read the workers' standard error belong to no flow run.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_CLI_PROMPT": "false",
}
OWN_HOME = "~/.qstar/prefect"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
LOCAL = "127.0.0.1,localhost"


def apply(verbose: bool = False) -> None:
    """Sets the environment that Prefect reads on import."""
    if not {"PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_API_URL"} & set(os.environ):
        os.environ["PREFECT_HOME"] = str(Path(OWN_HOME).expanduser())
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "WARNING")
    for name in PROXIES:  # a proxy must not stand between this process and its own server
        if os.environ.get(name) or os.environ.get(name.upper()):
            for no_proxy in ("no_proxy", "NO_PROXY"):
                known = os.environ.get(no_proxy)
                os.environ[no_proxy] = f"{known},{LOCAL}" if known else LOCAL
            break


def home() -> Path:
    """The folder of Prefect's database, profiles and logs."""
    return Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()


def configured_api_url() -> str | None:
    """The server that the user chose by the environment or a Prefect profile, if any."""
    if os.environ.get("PREFECT_API_URL"):
        return os.environ["PREFECT_API_URL"]
    path = Path(os.environ.get("PREFECT_PROFILES_PATH", home() / "profiles.toml"))
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return None
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active")
    url = profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    return str(url) if url else None
