"""Write the table of docs/models.md: forms of models by forms of data, what each exposes, and its clean accuracy beside that of its own library.

    python scripts/table_of_models.py            # prints the table
    python scripts/table_of_models.py --write    # and puts it into docs/models.md

Every model is trained here, on scikit-learn's digits, its breast cancer table, or sentences of a few words. Each cell wraps the model with the lines shown and
compares the labels of the victim about the data as they were brought with what the model's own library says about the arrays that the data were made of.
The last line printed is one JSON object with the same figures. Needs the extras onnx and huggingface, xgboost and lightgbm.
"""

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.models.load import load_model

DOCUMENT = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- written by scripts/table_of_models.py -->", "<!-- end of the table -->"
MEAN, STD = 0.3, 0.4
Labels = Callable[[], np.ndarray]


@dataclass
class Form:
    """Hold one form of model: the lines that wrap it, given `data`, and its own labels of the plain arrays."""

    name: str
    code: str
    own: Labels
    held: dict[str, Any] = field(default_factory=dict)


@dataclass
class Kind:
    """Hold a kind of input: forms of data by name, each as the lines that bring them, and the plain truth."""

    data: dict[str, str]
    held: dict[str, Any]
    truth: np.ndarray
    forms: list[Form]


def trained(network: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    """Return the network after 60 steps on all samples."""
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()
    return network.eval()


class Parts(nn.Module):
    """Return several outputs."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"features": x.flatten(1), "logits": self.network(x)}


class Last(nn.Module):
    """Take channels last."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.permute(0, 3, 1, 2))


class Labelled(nn.Module):
    """Return class numbers alone."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).argmax(1)


class Bytes(nn.Module):
    """Take whole numbers from 0 to 255."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.float() / 255)


def exported(module: nn.Module, x: Tensor, path: Path) -> str:
    """Write an ONNX file and return its path."""
    axes = {"x": {0: "n"}, "y": {0: "n"}}
    torch.onnx.export(module, (x[:2],), str(path), input_names=["x"], output_names=["y"], dynamic_axes=axes, dynamo=False, opset_version=17)
    return str(path)


def images(folder: Path) -> Kind:
    """Return digits, 8 x 8 pixels in [0, 1], and networks."""
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    given: Any = load_digits()
    x, y = torch.tensor(given.images[:, None] / 16, dtype=torch.float32), torch.tensor(given.target)
    x, y, test, truth = x[300:], y[300:], x[:300], y[:300]
    network = trained(nn.Sequential(nn.Conv2d(1, 8, 3), nn.GELU(), nn.Flatten(), nn.Linear(288, 10)), x, y)
    normal = trained(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)), (x - MEAN) / STD, y)
    np.savez(folder / "digits.npz", x=test.numpy(), y=truth.numpy())
    whole = (test * 255).round() / 255

    def labels(module: nn.Module, of: Tensor) -> Labels:
        def own() -> np.ndarray:
            with torch.no_grad():
                found = module(of)
            found = found["logits"] if isinstance(found, dict) else found
            return (found if found.ndim == 1 else found.argmax(1)).numpy()

        return own

    program = torch.export.export(network, (test[:4],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(torch.export.export(network, (test[:4],)), folder / "fixed.pt2")
    torch.export.save(program, folder / "network.pt2")
    bytes_ = exported(Bytes(network), (whole * 255).to(torch.uint8), folder / "bytes.onnx")

    def function(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(batch)).numpy()

    plain, at = labels(network, test), test.permute(0, 2, 3, 1)
    forms = [
        Form("torch module", "sp.victim(network, data.domain)", plain),
        Form("torch module for normalised pixels", "sp.victim(normal, data.domain, mean=0.3, std=0.4)", labels(normal, (test - MEAN) / STD)),
        Form("torch module for channels last", 'sp.victim(last, data.domain, layout="channels last")', labels(Last(network), at)),
        Form("torch module that returns a mapping", "sp.victim(parts, data.domain)", labels(Parts(network), test)),
        Form("compiled torch module", "sp.victim(compiled, data.domain)", plain),
        Form("TorchScript module", "sp.victim(scripted, data.domain)", plain),
        Form("exported program", "sp.victim(program, data.domain)", plain),
        Form("`.pt2` file", 'load_model(f"{folder}/network.pt2", data)', plain),
        Form("`.pt2` file for 4 inputs at once", 'load_model(f"{folder}/fixed.pt2", data)', plain),
        Form("ONNX file", "load_model(onnx, data)", plain),
        Form("ONNX file for channels last", "load_model(onnx_last, data)", plain),
        Form("ONNX file for bytes", "load_model(onnx_bytes, data)", labels(network, whole)),
        Form("ONNX file that returns class numbers", "load_model(onnx_labels, data)", plain),
        Form("function of arrays to scores", "sp.victim(function, data.domain, classes=10)", plain),
        Form("function of arrays to class numbers", "sp.victim(lambda x: function(x).argmax(1), data.domain, classes=10, labels_only=True)", plain),
    ]
    held = {
        "network": network, "normal": normal, "last": Last(network), "parts": Parts(network), "compiled": torch.compile(network),
        "scripted": torch.jit.trace(network, test[:2]), "program": program, "function": function, "onnx_bytes": bytes_,
        "onnx": exported(network, test, folder / "network.onnx"), "onnx_last": exported(Last(network), at, folder / "last.onnx"),
        "onnx_labels": exported(Labelled(network), test, folder / "labels.onnx"),
    }  # fmt: skip
    for form in forms:
        form.held = held
    data = {
        "tensors": "sp.Data.of(x, y, sp.image(8, 8))",
        "`.npz` file": 'sp.load(f"{folder}/digits.npz")',
        "torch `Dataset`": "sp.Data.of(dataset, domain=sp.image(8, 8))",
    }
    return Kind(data, {"x": test, "y": truth, "dataset": torch.utils.data.TensorDataset(test, truth), "folder": folder}, truth.numpy(), forms)


def tables(folder: Path) -> Kind:
    """Return the breast cancer table with a truth value and a category made of two columns, and models of several libraries."""
    import lightgbm
    import skops.io
    import xgboost
    from sklearn.compose import make_column_transformer
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import LinearSVC

    given: Any = load_breast_cancer(as_frame=True)
    frame: pd.DataFrame = given.data.iloc[:, :6].copy()
    frame["large"] = frame["mean area"] > 600
    frame["shape"] = pd.Categorical(np.where(given.data["mean symmetry"] > 0.18, "odd", "even"))
    truth = np.where(given.target == 1, "benign", "malignant")
    x, y, test, right = frame[200:], truth[200:], frame[:200], truth[:200]
    numbers = [name for name in frame if name != "shape"]
    encode = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(), ["shape"]))
    pipeline = make_pipeline(encode, LogisticRegression()).fit(x, y)
    margin = make_pipeline(encode, LinearSVC()).fit(x, y)
    boosted = xgboost.XGBClassifier(n_estimators=20, enable_categorical=True).fit(x, y == "malignant")
    light = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(x, y)
    boosted.save_model(folder / "xgboost.json")
    light.booster_.save_model(folder / "lightgbm.txt")
    skops.io.dump(pipeline, folder / "pipeline.skops")
    test.assign(diagnosis=right)[["diagnosis", *frame.columns[::-1]]].to_csv(folder / "cells.csv", index=False)
    order = np.array(["benign", "malignant"])
    forms = [
        Form("scikit-learn pipeline", "sp.victim(pipeline, data.domain)", lambda: pipeline.predict(test)),
        Form("scikit-learn pipeline without probabilities", "sp.victim(margin, data.domain)", lambda: margin.predict(test)),
        Form("`.skops` file", 'load_model(f"{folder}/pipeline.skops", data)', lambda: pipeline.predict(test)),
        Form("XGBoost classifier", "sp.victim(boosted, data.domain)", lambda: order[boosted.predict(test)]),
        Form("XGBoost booster", "sp.victim(boosted.get_booster(), data.domain)", lambda: order[boosted.predict(test)]),
        Form("XGBoost `.json` file", 'load_model(f"{folder}/xgboost.json", data)', lambda: order[boosted.predict(test)]),
        Form("LightGBM classifier", "sp.victim(light, data.domain)", lambda: np.asarray(light.predict(test))),
        Form("LightGBM `.txt` file", 'load_model(f"{folder}/lightgbm.txt", data)', lambda: np.asarray(light.predict(test))),
    ]
    for form in forms:
        form.held = {"pipeline": pipeline, "margin": margin, "boosted": boosted, "light": light}
    data = {
        "data frame": 'sp.Data.of(test, codes, sp.table(frame), classes=["benign", "malignant"])',
        "CSV file, columns in another order": 'sp.load(f"{folder}/cells.csv", target="diagnosis")',
    }
    held = {"test": test, "frame": frame, "codes": (right == "malignant").astype(int), "folder": folder}
    return Kind(data, held, right, forms)


def sentences(folder: Path) -> Kind:
    """Return sentences of a few words, a pipeline on counts of words and a small BERT."""
    import transformers
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    rng = np.random.default_rng(0)
    words = {"praise": ["good", "great", "fine", "clever", "warm"], "blame": ["bad", "poor", "dull", "silly", "cold"]}
    common = ["the", "a", "film", "plot", "cast", "was", "is", "very", "rather", "and", "scene", "end"]
    kinds = ["blame", "praise"]
    truth = rng.integers(0, 2, 240)
    texts = [" ".join(rng.permutation([*rng.choice(common, 5), *rng.choice(words[kinds[k]], 2), *rng.choice(words[kinds[1 - k]], 1)])) for k in truth]
    counts = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts[100:], np.array(kinds)[truth[100:]])
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *common, *words["praise"], *words["blame"]])}
    inner: Any = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=32,
        id2label=dict(enumerate(kinds)),
    )  # fmt: skip
    bert = transformers.BertForSequenceClassification(config)
    encoded, y = tokenizer(texts, padding=True, return_tensors="pt"), torch.tensor(truth)
    optimiser = torch.optim.Adam(bert.parameters(), 0.003)
    for _ in range(40):
        optimiser.zero_grad()
        bert(**{key: value[100:] for key, value in encoded.items()}, labels=y[100:]).loss.backward()
        optimiser.step()
    bert.eval()
    for part in (bert, tokenizer):
        part.save_pretrained(folder / "bert")
    (folder / "films.tsv").write_text("".join(f"{text}\t{kinds[k]}\n" for text, k in zip(texts[:100], truth[:100], strict=True)))

    def of_bert() -> np.ndarray:
        with torch.no_grad():
            return np.array(kinds)[bert(**{key: value[:100] for key, value in encoded.items()}).logits.argmax(1).numpy()]

    forms = [
        Form("scikit-learn pipeline of words", "sp.victim(counts, data.domain)", lambda: counts.predict(texts[:100])),
        Form("Hugging Face (model, tokenizer)", "sp.victim((bert, tokenizer), data.domain)", of_bert),
        Form("folder of `save_pretrained`", 'load_model(f"{folder}/bert", data)', of_bert),
    ]
    for form in forms:
        form.held = {"counts": counts, "bert": bert, "tokenizer": tokenizer}
    data = {"list of strings": "sp.Data.of(texts, codes, sp.text(), classes=kinds)", "text file": 'sp.load(f"{folder}/films.tsv")'}
    held = {"texts": texts[:100], "codes": truth[:100], "kinds": kinds, "folder": folder}
    return Kind(data, held, np.array(kinds)[truth[:100]], forms)


def measure(kind: Kind) -> list[dict[str, Any]]:
    """Return one row per form of model."""
    brought = {name: eval(code, {"sp": sp, **kind.held}) for name, code in kind.data.items()}
    rows = []
    for form in kind.forms:
        own = form.own()
        row: dict[str, Any] = {"model": form.name, "lines": form.code, "exposes": "", "own": float(np.mean(own == kind.truth)), "clean": {}, "differ": {}}
        for name, data in brought.items():
            victim = eval(form.code, {"sp": sp, "load_model": load_model, "data": data, **kind.held, **form.held})
            labels = victim.label(data.x)
            row["clean"][name] = float((labels == data.y).double().mean())
            row["differ"][name] = int((np.array(data.classes)[labels.numpy()] != own.astype(str)).sum())
            row["exposes"] = ", ".join(one for one in ("gradients", "scores", "labels") if one in victim.exposes)
        rows.append(row)
    return rows


def how(row: dict[str, Any]) -> str:
    """Return the line that wraps a model, as a reader would write it."""
    return row["lines"].replace('f"{folder}/', '"')


def written(rows: list[dict[str, Any]], forms: list[str]) -> str:
    """Return rows of one kind of input as a table."""
    head = ["model", "how", "exposes", *forms]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        cells = [f"{row['clean'][name]:.3f}" + (f" ({row['differ'][name]} labels differ)" if row["differ"][name] else "") for name in forms]
        lines.append(f"| {row['model']} | `{how(row)}` | {row['exposes']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables, and write them into the document where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="put the table into docs/models.md")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    tables_, rows = [], []
    for kind in (images, tables, sentences):
        with tempfile.TemporaryDirectory() as folder:
            made = kind(Path(folder))
            found = measure(made)
        tables_.append(written(found, list(made.data)))
        rows += found
    text = "\n\n".join(tables_)
    print(text)
    if chosen.write:
        before, rest = DOCUMENT.read_text().split(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")
    print(json.dumps({"versions": {"torch": torch.__version__}, "rows": rows}))


if __name__ == "__main__":
    main()
