"""AdaReasoner in a run: configurations are tried on questions, learnt from, and evaluated.

`qstar_core.adaptive` has the policy and its training; here are the searches that an episode is made
of, the stages ``episodes`` and ``adaptive``, and the methods with ``algorithm: adaptive``.
"""
