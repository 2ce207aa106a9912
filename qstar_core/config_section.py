"""What all sections of the configuration share: their base class, and which fields make a key."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict

RUNTIME_ONLY: JsonDict = {"runtime_only": True}
SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", re.ASCII)


def runtime_only(default: Any, **constraints: Any) -> Any:
    """A field that cannot change a row and is no part of any key."""
    return Field(default=default, json_schema_extra=RUNTIME_ONLY, **constraints)


def _scientific(value: Any) -> Any:
    """YAML 1.1 reads ``1e-3`` as text; where a number is expected it is one."""
    return float(value) if isinstance(value, str) and SCIENTIFIC.fullmatch(value) else value


Float = Annotated[float, BeforeValidator(_scientific)]


class Section(BaseModel):
    """Base of all sections: unknown fields are errors, values are not coerced, floats finite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def rows(self) -> dict[str, Any]:
        """The fields that can change a row, for a run key."""
        kept = {}
        for name, field in type(self).model_fields.items():
            if field.json_schema_extra == RUNTIME_ONLY:
                continue
            value = getattr(self, name)
            kept[name] = value.rows() if isinstance(value, Section) else _plain(value)
        return kept


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [v.rows() if isinstance(v, Section) else _plain(v) for v in value]
    return value
