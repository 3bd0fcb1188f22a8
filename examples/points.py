"""Just the adversarial points, without records: attacks are functions."""

import sparring as sp
from sparring.models.zoo import digits_plain

data = sp.load("digits", take=50)
victim = sp.victim(digits_plain(), data.domain)
x_adv = sp.attacks.pgd(victim, data.x, data.y, sp.linf(0.1), steps=20)
right = (victim.label(data.x) == data.y).sum()
still = (victim.label(x_adv) == data.y).sum()
print(f"right without attack {right}, under PGD {still} of {len(data)}; largest change {(x_adv - data.x).abs().max():.3f}")
