"""Proof files that somebody has changed: each is rejected, or what it then says is still true and still proved, and the table says why."""

import functools
import json
import zipfile

import numpy as np
import pytest
from certification.proof.made import hard, pack, proofs_of, restate, tree_proofs, unpack, written

from sparring_check import check_proof

BASES = {
    "signs": lambda: proofs_of(hard(), ["relu_split"])[:1],
    "boxes": lambda: proofs_of(hard(), ["input_split"])[-1:],
    "trees": lambda: [one for one in tree_proofs(1)[2] if one is not None and max(len(boxes[0]) for boxes in one.rivals.values()) > 3][:1],
}


@functools.cache
def untouched(base, folder):
    return unpack(written(folder / f"{base}.proof", BASES[base]()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("proofs")


class Case:
    """A file that may be changed. header, arrays; `sample` is the first, `part` its part with most leaves."""

    def __init__(self, base, folder):
        header, arrays = untouched(base, folder)
        self.header, self.arrays = json.loads(json.dumps(header)), {name: value.copy() for name, value in arrays.items()}
        self.sample = self.header["samples"][0]
        if base != "trees":
            self.part = max(self.sample["parts"], key=lambda one: len(self.arrays[one["clause"]]))
            self.nodes = self.header["network"]
            self.slopes = self.part["slopes"]
        else:
            self.trees, (self.rival, self.cover) = self.header["trees"], max(self.sample["rivals"].items(), key=lambda one: len(self.arrays[one[1]["low"]]))
        self.words = True

    def __getitem__(self, name):
        return self.arrays[name]

    def set(self, name, value):
        self.arrays[name] = value

    def edit(self, name, change):
        """Change an array, in place or by what is returned."""
        value = self.arrays[name]
        changed = change(value)
        self.arrays[name] = value if changed is None else changed


TABLE = {}


def tamper(base, name, harmless=""):
    """Enter a change. harmless: why the file may still be verified."""

    def enter(change):
        assert name not in TABLE
        TABLE[name] = (base, change, harmless)
        return change

    return enter


def put(place, value):
    def change(array):
        array[place] = value

    return change


def simple(base, name, change, harmless=""):
    tamper(base, name, harmless)(change)


TRUE = "the statement about the changed network or set is still true, and its leaves still prove it"

# the network
simple(
    "signs",
    "a weight with its sign turned",
    lambda c: c.edit(c.nodes[1]["weight"], lambda w: put(np.unravel_index(np.abs(w).argmax(), w.shape), -w.flat[np.abs(w).argmax()])(w)),
)
simple("signs", "all weights of the last layer with their signs turned", lambda c: c.edit(c.nodes[-1]["weight"], lambda w: -w))
simple("signs", "a bias moved far", lambda c: c.edit(c.nodes[-1]["bias"], lambda b: b - 100 * c[c.sample["rows"]][0]))
simple(
    "signs",
    "the last bit of a weight",
    lambda c: c.edit(c.nodes[1]["weight"], lambda w: put((0, 0), np.nextafter(w[0, 0], 1))(w)),
    "the search leaves a slack of 1e-6, far more than what the last bit of a weight changes; the sha256 in the verdict is another one",
)
simple("signs", "a weight that is NaN", lambda c: c.edit(c.nodes[1]["weight"], put((0, 0), np.nan)))
simple("signs", "a weight that is infinite", lambda c: c.edit(c.nodes[1]["weight"], put((0, 0), np.inf)))
simple("signs", "a weight so large that bounds overflow", lambda c: c.edit(c.nodes[1]["weight"], put((0, 0), 1e308)))
simple("signs", "weights in float32", lambda c: c.edit(c.nodes[1]["weight"], lambda w: w.astype(np.float32)))
simple("signs", "weights that are big-endian", lambda c: c.edit(c.nodes[1]["weight"], lambda w: w.astype(">f8")))
simple("signs", "weights in Fortran order", lambda c: c.edit(c.nodes[1]["weight"], np.asfortranarray))
simple("signs", "weights transposed", lambda c: c.edit(c.nodes[1]["weight"], lambda w: w.T.copy()))
simple("signs", "a bias of another length", lambda c: c.edit(c.nodes[1]["bias"], lambda b: b[:-1]))
simple("signs", "nodes in another order", lambda c: c.nodes.reverse())
simple("signs", "two ReLU layers exchanged", lambda c: c.nodes.__setitem__(slice(None), [c.nodes[0], c.nodes[3], c.nodes[2], c.nodes[1], *c.nodes[4:]]))
simple("signs", "a ReLU that is an Add", lambda c: c.nodes[2].update(operator="Add"))
simple("signs", "a node that takes its own value", lambda c: c.nodes[2].update(inputs=[2]))
simple("signs", "a node that takes a later value", lambda c: c.nodes[1].update(inputs=[3]))
simple("signs", "a negative input", lambda c: c.nodes[3].update(inputs=[-1]))
simple("signs", "an input that is true", lambda c: c.nodes[2].update(inputs=[True]))
simple("signs", "an unknown operator", lambda c: c.nodes[2].update(operator="Identity"))
simple("signs", "an operator left out", lambda c: c.nodes[2].pop("operator"))
simple("signs", "two inputs of a ReLU", lambda c: c.nodes[2].update(inputs=[1, 1]))
simple("signs", "an input of negative size", lambda c: c.nodes[0].update(size=[-3]))
simple("signs", "an input of huge size", lambda c: c.nodes[0].update(size=[1 << 41]))
simple("signs", "an array that is not there", lambda c: c.nodes[1].update(weight="nothing"))

# the statement
simple("signs", "a larger box", lambda c: (c.edit(c.sample["low"], lambda x: x - 1), c.edit(c.sample["high"], lambda x: x + 1)))
simple("signs", "a box with low above high", lambda c: c.edit(c.sample["low"], lambda x: x + 9))
simple("signs", "a box that is NaN", lambda c: c.edit(c.sample["low"], put(0, np.nan)))
simple(
    "signs",
    "a smaller box",
    lambda c: (c.edit(c.sample["low"], lambda x: x + 0.1), c.edit(c.sample["high"], lambda x: x - 0.1)),
    "what holds on a set holds on each part of it",
)
simple("signs", "a threshold moved", lambda c: c.edit(c.sample["offset"], lambda o: o - 5))
simple("signs", "a threshold moved to the safe side", lambda c: c.edit(c.sample["offset"], lambda o: o + 5), "less is unsafe than before")
simple("signs", "rows with their signs turned", lambda c: c.edit(c.sample["rows"], lambda r: -r))
simple(
    "signs",
    "a clause left out",
    lambda c: (c.edit(c.sample["rows"], lambda r: r[:1]), c.edit(c.sample["offset"], lambda o: o[:1]), c.edit(c.sample["clause"], lambda n: n[:1])),
)
simple(
    "signs",
    "all rows left out",
    lambda c: (c.edit(c.sample["rows"], lambda r: r[:0]), c.edit(c.sample["offset"], lambda o: o[:0]), c.edit(c.sample["clause"], lambda n: n[:0])),
)
simple("signs", "clauses with a gap", lambda c: c.edit(c.sample["clause"], lambda n: n * 2))
simple("signs", "a clause that is negative", lambda c: c.edit(c.sample["clause"], lambda n: n - 1))
simple("signs", "the clauses made one", lambda c: c.edit(c.sample["clause"], lambda n: n * 0))
simple(
    "signs",
    "the same clause asked of two rows",
    lambda c: (
        c.edit(c.sample["rows"], lambda r: np.concatenate([r, r[:1] * -1])),
        c.edit(c.sample["offset"], lambda o: np.append(o, -1.0)),
        c.edit(c.sample["clause"], lambda n: np.append(n, 2)),
    ),
)
simple("signs", "no samples", lambda c: c.header.update(samples=[]))
simple("signs", "another format", lambda c: c.header.update(format="sparring proof 0"))


@tamper("signs", "the words of another statement")
def _(c):
    c.words = False
    c.header["statement"] = [text.replace("greater", "less") for text in c.header["statement"]]


@tamper("signs", "the box enlarged but not the words")
def _(c):
    c.words = False
    c.edit(c.sample["low"], lambda x: x - 1e-9)


# leaves of signs
def kept_leaves(c, keep):
    """Keep these leaves of the part, bool [n]."""
    place = np.cumsum(keep) - 1
    splits = c[c.part["splits"]]
    splits = splits[keep[splits[:, 0]]]
    splits[:, 0] = place[splits[:, 0]]
    c.set(c.part["splits"], splits)
    for name in [c.part[one] for one in ("clause", "box", "weights")] + list(c.slopes.values()) + list(c.part["multipliers"].values()):
        c.edit(name, lambda value: value[keep])


@tamper("signs", "a leaf left out")
def _(c):
    keep = np.ones(len(c[c.part["clause"]]), dtype=bool)
    keep[c[c.part["splits"]][0, 0]] = False
    kept_leaves(c, keep)


@tamper("signs", "all leaves of a part left out")
def _(c):
    c.sample["parts"].remove(c.part)


@tamper("signs", "a leaf twice", "a leaf more covers no less")
def _(c):
    c.sample["parts"].append(c.part)


@tamper("signs", "the sign of a split turned")
def _(c):
    c.edit(c.part["splits"], put((0, 3), -c[c.part["splits"]][0, 3]))


@tamper("signs", "the signs of all splits turned")
def _(c):
    c.edit(c.part["splits"], lambda s: s * [1, 1, 1, -1])


@tamper("signs", "a split left out")
def _(c):
    c.edit(c.part["splits"], lambda s: s[1:])


@tamper("signs", "all splits left out")
def _(c):
    c.edit(c.part["splits"], lambda s: s[:0])


@tamper("signs", "a split of both signs")
def _(c):
    c.edit(c.part["splits"], lambda s: np.concatenate([s, s[:1] * [1, 1, 1, -1]]))


@tamper("signs", "a split twice")
def _(c):
    c.edit(c.part["splits"], lambda s: np.concatenate([s, s[:1]]))


@tamper("signs", "a split more that the tree does not have")
def _(c):
    one = c[c.part["splits"]][0]
    taken = set(c[c.part["splits"]][c[c.part["splits"]][:, 0] == one[0], 2].tolist())
    c.edit(c.part["splits"], lambda s: np.concatenate([s, [[one[0], one[1], min(set(range(8)) - taken), 1]]]))


@tamper("signs", "a split of a sign 0")
def _(c):
    c.edit(c.part["splits"], put((0, 3), 0))


@tamper("signs", "a split of a number that is not there")
def _(c):
    c.edit(c.part["splits"], put((0, 2), 8))


@tamper("signs", "a split of a negative number")
def _(c):
    c.edit(c.part["splits"], put((0, 2), -1))


@tamper("signs", "a split of what is no ReLU")
def _(c):
    c.edit(c.part["splits"], put((0, 1), 1))


@tamper("signs", "a split of a leaf that is not there")
def _(c):
    c.edit(c.part["splits"], put((0, 0), 99))


@tamper("signs", "a split of a negative leaf")
def _(c):
    c.edit(c.part["splits"], put((0, 0), -1))


@tamper("signs", "a split of another number, leaf by leaf")
def _(c):
    c.edit(c.part["splits"], lambda s: np.where(np.arange(4) == 2, (s + s[:, :1] + 1) % 8, s))


@tamper("signs", "a slope above 1")
def _(c):
    c.edit(next(iter(c.slopes.values())), lambda s: s + 0.5)


@tamper("signs", "a slope below 0")
def _(c):
    c.edit(next(iter(c.slopes.values())), put((0, 0), -1e-7))


@tamper("signs", "a slope that is NaN")
def _(c):
    c.edit(next(iter(c.slopes.values())), put((0, 0), np.nan))


@tamper("signs", "slopes in float64")
def _(c):
    c.edit(next(iter(c.slopes.values())), lambda s: s.astype(np.float64))


@tamper("signs", "slopes of too few leaves")
def _(c):
    c.edit(next(iter(c.slopes.values())), lambda s: s[:-1])


@tamper("signs", "slopes of a node that is no ReLU")
def _(c):
    c.slopes["1"] = c.slopes.pop("2")


@tamper("signs", "slopes changed a little", "every slope in [0, 1] is sound, and the bounds keep above 0")
def _(c):
    c.edit(c.slopes["2"], lambda s: np.clip(s + np.float32(1e-7), 0, 1))


@tamper("signs", "slopes all wrong", "every slope in [0, 1] is sound, and these do, too")
def _(c):
    for name in c.slopes.values():
        c.edit(name, lambda s: 1 - s)


@tamper("signs", "the leaves' slopes reversed", "every slope in [0, 1] is sound, and these do, too")
def _(c):
    for name in c.slopes.values():
        c.edit(name, lambda s: 1 - s[::-1].copy())


@tamper("signs", "a multiplier below 0")
def _(c):
    leaf, activation, index, _ = c[c.part["splits"]][0]
    c.edit(c.part["multipliers"][str(activation)], put((leaf, index), -1.0))


@tamper("signs", "a multiplier that is infinite")
def _(c):
    leaf, activation, index, _ = c[c.part["splits"]][0]
    c.edit(c.part["multipliers"][str(activation)], put((leaf, index), np.inf))


@tamper("signs", "a huge multiplier")
def _(c):
    leaf, activation, index, _ = c[c.part["splits"]][0]
    c.edit(c.part["multipliers"][str(activation)], put((leaf, index), 1e9))


@tamper("signs", "multipliers where there is no split", "what multiplies no split is left out")
def _(c):
    splits = c[c.part["splits"]]
    for activation, name in c.part["multipliers"].items():
        value = c[name] + 3.0
        mine = splits[splits[:, 1] == int(activation)]
        value[mine[:, 0], mine[:, 2]] -= 3.0
        c.set(name, value)


@tamper("signs", "a weight of a row below 0")
def _(c):
    c.edit(c.part["weights"], lambda w: -w)


@tamper("signs", "weights that are all 0")
def _(c):
    c.edit(c.part["weights"], lambda w: w * 0)


@tamper("signs", "weights for rows of another clause")
def _(c):
    c.edit(c.part["weights"], lambda w: w[:, ::-1].copy())


@tamper("signs", "leaves said to be of another clause")
def _(c):
    c.edit(c.part["clause"], lambda n: 1 - n)


@tamper("signs", "leaves moved to another clause with their weights")
def _(c):
    c.edit(c.part["clause"], lambda n: 1 - n)
    c.edit(c.part["weights"], lambda w: w[:, ::-1].copy())


@tamper("signs", "a leaf of a clause that is not there")
def _(c):
    c.edit(c.part["clause"], put(0, 2))


@tamper("signs", "a leaf of a negative clause")
def _(c):
    c.edit(c.part["clause"], put(0, -1))


@tamper("signs", "a leaf of a box that is not there")
def _(c):
    c.edit(c.part["box"], put(0, 1))


# tightenings
def tightening(c):
    return c.sample["tightenings"][0]


@tamper("signs", "more tightenings than there are")
def _(c):
    c.part["tightened"] = 9


@tamper("signs", "a negative count of tightenings")
def _(c):
    c.part["tightened"] = -1


@tamper("signs", "a count of tightenings that is no whole number")
def _(c):
    c.part["tightened"] = 1.0


@tamper("signs", "tightenings twice", "a bound that holds may be found again")
def _(c):
    c.sample["tightenings"].append(tightening(c))


@tamper("signs", "tightenings left out, with their count")
def _(c):
    c.sample["tightenings"] = []


@tamper("signs", "a tightening of a node that is not there")
def _(c):
    tightening(c)["node"] = 77


@tamper("signs", "a tightening of the input")
def _(c):
    tightening(c)["node"] = 0


@tamper("signs", "a tightening of another node", TRUE)
def _(c):
    tightening(c)["node"] = 4


@tamper("signs", "a tightening of a number that is not there")
def _(c):
    c.edit(tightening(c)["index"], put(0, 8))


@tamper("signs", "a tightening of a negative number")
def _(c):
    c.edit(tightening(c)["index"], put(0, -1))


@tamper("signs", "a tightening of sign 2")
def _(c):
    c.edit(tightening(c)["sign"], lambda s: s * 2)


@tamper("signs", "a tightening with signs in int64")
def _(c):
    c.edit(tightening(c)["sign"], lambda s: s.astype(np.int64))


@tamper("signs", "a tightening with slopes above 1")
def _(c):
    c.edit(next(iter(tightening(c)["slopes"].values())), lambda s: s + 1)


@tamper("signs", "a tightening of a leaf that is not there")
def _(c):
    c.edit(tightening(c)["leaf"], put(0, 1))


# boxes
def ends(c, side):
    return c.part["boxes"][side]


@tamper("boxes", "a box left out")
def _(c):
    c.edit(c.part["box"], put(c[c.part["box"]] == 1, 0))


@tamper("boxes", "a box a little smaller")
def _(c):
    c.edit(ends(c, "high"), put((0, 0), np.nextafter(c[ends(c, "high")][0, 0], -9)))


@tamper("boxes", "a box made empty")
def _(c):
    c.edit(ends(c, "high"), lambda x: put(0, c[ends(c, "low")][0] - 1)(x))


@tamper("boxes", "a box that is made all of the set")
def _(c):
    low, high = c[ends(c, "low")], c[ends(c, "high")]
    smallest = (high - low).prod(1).argmin()
    low[smallest], high[smallest] = c[c.sample["low"]], c[c.sample["high"]]


@tamper("boxes", "the set larger than its boxes")
def _(c):
    c.edit(c.sample["high"], lambda x: np.nextafter(x, 9))


@tamper("boxes", "the set smaller than its boxes", "boxes may reach beyond the set")
def _(c):
    c.edit(c.sample["high"], lambda x: np.nextafter(x, -9))


@tamper("boxes", "two boxes with ends exchanged")
def _(c):
    c.edit(ends(c, "high"), lambda x: x[::-1].copy())


@tamper("boxes", "a leaf's box that is NaN")
def _(c):
    c.edit(ends(c, "low"), put((0, 0), np.nan))


@tamper("boxes", "low ends of fewer boxes")
def _(c):
    c.edit(ends(c, "low"), lambda x: x[:-1])


@tamper("boxes", "boxes of another dimension")
def _(c):
    for side in ("low", "high"):
        c.edit(ends(c, side), lambda x: x[:, :-1].copy())


@tamper("boxes", "weights of one leaf 0")
def _(c):
    c.edit(c.part["weights"], put(0, 0.0))


@tamper("boxes", "the boxes of another part of the header")
def _(c):
    c.part["boxes"] = {"low": c.part["boxes"]["high"], "high": c.part["boxes"]["low"]}


@tamper("boxes", "no boxes at all")
def _(c):
    c.part["boxes"] = None


# trees
@tamper("trees", "a leaf value that is larger for a rival")
def _(c):
    c.edit(c.trees["value"], put((slice(None), int(c.rival)), 9.0))


@tamper("trees", "thresholds of trees moved")
def _(c):
    c.edit(c.trees["edge"], lambda e: 1 - e)


@tamper("trees", "children exchanged")
def _(c):
    c.trees["left"], c.trees["right"] = c.trees["right"], c.trees["left"]


@tamper("trees", "a tree that goes round")
def _(c):
    c.edit(c.trees["left"], put(0, 0))


@tamper("trees", "a child that is not there")
def _(c):
    c.edit(c.trees["left"], put(0, 10**6))


@tamper("trees", "a column that is not there")
def _(c):
    c.edit(c.trees["feature"], put(0, 3))


@tamper("trees", "a negative root")
def _(c):
    c.edit(c.trees["root"], put(0, -1))


@tamper("trees", "a root left out")
def _(c):
    c.edit(c.trees["root"], lambda r: r[:0])


@tamper("trees", "a margin that is larger")
def _(c):
    c.edit(c.sample["margin"], lambda m: m + 100)


@tamper("trees", "a base score for the rival")
def _(c):
    c.edit(c.trees["base"], put(int(c.rival), 99.0))


@tamper("trees", "a rival that is not there")
def _(c):
    c.sample["rivals"]["7"] = c.cover


@tamper("trees", "a rival that is negative")
def _(c):
    c.sample["rivals"]["-1"] = c.cover


@tamper("trees", "the right class as its own rival")
def _(c):
    c.sample["rivals"][str(c.sample["right"])] = c.cover


@tamper("trees", "another class said to be right")
def _(c):
    c.sample["right"] = int(c.rival)


@tamper("trees", "no rivals")
def _(c):
    c.sample["rivals"] = {}


@tamper("trees", "a box of trees left out")
def _(c):
    for side in ("low", "high"):
        c.edit(c.cover[side], lambda x: x[1:])


@tamper("trees", "a box of trees a little smaller")
def _(c):
    c.edit(c.cover["high"], put((0, 0), np.nextafter(np.nextafter(c[c.cover["high"]][0, 0], -9), -9)))


@tamper("trees", "a box of trees that is all")
def _(c):
    for side in ("low", "high"):
        c.edit(c.cover[side], lambda x, side=side: c[c.sample[side]][None].repeat(len(x), 0))


@tamper("trees", "a larger set than the boxes of trees fill")
def _(c):
    c.edit(c.sample["high"], lambda x: np.nextafter(x, 9))


@tamper("trees", "columns said to be whole numbers")
def _(c):
    c.edit(c.sample["whole"], lambda w: (w + 1).astype(np.int8))


# files
@tamper("signs", "an array of objects")
def _(c):
    c.edit(c.nodes[1]["weight"], lambda w: w.astype(object))


@tamper("signs", "an array of text")
def _(c):
    c.edit(c.nodes[1]["weight"], lambda w: w.astype(str))


@tamper("signs", "an array cut short")
def _(c):
    import io

    content = io.BytesIO()
    np.save(content, c[c.nodes[1]["weight"]])
    c.set(c.nodes[1]["weight"], content.getvalue()[:-8])


@tamper("signs", "an array that says it is huge")
def _(c):
    import io

    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 3)})
    c.set(c.nodes[1]["weight"], content.getvalue())


@tamper("signs", "an array of negative shape")
def _(c):
    import io

    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (-8, -3)})
    c.set(c.nodes[1]["weight"], content.getvalue() + c[c.nodes[1]["weight"]].tobytes())


@tamper("signs", "an array that is no array")
def _(c):
    c.set(c.nodes[1]["weight"], b"import os")


def least_margin(case):
    """The least of the greatest of the rows of a clause, at many points of the set of the file, by plain numpy."""
    draw = np.random.default_rng(0)
    low, high = case[case.sample["low"]], case[case.sample["high"]]
    y = low + (high - low) * draw.beta(0.3, 0.3, (20000, len(low)))
    for node in case.nodes[1:]:
        y = np.maximum(y, 0) if node["operator"] == "Relu" else y @ case[node["weight"]].T + case[node["bias"]]
    values = y @ case[case.sample["rows"]].T + case[case.sample["offset"]]
    clause = case[case.sample["clause"]]
    return min(values[:, clause == number].max(1).min() for number in set(clause.tolist()))


@pytest.mark.parametrize("name", TABLE)
def test_tampered(name, folder, tmp_path, capsys):
    base, change, harmless = TABLE[name]
    case = Case(base, folder)
    change(case)
    if case.words:
        try:
            restate(case.header, case.arrays)
        except Exception:  # what cannot be put into words at all
            case.header["statement"] = []
    code = check_proof.main([str(pack(tmp_path / "tampered.proof", case.header, case.arrays))])
    said = capsys.readouterr().out
    if harmless:
        assert (code, said.splitlines()[0]) == (0, "verified:"), said
        assert base == "trees" or least_margin(case) > 0
    else:
        assert code in (1, 2), said
        assert said.startswith(("REJECTED: ", "cannot be read: "))
        assert "verified" not in said


@pytest.mark.parametrize("base", BASES)
def test_what_is_tampered_with_was_verified(base, folder, tmp_path):
    header, arrays = untouched(base, folder)
    assert check_proof.main([str(pack(tmp_path / "again.proof", header, arrays))]) == 0
    restated = json.loads(json.dumps(header))
    restate(restated, arrays)
    assert restated["statement"] == header["statement"]


def test_there_are_many_kinds():
    assert len(TABLE) >= 100
    assert sum(bool(harmless) for _, _, harmless in TABLE.values()) <= 12


def test_files_that_are_no_proofs(tmp_path, folder, monkeypatch, capsys):
    header, arrays = untouched("signs", folder)
    path = tmp_path / "a.proof"
    assert check_proof.main([str(path)]) == 2
    path.write_bytes(b"PK")
    assert check_proof.main([str(path)]) == 2
    content = pack(path, header, arrays).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert check_proof.main([str(path)]) == 2
    turned = bytearray(content)
    turned[len(content) // 3] ^= 0x55
    path.write_bytes(bytes(turned))
    assert check_proof.main([str(path)]) in (1, 2)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("header.json", "[" * 100_000)
    assert check_proof.main([str(path)]) == 2
    pack(path, header, arrays)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("header.json", json.dumps(header))
    assert check_proof.main([str(path)]) == 1
    pack(path, header, {**arrays, "zeros": np.zeros(1 << 20)})  # small when packed
    monkeypatch.setattr(check_proof, "ROOM", 1 << 22)
    assert path.stat().st_size < 1 << 16
    capsys.readouterr()
    assert check_proof.main([str(path)]) == 1
    assert "too large" in capsys.readouterr().out
