"""Wrong use, as a table: every line ends with the right code and a sentence that says what was wrong, what was seen and what to do.

No line may show a traceback, and none may leave a run folder behind.
"""

import gzip
import io
import json
import pickle
import struct
import zipfile
from importlib.metadata import EntryPoint

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from torch import nn

import sparring as sp
from sparring.core.errors import InputError, LoadError, NeedsError, PlanError, RecordError, UnknownName, UsageError

RUN = ("run", "model=zoo:digits-plain", "data=digits", "take=20", "threat=linf 0.1", "attacks=fgsm")


def changed(*words):
    """The words of a sound call of `spar run` with some replaced (or left out: "key=")."""
    keys = {word.split("=", 1)[0]: word for word in (*RUN[1:], *words)}
    return ("run", *(word for word in keys.values() if not word.endswith("=")))


# The files -------------------------------------------------------------------------------------------------------------


class Strange(ClassifierMixin, BaseEstimator):
    """An estimator of a type that skops does not know."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, x):
        return np.zeros(len(x), dtype=int)


def idx(*shape, values=None, magic=b"\0\0\x08"):
    content = bytes(int(np.prod(shape))) if values is None else bytes(list(values))
    return magic + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


def archive(**arrays):
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return packed.getvalue()


MODULE = '''
import time
import numpy as np
import torch
from torch import nn

net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def integers():
    return Answer(lambda x: x.flatten(1)[:, :10].long())


def cube():
    return Answer(lambda x: torch.zeros(len(x), 10, 3))


def other_size():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def two_classes():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))


def nothing():
    pass


def needs(width):
    return net


def fails():
    raise RuntimeError("no GPU")


def number():
    return 7


def lazy():
    return Lazy(np.zeros((1, 10)))


def wide():
    return Lazy(None)


class Answer(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Lazy:
    """Answers with one row, or with too many columns, whatever it is asked."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, x):
        return np.zeros((len(x), 12)) if self.answer is None else self.answer


def picky():
    def look(x):
        raise KeyError("pixels")
    return look


def shout():
    def louder(x):
        return np.array([[len(one), one.count("!")] for one in x], dtype=float)
    return louder


settings = {"steps": 5}
'''


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of everything that can be wrong with a file."""
    import skops.io

    here = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    grey, y = rng.random((20, 1, 8, 8)).astype(np.float32), np.arange(20) % 10
    levels = (grey * 255).astype(np.uint8)
    table = pd.DataFrame({"a": rng.random(30), "b": rng.random(30), "target": np.arange(30) % 2})
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def write(name, content):
        (here / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    # arrays
    write("sound.npz", archive(x=grey, y=y))
    write("cut.npz", archive(x=grey, y=y)[:700])
    write("text.npz", "this is no archive")
    write("nothing.npz", "")
    write("other-names.npz", archive(inputs=grey, outputs=y))
    write("last.npz", archive(x=grey.repeat(3, 1).transpose(0, 2, 3, 1), y=y))
    write("bright.npz", archive(x=grey * 255, y=y))
    write("normalised.npz", archive(x=(grey - 0.5) / 0.25, y=y))
    write("integers.npz", archive(x=levels.astype(np.int64), y=y))
    write("nan.npz", archive(x=np.where(grey > 0.9, np.nan, grey), y=y))
    write("infinite.npz", archive(x=np.where(grey > 0.9, np.inf, grey), y=y))
    write("empty.npz", archive(x=grey[:0], y=y[:0]))
    write("one-hot.npz", archive(x=grey, y=np.eye(10)[y]))
    write("real-labels.npz", archive(x=grey, y=y + 0.5))
    write("few-labels.npz", archive(x=grey, y=y[:7]))
    write("many-classes.npz", archive(x=grey, y=y + 5))
    write("objects.npz", archive(x=np.array([{"a": 1}] * 20, dtype=object), y=y))
    write("five.npz", archive(x=grey[None], y=y[:1]))
    write("splits.npz", archive(x_train=grey, y_train=y, x_test=grey, y_test=y))
    # idx
    write("sound-images-idx3-ubyte", idx(20, 8, 8))
    write("sound-labels-idx1-ubyte", idx(20, values=y))
    write("alone-images-idx3-ubyte", idx(20, 8, 8))
    write("cut-images-idx3-ubyte", idx(20, 8, 8)[:99])
    write("cut-labels-idx1-ubyte", idx(20, values=y))
    write("magic-images-idx3-ubyte", b"\x89PNG" + idx(20, 8, 8))
    write("magic-labels-idx1-ubyte", idx(20, values=y))
    write("few-images-idx3-ubyte", idx(20, 8, 8))
    write("few-labels-idx1-ubyte", idx(7, values=y[:7]))
    write("packed-images-idx3-ubyte.gz", gzip.compress(idx(20, 8, 8))[:20])
    write("packed-labels-idx1-ubyte.gz", gzip.compress(idx(20, values=y)))
    write("plain-images-idx3-ubyte.gz", idx(20, 8, 8))
    write("plain-labels-idx1-ubyte", idx(20, values=y))
    # tables and text
    write("sound.csv", table.to_csv(index=False))
    write("wide.csv", table.assign(c=0.5)[["a", "b", "c", "target"]].to_csv(index=False))
    write("three.csv", table.assign(target=np.arange(30) % 3).to_csv(index=False))
    write("empty.csv", "")
    write("header.csv", "a,b,target\n")
    write("ragged.csv", "a,b,target\n1,2,0\n1,2,3,4,5,0\n")
    write("missing.csv", "a,b,target\n1,,0\n2,3,1\n")
    write("no-class.csv", "a,b,target\n" + "".join(f"{k},{k},{k % 9}.5\n" for k in range(60)))
    write("cut.parquet", _parquet(table)[:200])
    write("text.parquet", "not parquet")
    write("sound.tsv", "".join(f"{'good' if k % 2 else 'bad'} film number {k}\t{k % 2}\n" for k in range(30)))
    write("three.tsv", "good film\tpos\textra\n")
    write("empty.tsv", "")
    write("cut.tsv.gz", gzip.compress(b"a film\tpos\n" * 50)[:25])
    write("notes.docx", "hello")
    (here / "images").mkdir()
    (here / "no-images").mkdir()
    # models
    write("model.pkl", pickle.dumps({"a": 1}))
    write("cut.onnx", b"\x08\x07\x12\x04test")
    write("cut.skops", b"PK\x03\x04 cut")
    write("text.pt2", "no program")
    with zipfile.ZipFile(here / "empty.pt2", "w") as packed:
        packed.writestr("readme", "nothing")
    skops.io.dump(Strange().fit(table[["a", "b"]].to_numpy(), table.target), here / "strange.skops")
    skops.io.dump(LogisticRegression().fit(table[["a", "b"]].to_numpy(), table.target), here / "sound.skops")
    safetensors.torch.save_file(net.state_dict(), here / "sound.safetensors")
    write("cut.safetensors", (here / "sound.safetensors").read_bytes()[:60])
    safetensors.torch.save_file({"1.weight": torch.zeros(10, 32), "1.bias": torch.zeros(10)}, here / "narrow.safetensors")
    safetensors.torch.save_file({"head.weight": torch.zeros(10, 64)}, here / "renamed.safetensors")
    torch.save(net, here / "whole.pt")
    torch.save(net.state_dict(), here / "state.pt")
    write("cut.pt", (here / "state.pt").read_bytes()[:200])
    # plans
    write("list.yaml", "- model: zoo:digits-plain\n")
    write("broken.yaml", "model: [zoo:digits-plain\ndata: {")
    write("unknown.yaml", "modle: zoo:digits-plain\n")
    write("inner.yaml", "evaluations:\n- {model: zoo:digits-plain, data: digits, threat: linf 0.1, seed: 3}\n")
    write("inner-unknown.yaml", "evaluations:\n- {model: zoo:digits-plain, dta: digits, threat: linf 0.1}\n")
    write("binary.yaml", b"\xff\xfe\x00\x80")
    # words and rules
    write("words.json", json.dumps({"good": ["fine"], "bad": ["poor"]}))
    write("list.json", json.dumps(["good", "bad"]))
    write("broken.json", '{"good": [')
    write("none.json", "{}")
    write("column.yaml", "radius: 1\ncolumns:\n  meen radius: {reach: 1}\n")
    write("key.yaml", "radius: 1\ncolumns:\n  mean radius: {reech: 1}\n")
    write("negative.yaml", "radius: -1\ncolumns:\n  mean radius: {reach: 1}\n")
    return here


def _parquet(table):
    packed = io.BytesIO()
    table.to_parquet(packed)
    return packed.getvalue()


# Commands --------------------------------------------------------------------------------------------------------------

COMMANDS = {
    # words and keys
    "unknown command": (("rnu",), "No such command 'rnu'"),
    "unknown option": (("ls", "attacks", "--jsn"), "--jsn"),
    "ls without kind": (("ls",), "kind"),
    "unknown kind": (("ls", "atacks"), "did you mean attacks"),
    "unknown plan key": (changed("modle=zoo:digits-plain"), "unknown plan key 'modle': did you mean model"),
    "unknown flag is a key": ((*RUN, "--tkae", "5"), "did you mean take"),
    "flag without value": ((*RUN, "--take"), "--take needs a value"),
    "stray word": ((*RUN, "quickly"), "cannot read 'quickly'"),
    "no data": (changed("data="), "the plan has no data"),
    "no threat": (changed("threat="), "the plan has no threat"),
    # plans
    "plan missing": (("run", "{files}/nosuch.yaml"), "does not exist"),
    "plan is a list": (("run", "{files}/list.yaml"), "must hold keys and values, got list"),
    "plan is not YAML": (("run", "{files}/broken.yaml"), "is not valid YAML"),
    "plan is binary": (("run", "{files}/binary.yaml"), "is not text"),
    "plan is a folder": (("run", "{files}/images"), "is a folder"),
    "plan with an unknown key": (("run", "{files}/unknown.yaml"), "did you mean model"),
    "inner plan with a key of the run": (("run", "{files}/inner.yaml"), "'seed' applies to the whole run"),
    "inner plan with an unknown key": (("run", "{files}/inner-unknown.yaml"), "did you mean data"),
    "plan of another type": (changed("model=[1, 2]"), "plan key 'model'"),
    # numbers
    "take=0": (changed("take=0"), "take=0: give a whole number of at least 1"),
    "take negative": (changed("take=-3"), "take=-3"),
    "take a word": (changed("take=many"), "plan key 'take' = 'many'"),
    "take a fraction": (changed("take=2.5"), "plan key 'take' = 2.5"),
    "batch=0": (changed("batch=0"), "batch=0: give at least 1"),
    "seed a word": (changed("seed=lucky"), "plan key 'seed' = 'lucky'"),
    "queries negative": (changed("queries=-1"), "queries=-1"),
    "seconds nan": (changed("seconds=.nan"), "seconds=nan"),
    "shard beyond": (changed("shard=5/2"), "shard 5/2"),
    "shard zero": (changed("shard=0/2"), "shard 0/2"),
    "shard a letter": (changed("shard=x"), "write k/n"),
    "points bogus": (changed("points=bogus"), "choose one of none, gallery, all"),
    "access bogus": (changed("access=bogus"), "choose one of labels, scores, gradients"),
    "search bogus": (changed("search=quick"), '"fast", "bfloat16" or "plain"'),
    "cascade bogus": (changed("cascade=maybe"), "plan key 'cascade'"),
    "out of reach": (changed("out=nosuch://there"), "nosuch"),
    # threats and goals
    "unknown threat": (changed("threat=linff 0.1"), "unknown threat 'linff': did you mean linf"),
    "threat without radius": (changed("threat=linf"), "linf 8/255"),
    "radius negative": (changed("threat=linf -0.1"), "at least 0, got -0.1"),
    "radius nan": (changed("threat=linf nan"), "'nan': write a radius as a number"),
    "radius infinite": (changed("threat=linf 1e999"), "finite"),
    "radius a word": (changed("threat=linf big"), "'big': write a radius as a number"),
    "radius 1/0": (changed("threat=linf 1/0"), "'1/0': write a radius as a number"),
    "radius 1/0 in brackets": (changed("threat=linf(1/0)"), "division by zero"),
    "threat with too much": (changed("threat=linf 0.1 0.2"), "cannot read the threat"),
    "threat with an unknown setting": (changed("threat=linf(radus=0.1)"), "unknown setting of linf 'radus': did you mean radius"),
    "goal with too much": (changed("goal=untargeted 3"), "write untargeted alone, it has no settings"),
    "a number true": (changed("take=true"), "plan key 'take' = True: give a whole number"),
    "threat no name": (changed("threat=8/255"), "start with a name"),
    "unknown goal": (changed("goal=targetd next"), "unknown goal 'targetd': did you mean"),
    "unknown target": (changed("goal=targeted nxt"), "'nxt'"),
    "target too high": (changed("goal=targeted 10"), "the target class 10 does not exist: choose one of the classes 0 to 9"),
    "rules on images": (changed("threat=rules breast-cancer", "attacks=noise"), "try linf"),
    "words on images": (changed("threat=words 0.2 {files}/words.json", "attacks=noise"), "words applies to text"),
    "rules missing": (changed("threat=rules {files}/nosuch.yaml"), "does not exist"),
    "unknown rules": (changed("threat=rules brest-cancer"), "did you mean breast-cancer"),
    "rules about no column": (
        changed("model=zoo:breast-cancer-forest", "data=breast-cancer", "threat=rules {files}/column.yaml", "attacks=noise"),
        "did you mean mean radius",
    ),
    "rules with an unknown key": (changed("threat=rules {files}/key.yaml"), "did you mean reach"),
    "rules with a negative radius": (changed("threat=rules {files}/negative.yaml"), "radius is -1"),
    "words missing": (changed("threat=words 0.2 {files}/nosuch.json"), "does not exist"),
    "words not JSON": (changed("threat=words 0.2 {files}/broken.json"), "is not valid JSON"),
    "words a list": (changed("threat=words 0.2 {files}/list.json"), "no JSON object from words to lists of words: write it like"),
    "words empty": (changed("threat=words 0.2 {files}/none.json"), "needs neighbours"),
    "words without table": (changed("threat=words 0.2"), "cannot read the threat"),
    "share over 1": (changed("threat=words 20 {files}/words.json"), "between 0 and 1"),
    # attacks
    "unknown attack": (changed("attacks=pdg"), "unknown attack 'pdg': did you mean pdpgd or pgd"),
    "unknown set": (changed("attacks=defualt"), "sets: control, exhaustive-1, fast-1, minimum-1, plus-1, rand-1, standard-1"),
    "no attack": (changed("attacks=[]"), "no attack to run"),
    "unknown setting": (changed("attacks=pgd(stesp=5)"), "unknown setting of pgd 'stesp': did you mean steps"),
    "setting a word": (changed("attacks=pgd(steps=many)"), "give a number"),
    "setting negative": (changed("attacks=square(queries=-5)"), "whole number of at least 0"),
    "setting without name": (changed("attacks=pgd(50)"), "pgd(steps=...)"),
    "unknown loss": (changed("attacks=pgd(loss=crossentropy)"), "crossentropy"),
    "brackets open": (changed("attacks=pgd(steps=5"), "cannot read"),
    "attack that calls": (changed("attacks=pgd(steps=open('x'))"), "values are numbers"),
    "two attacks the same": (changed("attacks=fgsm, fgsm"), "listed twice"),
    "apgd on a forest": (changed("model=zoo:breast-cancer-forest", "data=breast-cancer", "threat=linf 0.1", "attacks=apgd"), "needs gradients"),
    "greedy on images": (changed("attacks=greedy"), "linf does not offer it: try"),
    "square under l2": (changed("threat=l2 0.5", "attacks=square"), "l2 does not offer it: try"),
    "pgd with labels only": (changed("access=labels", "attacks=pgd"), "the threat grants labels only: try"),
    # gates
    "gate syntax": (changed("gate=robust_accuracy is good"), "cannot read the gate"),
    "gate with two bounds": (changed("gate=0.1 <= robust_accuracy <= 0.4"), "cannot read the gate"),
    "gate of another aim": (changed("gate=tpr(fpr=0.01) <= 0.4"), "a metric of membership, but the cases are about evasion"),
    "setting of no metric": (changed("gate=robust_accuracy(fpr=0.01) <= 0.4"), "fpr"),
    "gate over 1": (changed("gate=robust_accuracy >= 45"), "45%"),
    "unknown metric": (changed("gate=robust_acuracy >= 0.4"), "did you mean robust_accuracy"),
    "gate about no case": (changed("gate=robust_accuracy[l2] >= 0.4"), "matches no case; the cases are digits-plain"),
    "gate no number": (changed("gate=robust_accuracy >= 0.4.5"), "is not a number"),
    # data
    "unknown data": (changed("data=digist"), "unknown data set (and no such path) 'digist': did you mean digits"),
    "unknown split": (changed("split=tset"), "did you mean test"),
    "split of other data": (changed("split=val"), "unknown split 'val': known: all, test, train"),
    "goal of values": (
        changed("goal=up 5"),
        "the goal up is for answers of the kind values, but digits-plain answers 10 classes: choose one",
    ),
    "goal of values, one attack": (changed("goal=up 5", "attacks=pgd"), "answers 10 classes: choose one of the goals targeted, untargeted"),
    "goal of masks": (
        changed("goal=erase 1"),
        "of the kind labels or mask, but digits-plain answers 10 classes: choose one of the goals targeted, untargeted",
    ),
    "a method of another aim": (changed("attacks=label_flip"), "label_flip is a method of aim=poisoning: give the plan this aim"),
    "a key given twice": (["run", "model=zoo:digits-plain", "data=digits", "gate=robust_accuracy >= 0.9", "gate=clean_accuracy >= 0.1"], "gate is given twice"),
    "target of digits": (changed("target=label"), "has no meaning"),
    "data missing": (changed("data={files}/soud.npz"), "did you mean sound.npz"),
    "folder missing": (changed("data={files}/deep/sound.npz"), "there is no folder"),
    "data of no kind": (changed("data={files}/notes.docx"), "no reader for notes.docx"),
    "folder empty": (changed("data={files}/no-images"), "is empty"),
    "npz cut": (changed("data={files}/cut.npz"), "is not a valid .npz"),
    "npz of text": (changed("data={files}/text.npz"), "text.npz"),
    "npz of nothing": (changed("data={files}/nothing.npz"), "nothing.npz"),
    "npz of other names": (changed("data={files}/other-names.npz"), "holds inputs, outputs: expected x and y"),
    "npz of objects": (changed("data={files}/objects.npz"), "pickled"),
    "npz, unknown split": (changed("data={files}/splits.npz", "split=trian"), "did you mean train"),
    "npz of five dimensions": (changed("data={files}/five.npz"), "(1, 20, 1, 8, 8)"),
    "[0, 255] as floats": (changed("data={files}/bright.npz"), "but the image domain is [0, 1]"),
    "normalised images": (changed("data={files}/normalised.npz"), "move the normalisation into the model"),
    "whole numbers": (changed("data={files}/integers.npz"), "save images as uint8"),
    "NaN": (changed("data={files}/nan.npz"), "NaN or infinite"),
    "infinite": (changed("data={files}/infinite.npz"), "NaN or infinite"),
    "no samples": (changed("data={files}/empty.npz"), "no samples"),
    "one-hot": (changed("data={files}/one-hot.npz"), "not one-hot"),
    "real labels": (changed("data={files}/real-labels.npz"), "0.5"),
    "too few labels": (changed("data={files}/few-labels.npz"), "one label per sample"),
    "labels beyond the classes": (changed("data={files}/many-classes.npz"), "labels lie in [5, 14] but the classes are 0 to 9"),
    "images of another size": (changed("data={files}/last.npz"), "3 x 8 x 8"),
    "idx cut": (changed("data={files}/cut-images-idx3-ubyte"), "is truncated (99 bytes, expected 1296"),
    "idx of another kind": (changed("data={files}/magic-images-idx3-ubyte"), "give an idx file"),
    "idx without labels": (changed("data={files}/alone-images-idx3-ubyte"), "no labels for"),
    "idx of labels": (changed("data={files}/sound-labels-idx1-ubyte"), "give the file of the images"),
    "idx, too few labels": (changed("data={files}/few-images-idx3-ubyte"), "20 images"),
    "gzip cut": (changed("data={files}/packed-images-idx3-ubyte.gz"), "truncated gzip"),
    "no gzip at all": (changed("data={files}/plain-images-idx3-ubyte.gz"), "not a valid gzip file"),
    "csv empty": (changed("data={files}/empty.csv"), "empty.csv is empty"),
    "csv without rows": (changed("data={files}/header.csv"), "no rows"),
    "csv ragged": (changed("data={files}/ragged.csv"), "ragged.csv"),
    "csv with holes": (changed("data={files}/missing.csv"), "digits-plain belongs to the data set digits"),
    "csv, unknown column": (changed("data={files}/sound.csv", "target=traget"), "did you mean target"),
    "csv, classes are measurements": (changed("data={files}/no-class.csv"), "not a class"),
    "csv for a network of images": (changed("data={files}/sound.csv"), "digits-plain belongs to the data set digits"),
    "parquet cut": (changed("data={files}/cut.parquet"), "not a valid Parquet file"),
    "parquet of text": (changed("data={files}/text.parquet"), "not a valid Parquet file"),
    "tsv of three columns": (changed("data={files}/three.tsv"), "3 columns"),
    "tsv empty": (changed("data={files}/empty.tsv"), "is empty"),
    "tsv cut": (changed("data={files}/cut.tsv.gz"), "truncated gzip"),
    "text for a torch module": (
        changed("model=mine:make", "data={files}/sound.tsv", "threat=words 0.2 {files}/words.json", "attacks=greedy"),
        "function that maps strings to scores",
    ),
    # models
    "unknown zoo model": (changed("model=zoo:digits-plane"), "did you mean digits-plain"),
    "model of no kind": (changed("model=resnet"), "zoo:NAME, package.module:factory"),
    "model missing": (changed("model={files}/nosuch.onnx"), "does not exist"),
    "onnx cut": (changed("model={files}/cut.onnx"), "has no operators"),
    "pickle": (changed("model={files}/model.pkl"), "runs the code in it"),
    "torch file": (changed("model={files}/whole.pt"), "weights without the network"),
    "skops cut": (changed("model={files}/cut.skops", "data={files}/sound.csv"), "skops"),
    "skops of strange types": (changed("model={files}/strange.skops", "data={files}/sound.csv"), "types that may run code"),
    "pt2 of text": (changed("model={files}/text.pt2"), "not an exported program"),
    "pt2 without program": (changed("model={files}/empty.pt2"), "does not hold an exported program"),
    "module typo": (changed("model=mien:make"), "no module mien: did you mean mine"),
    "factory typo": (changed("model=mine:maek"), "did you mean make"),
    "factory that is a dictionary": (changed("model=mine:settings"), "is a dict, not a function"),
    "factory of nothing": (changed("model=mine:nothing"), "returned None"),
    "factory with arguments": (changed("model=mine:needs"), "needs the arguments width"),
    "factory that fails": (changed("model=mine:fails"), "no GPU"),
    "factory of a number": (changed("model=mine:number"), "cannot attack a builtins.int"),
    "network of another size": (changed("model=mine:other_size"), "cannot take images, 1 x 8 x 8"),
    "network of two classes": (changed("model=mine:two_classes"), "the classes are 0 to 1"),
    "network of whole numbers": (changed("model=mine:integers"), "scores must be floating point"),
    "network of cubes": (changed("model=mine:cube"), "(2, 10, 3)"),
    "callable of one row": (changed("model=mine:lazy", "attacks=noise"), "for 2 inputs: return (2, 10)"),
    "callable of too many columns": (changed("model=mine:wide", "attacks=noise"), "for 2 inputs: return (2, 10)"),
    "callable that fails": (changed("model=mine:picky", "attacks=noise"), "picky cannot take images, 1 x 8 x 8, values in [0, 1], deployed as float: KeyError"),
    "estimator of other columns": (changed("model={files}/sound.skops", "data={files}/wide.csv", "attacks=noise"), "3 features"),
    "estimator of more classes": (
        changed("model={files}/sound.skops", "data={files}/three.csv", "attacks=noise"),
        "the model has the classes 0, 1, the data 0, 1, 2",
    ),
    "ranking bogus": (
        changed("model=mine:shout", "data={files}/sound.tsv", "threat=words 0.2 {files}/words.json", "attacks=greedy(ranking=luck)"),
        "unknown ranking of greedy 'luck': known: best, both, delete",
    ),
    "weights missing": (changed("model=mine:make", "weights={files}/nosuch.safetensors"), "do not exist"),
    "weights cut": (changed("model=mine:make", "weights={files}/cut.safetensors"), "not a valid safetensors file"),
    "weights of another shape": (changed("model=mine:make", "weights={files}/narrow.safetensors"), "(10, 32) but the network has (10, 64)"),
    "weights of other names": (changed("model=mine:make", "weights={files}/renamed.safetensors"), "missing 1.weight, 1.bias; unexpected head.weight"),
    "weights that are a whole network": (changed("model=mine:make", "weights={files}/whole.pt"), "run code"),
    "weights of torch, cut": (changed("model=mine:make", "weights={files}/cut.pt"), "cut.pt"),
    "weights of no kind": (changed("model=mine:make", "weights={files}/sound.npz"), "an unknown format"),
    "weights for the zoo": (changed("weights={files}/sound.safetensors"), "contains its weights"),
    # the other commands
    "doctor without data": (("doctor", "zoo:digits-plain"), "add data=digits"),
    "doctor, stray word": (("doctor", "zoo:digits-plain", "fast"), "write key=value"),
    "doctor, unknown key": (("doctor", "zoo:digits-plain", "dta=digits"), "did you mean data"),
    "show of nothing": (("show",), "unknown run 'last': known: none"),
    "show of no run": (("show", "7f3a"), "unknown run '7f3a'"),
    "report of no run": (("report", "{files}"), "unknown run"),
    "gate of no run": (("gate", "last", "--rule", "robust_accuracy >= 0.1"), "unknown run 'last'"),
    "merge of no runs": (("merge", "one", "two"), "is not a run folder"),
    "merge alone": (("merge", "one"), "Missing argument 'others'"),
    "new of another kind": (("new", "atack", "mine"), "did you mean attack"),
    "new without a name": (("new", "attack", "My-Attack"), "lower-case letters"),
    "new with a taken name": (("new", "attack", "pgd"), "an attack named 'pgd' exists already"),
    "new nowhere": (("new", "attack", "novel", "--folder", "nowhere"), "with --folder"),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_wrong_command(what, spar, files, folder):
    """Code 2, one sentence on standard error, nothing on standard output, no run folder."""
    words, fragment = COMMANDS[what]
    (folder / "mine.py").write_text(MODULE)
    said = spar(*(word.format(files=files) if "{files}" in word else word for word in words))
    assert fragment in said.err
    assert said.err.startswith("spar: ")
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) == 1
    assert (said.code, said.out) == (2, "")
    assert sorted(one.name for one in folder.iterdir() if one.name != "__pycache__") == ["mine.py"]


@pytest.fixture(autouse=True)
def _forget_modules():
    """Each test has a module `mine` of its own."""
    import sys

    sys.modules.pop("mine", None)
    yield
    sys.modules.pop("mine", None)


# A record that went bad --------------------------------------------------------------------------------------------------


def part_of(run):
    return sorted(run.glob("cells/*/*.parquet"))[0]


def points_of(run):
    return sorted(run.glob("cells/*/points/*.npz"))[0]


def rename_column(run):
    """As a part without a checksum, which older versions wrote."""
    part = part_of(run)
    pd.read_parquet(part).rename(columns={"status": "state"}).to_parquet(part.with_name(part.name.split(".")[0] + ".parquet"))
    part.unlink()


def edit_header(run, **values):
    """Without its checksum, as older versions wrote it."""
    header = json.loads((run / "run.json").read_text())
    del header["checksum"]
    (run / "run.json").write_text(json.dumps({**header, **values}))


SPOILED = {
    "run.json cut": (lambda run: (run / "run.json").write_text((run / "run.json").read_text()[:100]), ("show",), "is not JSON"),
    "run.json a list": (lambda run: (run / "run.json").write_text("[]"), ("show",), "holds a list"),
    "run.json of another schema": (lambda run: edit_header(run, schema=99), ("show",), "schema 99; this version reads 1"),
    "run.json of nothing": (lambda run: (run / "run.json").write_text('{"schema": 1}'), ("show",), "lacks id"),
    "part cut": (lambda run: part_of(run).write_bytes(part_of(run).read_bytes()[:50]), ("show",), "delete it and run the same command again"),
    "part empty": (lambda run: part_of(run).write_bytes(b""), ("show",), "delete it and run the same command again"),
    "part cut, same command": (lambda run: part_of(run).write_bytes(b"PAR1"), RUN, "delete it and run the same command again"),
    "part of other columns": (rename_column, ("show",), "has columns"),
    "run.json cut, same command": (lambda run: (run / "run.json").write_text("{"), RUN, "delete it and run the same command again"),
}


@pytest.fixture(scope="module")
def sound_run(tmp_path_factory):
    """A run folder, to be copied."""
    out = tmp_path_factory.mktemp("sound")
    data = sp.load("digits", take=20)
    from sparring.bench.plan import Plan

    plan = Plan.of({word.split("=", 1)[0]: word.split("=", 1)[1] for word in RUN[1:] if "take" not in word} | {"take": len(data), "out": str(out)})
    return plan.run().path


@pytest.fixture
def run(sound_run, folder):
    """A copy of a sound run under runs/."""
    import shutil
    from pathlib import Path

    return Path(shutil.copytree(sound_run, folder / "runs" / Path(sound_run).name))


@pytest.mark.parametrize("what", SPOILED)
def test_spoiled_record(what, spar, run):
    """The cure; code 2 for a file that is no header, 3 for rows that contradict it."""
    spoil, words, fragment = SPOILED[what]
    spoil(run)
    said = spar(*words)
    sentence = said.err.splitlines()[-1]
    assert fragment in sentence
    assert sentence.startswith("spar: ")
    assert "Traceback" not in said.err
    assert said.code == (2 if "run.json" in what else 3)


def test_the_cure_of_a_cut_header_works(spar, run):
    """Delete run.json, run the same command: the parts are found again, none is computed twice."""
    before = {part: part.read_bytes() for part in run.glob("cells/*/*.parquet")}
    (run / "run.json").unlink()
    assert spar(*RUN, "--quiet").code == 0
    assert {part: part.read_bytes() for part in run.glob("cells/*/*.parquet")} == before


def test_spoiled_points_leave_the_report(spar, run):
    """A section that cannot be drawn says so in its place; the numbers stay."""
    points_of(run).write_bytes(b"PK cut")
    said = spar("report")
    assert said.code == 0
    page = (run / "report.html").read_text()
    assert "is damaged, because its checksum is another: delete it; the rows stay valid" in page
    assert "digits-plain" in page


def test_one_spoiled_run_among_others(spar, run):
    """It is listed as unreadable and does not take the others with it."""
    (run.parent / "broken").mkdir()
    (run.parent / "broken" / "run.json").write_text("{")
    assert spar("show", "last", "--quiet").code == 0
    said = spar("ls", "runs", "--json")
    assert {row["name"]: row["status"] for row in json.loads(said.out)} == {"broken": "unreadable", run.name: "done"}


OF_A_RUN = {
    "unknown sample": (("show", "last", "--sample", "digits/test/0002"), "unknown sample 'digits/test/0002': did you mean digits/test/000"),
    "unknown run": (("show", "zzzz"), "unknown run 'zzzz'"),
    "run without gate": (("gate", "last"), 'add --rule "robust_accuracy >= 0.45"'),
    "gate syntax": (("gate", "last", "--rule", "robust"), "cannot read the gate"),
    "gate over 1": (("gate", "last", "--rule", "robust_accuracy >= 145%"), "between 0 and 1"),
    "gate about no case": (("gate", "last", "--rule", "robust_accuracy[l2] >= 0.1"), "matches no case"),
    "gate, unknown metric": (("gate", "last", "--rule", "robust >= 0.1"), "robust_accuracy"),
}


@pytest.mark.parametrize("what", OF_A_RUN)
def test_wrong_question_about_a_run(what, spar, run):
    """Code 2 and the nearest name."""
    words, fragment = OF_A_RUN[what]
    said = spar(*words)
    assert fragment in said.err
    assert len(said.err.splitlines()) == 1
    assert (said.code, said.out) == (2, "")


def test_a_gate_on_an_unfinished_run(spar, run):
    """Code 3: no verdict on half a run."""
    edit_header(run, status="interrupted")
    said = spar("gate", "last", "--rule", "robust_accuracy >= 0")
    assert said.code == 3
    assert "is interrupted, not done: run the same command again" in said.err


def test_names_are_text_in_the_report(spar, folder):
    """Markup in class names, file names and model names is shown, not obeyed."""
    rng = np.random.default_rng(0)
    y = np.arange(20) % 2
    classes = np.array(["<script>alert(1)</script>", "a&b<img src=x onerror=alert(2)>"])
    np.savez(folder / "<b>evil.npz", x=rng.random((20, 8, 8)).astype(np.float32), y=y, classes=classes)
    (folder / "mine.py").write_text(MODULE)
    said = spar("run", "model=mine:two_classes", "data=<b>evil.npz", "threat=linf 0.3", "attacks=fgsm, noise(tries=2)")
    assert said.code == 0, said.err
    (page,) = folder.glob("runs/*/report.html")
    text = page.read_text()
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "<b>evil" not in text
    assert "&lt;script&gt;alert(1)" in text


class Entry(EntryPoint):
    """An entry point whose module fails."""

    def load(self):
        raise ModuleNotFoundError("No module named 'jax'")


def test_a_plugin_that_cannot_be_loaded(spar, monkeypatch):
    """Its name, the reason and the cure in one line, once; the command does its work."""
    monkeypatch.setattr("sparring.core.registry.entry_points", lambda group: [Entry("plug", "plug", group)])
    monkeypatch.setattr("sparring.core.registry._walked", set())
    monkeypatch.setattr("warnings.filters", [])
    said, again = spar("ls", "attacks", "pgd", "--quiet"), spar("ls", "attacks", "pgd", "--quiet")
    assert [(one.code, one.out) for one in (said, again)] == [(0, "pgd\n")] * 2
    text = "the plugin plug (plug) cannot be loaded: ModuleNotFoundError: No module named 'jax': it is left out; fix it or uninstall it"
    assert (said.err, again.err) == (f"spar: {text}\n", "")


# Python ----------------------------------------------------------------------------------------------------------------


def digits():
    return sp.load("digits", take=20)


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def victim():
    return sp.victim(net(), sp.image(8, 8))


def of(x=None, y=None, domain=None, **more):
    data = digits()
    return sp.Data.of(data.x if x is None else x, data.y if y is None else y, domain or data.domain, **more)


def pixels(value):
    x = digits().x.clone()
    x[3, 0, 2, 2] = value
    return x


PYTHON = {
    # data
    "channels last": (lambda: of(digits().x.permute(0, 2, 3, 1)), InputError, "put the channels first"),
    "flat": (lambda: of(digits().x.flatten(1)), InputError, "(20, 64)"),
    "one image": (lambda: of(digits().x[0]), InputError, "(1, 8, 8)"),
    "8-bit levels": (lambda: of((digits().x * 255).byte()), InputError, "divide 8-bit images by 255"),
    "[0, 255]": (lambda: of(digits().x * 255), InputError, "[0, 255] but the image domain is [0, 1]"),
    "normalised": (lambda: of((digits().x - 0.5) * 4), InputError, "move the normalisation into the model"),
    "NaN": (lambda: of(pixels(float("nan"))), InputError, "1 value that is NaN or infinite, the first in sample 3: replace"),
    "infinite": (lambda: of(pixels(float("inf"))), InputError, "NaN or infinite"),
    "no samples": (lambda: of(digits().x[:0], digits().y[:0]), InputError, "no samples"),
    "words for numbers": (lambda: of([["a"]] * 20), InputError, "not an array of numbers"),
    "one-hot": (lambda: of(y=np.eye(10)[digits().y]), InputError, "not one-hot"),
    "labels too few": (lambda: of(y=[0, 1]), InputError, "2 labels for 20 samples: give one class per sample"),
    "labels negative": (lambda: of(y=[-1] * 20), InputError, "at least 0, got -1"),
    "labels real": (lambda: of(y=[0.5] * 20), InputError, "whole numbers"),
    "labels NaN": (lambda: of(y=[float("nan")] * 20), InputError, "whole numbers"),
    "labels words": (lambda: of(y=["zero", 1] * 20), InputError, "number the classes from 0 on"),
    "labels None": (lambda: of(y=[None] * 20), InputError, "number the classes from 0 on"),
    "labels beyond the classes": (lambda: of(classes=["a", "b"]), InputError, "classes are 0 to 1"),
    "ids twice": (lambda: of(ids=["a", "b"] * 10), InputError, "'a' occurs twice"),
    "ids too few": (lambda: of(ids=["a"]), InputError, "1 sample ids for 20 samples"),
    "take nothing": (lambda: sp.load("digits", take=0), InputError, "take=0"),
    "unknown set": (lambda: sp.load("digist"), UnknownName, "digits"),
    "image without size": (lambda: sp.image(3), PlanError, "image(channels, height, width)"),
    "image of words": (lambda: sp.image("8", 8), PlanError, "image('8', 8): '8' is no whole number of at least 1: give image("),
    "image of a fraction": (lambda: sp.image(1, 8, 8.5), PlanError, "image(1, 8, 8.5): 8.5 is no whole number"),
    "image of size 0": (lambda: sp.image(3, 0, 8), PlanError, "image(3, 0, 8): 0 is no whole number of at least 1"),
    "image bounds": (lambda: sp.image(8, 8, low=1.0, high=0.0), PlanError, "low must be below high"),
    "image deployed": (lambda: sp.image(8, 8, deployed="jpeg"), PlanError, "choose float or 8bit"),
    "table of no columns": (lambda: sp.table([]), PlanError, "no columns: give names"),
    "table of twins": (lambda: sp.table(["a", "a"]), PlanError, "named a: give each column a name of its own"),
    "row with a hole": (lambda: of([[1.0, float("nan")]] * 20, domain=sp.table(["a", "b"])), InputError, "row 0, column 'b'"),
    "frame without a column": (lambda: of(pd.DataFrame({"a": [1.0] * 20}), domain=sp.table(["a", "b"])), InputError, "lacks the columns 'b'"),
    "text: one string": (lambda: of("good film", [0], sp.text()), InputError, "give a list of strings"),
    "text: empty": (lambda: of(["good", " "], [0, 1], sp.text()), InputError, "sample 1 is an empty string"),
    "text: a number": (lambda: of(["good", 5], [0, 1], sp.text()), InputError, "sample 1 is 5 (int), not a string"),
    # victims
    "not a model": (lambda: sp.victim(object(), sp.image(8, 8)), LoadError, "give a torch module"),
    "network of another size": (lambda: sp.victim(nn.Linear(5, 2), sp.image(8, 8)), LoadError, "cannot take images"),
    "network of text": (lambda: sp.victim(net(), sp.text()), LoadError, "function that maps strings to scores"),
    "function without classes": (lambda: sp.victim(len, sp.image(8, 8)), LoadError, "how many classes"),
    "estimator not fitted": (lambda: sp.victim(LogisticRegression(), sp.table(["a"])), LoadError, "fit it first"),
    "unknown search": (lambda: sp.victim(net(), sp.image(8, 8), search="quick"), LoadError, "fast"),
    # threats
    "radius negative": (lambda: sp.linf(-0.1), InputError, "at least 0, got -0.1"),
    "radius NaN": (lambda: sp.l2(float("nan")), InputError, "finite"),
    "radii of two dimensions": (lambda: sp.l1(torch.ones(2, 2)), InputError, "(2, 2)"),
    "words without table": (lambda: sp.words(0.2, {}), PlanError, "neighbours"),
    "unknown rules": (lambda: sp.rules("brest-cancer"), UnknownName, "breast-cancer"),
    "unknown access": (lambda: sp.linf(0.1).seeing("all"), PlanError, "labels, scores, gradients"),
    "budget negative": (lambda: sp.linf(0.1).within(queries=-1), PlanError, "queries=-1"),
    # attacks
    "unknown attack": (lambda: sp.attacks.pdg, AttributeError, "pgd"),
    "unknown setting": (lambda: sp.attacks.pgd(victim(), digits().x, digits().y, sp.linf(0.1), stpes=3), UnknownName, "steps"),
    "attack that does not fit": (lambda: sp.attacks.square(victim(), digits().x, digits().y, sp.l2(0.1)), NeedsError, "try"),
    # evaluations
    "model without domain": (lambda: sp.evaluate(net(), (digits().x, digits().y), sp.linf(0.1)), InputError, "sp.victim(model, domain)"),
    "threat a string": (lambda: sp.evaluate(victim(), digits(), "linf 0.1"), InputError, "'linf 0.1': give sp.linf(0.1)"),
    "no threat": (lambda: sp.evaluate(victim(), digits(), []), InputError, "give sp.linf(0.1)"),
    "no attacks": (lambda: sp.evaluate(victim(), digits(), sp.linf(0.1), ""), PlanError, "it is empty; write a name"),
    "an empty list of attacks": (lambda: sp.evaluate(victim(), digits(), sp.linf(0.1), []), NeedsError, "give attacks=default"),
    "attack a function": (lambda: sp.evaluate(victim(), digits(), sp.linf(0.1), [print]), PlanError, "pgd(steps=50)"),
    "attacks the same": (lambda: sp.evaluate(victim(), digits(), sp.linf(0.1), ["fgsm", "fgsm"]), PlanError, "listed twice"),
    "gate that cannot be read": (lambda: sp.evaluate(victim(), digits(), sp.linf(0.1), ["fgsm"], gate="robust"), PlanError, "cannot read the gate"),
    "gate a number": (lambda: sp.evaluate(victim(), digits(), sp.linf(0.1), ["fgsm"], gate=0.5), PlanError, "give a string, or a list"),
    "gate about no case": (lambda: sp.evaluate(victim(), digits(), sp.linf(0.1), ["fgsm"], gate=["robust_accuracy[l2] >= 0"]), PlanError, "no case"),
    "batch 0": (lambda: sp.evaluate(victim(), digits(), sp.linf(0.1), ["fgsm"], batch=0), PlanError, "batch=0"),
    "points bogus": (lambda: sp.evaluate(victim(), digits(), sp.linf(0.1), ["fgsm"], points="some"), PlanError, '"none", "gallery" or "all"'),
    "radii for other samples": (lambda: sp.evaluate(victim(), digits(), sp.linf(torch.ones(3)), ["fgsm"]), InputError, "3 radii for 20 samples"),
    "data of another domain": (
        lambda: sp.evaluate(sp.victim(net(), sp.image(8, 8)), sp.load("breast-cancer", take=5), sp.linf(0.1)),
        InputError,
        "the model takes images",
    ),
    "no run there": (lambda: sp.Run.open("nosuch"), LoadError, "not a run folder"),
    "no such name": (lambda: sp.pgd, AttributeError, "pgd"),
}


@pytest.mark.parametrize("what", PYTHON)
def test_wrong_call(what, folder):
    """The right kind of error, with the values in the sentence, and no run folder."""
    call, kind, fragment = PYTHON[what]
    with pytest.raises(kind) as caught:
        call()
    assert fragment in str(caught.value)
    if kind is not AttributeError:
        assert isinstance(caught.value, UsageError)
        assert caught.value.exit_code == 2
    assert not list(folder.iterdir())


def test_records_that_contradict_themselves_are_no_wrong_use():
    """Their code is 3."""
    assert RecordError.exit_code == 3
    assert not issubclass(RecordError, UsageError)


def test_the_table_is_long():
    """At least seventy cases, none of them twice."""
    assert len(COMMANDS) + len(SPOILED) + len(OF_A_RUN) + len(PYTHON) >= 70
