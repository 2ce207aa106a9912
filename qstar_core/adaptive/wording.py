"""What a prompt says: ten kinds of base and ten of variation, which AdaReasoner crosses.

The kinds are the paper's (arXiv 2505.17312), the sentences are ours. Whoever changes a sentence
changes the id of every space that has it.
"""

from __future__ import annotations

BASES = {
    "sequential": "Work through this in numbered steps, each one following from the one before.",
    "structured": "First lay out a plan of the solution, then fill in each part of the plan.",
    "connections": "Say how the facts of the question depend on each other before you use them.",
    "perspectives": "Look at the question from at least two sides and compare what each one gives.",
    "creative": "Allow yourself an unusual idea, and follow it as far as it leads.",
    "rigorous": "Argue as in a proof: state what you use and leave no gap.",
    "reflective": "Name what you are taking for granted, and ask whether you may.",
    "clear": "Write so that somebody new to the subject can follow every line.",
    "self_checking": "After each result, test it in a second way before you go on.",
    "summarising": "When you are done, sum up the main points and look at the answer once more.",
}
VARIATIONS = {
    "interpretations": "Consider every way in which the question can be read.",
    "decompose": "Split the problem into parts that can be solved one at a time.",
    "similar_cases": "Recall a case like this one and say what carries over.",
    "review_steps": "Go back over each step and correct what does not hold.",
    "challenge": "Doubt the obvious answer, and keep it only if it survives.",
    "premises": "Use every premise that is given, and say where.",
    "details": "Watch for small details that are easy to pass over.",
    "simple_language": "Use short sentences and everyday words.",
    "self_audit": "At the end, audit the whole argument for contradictions.",
    "principles": "Hold the conclusion against known principles or facts.",
}
_STEPS = "Use at most {steps} steps of reasoning.\n"
TEMPLATE = "{prompt}\n\n{instruction}\n" + _STEPS
TEMPLATE_IN_TWO = "{prompt}\n\n{base} {variation}\n" + _STEPS
