"""Promise 3: the user's model, data and global random state are as before."""

import copy
import random

import numpy as np
import pytest
import torch
from support import ARENAS, Arena, ball_allows, fitting, short, tiny_images
from torch import nn

from sparring.core.registry import everything, find
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.models.torch import TorchVictim
from sparring.threats.balls import Linf
from sparring.threats.goals import Untargeted


class Restless(nn.Module):
    """A network with everything that is easily disturbed: batch statistics, dropout, counters, frozen weights, hooks, `.grad`, and
    draws from the global generators of Python and NumPy."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3))
        self.register_buffer("written", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))
        self.calls = 0

    def forward(self, x):
        self.written += 1
        self.replaced = self.replaced + 1
        random.random()
        np.random.random()
        return self.body(x) + 1e-9 * torch.rand(())


def restless():
    torch.manual_seed(3)
    net = Restless()
    net(tiny_images()).sum().backward()
    net.body[1].eval()
    net.body[5].bias.requires_grad_(False)
    net.body[0].weight.grad = None
    net.body[2].register_forward_hook(lambda module, inputs, output: None)
    return net


def state_of(net):
    """Everything about a module and the global generators that a caller could notice."""
    torch_state, numpy_state = torch.random.get_rng_state().tolist(), np.random.get_state()
    return {
        "modes": [module.training for module in net.modules()],
        "needs": [parameter.requires_grad for parameter in net.parameters()],
        "gradients": [None if parameter.grad is None else parameter.grad.clone().tolist() for parameter in net.parameters()],
        "weights": {name: value.clone().tolist() for name, value in net.state_dict().items()},
        "identity": [id(parameter) for parameter in net.parameters()],
        "hooks": [(len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks)) for module in net.modules()],
        "generators": (random.getstate(), numpy_state[1].tolist(), numpy_state[2], torch_state),
    }


def arena_of(net, search="plain"):
    x = tiny_images()
    victim = TorchVictim(net, Image((1, 6, 6)), search=search)
    return Arena("restless", victim, x, torch.zeros(len(x), dtype=torch.int64), Threat(Linf(0.1), Untargeted()), lambda x: x, ball_allows(np.inf))


def fitting_restless():
    """The attacks that fit; one victim tells for all."""
    arena = arena_of(restless())
    return [name for name, attack in everything("attack").items() if attack.misfit(arena.victim, arena.threat) is None]


@pytest.mark.parametrize("search", ["plain", "fast"])
@pytest.mark.parametrize("name", fitting_restless())
def test_the_module_is_as_before(name, search):
    """Modes, weights, buffers, requires_grad, .grad, hooks and the three global generators survive wrapping and every attack."""
    net = restless()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = state_of(net)
    arena = arena_of(net, search)
    short(find("attack", name), 4)(arena.victim, arena.x, arena.y, arena.threat, arena.rng())
    after = state_of(net)
    for part, value in before.items():
        assert after[part] == value, part


def test_the_module_is_as_before_when_the_model_fails():
    """Also when the model raises in the middle of an attack."""
    net = restless()
    arena = arena_of(net)
    before = state_of(net)
    with arena.victim.session(), pytest.raises(Exception, match="cannot take"):
        arena.victim.scores(torch.zeros(2, 5, 1))
    assert state_of(net) == before


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize(("name", "arena"), fitting())
def test_data_and_generators_are_as_before(name, arena):
    """x, y, a radius per sample and the global generators stay what they were, whatever the victim."""
    arena = ARENAS[arena]
    x, y, radius = copy.deepcopy(arena.x), arena.y.clone(), copy.deepcopy(arena.threat.space.radius)
    before = random.getstate(), str(np.random.get_state()), torch.random.get_rng_state()
    short(find("attack", name))(arena.victim, arena.x, arena.y, arena.threat, arena.rng())
    assert np.array_equal(np.asarray(x), np.asarray(arena.x))
    assert torch.equal(y, arena.y)
    assert torch.equal(torch.as_tensor(radius), torch.as_tensor(arena.threat.space.radius))
    assert before[:2] == (random.getstate(), str(np.random.get_state()))
    assert torch.equal(before[2], torch.random.get_rng_state())


def test_the_victim_is_asked_in_evaluation_mode():
    """The deployed model is the module in evaluation mode: dropout off, batch statistics frozen, whatever mode it was left in."""
    net = restless().train()
    asked = []
    net.body[3].register_forward_hook(lambda module, inputs, output: asked.append(module.training))
    arena = arena_of(net)
    find("attack", "pgd").configure(steps=2)(arena.victim, arena.x, arena.y, arena.threat)
    assert asked
    assert not any(asked)
    assert net.training


def module_of(victim):
    """The torch module that a victim asks; None where it asks something else."""
    return next((held for held in (getattr(victim, name, None) for name in ("module", "model")) if isinstance(held, nn.Module)), None)


OF_MODULES = sorted(name for name, arena in ARENAS.items() if module_of(arena.victim) is not None)


def test_modules_of_every_adapter_are_among_the_arenas():
    """Images and texts, so that the law below is about all adapters of torch modules."""
    assert {type(ARENAS[name].victim).__name__ for name in OF_MODULES} >= {"TorchVictim", "EmbeddingTextVictim", "HuggingFaceText"}


@pytest.mark.parametrize("name", OF_MODULES)
def test_a_module_is_asked_in_evaluation_mode_outside_a_session(name):
    """One question by itself gets the answer of the deployed model too, and leaves every mode as it was."""
    arena, asked = ARENAS[name], []
    module = module_of(arena.victim)
    before = [(part, part.training) for part in module.modules()]
    hooks = [part.register_forward_hook(lambda part, *_: asked.append(part.training)) for part in module.modules()]
    try:
        module.train()
        arena.victim.scores(arena.x)
        assert all(part.training for part in module.modules())
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in before:
            part.training = training
    assert asked
    assert not any(asked)
