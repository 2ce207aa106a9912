"""The SFT policy: a policy fine-tuned on its own correct rollouts, for the next round of rollouts.

1. `selection` is the E-step of ReST-EM (arXiv 2312.06585, algorithm 1) with a binary reward: what
   the policy solved, each solution once, at most so many per problem.
2. `sequences` writes a solution as the tokens that the policy would have sampled it in.
3. `train` is the M-step: TRL's SFTTrainer with a loss on the solution's tokens alone.
4. `job` does all three for a stage.
"""
