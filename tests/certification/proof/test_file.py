"""Proofs of real searches are accepted, statements that are false never, and the checker's arithmetic is on the safe side."""

import ast
import io
import itertools
import sys
import tokenize
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from certification.networks.small_networks import box, convolution, exact_minimum, mlp, points_of
from certification.proof.made import easy, hard, pack, proofs_of, restate, tree_proofs, unpack, written

from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.proof.form import BoxLeaf, InputProof, ReluLeaf, ReluProof, Split
from sparring.certification.networks.proof.sample import SampleProof
from sparring.certification.networks.query import Query
from sparring.certification.proof.file import write_proof
from sparring.core.errors import InputError
from sparring.graph.network import Network, Node
from sparring.graph.operators import Add, Concat, Conv, ConvTranspose, Input, Linear, Relu, Reshape, Scale, Select
from sparring_check import check_network, check_proof

SOURCE = Path(check_proof.__file__)
SHARED = Path(__file__).parents[4] / "shared" / "data" / "vnncomp"


def test_the_checker_is_short_and_stands_alone():
    text = SOURCE.read_text()
    code, documented = set(), set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            code.update(range(token.start[0], token.end[0] + 1))
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            documented.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
        if isinstance(node, ast.Import):
            imported.update(alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.split(".")[0])
    assert len(code - documented) <= 400
    assert imported - sys.stdlib_module_names == {"numpy"}
    assert "pickle" not in text
    assert "eval(" not in text


@pytest.mark.parametrize(
    ("query", "verifiers"),
    [
        (lambda: easy(), ["crown"]),
        (lambda: easy(), ["ibp", "crown"]),
        (lambda: hard(radius=0.1), ["ibp", "crown", "alpha"]),
        (lambda: hard(), ["crown", "relu_split"]),
        (lambda: hard(), ["input_split"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_proofs_of_searches_are_verified(tmp_path, query, verifiers):
    proofs = proofs_of(query(), verifiers)
    assert proofs
    said = check_proof.check(str(written(tmp_path / "a.proof", proofs)))
    assert len(said) == len(proofs) + 1
    assert proofs[0].query.network.fingerprint in said[0]
    for proof in proofs:
        points = points_of(proof.query.inputs, 2000)[0]
        asked = proof.query.take(torch.zeros(2000, dtype=torch.int64))
        assert bool((asked.margin(asked.at(points)) > 0).all())


def test_a_convolution_and_a_ball(tmp_path):
    network = convolution(0)
    x = torch.rand(3, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = Query.robustness(network, box(x, 0.02), network(x).argmax(1))
    for order in (1, 2):
        radius = torch.full((3,), 0.1 if order == 2 else 0.2, dtype=torch.float64)
        inputs = InputSet((x - 0.09).clamp(0, 1), (x + 0.09).clamp(0, 1), x, radius, order)
        proofs = proofs_of(Query(network, inputs, plain.constraints, plain.offset, plain.disjunct), ["crown", "alpha", "relu_split"])
        assert proofs
        said = check_proof.check(str(written(tmp_path / "ball.proof", proofs)))
        assert f"within L{order} distance" in said[1]
        header, arrays = unpack(tmp_path / "ball.proof")
        for sample in header["samples"]:
            arrays[sample["ball"]["radius"]] = np.float64(1e3)  # where nothing but the box is left
            arrays[sample["low"]], arrays[sample["high"]] = arrays[sample["low"]] - 50, arrays[sample["high"]] + 50
        restate(header, arrays)
        assert check_proof.main([str(pack(tmp_path / "wide.proof", header, arrays))]) == 1
    assert check_proof.main([str(written(tmp_path / "box.proof", proofs_of(plain, ["crown"])))]) == 0


def everything():
    """A network with every operator, and odd sizes."""
    g = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64) * 0.4

    return Network(
        (
            Node(Input((2, 7, 6))),
            Node(Conv(draw(4, 1, 3, 2), draw(4), (2, 1), (1, 2), (1, 2), 2), (0,)),
            Node(Relu(), (1,)),
            Node(ConvTranspose(draw(4, 3, 2, 3), draw(3), (2, 1), (1, 0), (1, 1), 1, (1, 0)), (2,)),
            Node(Scale(draw(3, 1, 1), draw(10)), (3,)),
            Node(Relu(), (4,)),
            Node(Add(), (4, 5)),
            Node(Concat(0), (6, 5, 6)),
            Node(Select(torch.tensor([[3, -1, 5, 3], [100, 7, 11, 0], [20, 21, 22, 23]])), (7,)),
            Node(Conv(draw(2, 3, 2), draw(2), (1,), (1,), (2,)), (8,)),
            Node(Relu(), (9,)),
            Node(Reshape((2, 2, 2)), (10,)),
            Node(Linear(draw(3, 2), draw(3)), (11,)),
            Node(Reshape((12,)), (12,)),
            Node(Linear(draw(3, 12)), (13,)),
        )
    )


def graph_of(network, path):
    """The checker's reading of a network."""
    inputs = torch.zeros(1, *network.input_shape, dtype=torch.float64)
    asked = Query.robustness(network, box(inputs, 0.1), torch.tensor([0]))
    write_proof(path, [SampleProof(asked, ReluProof((ReluLeaf(0, np.eye(asked.constraints.shape[1])[0]),)))])
    return check_proof.Graph(check_proof.File(str(path)))


def test_its_operators_are_those_of_torch(tmp_path):
    """Its forward maps and adjoints agree with torch's convolutions, on a network with all of them; its bounds hold at points."""
    network = everything()
    graph = graph_of(network, tmp_path / "a.proof")
    assert graph.fingerprint == network.fingerprint
    assert [node["shape"] for node in graph.nodes] == list(network.shapes)
    g = torch.Generator().manual_seed(0)
    for place, node in enumerate(graph.nodes):
        if node["operator"] in check_proof.AFFINE:
            (before,) = network.nodes[place].inputs
            x = torch.randn(3, *network.shapes[before], generator=g, dtype=torch.float64)
            y = torch.randn(3, *network.shapes[place], generator=g, dtype=torch.float64)
            operator, flat = network.nodes[place].operator, x.flatten(1).numpy()
            first = graph.nodes[before]
            np.testing.assert_allclose(check_proof.linear(node, first, flat) + node["constant"], operator(x).flatten(1), atol=1e-12)
            np.testing.assert_allclose(check_proof.linear(node, first, flat, absolute=True), operator.absolute(x).flatten(1), atol=1e-12)
            back = operator.adjoint(y, network.shapes[before])
            np.testing.assert_allclose(check_proof.linear(node, first, y.flatten(1).numpy(), backward=True), back.flatten(1), atol=1e-12)
    inputs = box(torch.rand(4, *network.input_shape, generator=g, dtype=torch.float64), 0.2)
    region = check_proof.Region(graph, inputs.low.flatten(1).numpy(), inputs.high.flatten(1).numpy())
    points = points_of(inputs, 500)
    for sample in range(4):
        for place, value in enumerate(network.values(points[sample])):
            assert (value.flatten(1).numpy() >= region.low[place][sample]).all()
            assert (value.flatten(1).numpy() <= region.high[place][sample]).all()
        rows = np.random.default_rng(0).normal(size=(5, 3))
        least = region.least(graph.last, rows, np.full(5, sample), {}, {})
        assert (least <= (network(points[sample]).numpy() @ rows.T).min(0)).all()


@pytest.mark.parametrize("seed", range(6))
def test_its_bounds_are_below_the_exact_minimum_and_near_it(tmp_path, seed):
    network = mlp(seed, (2, 4, 3, 2))
    graph = graph_of(network, tmp_path / "a.proof")
    draw = np.random.default_rng(seed)
    low = draw.uniform(-1, 0, 2)
    high = low + 0.3
    region = check_proof.Region(graph, low[None], high[None])
    row = draw.normal(size=2)
    least = region.least(graph.last, row[None], np.zeros(1, int), {}, {})[0]
    exact = exact_minimum(network, low, high, row)
    assert least <= exact + 1e-9
    assert least > exact - 3
    for _ in range(5):  # any slopes
        slopes = {place: draw.uniform(size=(1, graph.nodes[place]["count"])).astype(np.float32) for place in graph.relus}
        assert region.least(graph.last, row[None], np.zeros(1, int), slopes, {})[0] <= exact + 1e-9


def test_splits_and_multipliers_are_below_the_exact_minimum_of_their_part(tmp_path):
    """On each of the parts of a split the bound holds at the points of the part, with any multipliers."""
    network = mlp(4, (2, 4, 3, 2))
    graph = graph_of(network, tmp_path / "a.proof")
    draw = np.random.default_rng(0)
    region = check_proof.Region(graph, np.full((1, 2), -1.0), np.full((1, 2), 1.0))
    points = torch.from_numpy(draw.uniform(-1, 1, (20000, 2)))
    values = [value.numpy() for value in network.values(points)]
    row, met = draw.normal(size=2), 0
    for activation, before in graph.relus.items():
        for index, sign in itertools.product(range(graph.nodes[activation]["count"]), (-1, 1)):
            inside = sign * values[before][:, index] <= 0
            if not inside.any():
                continue
            met += 1
            for size in (0.0, 0.3, 3.0):
                push = np.zeros((1, graph.nodes[activation]["count"]))
                push[0, index] = sign * size
                least = region.least(graph.last, row[None], np.zeros(1, int), {}, {activation: push})[0]
                assert least <= (values[-1][inside] @ row).min() + 1e-12
    assert met >= 10


def test_rounding_never_proves_what_is_false(tmp_path):
    """Sums whose real value is at most 0 while float64 in some order makes them positive."""
    draw, met = np.random.default_rng(0), 0
    while met < 20:
        numbers = draw.choice([0.1, 0.2, 0.3, 0.7, 1.1, 1.3, 1e9, 1e16 / 3], 6) * draw.choice([-1.0, 1.0], 6)
        numbers[-1] = -float(numbers[:-1].sum())
        real = sum(map(Fraction, numbers))
        if not (real <= 0 < max(sum(numbers[order]) for order in map(list, itertools.permutations(range(6))))):
            continue
        met += 1
        weight = torch.from_numpy(numbers[None])
        network = Network((Node(Input((6,))), Node(Linear(weight), (0,)), Node(Relu(), (1,)), Node(Linear(torch.ones(1, 1, dtype=torch.float64)), (2,))))
        inputs = box(torch.ones(1, 6, dtype=torch.float64), 0.0)
        one = torch.ones(1, 1, 1, dtype=torch.float64)
        asked = Query(network, inputs, one, torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.int64))
        write_proof(tmp_path / "a.proof", [SampleProof(asked, ReluProof((ReluLeaf(0, np.ones(1)),)))])
        with pytest.raises(check_proof.Rejected, match="no weighted sum"):
            check_proof.check(str(tmp_path / "a.proof"))


def broken_proofs(query):
    """What a search without a conscience would write of queries that are refuted."""
    count = sum(1 for one in query.disjunct[0].tolist() if one >= 0)
    unit = np.eye(count)
    yield ReluProof(tuple(ReluLeaf(clause, unit[clause]) for clause in range(count)))
    ways = [tuple(Split(2, index, sign) for index, sign in enumerate(signs)) for signs in itertools.product((-1, 1), repeat=3)]
    yield ReluProof(tuple(ReluLeaf(clause, unit[clause], splits) for clause in range(count) for splits in ways))
    pushed = {2: np.full(8, 1e6)}
    yield ReluProof(tuple(ReluLeaf(clause, unit[clause], splits, multipliers=pushed) for clause in range(count) for splits in ways))
    low, high = query.inputs.low[0].numpy(), query.inputs.high[0].numpy()
    middle = high.copy()
    middle[0] = (low[0] + high[0]) / 2
    behind = low.copy()
    behind[0] = middle[0]
    weights = {clause: unit[clause] for clause in range(count)}
    yield InputProof((BoxLeaf(low, middle, weights), BoxLeaf(behind, high, weights)))


def test_false_statements_are_rejected(tmp_path):
    """Refuted by a point of the set: whatever leaves are written, the checker does not agree."""
    query, met = hard(radius=0.8), 0
    for row in range(len(query)):
        asked = query.take(torch.tensor([row]))
        points = points_of(asked.inputs, 4000)[0]
        if bool((query.take(torch.full((4000,), row)).margin(query.take(torch.full((4000,), row)).at(points)) > 0).all()):
            continue
        for proof in broken_proofs(asked):
            met += 1
            assert check_proof.main([str(written(tmp_path / "a.proof", [SampleProof(asked, proof)]))]) == 1
    assert met >= 12


@pytest.mark.parametrize("seed", range(4))
def test_boxes_cover_exactly_if_none_is_missing(seed):
    """Random guillotine cuts fill a box; without any one of them, or with any one smaller, they do not."""
    draw = np.random.default_rng(seed)
    bottom, top = np.array([0.0, -1.0, 2.0, 5.0]), np.array([1.0, 1.0, 3.5, 5.0])
    boxes = [(bottom, top)]
    while len(boxes) < 40:
        low, high = boxes.pop(draw.integers(len(boxes)))
        axis = draw.integers(3)
        cut = low[axis] + (high[axis] - low[axis]) * draw.uniform(0.2, 0.8)
        left, right = high.copy(), low.copy()
        left[axis] = right[axis] = cut
        boxes += [(low, left), (right, high)]
    lows, highs = (np.stack(side) for side in zip(*boxes, strict=True))
    order = draw.permutation(40)
    assert check_proof.boxes_cover(lows[order], highs[order], bottom, top)
    for place in range(40):
        assert not check_proof.boxes_cover(np.delete(lows, place, 0), np.delete(highs, place, 0), bottom, top)
        axis, smaller = draw.integers(3), highs.copy()
        smaller[place, axis] = np.nextafter(smaller[place, axis], -np.inf)
        assert not check_proof.boxes_cover(lows, smaller, bottom, top)
    assert not check_proof.boxes_cover(np.zeros((0, 4)), np.zeros((0, 4)), bottom, top)


@pytest.mark.parametrize("seed", range(4))
def test_signs_cover_exactly_if_every_choice_has_a_leaf(seed):
    """Random binary trees of signs; against enumeration, whole and with a leaf missing or a sign turned."""
    draw = np.random.default_rng(seed)
    leaves = [{}]
    while len(leaves) < 12:
        place = draw.integers(len(leaves))
        number = next((int(one) for one in draw.permutation(6) if int(one) not in leaves[place]), None)
        if number is not None:
            one = leaves.pop(place)
            leaves += [{**one, number: -1}, {**one, number: 1}]

    def truth(these):
        return all(any(all(signs[number] == sign for number, sign in leaf.items()) for leaf in these) for signs in itertools.product((-1, 1), repeat=6))

    def asked(these):
        return check_proof.signs_cover([dict(leaf) for leaf in these])

    assert asked(leaves)
    assert truth(leaves)
    for place in range(12):
        fewer = leaves[:place] + leaves[place + 1 :]
        assert not asked(fewer)
        assert not truth(fewer)
        number = next(iter(leaves[place]))
        turned = [*fewer, {**leaves[place], number: -leaves[place][number]}]
        assert not asked(turned)
        assert not truth(turned)


def test_trees(tmp_path):
    """Proofs of boxes agree with many points and corners of them; boxes in which a rival wins are never proved."""
    ensemble, rows, found = tree_proofs()
    assert 4 <= sum(one is not None for one in found) < len(found)
    draw = np.random.default_rng(0)
    for row, proof in zip(rows, found, strict=True):
        points = row + draw.uniform(-0.2, 0.2, (5000, 3))
        same = bool((ensemble.label(points) == ensemble.label(row[None])).all())
        assert same == (proof is not None)  # so few cells that points find every one that is not thin
    said = check_proof.check(str(written(tmp_path / "a.proof", [one for one in found if one is not None])))
    assert "the leaves of class" in said[1]


def test_trees_with_columns_of_whole_numbers(tmp_path):
    from certification.proof.made import stumps

    from sparring.certification.trees.proof import prove

    ensemble, proofs = stumps(2), []
    whole = np.array([True, False, True])
    for row in np.random.default_rng(0).uniform(size=(12, 3)).round(1):
        row = np.where(whole, np.round(row), row)
        right = int(ensemble.label(row[None])[0])
        proof = prove(ensemble, right, [one for one in range(3) if one != right], row - 0.6, row + 0.6, whole, margin=0.0)
        points = np.array(list(itertools.product(*(([row[i]] if whole[i] else np.linspace(row[i] - 0.6, row[i] + 0.6, 201)) for i in range(3)))))
        assert (proof is not None) == bool((ensemble.label(points) == right).all())
        proofs += [proof] if proof is not None else []
    assert proofs
    said = check_proof.check(str(written(tmp_path / "a.proof", proofs)))
    assert "(whole numbers in columns [0, 2])" in said[1]


def forest():
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(6, max_depth=4, random_state=0)


def boosted():
    return pytest.importorskip("xgboost").XGBClassifier(n_estimators=4, n_jobs=1)


@pytest.mark.parametrize("make", [forest, boosted])
def test_certificates_of_trees_with_proofs(tmp_path, make):
    """From `certify` to a file: what is proved of rows of iris is verified, and holds at points for the library's own predictions."""
    from sklearn.datasets import load_iris

    from sparring.certification.certify import certify
    from sparring.core.threat import Threat
    from sparring.domains.table import Column, Table
    from sparring.models.estimator import EstimatorVictim
    from sparring.threats.balls import Linf
    from sparring.threats.goals import Untargeted

    x, y = load_iris(return_X_y=True)
    domain = Table(tuple(Column(f"c{place}", "real", float(low), float(high)) for place, (low, high) in enumerate(zip(x.min(0), x.max(0), strict=True))))
    model = make().fit(x, y)
    victim, rows = EstimatorVictim(model, domain), torch.from_numpy(x[::10])
    found = certify(victim, rows, torch.from_numpy(y[::10]), Threat(Linf(0.2), Untargeted()), ["trees"], proofs=True, minimal=False)
    proved = [row for row, one in enumerate(found) if one.proved]
    assert len(proved) >= 8
    assert found.write_proofs(str(tmp_path / "a.proof")) == len(proved)
    said = check_proof.check(str(tmp_path / "a.proof"))
    draw = np.random.default_rng(0)
    for row, text in zip(proved, said[1:], strict=True):
        points = np.clip(x[::10][row] + draw.uniform(-0.2, 0.2, (300, 4)), x.min(0), x.max(0))
        right = int(y[::10][row])
        assert (model.predict(points) == right).all()
        assert f"the leaves of class {right} add up" in text


def test_nothing_to_write_and_two_models(tmp_path):
    with pytest.raises(InputError, match="nothing was proved"):
        write_proof(tmp_path / "a.proof", [])
    with pytest.raises(InputError, match="2 models"):
        write_proof(tmp_path / "a.proof", [*proofs_of(easy(), ["crown"]), *proofs_of(easy(1), ["crown"])])
    assert list(tmp_path.iterdir()) == []


def test_it_runs_by_itself(tmp_path):
    import shutil
    import subprocess

    shutil.copy(SOURCE, tmp_path / "alone.py")
    written(tmp_path / "a.proof", proofs_of(easy(), ["crown"]))

    def run(*words):
        return subprocess.run([sys.executable, "-I", "alone.py", *words], cwd=tmp_path, capture_output=True, text=True, check=False)

    good = run("a.proof")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("verified:\n3 statements of the network with sha256 ")
    assert run("alone.py").returncode == 2
    (tmp_path / "net.onnx").write_bytes(b"another")
    other = run("a.proof", "--network", "net.onnx")
    assert other.returncode != 0
    assert "verified" not in other.stdout


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not beside the checkout")
@pytest.mark.parametrize(
    ("network", "asked"),
    [
        ("acasxu/onnx/ACASXU_run2a_4_1_batch_2000.onnx", "acasxu/vnnlib/prop_1.vnnlib"),
        ("mnist_fc/onnx/mnist-net_256x2.onnx", "mnist_fc/vnnlib/prop_11_0.05.vnnlib"),
    ],
)
def test_published_instances(tmp_path, network, asked):
    """One that inputs are split for and one that signs are split for; labelled unsat by several tools."""
    import gzip

    from sparring.certification.vnnlib.instance import decide_instance

    answer = decide_instance(SHARED / network, SHARED / asked, 60, proof=tmp_path / "a.proof")
    assert (answer.result, answer.proof) == ("unsat", str(tmp_path / "a.proof"))
    (tmp_path / "net.onnx").write_bytes(gzip.decompress((SHARED / f"{network}.gz").read_bytes()))
    assert check_proof.main([answer.proof, "--network", str(tmp_path / "net.onnx")]) == 0
    assert check_network.main([answer.proof, str(tmp_path / "net.onnx")]) == 0
