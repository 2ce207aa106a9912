"""qstar: a frozen LLM reasons better by planning (Q*, arXiv 2406.14283; AdaReasoner, 2505.17312).

The library. It imports neither Prefect nor anything of ``flows`` or ``tasks``; heavy packages
(torch, transformers, polars) are imported by the modules that need them, when they need them.
"""

__version__ = "0.1.0"
