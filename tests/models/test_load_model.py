"""Models from what a user writes: each form works, none runs a stranger's code, wrong use says what to do."""

import json
import pickle
import shutil
import zipfile

import joblib
import numpy as np
import pytest
import safetensors.torch
import skops.io
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from sparring.core.errors import LoadError, UnknownName
from sparring.core.registry import everything
from sparring.core.threat import Threat
from sparring.data.dataset import Data
from sparring.data.load import load
from sparring.domains.image import image
from sparring.models.load import load_model
from sparring.models.zoo import WEIGHTS, DigitsNet, zoo
from sparring.threats.balls import Linf
from sparring.threats.goals import Untargeted

SOURCE = """
import torch
from torch import nn

def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))

def function():
    def ask(x):
        return torch.as_tensor(x).flatten(1)[:, :10]
    return ask

def estimator():
    from sklearn.tree import DecisionTreeClassifier
    return DecisionTreeClassifier().fit([[0.0] * 30, [1.0] * 30], [0, 1])

def ready():
    from sparring.domains.image import image
    from sparring.models.adapter import victim
    return victim(net(), image(1, 8, 8), name="mine")

made = net()
number = 7

def needs(path, size=3): ...
def forgets(): ...
def fails(): raise KeyError("layer9")
"""


@pytest.fixture(scope="module")
def digits():
    return load("digits", take=40)


@pytest.fixture(scope="module")
def cancer():
    return load("breast-cancer", split="all")


@pytest.fixture
def here(tmp_path, monkeypatch, request):
    """A folder with a module of a name of its own, as the current one."""
    monkeypatch.chdir(tmp_path)
    name = "own_" + "".join(letter if letter.isalnum() else "_" for letter in request.node.name)
    (tmp_path / f"{name}.py").write_text(SOURCE)
    return name


class TestZoo:
    def test_all_are_listed_with_their_data(self):
        assert list(everything("model")) == ["breast-cancer-forest", "digits-plain", "digits-robust"]
        for name in everything("model"):
            victim = load_model(f"zoo:{name}")
            data = load(zoo(name).data)
            assert victim.name == name
            assert victim.domain == data.domain
            assert victim.classes == len(data.classes)
            assert zoo(name).about.endswith((".", ")."))

    def test_files_are_small(self):
        for name in ("digits-plain", "digits-robust"):
            assert len((WEIGHTS / f"{name}.safetensors").read_bytes()) < 60_000

    def test_the_story_a_newcomer_sees(self):
        data = load("digits")
        threat = Threat(Linf(0.1), Untargeted())
        found = {}
        for name in ("digits-plain", "digits-robust"):
            victim = load_model(f"zoo:{name}", data)
            points = everything("attack")["pgd"](victim, data.x, data.y, threat, steps=40)
            found[name] = [float((victim.label(x) == data.y).double().mean()) for x in (data.x, points)]
        assert found["digits-plain"][0] > 0.96
        assert found["digits-robust"][0] > 0.96
        assert found["digits-plain"][1] < 0.35
        assert found["digits-robust"][1] > 0.75

    def test_other_data_is_refused(self, cancer):
        with pytest.raises(LoadError, match=r"belongs to the data set digits .images, 1 x 8 x 8.*use data=digits"):
            load_model("zoo:digits-plain", cancer)
        with pytest.raises(UnknownName, match="did you mean digits-plain"):
            load_model("zoo:digit-plain")


class TestFactory:
    @pytest.mark.parametrize("factory", ["net", "Net", "made", "function"])
    def test_what_a_name_may_stand_for(self, here, digits, factory):
        victim = load_model(f"{here}:{factory}", digits)
        assert (victim.name, victim.classes) == (factory, 10)
        assert victim.scores(digits.x).shape == (40, 10)

    def test_estimators_and_victims(self, here, cancer):
        assert load_model(f"{here}:estimator", cancer).exposes >= {"labels"}
        assert load_model(f"{here}:ready").name == "mine"

    def test_packages(self, here, tmp_path, digits):
        (tmp_path / f"{here}_pack").mkdir()
        shutil.copy(tmp_path / f"{here}.py", tmp_path / f"{here}_pack" / "inner.py")
        assert load_model(f"{here}_pack.inner:net", digits).classes == 10

    def test_settings_reach_the_adapter(self, here, digits):
        assert load_model(f"{here}:net", digits, settings={"search": "plain"}).exact
        with pytest.raises(UnknownName, match="did you mean search"):
            load_model(f"{here}:net", digits, settings={"serch": "plain"})
        with pytest.raises(LoadError, match="is a Victim already"):
            load_model(f"{here}:ready", digits, settings={"search": "plain"})

    def test_the_import_path_is_as_before(self, here, digits):
        import sys

        before = list(sys.path)
        load_model(f"{here}:net", digits)
        assert sys.path == before

    @pytest.mark.parametrize(
        ("factory", "kind", "sentence"),
        [
            ("nett", UnknownName, "did you mean net"),
            ("number", LoadError, "is a int, not a function"),
            ("needs", LoadError, "needs the arguments path: give a function without arguments"),
            ("forgets", LoadError, "returned None"),
            ("fails", LoadError, "failed: KeyError: 'layer9'"),
        ],
    )
    def test_wrong_factories(self, here, digits, factory, kind, sentence):
        with pytest.raises(kind, match=sentence):
            load_model(f"{here}:{factory}", digits)

    def test_wrong_modules(self, here, tmp_path, digits):
        with pytest.raises(LoadError, match=f"did you mean {here}"):
            load_model(f"{here}x:net", digits)
        (tmp_path / f"{here}_lacks.py").write_text("import no_such_library")
        with pytest.raises(LoadError, match="imports no_such_library, which is not installed"):
            load_model(f"{here}_lacks:net", digits)
        (tmp_path / f"{here}_slip.py").write_text("1 / 0")
        with pytest.raises(LoadError, match="failed: ZeroDivisionError"):
            load_model(f"{here}_slip:net", digits)
        (tmp_path / f"{here}_exit.py").write_text("raise SystemExit(0)")
        with pytest.raises(LoadError, match="ended the program"):
            load_model(f"{here}_exit:net", digits)

    def test_the_inputs_come_from_the_data(self, here):
        with pytest.raises(LoadError, match="give data"):
            load_model(f"{here}:net")


class TestWeights:
    def state(self):
        return {"1.weight": torch.full((10, 64), 0.5), "1.bias": torch.arange(10.0)}

    @pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
    @pytest.mark.parametrize("nested", [False, True])
    def test_they_are_the_networks(self, here, tmp_path, digits, name, nested):
        if name.endswith("safetensors"):
            safetensors.torch.save_file(self.state(), tmp_path / name)
        else:
            torch.save({"epoch": 3, "state_dict": self.state()} if nested else self.state(), tmp_path / name)
        victim = load_model(f"{here}:net", digits, weights=tmp_path / name)
        expected = digits.x.flatten(1).sum(1, keepdim=True) * 0.5 + torch.arange(10.0)
        torch.testing.assert_close(victim.scores(digits.x), expected)

    def save(self, folder, **change):
        state = {**self.state(), **change}
        path = folder / "w.safetensors"
        safetensors.torch.save_file({key: value for key, value in state.items() if value is not None}, path)
        return path

    def test_what_does_not_fit_is_named(self, here, tmp_path, digits):
        cases = {
            "missing 1.bias; unexpected 2.bias": {"1.bias": None, "2.bias": torch.zeros(10)},
            r"1.weight is \(9, 64\) but the network has \(10, 64\)": {"1.weight": torch.zeros(9, 64)},
        }
        for sentence, change in cases.items():
            with pytest.raises(LoadError, match=sentence):
                load_model(f"{here}:net", digits, weights=self.save(tmp_path, **change))
        torch.save({f"module.{key}": value for key, value in self.state().items()}, tmp_path / "p.pt")
        with pytest.raises(LoadError, match="DataParallel"):
            load_model(f"{here}:net", digits, weights=tmp_path / "p.pt")

    def test_wrong_files(self, here, tmp_path, digits):
        (tmp_path / "cut.safetensors").write_bytes(self.save(tmp_path).read_bytes()[:50])
        (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04nothing")
        (tmp_path / "w.h5").write_bytes(b"1")
        torch.save([1, 2], tmp_path / "list.pt")
        cases = {
            "no.pt": "do not exist",
            "cut.safetensors": "not a valid safetensors file",
            "cut.pt": "not a valid torch file",
            "w.h5": "unknown format: use .safetensors",
            "list.pt": "hold a list, not a state dict",
        }
        for name, sentence in cases.items():
            with pytest.raises(LoadError, match=sentence):
                load_model(f"{here}:net", digits, weights=tmp_path / name)

    def test_nothing_is_unpickled(self, here, tmp_path, digits):
        torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
        with pytest.raises(LoadError, match=r"could run code: save them with torch.save\(net.state_dict"):
            load_model(f"{here}:net", digits, weights=tmp_path / "whole.pt")

    def test_where_there_is_no_place_for_them(self, here, tmp_path, digits):
        path = self.save(tmp_path)
        with pytest.raises(LoadError, match="can only be loaded into a torch module"):
            load_model(f"{here}:function", digits, weights=path)
        with pytest.raises(LoadError, match="contains its weights"):
            load_model("zoo:digits-plain", digits, weights=path)


class TestFiles:
    def test_onnx(self, tmp_path, digits):
        onnx = pytest.importorskip("onnx")
        make, kinds = onnx.helper, onnx.TensorProto
        weight = onnx.numpy_helper.from_array(np.eye(64, 10, dtype=np.float32), "w")
        nodes = [make.make_node("Flatten", ["x"], ["flat"]), make.make_node("MatMul", ["flat", "w"], ["scores"])]
        ends = make.make_tensor_value_info("x", kinds.FLOAT, ["n", 1, 8, 8]), make.make_tensor_value_info("scores", kinds.FLOAT, ["n", 10])
        model = make.make_model(make.make_graph(nodes, "g", ends[:1], ends[1:], [weight]), opset_imports=[make.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, str(tmp_path / "small.onnx"))
        victim = load_model(str(tmp_path / "small.onnx"), digits)
        assert victim.name == "small"
        torch.testing.assert_close(victim.scores(digits.x), digits.x.flatten(1)[:, :10])

    @pytest.mark.parametrize(
        "model",
        [
            make_pipeline(StandardScaler(), LogisticRegression()),
            RandomForestClassifier(3, max_depth=2, random_state=0),
            HistGradientBoostingClassifier(max_iter=3),
        ],
    )
    def test_skops(self, tmp_path, cancer, model):
        model.fit(cancer.x.numpy(), cancer.y.numpy())
        skops.io.dump(model, tmp_path / "m.skops")
        victim = load_model(str(tmp_path / "m.skops"), cancer)
        assert victim.label(cancer.x).tolist() == model.predict(cancer.x.numpy()).tolist()

    def test_skops_with_a_type_that_nobody_vouches_for(self, tmp_path, cancer):
        model = make_pipeline(FunctionTransformer(shutil.disk_usage), LogisticRegression())
        skops.io.dump(model, tmp_path / "m.skops")
        with pytest.raises(LoadError, match=r"types that may run code when opened: shutil.disk_usage"):
            load_model(str(tmp_path / "m.skops"), cancer)

    def test_pt2(self, tmp_path, digits):
        net = DigitsNet().eval()
        exported = torch.export.export(net, (digits.x[:2],), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
        torch.export.save(exported, tmp_path / "net.pt2")
        victim = load_model(str(tmp_path / "net.pt2"), digits)
        with torch.no_grad():
            torch.testing.assert_close(victim.scores(digits.x), net(digits.x))

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda program: program.update(guards_code=["__import__('os').getcwd()"]), "an expression that is not arithmetic"),
            (lambda program: program["graph_module"]["graph"]["nodes"][0].update(target="torch.ops.load_library"), "not part of torch"),
            (lambda program: program["graph_module"]["graph"]["nodes"][0].update(target="torch.serialization.os.getcwd"), "not part of torch"),
            (lambda program: _first_size(program).update(expr_str="exec(chr(49))"), r"'exec\(chr\(49\)\)'"),
        ],
    )
    def test_pt2_that_would_run_code(self, tmp_path, digits, change, sentence):
        exported = torch.export.export(nn.Flatten(), (digits.x[:2],), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
        torch.export.save(exported, tmp_path / "good.pt2")
        with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
            for name in good.namelist():
                content = good.read(name)
                if name.endswith("models/model.json"):
                    program = json.loads(content)
                    change(program)
                    content = json.dumps(program).encode()
                bad.writestr(name, content)
        with pytest.raises(LoadError, match=sentence):
            load_model(str(tmp_path / "bad.pt2"), digits)

    @pytest.mark.parametrize("suffix", ["onnx", "skops", "pt2"])
    def test_broken_and_missing_files(self, tmp_path, digits, suffix):
        path = tmp_path / f"m.{suffix}"
        with pytest.raises(LoadError, match="does not exist"):
            load_model(str(path), digits)
        path.write_bytes(b"PK\x03\x04 not a model")
        with pytest.raises(LoadError, match=rf"m\.{suffix}"):
            load_model(str(path), digits)

    def test_pickles_are_refused_unopened(self, tmp_path, digits):
        class Trap:
            def __reduce__(self):
                return (pytest.fail, ("the pickle was opened",))

        for name, dump in (("m.pkl", pickle.dumps), ("m.joblib", None)):
            if dump:
                (tmp_path / name).write_bytes(dump(Trap()))
            else:
                joblib.dump(Trap(), tmp_path / name)
            with pytest.raises(LoadError, match=r"runs the code in it when opened: save .* skops.io.dump"):
                load_model(str(tmp_path / name), digits)

    def test_weights_alone_need_a_network(self, digits):
        for name in ("net.pt", "net.pth", "net.safetensors"):
            with pytest.raises(LoadError, match=f"holds weights without the network: .* and weights={name}"):
                load_model(name, digits)

    def test_what_cannot_be_told(self, digits):
        for ref in ("resnet", "digits-plain", "model.h5", ""):
            with pytest.raises(LoadError, match=r"write zoo:NAME, package.module:factory"):
                load_model(ref, digits)


def _first_size(program):
    return next(size["as_expr"] for value in program["graph_module"]["graph"]["tensor_values"].values() for size in value["sizes"] if "as_expr" in size)


def test_a_model_that_does_not_fit_the_data_says_so(here):
    wide = Data.of(np.zeros((2, 1, 9, 9), np.float32), [0, 1], image(9, 9))
    with pytest.raises(LoadError, match="cannot take images, 1 x 9 x 9"):
        load_model(f"{here}:net", wide)
