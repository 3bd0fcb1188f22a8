"""What can be learned across samples: one change for all digits, a network that answers with changes, a policy for a random search."""

import sparring as sp
from sparring.models.zoo import digits_plain, digits_robust
from sparring.threats.goals import Targeted

train, test = sp.load("digits", split="train", take=400), sp.load("digits", take=150)
plain = sp.victim(digits_plain(), train.domain, name="plain")
robust = sp.victim(digits_robust(), train.domain, name="robust")
threat = sp.linf(0.2)

# One change for all: what it fools of the digits it was learned on is not what it fools of others.
one = sp.universal(plain, train.x, train.y, threat)
print(f"universal: {one.trained} learned on, {one.held_out} held out, {one.rate(plain, test.x, test.y, threat)} of the test digits")
eight = threat.toward(Targeted(8))
print(f"everything an 8: {sp.universal(plain, train.x, train.y, eight).rate(plain, test.x, test.y, eight)}")
sticker = sp.universal(plain, train.x, train.y, sp.patch(3))
print(f"a patch of 3 x 3: {sticker.rate(plain, test.x, test.y, sp.patch(3))} at one place, {sticker.rate(plain, test.x, test.y, sp.patch(3), tries=10)} at ten")

# A generator answers in one forward pass; it may have learned on another network than the victim.
made = sp.generator(robust, train.x, train.y, threat, epochs=10)
print(f"generator: {made.held_out} of its own network, {made.rate(plain, test.x, test.y, threat)} of the other")

# A policy chooses the windows of a random search; its untrained self has the same budget.
learned = sp.reinforce(plain, train.x, train.y, sp.linf(0.1), queries=60)
for name, which in (("untrained", learned.untrained()), ("trained", learned)):
    print(f"policy, {name}: {which.rate(plain, test.x, test.y, sp.linf(0.1))} with 60 queries")

# All of them stand beside attacks by name.
run = sp.evaluate(plain, test, threat, [one.attack(), made.attack(), "pgd(steps=20)"])
print(f"plain under all three: {run.robust_accuracy}")
