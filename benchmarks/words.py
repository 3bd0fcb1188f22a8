"""Word substitutions: what is proved and what greedy substitution breaks, by how many words may change.

python -m benchmarks.words [--sets sms polarity] [--models linear bag windows] [--n 100] [--epochs 6] [--seed 0]

Substitutes are the counter-fitted neighbours. Models are trained here, seeded: a linear model on counts; a bag of vectors (their mean, two layers) and
windows (a convolution of three words, the greatest over time, two layers), plainly and with the loss on the interval hull (Jia et al. 2019) that grows over
the first two thirds of the epochs. Columns: accuracy; for 1, 2, 3 and all words: share of the sentences that is right and proved, share that is right and not
broken by greedy, which cannot be less; seconds a sentence for the proof. Sentences that are both proved and broken are counted as `crossed`.
Last line: one JSON object.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

import sparring as sp
from sparring.bench.environment import environment
from sparring.certification.certify import certify
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.bounds.interval import intervals, margins
from sparring.core.registry import find
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.defences.training.live import LiveNetwork
from sparring.defences.training.worst import rivals, worst_entropy
from sparring.models.embedding_text import EmbeddingText
from sparring.threats.goals import Untargeted
from sparring.threats.words import Words, read_neighbours

TEXT = Path(__file__).resolve().parents[2] / "shared" / "data" / "text"
SETS = {"sms": "sms_spam.tsv.gz", "polarity": "rt-polarity.*.txt.gz"}
LENGTH, DIM, HIDDEN = 30, 24, 32
CHANGES = (1, 2, 3, None)
"""How many words may change; None: all."""

Neighbours = dict[str, tuple[str, ...]]


class Bag(nn.Module):
    """The mean of the vectors, then two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(DIM, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.mean(1))


class Windows(nn.Module):
    """A convolution over three words, the greatest over time, then two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(DIM, HIDDEN, 3, padding=1)
        self.layers = nn.Sequential(nn.MaxPool1d(LENGTH), nn.Flatten(), nn.Linear(HIDDEN, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.convolution(x.transpose(1, 2)).relu())


NETWORKS = {"bag": Bag, "windows": Windows}


def divided(data: Data, count: int, seed: int) -> tuple[Data, Data]:
    """Training sentences and `count` to test on, both classes equally often in the latter."""
    order = np.random.default_rng(seed).permutation(len(data))
    chosen = [place for label in (0, 1) for place in [one for one in order if int(data.y[one]) == label][: count // 2]]
    rest = sorted(set(range(len(data))) - set(chosen))
    return data.rows(torch.tensor(rest)), data.rows(torch.tensor(sorted(chosen)))


def options_of(model: EmbeddingText, sentences: Any, neighbours: Neighbours) -> Tensor:
    """int64 [n, length, 9]: rows of the table that may stand at each place, the word itself first and instead of what is missing."""
    numbers = model.numbers(sentences)[:, :, None].repeat(1, 1, 9)
    for row, sentence in enumerate(sentences):
        for place, word in enumerate(sentence.split()[:LENGTH]):
            for turn, other in enumerate(neighbours.get(word.lower(), ())[:8]):
                numbers[row, place, turn + 1] = model.number(other)
    return numbers


def train(kind: str, hull: bool, data: Data, neighbours: Neighbours, epochs: int, seed: int) -> EmbeddingText:
    torch.manual_seed(seed)
    counts = Counter(word for one in data.x for word in one.lower().split())
    vocabulary = {word for word, times in counts.items() if times > 1}
    vocabulary |= {other for word in vocabulary for other in neighbours.get(word, ())}
    model = EmbeddingText(sorted(vocabulary), DIM, NETWORKS[kind](), length=LENGTH)
    with torch.no_grad():
        model.embedding.weight.mul_(0.1)  # so that hulls are narrow to begin with
    live, numbers = LiveNetwork(model.network, (LENGTH, DIM)), options_of(model, data.x, neighbours)
    adam = torch.optim.Adam(model.parameters(), 3e-3)
    weight = (1 / torch.bincount(data.y).float()) * len(data) / 2
    for epoch in range(epochs):
        share = min(1.0, 1.5 * epoch / epochs) if hull else 0.0
        for rows in torch.randperm(len(data)).split(64):
            y = data.y[rows]
            vectors = model.embedding(numbers[rows] if hull else numbers[rows][:, :, :1])
            chosen = torch.multinomial(weight[y], len(y), replacement=True)  # both classes count equally
            vectors, y = vectors[chosen], y[chosen]
            loss = F.cross_entropy(model.network(vectors[:, :, 0]), y)
            if share:
                own, low, high = vectors[:, :, 0], vectors.amin(2), vectors.amax(2)
                box = InputSet(own + share * (low - own), own + share * (high - own))
                network = live.network()
                leads = margins(network, intervals(network, box), rivals(y, 2, low.dtype))
                loss = (1 - 0.5 * share) * loss + 0.5 * share * worst_entropy(leads)
            adam.zero_grad()
            loss.backward()
            adam.step()
    return model.eval()


def measure(victim: Victim, data: Data, neighbours: Neighbours) -> dict[str, Any]:
    with victim.session():
        right = victim.label(data.x) == data.y
    found: dict[str, Any] = {"accuracy": float(right.double().mean()), "crossed": 0}
    lengths = torch.tensor([len(one.split()) for one in data.x], dtype=torch.float64)
    for most in CHANGES:
        radius = torch.ones_like(lengths) if most is None else (most / lengths).clamp_max(1.0)
        threat = Threat(Words(radius, neighbours), Untargeted(), access="scores")
        began = time.perf_counter()
        proved = certify(victim, data.x, data.y, threat, ["words"]).proved
        seconds = (time.perf_counter() - began) / len(data)
        points = find("attack", "greedy")(victim, data.x, data.y, threat)
        with victim.session():
            broken = victim.label(points) != data.y
        found["crossed"] += int((proved & broken).sum())
        found[str(most or "all")] = {
            "proved": float((proved & right).double().mean()),
            "standing": float((~broken & right).double().mean()),
            "seconds": seconds,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--models", nargs="+", choices=["linear", *NETWORKS], default=["linear", *NETWORKS])
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not TEXT.exists():
        print("skipped: the shared data is not beside the checkout")
        return
    torch.set_num_threads(1)
    neighbours = read_neighbours(TEXT / "counterfitted_neighbors.json.gz")
    result: dict[str, Any] = {"environment": environment(), "date": time.strftime("%Y-%m-%d"), **vars(options), "figures": {}}
    print(f"{'':26} {'accuracy':>8}  " + "  ".join(f"{str(most or 'all') + ': proved':>11} {'standing':>8} {'s':>6}" for most in CHANGES))
    for name in options.sets:
        training, test = divided(sp.load(str(TEXT / SETS[name])), options.n, options.seed)
        for kind in options.models:
            for hull in (False, True) if kind in NETWORKS else (False,):
                began = time.perf_counter()
                if kind == "linear":
                    model: Any = make_pipeline(CountVectorizer(), LogisticRegression(class_weight="balanced")).fit(list(training.x), training.y.numpy())
                else:
                    model = train(kind, hull, training, neighbours, options.epochs, options.seed)
                spent = time.perf_counter() - began
                row = {**measure(sp.victim(model, test.domain), test, neighbours), "training": spent}
                label = f"{name} {kind}{' hull' if hull else ''}"
                result["figures"][label] = row
                parts = (
                    f"{row[key]['proved']:11.1%} {row[key]['standing']:8.1%} {row[key]['seconds']:6.3f}" for key in (str(most or "all") for most in CHANGES)
                )
                print(f"{label:26} {row['accuracy']:8.1%}  " + "  ".join(parts) + f"{'  CROSSED' if row['crossed'] else ''}")
                sys.stdout.flush()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
