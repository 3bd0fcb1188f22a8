"""A small text network trained from scratch on rt-polarity, then attacked by word substitution.

python examples/text_cnn.py [FOLDER with rt-polarity.pos.txt.gz and rt-polarity.neg.txt.gz] [--epochs N]
trains it (about half a minute on two cores), writes weights, vocabulary and 500 test sentences into runs/text_cnn, and prints
the command that attacks it: strings in, scores out.
"""

import argparse
import gzip
import json
import random
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FOLDER = Path("runs/text_cnn")
LENGTH = 60
CLASSES = ["negative", "positive"]


class TextCnn(nn.Module):
    """Embedding, convolutions of three widths, maximum over time, linear (Kim 2014, arXiv:1408.5882)."""

    def __init__(self, words: int, width: int = 64, filters: int = 48):
        super().__init__()
        self.embed = nn.Embedding(words, width, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, filters, size, padding=2) for size in (3, 4, 5))
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(3 * filters, len(CLASSES))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.drop(self.embed(tokens)).transpose(1, 2)
        return self.out(self.drop(torch.cat([torch.relu(conv(x)).amax(2) for conv in self.convolutions], 1)))


class Classifier:
    """Strings in, scores [n, 2] out. Holds the network and its vocabulary."""

    classes = len(CLASSES)

    def __init__(self, network: TextCnn, vocabulary: dict[str, int]):
        self.network = network.eval()
        self.vocabulary = vocabulary

    def tokens(self, texts: list[str]) -> Tensor:
        rows = [[self.vocabulary.get(word, 1) for word in text.lower().split()[:LENGTH]] for text in texts]
        return torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows])

    def __call__(self, texts: list[str]) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.network(self.tokens(texts[start : start + 256])) for start in range(0, len(texts), 256)])


def classifier() -> Classifier:
    """The trained classifier: `spar run model=examples.text_cnn:classifier ...`."""
    vocabulary = json.loads((FOLDER / "vocabulary.json").read_text())
    network = TextCnn(len(vocabulary) + 2)
    network.load_state_dict(load_file(FOLDER / "weights.safetensors"))
    return Classifier(network, vocabulary)


def read(folder: Path) -> list[tuple[str, int]]:
    """(sentence, class), in an order shuffled with a fixed seed."""
    samples = []
    for label, name in enumerate(("neg", "pos")):
        lines = gzip.decompress((folder / f"rt-polarity.{name}.txt.gz").read_bytes()).decode("latin-1").splitlines()
        samples += [(line.strip(), label) for line in lines if line.strip()]
    random.Random(0).shuffle(samples)
    return samples


def train(samples: list[tuple[str, int]], epochs: int, words: int = 12000) -> Classifier:
    """Adam, mini-batches of 64, fixed seed."""
    torch.manual_seed(0)
    counts = Counter(word for text, _ in samples for word in text.lower().split())
    vocabulary = {word: place + 2 for place, (word, _) in enumerate(counts.most_common(words))}
    model = Classifier(TextCnn(len(vocabulary) + 2), vocabulary)
    tokens, labels = model.tokens([text for text, _ in samples]), torch.tensor([label for _, label in samples])
    optimiser = torch.optim.Adam(model.network.parameters(), lr=3e-3, weight_decay=1e-5)
    for epoch in range(epochs):
        model.network.train()
        for rows in torch.randperm(len(samples)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model.network(tokens[rows]), labels[rows]).backward()
            optimiser.step()
        print(f"epoch {epoch + 1} of {epochs}")
    model.network.eval()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data/text"))
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    if not (options.folder / "rt-polarity.pos.txt.gz").exists():
        print(f"skipped: no rt-polarity in {options.folder}")
        return
    samples = read(options.folder)
    test, rest = samples[:500], samples[500:]
    model = train(rest, options.epochs)
    FOLDER.mkdir(parents=True, exist_ok=True)
    save_file(model.network.state_dict(), FOLDER / "weights.safetensors")
    (FOLDER / "vocabulary.json").write_text(json.dumps(model.vocabulary))
    rows = [f"{CLASSES[label]}\t{text}" for text, label in test]
    (FOLDER / "test.tsv").write_text("\n".join(["label\ttext", *rows]) + "\n", encoding="utf-8")
    right = int((model([text for text, _ in test]).argmax(1) == torch.tensor([label for _, label in test])).sum())
    print(f"right on {right} of {len(test)} test sentences")
    print(f"now: spar run model=examples.text_cnn:classifier data={FOLDER}/test.tsv 'threat=words 0.2 {options.folder}/counterfitted_neighbors.json.gz'")


if __name__ == "__main__":
    main()
