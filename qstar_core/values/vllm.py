"""A QVM checkpoint in vLLM's pooling engine: the batching and prefix cache of a serving engine.

The checkpoint is the token-classification one of `qstar_core.values.model`. vLLM takes the causal
LM of that family, puts the checkpoint's head on it and returns the logit at the last token; with
its task ``token_classify`` it would return those of all tokens, and read nothing from the prefix
cache. The sigmoid is applied here in float64, as in `qstar_core.values.score`, whose values these
are up to rounding: on the reference checkpoint in float32 within 1e-4.

vLLM lives in an environment of its own (docs/adr/0007); this module is imported only by a worker
that runs there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qstar_core.errors import UserError
from qstar_core.policies import vllm_engine
from qstar_core.policies.scoring import value_fingerprint
from qstar_core.values.model import load_tokenizer
from qstar_core.values.score import DECIMALS, encode


class VllmValue:
    """A QVM from a local folder, in vLLM.

    Args:
        folder: the checkpoint.
        dtype: numeric precision: float32 or bfloat16. The head is computed in float32.
        batch_size: sequences in flight.
        engine: further arguments of ``vllm.LLM``.

    Raises:
        UserError: vLLM is not installed, does not know an argument, or does not start.
    """

    def __init__(
        self,
        folder: Path,
        dtype: str,
        batch_size: int = 256,
        *,
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(engine or {})
        self.fingerprint = value_fingerprint(folder, dtype, backend="vllm", engine=given)
        self.tokenizer = load_tokenizer(folder)
        vllm_engine.import_vllm("qvm")
        from vllm import PoolingParams
        from vllm.config import PoolerConfig

        arguments = {
            "model": str(folder),
            "dtype": dtype,
            "max_num_seqs": batch_size,
            "runner": "pooling",
            "convert": "classify",
            "pooler_config": PoolerConfig(task="classify", seq_pooling_type="LAST"),
        }
        self.llm = vllm_engine.start("qvm", given, arguments)
        self.context = int(self.llm.model_config.max_model_len)
        self._parameters = PoolingParams(task="classify", use_activation=False)  # logits

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        """Q(s, a) of each text; see `qstar_core.values.ValueModel.score`.

        Raises:
            UserError: a text has more tokens than the engine's context.
        """
        asked = list(zip(texts, ended, strict=True))
        distinct = list(dict.fromkeys(asked))
        if not distinct:
            return []
        ids = encode(self.tokenizer, distinct)
        longest = max(map(len, ids))
        if longest > self.context:
            raise UserError(
                f"a text of {longest} tokens exceeds the Q-value model's context of {self.context}",
                next_step="lower rollouts.max_new_tokens or raise qvm.engine.max_model_len",
            )
        with vllm_engine.watched():
            outputs = self.llm.encode(
                [{"prompt_token_ids": list(tokens)} for tokens in ids],
                self._parameters,
                pooling_task="classify",
                use_tqdm=False,
            )
        logits = [float(output.outputs.data.reshape(-1)[0]) for output in outputs]
        known = dict(zip(distinct, map(sigmoid, logits), strict=True))
        return [known[key] for key in asked]


def sigmoid(logit: float) -> float:
    """Q in [0, 1] of a logit, rounded to `DECIMALS`."""
    if logit < 0:
        return round(math.exp(logit) / (1 + math.exp(logit)), DECIMALS)
    return round(1 / (1 + math.exp(-logit)), DECIMALS)
