"""The fields that change no row: how the work is run, and what the cards say besides."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from qstar_core.config_section import Float, Section, runtime_only


class CardConfig(Section):
    """What the data cards say besides what is computed; a published card never changes."""

    licence: str | None = runtime_only(None)
    """Licence of the data, best as an SPDX identifier such as ``CC-BY-4.0``."""
    description: str | None = runtime_only(None)
    """One paragraph on what the data are for."""


class RuntimeConfig(Section):
    """How the work is run; nothing here can change a row."""

    workers: int = runtime_only(2, ge=1)
    """Worker processes that generate and search in parallel."""
    python: str | None = runtime_only(None)
    """Interpreter of the workers; None is this one."""
    threads: int | None = runtime_only(None)
    """Torch threads per worker; None shares out the cores."""
    stall_timeout_s: Float = runtime_only(3600.0, gt=0.0)
    """A worker that reports no progress for this long is killed, the shard retried."""
    retries: int = runtime_only(2, ge=0)
    max_tokens: int | None = runtime_only(None, ge=1)
    """Policy tokens of one run, after which it stops, an engine batch late at most."""
    max_hours: Float | None = runtime_only(None, gt=0.0)
    """Hours of one run, after which no further shard is started."""
    max_price: Float | None = runtime_only(None, gt=0.0)
    """What one run may cost, in the currency of ``price_per_million_tokens``, after which it stops
    likewise."""
    price_per_million_tokens: Float | None = runtime_only(None, ge=0.0)
    """Price of a million policy tokens, for ``max_price``."""
    min_free_gb: Float = runtime_only(1.0, ge=0.0)
    """Gigabytes that a stage leaves free on the disk of ``out``; it is not started where its
    estimate says that it would not. 0 looks at neither disk nor memory."""
    limits: list[str] = runtime_only([])
    """Names of global concurrency limits of Prefect, such as ``qstar-gpu``: each shard that uses a
    model holds one slot of each while it is worked on; docs/deploying.md."""
    tokens_per_second: Float | None = runtime_only(None, gt=0.0)
    """Policy tokens that one GPU is assumed to generate, for the GPU hours of ``--plan``; None
    leaves these out."""
    runner: Literal["local", "ray"] = runtime_only("local")
    """Where shards are worked on: worker processes of this machine, or a Ray cluster."""
    ray_address: str | None = runtime_only(None)
    """Of a Ray cluster, ``host:port`` or ``ray://host:port``; None starts one on this machine."""
    trackers: list[Literal["tensorboard", "mlflow", "wandb"]] = runtime_only(["tensorboard"])
    """What records loss, learning rate, tokens per second and memory of a training; see
    docs/training.md."""
    sandbox: Literal["bwrap", "rlimits"] = runtime_only("bwrap")
    """What generated code runs in: bubblewrap, or without it, weaker; see docs/security.md."""
    gpus_per_worker: Float = runtime_only(0.0, ge=0.0)
    """GPUs that Ray reserves for each shard."""

    @model_validator(mode="after")
    def _priced(self) -> RuntimeConfig:
        if self.max_price is not None and self.price_per_million_tokens is None:
            raise ValueError("max_price needs price_per_million_tokens, the price to count by")
        return self
