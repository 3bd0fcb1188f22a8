"""A table model under rules written in Python: which cells may move, how far, at what cost."""

from sklearn.ensemble import RandomForestClassifier

import sparring as sp
from sparring.threats.rules import Relation, Rule, Rules

data = sp.load("breast-cancer", split="test")
train = sp.load("breast-cancer", split="train")
forest = RandomForestClassifier(30, random_state=0).fit(train.x.numpy(), train.y.numpy())

spread = dict(zip(data.domain.names, train.x.std(0).tolist(), strict=True))
movable = [name for name in spread if "error" not in name]
space = Rules(
    radius=1.5,  # in all, in standard deviations
    rules=tuple(Rule(name, reach=0.3 * spread[name], cost=1 / spread[name]) for name in movable),
    relations=(Relation({"mean radius": 1, "worst radius": -1}, repair="worst radius"),),
)
run = sp.evaluate(sp.victim(forest, data.domain, name="forest"), data, sp.rules(space))
print(run.robust_accuracy)
print(run.report())
