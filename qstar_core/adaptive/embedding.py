"""The frozen embedding of a question: a model's last hidden states, their mean or the last one.

Any folder that ``transformers.AutoModel`` loads will do: the causal LM that answers the questions
(nothing has to be downloaded then), a BERT, or a sentence-transformers model, whose weights are
those of its transformer.

1. AdaReasoner reads a pretrained BERT. The default here is the reference policy itself.
2. The pooling is the mean over the tokens, or the last token's state, from which a causal LM goes
   on to answer. A sentence-transformers model that was trained with another pooling, or with layers
   after it, gives a good embedding but not its own.
3. Computed in float64 and rounded, so that an embedding does not depend on its batch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer

from qstar_core.adaptive.identity import encoder_fingerprint
from qstar_core.config_adaptive import Pooling
from qstar_core.errors import UserError
from qstar_core.policies.batching import in_batches
from qstar_core.policies.transformers import pick_device

log = logging.getLogger(__name__)

DECIMALS = 6
UNBOUNDED = 1_000_000  # tokenizers without a limit say some huge number


class Encoder:
    """Embeds questions with a model that is not trained.

    Args:
        folder: the checkpoint; see `qstar_core.policies.checkpoint.resolve_checkpoint`.
        device: ``auto`` is a GPU where there is one.
        batch_size: texts in one batch; no embedding depends on it.
        pooling: ``mean`` over the tokens of a text, or the ``last`` token.
    """

    def __init__(
        self,
        folder: Path,
        device: str = "cpu",
        batch_size: int = 64,
        pooling: Pooling = "mean",
    ) -> None:
        self.device, self.batch_size = pick_device(device), batch_size
        self.pooling = pooling
        self.fingerprint = encoder_fingerprint(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModel.from_pretrained(
            folder, dtype=torch.float64, use_safetensors=True, trust_remote_code=False
        )
        self.model.to(self.device)
        self.model.eval()
        self.model.requires_grad_(False)
        config = self.model.config.get_text_config()
        held = getattr(config, "max_position_embeddings", UNBOUNDED)
        self.context = min(int(held), int(self.tokenizer.model_max_length))
        self.width = int(config.hidden_size)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The embedding of each text.

        Args:
            texts: questions. Of one that is longer than the model's context only the beginning is
                read; how many these are is logged.

        Returns:
            [texts, width], float32, in the order given.

        Raises:
            UserError: a text has no token.
        """
        ids = self._tokens(texts)
        found = np.zeros((len(texts), self.width), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda k: len(ids[k]))
        for batch in in_batches(order, lambda k: len(ids[k]), self.batch_size):
            found[batch] = self._pooled([ids[k] for k in batch])
        return found

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        limit = {"truncation": True, "max_length": self.context}
        ids: list[list[int]] = self.tokenizer(list(texts), **limit)["input_ids"]
        for number, each in enumerate(ids):
            if not each:
                raise UserError(
                    f"question {number} (counted from 0) is empty",
                    next_step="take empty questions out of the problems",
                )
        full = sum(len(each) >= self.context for each in ids)
        if full:
            log.warning("%d questions fill the embedding's context of %d", full, self.context)
        return ids

    @torch.inference_mode()
    def _pooled(self, batch: Sequence[list[int]]) -> npt.NDArray[np.float32]:
        longest = max(map(len, batch))
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask = torch.zeros(len(batch), longest, dtype=torch.long)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.double()
        weights = mask.double()[:, :, None]
        if self.pooling == "last":
            last = weights.cumsum(dim=1) == weights.sum(dim=1, keepdim=True)
            weights = weights * last
        pooled = (states * weights).sum(dim=1) / weights.sum(dim=1)
        rounded: npt.NDArray[np.float32] = pooled.cpu().numpy().round(DECIMALS).astype(np.float32)
        return rounded
