"""How far can ten measurements move a prediction? A network and boosted trees on scikit-learn's diabetes data."""

import torch
from sklearn.ensemble import GradientBoostingRegressor
from torch import nn

import sparring as sp


def mlp() -> nn.Module:
    """Return a network with 32 hidden units, trained for 300 steps; a plan names it examples.diabetes:mlp."""
    torch.manual_seed(0)
    train = sp.load("diabetes", split="train")
    x, y = train.x.float(), train.y.float()
    net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
    with torch.no_grad():
        net[2].bias.copy_(y.mean(0))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-2)
    for _ in range(300):
        optimiser.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimiser.step()
    return net


def trees() -> GradientBoostingRegressor:
    """Return 60 boosted trees of depth 2; a plan names them examples.diabetes:trees."""
    train = sp.load("diabetes", split="train")
    return GradientBoostingRegressor(n_estimators=60, max_depth=2, random_state=0).fit(train.x.numpy(), train.y[:, 0].numpy())


def main() -> None:
    """Measure how wrong both are, and how wrong they get where each column may move by 0.4 of its standard deviation."""
    data = sp.load("diabetes", take=60)
    for name, model in (("network", mlp()), ("trees", trees())):
        victim = sp.victim(model, data.domain, name=name, task=data.task)
        run = sp.evaluate(victim, data, sp.linf(0.02), ["pgd_two_sided(steps=20)"] if name == "network" else ["square_two_sided(queries=200)"])
        numbers = {one["metric"]: round(one["value"], 1) for one in run.summary()[0]["of_the_task"]}
        print(f"{name}: mean absolute error {numbers['mae']}, under attack at least {numbers['attacked_mae']}, largest shift {numbers['largest_shift']}")
        print(run.report())


if __name__ == "__main__":
    main()
