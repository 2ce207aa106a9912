"""The tests of vLLM run where it is installed: `make test-vllm`."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("vllm") else ["test_vllm.py"]
