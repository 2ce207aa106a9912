from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows import settings

CHOICES = ("PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_API_URL")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"HOME": "/home/u", "PATH": os.environ["PATH"]})


def test_home_of_its_own_unless_the_user_chose() -> None:
    settings.apply()
    assert os.environ["PREFECT_HOME"].endswith("/.qstar/prefect")


@pytest.mark.parametrize("name", CHOICES)
def test_the_users_choice_is_kept(name: str) -> None:
    os.environ[name] = "theirs"
    settings.apply()
    assert os.environ[name] == "theirs"
    assert [n for n in CHOICES if n in os.environ] == [name]


def test_nothing_of_the_users_is_overridden() -> None:
    given = dict.fromkeys(settings.DEFAULTS, "theirs")
    os.environ.update(given)
    settings.apply(verbose=True)
    assert given.items() <= os.environ.items()


def test_nothing_is_sent_and_the_recorder_does_not_spin() -> None:
    settings.apply()
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert int(os.environ["PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL"]) >= 1


def test_a_proxy_is_kept_out_of_the_way() -> None:
    os.environ.update(HTTPS_PROXY="http://proxy:1", no_proxy="intranet")
    settings.apply()
    assert os.environ["no_proxy"] == "intranet,127.0.0.1,localhost"
    assert os.environ["NO_PROXY"] == "127.0.0.1,localhost"


def test_the_profiles_server_is_found(tmp_path: Path) -> None:
    os.environ["PREFECT_HOME"] = str(tmp_path)
    assert settings.configured_api_url() is None
    (tmp_path / "profiles.toml").write_text(
        'active = "team"\n[profiles.local]\n[profiles.team]\nPREFECT_API_URL = "http://team/api"\n'
    )
    assert settings.configured_api_url() == "http://team/api"
    os.environ["PREFECT_PROFILE"] = "local"
    assert settings.configured_api_url() is None
    os.environ["PREFECT_API_URL"] = "http://mine/api"
    assert settings.configured_api_url() == "http://mine/api"
