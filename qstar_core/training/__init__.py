"""What every training by `transformers.Trainer` shares: value models and policies alike.

1. `packing` asks a model whether it keeps the sequences of a row apart.
2. `checkpoints` are what a training that was killed goes on from.
3. `guards` stand around it: equal runs give equal weights, and memory that runs out is said.
4. `needed` are the packages.
5. `processes` has several processes of a machine train together.
"""
