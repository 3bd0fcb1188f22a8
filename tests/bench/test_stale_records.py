"""What changes a model, its data or a method outside the weights gives another record or a refusal, never the old answers."""

import functools
import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

import sparring as sp
from sparring.attacks.attack import Attack
from sparring.bench.plan import Plan
from sparring.core.errors import RecordError
from sparring.core.victim import Victim
from sparring.models.embedding_text import EmbeddingText

X = np.random.default_rng(0).random((24, 2))
Y = (X[:, 0] > 0.5).astype(int)
DOMAIN = sp.table(["a", "b"])
CONFIG = {"sign": 1.0}
SIGN = 1.0


def scores(rows, sign=1.0):
    one = 1 / (1 + np.exp(-20 * sign * (np.asarray(rows)[:, 0] - 0.5)))
    return np.stack([1 - one, one], 1)


def evaluated(model, tmp_path, attacks="noise(tries=1)", **settings):
    victim = model if isinstance(model, Victim) else sp.victim(model, DOMAIN, **settings)
    return sp.evaluate(victim, sp.Data.of(X, Y, DOMAIN), sp.linf(1e-6), attacks, certify="none", self_check=False, out=tmp_path / "runs")


def module(name, text, folder):
    """A module of the user, written and imported anew."""
    (folder / f"{name}.py").write_text(text)
    for one in [one for one in sys.modules if one.startswith("stale_")]:
        del sys.modules[one]
    importlib.invalidate_caches()
    return importlib.import_module(name)


# Functions -------------------------------------------------------------------------------------------------------------


def closure(sign, tmp_path):
    return evaluated(lambda rows: scores(rows, sign), tmp_path, classes=2)


class Held:
    def __init__(self, sign):
        self.sign = sign

    def __call__(self, rows):
        return scores(rows, self.sign)

    def ask(self, rows):
        return scores(rows, self.sign)


class Slotted:
    __slots__ = ("sign",)

    def __init__(self, sign):
        self.sign = sign

    def __call__(self, rows):
        return scores(rows, self.sign)


def attribute(sign, tmp_path):
    return evaluated(Held(sign), tmp_path, classes=2)


def slot(sign, tmp_path):
    return evaluated(Slotted(sign), tmp_path, classes=2)


def bound_method(sign, tmp_path):
    return evaluated(Held(sign).ask, tmp_path, classes=2)


def partial_argument(sign, tmp_path):
    return evaluated(functools.partial(scores, sign=sign), tmp_path, classes=2)


def by_global(rows):
    return scores(rows, SIGN)


def global_number(sign, tmp_path):
    globals()["SIGN"] = sign
    return evaluated(by_global, tmp_path, classes=2)


def by_config(rows):
    return scores(rows, CONFIG["sign"])


def global_dictionary(sign, tmp_path):
    CONFIG["sign"] = sign
    return evaluated(by_config, tmp_path, classes=2)


def default_argument(sign, tmp_path):
    def ask(rows, sign=sign):
        return scores(rows, sign)

    return evaluated(ask, tmp_path, classes=2)


def attribute_of_a_function(sign, tmp_path):
    def ask(rows):
        return scores(rows, ask.sign)

    ask.sign = sign
    return evaluated(ask, tmp_path, classes=2)


def memory(sign, tmp_path):
    @functools.lru_cache
    def sign_of(_):
        return sign

    return evaluated(lambda rows: scores(rows, sign_of(0)), tmp_path, classes=2)


def helper_of_a_function(sign, tmp_path):
    module("stale_helper", f"def sign():\n    return {sign}\n", tmp_path)
    made = module("stale_model", "import stale_helper\n\ndef flip(ask, rows):\n    return ask(rows, stale_helper.sign())\n", tmp_path)
    return evaluated(functools.partial(made.flip, scores), tmp_path, classes=2)


# Modules and estimators ------------------------------------------------------------------------------------------------


class Net(nn.Module):
    config: dict[str, float] = {}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2, dtype=torch.float64)
        self.gain = 1.0
        self.register_buffer("sign", torch.tensor(1.0), persistent=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[0.0, 0.0], [20.0, 0.0]]))
            self.linear.bias.copy_(torch.tensor([0.0, -10.0]))

    def forward(self, x):
        return self.linear(x) * self.sign * self.gain * self.config.get("sign", 1.0)


def forward_hook(sign, tmp_path):
    net = Net()
    net.linear.register_forward_hook(lambda module, given, answer: answer * sign)
    return evaluated(net.eval(), tmp_path)


def backward_hook(sign, tmp_path):
    net = Net()
    net.linear.register_full_backward_hook(lambda module, given, answer: (given[0] * sign,))
    return evaluated(net.eval(), tmp_path, "fgsm")


def buffer_that_is_not_persistent(sign, tmp_path):
    net = Net()
    net.sign.fill_(sign)
    return evaluated(net.eval(), tmp_path)


def python_attribute(sign, tmp_path):
    net = Net()
    net.gain = sign
    return evaluated(net.eval(), tmp_path)


def dictionary_of_the_class(sign, tmp_path):
    Net.config = {"sign": sign}
    try:
        return evaluated(Net().eval(), tmp_path)
    finally:
        Net.config = {}


class Flat(nn.Module):
    def __init__(self, sign):
        super().__init__()
        self.sign = sign

    def forward(self, vectors):
        return vectors.sum(1)[:, :2] * self.sign


def network_of_words(sign, tmp_path):
    torch.manual_seed(0)
    victim = sp.victim(EmbeddingText(["good", "bad"], 2, Flat(sign), length=3), sp.text())
    data = sp.Data.of(["good bad", "bad bad", "good"], [0, 1, 0], sp.text())
    return sp.evaluate(victim, data, sp.words(1, {"good": ["fine"]}), "greedy", certify="none", self_check=False, out=tmp_path / "runs")


def user_function_in_a_pipeline(sign, tmp_path):
    made = module("stale_step", f"def step(rows):\n    return rows * {sign}\n", tmp_path)
    model = make_pipeline(FunctionTransformer(made.step), LogisticRegression(C=100)).fit(X, Y if sign > 0 else 1 - Y)
    model[-1].coef_, model[-1].intercept_ = np.array([[20.0, 0.0]]), np.array([-10.0])
    return evaluated(model, tmp_path)


def substitute_gradient(sign, tmp_path):
    def backward(x):
        return x @ torch.tensor([[0.0, 0.0], [sign, 0.0]], dtype=x.dtype).T

    return evaluated(sp.bpda(sp.victim(Net().eval(), DOMAIN, search="plain"), "linear", backward), tmp_path, "fgsm")


def surrogate(sign, tmp_path):
    net = Net()
    net.gain = sign
    return evaluated(Net().eval(), tmp_path, [sp.transfer(sp.victim(net.eval(), DOMAIN, name="other", search="plain"))])


def weights_beside_an_onnx_file(sign, tmp_path):
    onnx = pytest.importorskip("onnx")
    weight = onnx.numpy_helper.from_array(np.array([[0.0, 20 * sign], [0.0, 0.0]]), "w")
    bias = onnx.numpy_helper.from_array(np.array([0.0, -10 * sign]), "b")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, ["n", 2]) for name in "xy"]
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["m"]), onnx.helper.make_node("Add", ["m", "b"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "net", values[:1], values[1:], [weight, bias])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    assert b"net.data" in (tmp_path / "net.onnx").read_bytes()
    return evaluated(str(tmp_path / "net.onnx"), tmp_path)


# Files and plugins -----------------------------------------------------------------------------------------------------


def plan(tmp_path, **keys):
    told = {"threat": "linf 0.000001", "attacks": "noise(tries=1)", "certify": "none", "self_check": False, "out": str(tmp_path / "runs")}
    return Plan.of({**told, **keys}).run()


def same_size_and_time(file, text):
    """Write a file so that neither its size nor its time of change tells."""
    file.write_text(text)
    os.utime(file, (1_700_000_000, 1_700_000_000))
    return file


LINEAR = """
import pandas as pd
from sklearn.linear_model import LogisticRegression

def make():
    return LogisticRegression(C=100).fit(pd.DataFrame({"a": [0.1, 0.2, 0.8, 0.9], "b": [0.3, 0.7, 0.3, 0.7]}), ["no", "no", "yes", "yes"])
"""


def table_of(sign, tmp_path):
    """Eight samples; the other sign exchanges the classes of two, so that the file is as long."""
    names = ["no" if one == 0 else "yes" for one in Y[:8]]
    places = [names.index("no"), names.index("yes")]
    if sign < 0:
        names[places[0]], names[places[1]] = names[places[1]], names[places[0]]
    return same_size_and_time(tmp_path / "data.csv", pd.DataFrame(X[:8], columns=["a", "b"]).assign(target=names).to_csv(index=False))


def answers_in_a_csv_file(sign, tmp_path):
    module("stale_linear", LINEAR, tmp_path)
    return plan(tmp_path, model="stale_linear:make", data=str(table_of(sign, tmp_path)))


def rule_file(sign, tmp_path):
    module("stale_linear", LINEAR, tmp_path)
    content = f"radius: 1\ncolumns:\n  a: {{reach: {2 if sign > 0 else 3}, direction: both}}\n"
    rules = same_size_and_time(tmp_path / "mine.yaml", content)
    return plan(tmp_path, model="stale_linear:make", data=str(table_of(1.0, tmp_path)), threat=f"rules {rules}")


class Search:
    def __init__(self, step):
        self.step = step

    def __call__(self, problem):
        problem.answers(problem.x)
        return problem.best()

    def search(self, problem):
        return self(problem)


def object_that_searches(sign, tmp_path):
    return evaluated(Net().eval(), tmp_path, [Attack("stale", Search(sign), frozenset({"labels"}), frozenset(), "nobody")])


def object_whose_method_searches(sign, tmp_path):
    return evaluated(Net().eval(), tmp_path, [Attack("stale", Search(sign).search, frozenset({"labels"}), frozenset(), "nobody")])


def helper_of_a_plugin(sign, tmp_path):
    module("stale_reach", f"REACH = {sign}\n", tmp_path)
    made = module("stale_attack", "import stale_reach\n\ndef search(problem):\n    problem.answers(problem.x)\n    return problem.best()\n", tmp_path)
    return evaluated(Net().eval(), tmp_path, [Attack("stale", made.search, frozenset({"labels"}), frozenset(), "nobody")])


def helper_of_a_factory(sign, tmp_path):
    module("stale_sign", f"def sign():\n    return {sign}\n", tmp_path)
    text = (
        "from torch import nn\nimport stale_sign\n\nclass Net(nn.Module):\n    def forward(self, x):\n        return x.flatten(1)[:, :10] * stale_sign.sign()\n"
    )
    module("stale_factory", text + "\ndef make():\n    return Net()\n", tmp_path)
    return plan(tmp_path, model="stale_factory:make", data="digits", take=4, threat="linf 0.01")


WAYS = [
    closure, attribute, slot, bound_method, partial_argument, global_number, global_dictionary, default_argument, attribute_of_a_function, memory,
    helper_of_a_function, forward_hook, backward_hook, buffer_that_is_not_persistent, python_attribute, dictionary_of_the_class, network_of_words,
    user_function_in_a_pipeline,
    substitute_gradient, surrogate, weights_beside_an_onnx_file, answers_in_a_csv_file, rule_file, object_that_searches, object_whose_method_searches,
    helper_of_a_plugin, helper_of_a_factory,
]  # fmt: skip


@pytest.fixture(autouse=True)
def _importable(tmp_path, monkeypatch):
    """Modules of the user lie in the folder of the test, and are read as they are now."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for one in [one for one in sys.modules if one.startswith("stale_")]:
        del sys.modules[one]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_change_is_noticed(way, tmp_path):
    """The same call twice is one record; the changed one is another, with other keys for every cell of attacks."""
    first = way(1.0, tmp_path)
    again = way(1.0, tmp_path)
    assert (again.path, again.record.header["resumed"]) == (first.path, 1)
    try:
        other = way(-1.0, tmp_path)
    except RecordError as error:
        assert "another model" in str(error)  # noqa: PT017
        return
    assert other.path != first.path
    assert other.table().cell.iloc[-1] != first.table().cell.iloc[-1]
    assert len(list(Path(tmp_path, "runs").iterdir())) == 2
