"""AdaReasoner (arXiv 2505.17312): a small policy that picks a configuration for every question.

It reads a frozen embedding of the question and chooses a value of each factor, such as the
temperature, the number of steps and the instruction. docs/adaptive.md has formulas and limits.
"""
