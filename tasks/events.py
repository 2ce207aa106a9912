"""Events of Prefect that say what was published; deployments can be started by them.

``qstar.{kind}.published`` of a data set (``qstar.rollouts.published``, ``qstar.qvm.published``) and
``qstar.run.published`` of the record of a partition. An event is sent once, after the manifest is
put: where a process dies between the two it is never sent, so what must not be missed is looked up
in the manifests and records.
"""

from __future__ import annotations

from typing import Any

from prefect.events import emit_event

ROOT = "qstar"


def emit_published(manifest: dict[str, Any], run: str) -> None:
    """Says that a data set was published.

    Args:
        manifest: of the data set.
        run: name of the configuration.
    """
    kind, key = manifest["kind"], manifest["key"]
    payload = {name: manifest[name] for name in ("kind", "key", "uri", "rows")}
    emit_event(
        event=f"{ROOT}.{kind}.published",
        resource={
            "prefect.resource.id": f"{ROOT}.{kind}.{key}",
            "prefect.resource.name": f"{kind} {key[:8]}",
            f"{ROOT}.run": run,
        },
        payload=payload | {"run": run},
    )


def emit_record(record: dict[str, Any], path: str) -> None:
    """Says that a partition has a new record.

    Args:
        record: of `qstar_core.partitions.Record.to_dict`.
        path: of its file, or its URI.
    """
    name, flow, day = (record[field] for field in ("name", "flow", "date"))
    emit_event(
        event=f"{ROOT}.run.published",
        resource={
            "prefect.resource.id": f"{ROOT}.run.{name}.{flow}.{day}",
            "prefect.resource.name": f"{flow} {name} {day}",
            f"{ROOT}.run": name,
        },
        payload={**record, "uri": path},
    )
