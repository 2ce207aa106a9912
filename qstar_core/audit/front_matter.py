"""The YAML head of a model card, in the words of the Hugging Face hub.

The hub refuses a ``license`` that is none of its own identifiers and a ``base_model`` that is no
name on it. Sources: hub documentation, "Model Cards" and "Licenses".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_IDENTIFIERS = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl
ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
lgpl-2.1 lgpl-3.0 isc intel-research h-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0
odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3
llama4 grok2-community gemma unknown other
"""
LICENCES = frozenset(_IDENTIFIERS.split())
"""Identifiers of the hub; most are SPDX's in lower case."""

Row = dict[str, Any]


def front(
    licence: str | None,
    base: str,
    task: str,
    tags: Sequence[str],
    title: str,
    results: Sequence[Row],
) -> str:
    """The head of a card, YAML without its lines of dashes.

    Args:
        licence: of the model, in anybody's words; None where nothing says it.
        base: the model it started from, as the configuration names it.
        task: of the hub, such as ``text-generation``.
        tags: of the hub.
        title: name of the model.
        results: of the hub's model index: dicts with ``dataset`` and ``metrics``; may be empty.
    """
    index = [{"name": title, "results": [{"task": {"type": task}, **each} for each in results]}]
    found = {
        "library_name": "transformers",
        "pipeline_tag": task,
        **of_licence(licence),
        **of_base(base),
        "tags": list(tags),
        **({"model-index": index} if results else {}),
    }
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True)


def of_licence(licence: str | None) -> Mapping[str, str]:
    """The fields that say a licence: an identifier of the hub, or ``other`` with a name."""
    if not licence:
        return {}
    if licence.lower() in LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": licence}


def of_base(base: str) -> Mapping[str, str]:
    """The fields that say what a model started from; empty where that is no name on the hub."""
    if not HUB_NAME.fullmatch(base) or Path(base).exists():
        return {}
    return {"base_model": base, "base_model_relation": "finetune"}
