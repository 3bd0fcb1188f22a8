"""Do points found on one network fool another? And what can be learnt from a model that answers with labels only?"""

import sparring as sp
from sparring.models.zoo import digits_plain, digits_robust

data = sp.load("digits", take=60)
plain = sp.victim(digits_plain(), data.domain, name="plain")
robust = sp.victim(digits_robust(), data.domain, name="robust")
threat = sp.linf(0.15)

# Points are found on each source and put to each target, on the digits that both get right.
matrix = sp.transfer_matrix([plain, robust], [plain, robust], data, threat, ['transfer(changes="none")', 'transfer(changes="mi+ti")'])
print(matrix.table().drop(columns=["errors", "own"]).round(2).to_string(index=False))
print(matrix.report("transfer.html"))

# One network under surrogates it does not know of: the victim pays with a single label a digit.
run = sp.evaluate(plain, data, threat.seeing("labels"), [sp.transfer(robust, changes="mi+ti"), "transfer(surrogate='digits-robust', look=5)"])
print(f"plain under transfer from robust: {run.robust_accuracy}")

# No surrogate at hand: train one on the labels of the victim, and go on from there.
seeds = sp.load("digits", split="train", take=150)
made = sp.substitute(plain, seeds, rounds=2)
print(f"a substitute for {made.queries} labels agrees on {made.agreement:.0%} of {made.held_out} held-out digits")
run = sp.evaluate(plain, data, threat.seeing("labels"), sp.transfer(made.victim))
print(f"plain under transfer from its substitute: {run.robust_accuracy}")
