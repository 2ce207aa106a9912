"""The model card of a fine-tuned policy: a Markdown file beside its weights.

As `qstar_core.audit.model_card`: made of what the run key hashes and the figures that are no
measured times, so that equal policies have equal cards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qstar_core.audit.card import fenced, loading, markdown
from qstar_core.audit.front_matter import front
from qstar_core.config import CardConfig
from qstar_core.stage import COMMANDS

TASK = "text-generation"
TAGS = ("reasoning", "sft", "rejection-sampling", "qstar")
AUTO = "AutoModelForCausalLM"
USE = (
    "answer = tokenizer.decode(model.generate(**{}, max_new_tokens=256)[0], "
    "skip_special_tokens=True)"
)
PLAIN = 'tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)'
CHAT = (
    'tokenizer.apply_chat_template([{"role": "user", "content": prompt}], '
    'add_generation_prompt=True, return_dict=True, return_tensors="pt")'
)
LIMITS = (
    "It was trained on those of its own solutions that its grader calls right: what the base model "
    "never solved it was not shown, and a right answer by wrong steps counts as a solution.",
    "Rejection sampling sharpens what the base model can do already. Samples become alike, so what "
    "is drawn several times per question may gain less than a single answer, or lose.",
    "It keeps what its base model does elsewhere as far as fine-tuning leaves it; nothing outside "
    "of the questions of its training was measured.",
    "The held-out loss says how well it predicts solutions, not how many questions it solves; an "
    "evaluation says that.",
)


def policy_card(head: Mapping[str, Any], about: CardConfig) -> str:
    """The card of a policy that is fine-tuned.

    Args:
        head: of the manifest: key, rows_from, inputs, figures and config.
        about: what the configuration says of it.
    """
    config, figures = head["config"], head["figures"]
    base = config["sft"]["base"] or config["policy"]["path"]
    licence = head.get("licence") or about.licence
    title = f"Fine-tuned policy: {config['domain']['name']}"
    loss = {"type": "loss", "name": "held-out loss", "value": figures["heldout_loss"]}
    rollouts = head["inputs"]["rollouts"]
    of = {"type": "qstar-rollouts", "name": f"held-out solutions of rollouts {rollouts}"}
    results = [{"dataset": of, "metrics": [loss]}] if loss["value"] is not None else []
    chat = head["rows_from"]["chat"]
    return markdown("policy_card.md.j2").render(
        front=front(licence, base, TASK, TAGS, title, results),
        head=head,
        about=about,
        title=title,
        licence=licence,
        base=base,
        domain=config["domain"]["name"],
        rollouts=rollouts,
        sft=config["sft"],
        seed=config["seed"],
        figures=figures,
        loading=loading(AUTO, USE.format(CHAT if chat else PLAIN)),
        command=f"qstar {COMMANDS['sft']} CONFIG",
        limits=LIMITS,
        hashed=fenced(head["rows_from"]),
    )
