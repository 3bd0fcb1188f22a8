"""How robust is my model? A network of your own, under two threats, in ten lines."""

import torch
from torch import nn

import sparring as sp

torch.manual_seed(0)
data = sp.load("digits", take=100)
net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
train = sp.load("digits", split="train")
optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
for _ in range(100):
    optimiser.zero_grad()
    nn.functional.cross_entropy(net(train.x), train.y).backward()
    optimiser.step()

victim = sp.victim(net, sp.image(8, 8), name="my network")
run = sp.evaluate(victim, data, [sp.linf(0.05), sp.l2(0.5)], attacks=["noise", "pgd(steps=20)", "apgd(steps=20)"])
for case in run.summary():
    print(case["case"], "clean", case["clean_accuracy"]["value"], "robust", case["robust_accuracy"]["value"])
print(run.report())
