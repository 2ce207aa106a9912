"""What a deployment is asked for: the parameters of its form, and the run that they stand for.

The form asks for what a person on call decides: which configuration, which date, how much it may
cost, and a few overrides. The configuration itself, some two hundred fields, stays in its file.
Prefect refuses values that do not fit the schema before it schedules a run.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect import runtime
from pydantic import BaseModel, ConfigDict, Field

from qstar_core.config import RunConfig
from qstar_core.config_file import load_config
from qstar_core.errors import UserError

DATE = r"^\d{4}-\d\d-\d\d$"  # Prefect's check of a schema does not look at "format: date"

ConfigFile = Annotated[
    str, Field(pattern=r"^\S(.*\S)?\.(yaml|yml|json)$", examples=["deployments/demo.yaml"])
]
Partition = Annotated[datetime.date, Field(json_schema_extra={"pattern": DATE})] | None
Zone = Annotated[
    str,
    Field(pattern=r"^[A-Za-z]+([_/+-][A-Za-z0-9_+-]+)*$", examples=["UTC", "Europe/Berlin"]),
]
Out = Annotated[str, Field(min_length=1)] | None
Override = Annotated[
    str, Field(pattern=r"^[a-z_]+(\.[A-Za-z0-9_]+)*=.*$", examples=["rollouts.samples=8"])
]
Overrides = list[Override]
Dataset = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]

ARGS = """Args:
    config: YAML file of the run, a path on the worker's machine or an s3:// URI; {date} in it is the date below.
    date: Partition, YYYY-MM-DD. Empty is the day of the scheduled start.
    time_zone: Whose day that is; the time zone of the schedule.
    out: Folder or s3://bucket/prefix. Empty is that of the configuration.
    overrides: Fields of the configuration, path.to.field=value.
    limits: Hard limits of this run. Empty is what the configuration says.
"""  # noqa: E501 - Prefect's page shows a description up to the end of its line
"""The parameters on Prefect's form, which takes its descriptions from a flow's docstring."""


class Limits(BaseModel):
    """Hard limits of one run; an empty field leaves what the configuration says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int | None = Field(default=None, ge=1, title="Policy tokens")
    max_hours: float | None = Field(default=None, gt=0.0, title="Hours")
    max_price: float | None = Field(
        default=None,
        gt=0.0,
        title="Price",
        description="By runtime.price_per_million_tokens of the configuration.",
    )
    workers: int | None = Field(default=None, ge=1, le=256, title="Worker processes")

    def overrides(self) -> list[str]:
        """As ``path.to.field=value``."""
        given = self.model_dump(exclude_none=True)
        return [f"runtime.{name}={value}" for name, value in given.items()]


@dataclass(frozen=True)
class Order:
    """One run of a deployment, by its parameters."""

    config: str
    date: datetime.date | None = None
    time_zone: str = "UTC"
    out: str | None = None
    overrides: list[str] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, parameters: dict[str, Any]) -> Order:
        """That of a flow run, from its parameters, validated or not; others are left out."""
        known = {name: parameters[name] for name in cls.__dataclass_fields__ if name in parameters}
        if isinstance(known.get("date"), str):
            known["date"] = datetime.date.fromisoformat(known["date"])
        if isinstance(known.get("limits"), dict):
            known["limits"] = Limits.model_validate(known["limits"])
        return cls(**known)

    def day(self) -> datetime.date:
        """The partition; a retry of the same run keeps it, whenever it comes.

        Raises:
            UserError: as `local_day`.
        """
        if self.date is not None:
            return self.date
        scheduled = runtime.flow_run.scheduled_start_time or datetime.datetime.now(datetime.UTC)
        return local_day(scheduled, self.time_zone)

    def load(self) -> RunConfig:
        """The configuration with its date, overrides and limits.

        Raises:
            UserError: as `load_config`.
        """
        settings = [*self.overrides, *self.limits.overrides()]
        return load_config(self.config, settings, self.out, self.day())


def local_day(moment: datetime.datetime, time_zone: str) -> datetime.date:
    """The date of a moment in a time zone.

    Raises:
        UserError: there is no such zone.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:  # "Europe" is a folder of zones
        raise UserError(
            f"time_zone: there is no time zone {time_zone}",
            next_step="start a new run with a name such as UTC or Europe/Berlin",
        ) from error
    return moment.astimezone(zone).date()
