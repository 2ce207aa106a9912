"""``qstar deploy`` against a real server: once, twice, changed, wrong."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.deploy import deploy
from qstar_core.errors import UserError
from tests.deployed import NAMES, clear

from .conftest import ROOT

NOTIFYING = ["qstar-failed-runs", "qstar-late-runs"]


@pytest.fixture
def file(tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of deployments/, with this process as a client of the server."""
    shutil.copytree(ROOT / "deployments", tmp_path / "deployments")
    monkeypatch.setenv("QSTAR_HOME", str(tmp_path))
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield tmp_path / "deployments" / "prefect.yaml"


def states(file: Path, dry_run: bool = False) -> dict[str, str]:
    return {f"{s.kind} {s.name}": s.state for s in deploy(str(file), dry_run)}


def edit(file: Path, change: Any) -> None:
    tree = yaml.safe_load(file.read_text())
    change(tree)
    file.write_text(yaml.safe_dump(tree))


def test_everything_is_made_once_and_then_left(file: Path, prefect_server: str) -> None:
    with get_client(sync_client=True) as client:
        clear(client)
        before = {each.name for each in client.read_deployments()}
        planned = states(file, dry_run=True)
        assert {each.name for each in client.read_deployments()} == before
        assert states(file) == planned
        counted = Counter(planned.values())
        assert counted == {"made": len(planned) - 2, "skipped": 2}
        assert {k for k, v in planned.items() if v == "skipped"} == {
            f"automation {name}" for name in NOTIFYING
        }
        again = states(file)
        assert [name for name, state in again.items() if state in ("made", "changed")] == []
        assert Counter(again.values()) == {"left": len(planned) - 2, "skipped": 2}
        nightly = client.read_deployment_by_name("nightly/nightly")
        assert nightly.job_variables["working_dir"] == str(file.parents[1])
        assert nightly.global_concurrency_limit and nightly.global_concurrency_limit.limit == 1
        [schedule] = nightly.schedules
        assert schedule.schedule.timezone == "Europe/Berlin"
        for name in NAMES:
            found = next(d for d in client.read_deployments() if d.name == name)
            assert found.pull_steps in (None, []) and "qstar" in found.tags


def test_what_differs_is_changed_and_a_paused_schedule_stays_paused(file: Path) -> None:
    states(file)
    with get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name("nightly/nightly")
        client.update_deployment_schedule(nightly.id, nightly.schedules[0].id, active=False)

        def change(tree: Any) -> None:
            tree["deployments"][0]["parameters"]["limits"] = {"max_hours": 3.5}

        edit(file, change)
        found = {s.name: s for s in deploy(str(file)) if s.state == "changed"}
        assert {name: step.said for name, step in found.items()} == {
            "nightly/nightly": "parameters"
        }
        nightly = client.read_deployment_by_name("nightly/nightly")
        assert nightly.parameters["limits"] == {"max_hours": 3.5}
        assert nightly.schedules[0].active is False
    assert "changed" not in states(file).values()


@pytest.mark.parametrize("slug", ["nightly", None])
def test_a_paused_schedule_that_is_changed_stays_paused_and_one_that_is_removed_ends(
    file: Path, slug: str | None
) -> None:
    name = f"scheduled-{slug}"
    schedule = {
        "cron": "15 2 * * *",
        "timezone": "Europe/Berlin",
        **({"slug": slug} if slug else {}),
    }
    edit(file, lambda tree: tree.update(deployments=tree["deployments"][:1]))
    edit(file, lambda tree: tree["deployments"][0].update(name=name, schedules=[schedule]))
    states(file)
    with get_client(sync_client=True) as client:

        def there() -> list[Any]:
            return client.read_deployment_by_name(f"nightly/{name}").schedules

        deployment = client.read_deployment_by_name(f"nightly/{name}")
        client.update_deployment_schedule(deployment.id, there()[0].id, active=False)
        edit(file, lambda tree: tree["deployments"][0]["schedules"][0].update(cron="5 3 * * *"))
        assert states(file)[f"deployment nightly/{name}"] == "changed"
        assert [(s.schedule.cron, s.active) for s in there()] == [("5 3 * * *", False)]
        assert states(file)[f"deployment nightly/{name}"] == "left"
        edit(file, lambda tree: tree["deployments"][0].update(schedules=[]))
        assert states(file)[f"deployment nightly/{name}"] == "changed"
        assert there() == []
        assert states(file)[f"deployment nightly/{name}"] == "left"
        client.delete_deployment(deployment.id)


def test_a_malformed_trigger_is_said(file: Path) -> None:
    edit(file, lambda tree: tree["deployments"][5].update(triggers=[{"within": "soon"}]))
    with pytest.raises(UserError, match="trigger compare__automation_1 of compare/compare"):
        list(deploy(str(file)))


def test_notifications_come_with_the_named_block(file: Path, prefect_server: str) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    block = CustomWebhookNotificationBlock(name="on call", url="https://example.org/hook")
    block.save("qstar-on-call", overwrite=True)
    try:
        found = states(file)
        assert [found[f"automation {name}"] for name in NOTIFYING] == ["made", "made"]
        assert "changed" not in states(file).values()
    finally:
        CustomWebhookNotificationBlock.delete("qstar-on-call")


def test_bad_parameters_are_refused_before_a_run_is_scheduled(file: Path) -> None:
    states(file)
    with get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name("nightly/nightly")
        for wrong in (
            {"date": "yesterday"},
            {"limits": {"max_tokens": 0}},
            {"limits": {"max_token": 5}},
            {"overrides": ["rollouts.samples"]},
            {"config": "demo"},
        ):
            with pytest.raises(PrefectHTTPStatusError) as caught:
                client.create_flow_run_from_deployment(nightly.id, parameters=wrong)
            assert caught.value.response.status_code == 409, wrong


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["parameters"].update(time_zone="UTC"), "its schedule is in Europe/Berlin"),
        (lambda d: d["parameters"].update(config="demo.txt"), "demo.txt"),
        (lambda d: d["parameters"].update(overrides=["rollouts.sample=8"]), "rollouts.sample"),
        (lambda d: d.update(entrypoint="flows.deployed.nothing"), "nothing"),
        (lambda d: d.update(schedules=[{"cron": "61 * * * *"}]), "cron"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_and_nothing_is_made(
    file: Path, change: Any, said: str
) -> None:
    edit(file, lambda tree: change(tree["deployments"][0]))
    edit(file, lambda tree: tree["deployments"][0].update(name="wrong"))
    with pytest.raises(UserError, match="deployment wrong") as caught:
        list(deploy(str(file)))
    assert said in caught.value.what
    with get_client(sync_client=True) as client:
        assert "wrong" not in {each.name for each in client.read_deployments()}


def test_a_server_that_is_not_there_is_said(file: Path) -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(UserError, match="does not answer") as caught,
    ):
        list(deploy(str(file)))
    assert "make server" in caught.value.next_step


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_job_templates_use_exactly_their_variables_and_the_server_takes_them(
    file: Path, kind: str
) -> None:
    template = json.loads((file.parent / "pools" / f"{kind}.json").read_text())
    text = json.dumps(template["job_configuration"])
    names = set(template["variables"]["properties"])
    assert {name for name in names if f"{{{{ {name} }}}}" in text} == names
    assert text.count("{{") >= len(names)
    file.with_name("prefect-server.yaml").write_text(
        f"work_pools: [{{name: t-{kind}, type: {kind}, base_job_template: pools/{kind}.json}}]\n"
    )
    edit(file, lambda tree: tree.update(deployments=[]))
    first, second = (list(deploy(str(file))) for _ in range(2))
    assert [step.state for step in (*first, *second)] == ["made", "left"]
