"""One arena for each adapter that the general ones leave out, with the few attacks that ask it every kind of question."""

import functools
import json
import math
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from support import BATCH, SENTENCES, SUBSTITUTES, Arena, _labels, arena, ball_allows, tiny_images, tiny_net, words_allow
from torch import nn

from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.domains.table import Column, Table
from sparring.domains.text import Strings, Text
from sparring.models.adapter import victim as as_victim
from sparring.models.embedding_text import EmbeddingText
from sparring.models.http.endpoint import Endpoint
from sparring.threats.balls import Linf
from sparring.threats.goals import Untargeted
from sparring.threats.words import Words


@functools.cache
def folder() -> Path:
    """A folder that is there as long as the process."""
    folder.kept = tempfile.TemporaryDirectory()
    return Path(folder.kept.name)


@arena("onnx", attacks=("fgsm", "hopskipjump", "noise", "pgd", "square"), certifiers={"network": {"effort": "bounds"}, "lipschitz": {}})
def onnx(name: str) -> Arena:
    """The small convolution as an ONNX file in float32; the user's own model is onnxruntime."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    make, kinds, net = onnx.helper, onnx.TensorProto, tiny_net(3)
    tensors = [onnx.numpy_helper.from_array(value.detach().float().numpy(), key) for key, value in net.state_dict().items()]
    nodes = [
        make.make_node("Conv", ["x", "0.weight", "0.bias"], ["seen"]),
        make.make_node("Relu", ["seen"], ["bent"]),
        make.make_node("Flatten", ["bent"], ["flat"]),
        make.make_node("Gemm", ["flat", "3.weight", "3.bias"], ["scores"], transB=1),
    ]
    ends = make.make_tensor_value_info("x", kinds.FLOAT, ["n", 1, 6, 6]), make.make_tensor_value_info("scores", kinds.FLOAT, ["n", 3])
    model = make.make_model(make.make_graph(nodes, "net", ends[:1], ends[1:], tensors), opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path = folder() / "net.onnx"
    path.write_bytes(model.SerializeToString())
    session = runtime.InferenceSession(path.read_bytes())

    def own(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {"x": x.float().numpy()})[0].argmax(1))

    x = tiny_images()
    return Arena(name, as_victim(str(path), Image((1, 6, 6)), name=name), x, _labels(own, x, 3), Threat(Linf(0.08), Untargeted()), own, ball_allows(math.inf))


class Answering(BaseHTTPRequestHandler):
    """Scores of the small convolution, in float64."""

    net = tiny_net(3)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
        with torch.no_grad():
            scores = self.net(torch.tensor(asked, dtype=torch.float64).reshape(-1, 1, 6, 6)).tolist()
        body = json.dumps({"scores": scores}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said):
        """Nothing is printed."""


@functools.cache
def address() -> str:
    """Of a server that answers as long as the process lives."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


@arena("http", attacks=("noise", "square"), certifiers={})
def http(name: str) -> Arena:
    pytest.importorskip("httpx")

    def own(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return Answering.net(x.double()).argmax(1)

    x = tiny_images()
    victim = as_victim(Endpoint(address(), ledger="none"), Image((1, 6, 6)), name=name, example=x[:1])
    return Arena(name, victim, x, _labels(own, x, 3), Threat(Linf(0.1), Untargeted(), "scores"), own, ball_allows(math.inf))


def grown(seed: int) -> list[dict]:
    """A dump of four trees of depth 2 over three columns, with edges on a grid of 1/16."""
    rng = np.random.default_rng(seed)

    def node(number: int, depth: int) -> dict:
        if depth == 2:
            return {"nodeid": number, "leaf": round(float(rng.normal()), 3)}
        left, right = 2 * number + 1, 2 * number + 2
        split = {"split": int(rng.integers(3)), "split_condition": float(rng.integers(1, 16) / 16)}
        return {"nodeid": number, **split, "yes": left, "no": right, "missing": left, "children": [node(left, depth + 1), node(right, depth + 1)]}

    return [node(0, 0) for _ in range(4)]


def reached(node: dict, row: list[float]) -> float:
    """The leaf of a row; rows are compared in float32, as XGBoost does it."""
    while "leaf" not in node:
        node = node["children"][int(not np.float32(row[node["split"]]) < np.float32(node["split_condition"]))]
    return node["leaf"]


@arena("trees", attacks=("noise", "rays", "square"), certifiers={"trees": {}})
def trees(name: str) -> Arena:
    """A JSON dump of boosted trees; the user's own model walks down each of them."""
    dump = grown(3)
    path = folder() / "trees.json"
    path.write_text(json.dumps(dump), encoding="utf-8")

    def own(x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([int(math.fsum(reached(tree, row) for tree in dump) > 0) for row in x.tolist()])

    x = torch.rand(BATCH, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    victim = as_victim(str(path), Table(tuple(Column(f"c{place}", "real", 0, 1) for place in range(3))), name=name)
    return Arena(name, victim, x, _labels(own, x, 2), Threat(Linf(0.1), Untargeted(), "scores"), own, ball_allows(math.inf, step=2.0**-52))


@arena("embedding-text", attacks=("greedy", "noise"), certifiers={"words": {}})
def embedding_text(name: str) -> Arena:
    """Two numbers a word and a small network on twelve words; the user's own model looks them up itself."""
    vocabulary = sorted({*SUBSTITUTES, *(one for others in SUBSTITUTES.values() for one in others), "the", "was", "and", "with", "a"})
    random = torch.Generator().manual_seed(24)
    model = EmbeddingText(vocabulary, 2, nn.Sequential(nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.Linear(6, 2)), length=12).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random, dtype=torch.float64) * 0.5)
        model.embedding.weight[0] = 0.0
    table, layers = model.embedding.weight.detach().numpy(), [(one.weight.detach().numpy(), one.bias.detach().numpy()) for one in model.network[1::2]]

    def own(sentences) -> torch.Tensor:
        labels = []
        for sentence in sentences:
            rows = [vocabulary.index(word.lower()) + 2 if word.lower() in vocabulary else 1 for word in sentence.split()]
            vector = table[rows + [0] * (12 - len(rows))].ravel()
            hidden = np.maximum(layers[0][0] @ vector + layers[0][1], 0)
            labels.append(int((layers[1][0] @ hidden + layers[1][1]).argmax()))
        return torch.tensor(labels)

    x = Strings.of(SENTENCES)
    return Arena(name, as_victim(model, Text(), name=name), x, _labels(own, x, 2), Threat(Words(0.34, SUBSTITUTES), Untargeted()), own, words_allow)


@arena("hugging-face", attacks=("greedy", "noise"), certifiers={})
def hugging_face(name: str) -> Arena:
    """A small BERT with a tokenizer of words; the user's own model is asked about one sentence at a time."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = sorted({*SUBSTITUTES, *(one for others in SUBSTITUTES.values() for one in others), "the", "was", "and", "with", "a"})
    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(["[PAD]", "[UNK]", *words])}, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16)
    settings = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 16}
    torch.manual_seed(3)
    model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=len(words) + 2, initializer_range=0.5, **settings)).eval()

    def own(sentences) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([model(**tokenizer([sentence], return_tensors="pt")).logits.argmax(1) for sentence in sentences])

    x = Strings.of(SENTENCES)
    return Arena(
        name, as_victim((model, tokenizer), Text(), name=name), x, _labels(own, x, 2), Threat(Words(0.34, SUBSTITUTES), Untargeted()), own, words_allow
    )
