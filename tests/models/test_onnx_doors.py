"""What ONNX files bring: outputs by type, pixels in another order, whole numbers, weights in files beside them."""

import numpy as np
import pytest
import torch

import sparring as sp
from sparring.core.errors import AccessError, LoadError
from sparring.models.graph_of import network_of
from sparring.models.load import load_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
make, kinds, packed = onnx.helper, onnx.TensorProto, onnx.numpy_helper.from_array
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(4, 4)).astype("f4")
X = RNG.normal(size=(50, 4))
TABLE = sp.table(list("abcd"))


def save(path, nodes, inputs, outputs, tensors, **more):
    domains = {node.domain for node in nodes if node.domain}
    opsets = [make.make_opsetid("", 13), *(make.make_opsetid(one, 3) for one in domains)]
    model = make.make_model(make.make_graph(nodes, "g", inputs, outputs, tensors), opset_imports=opsets, ir_version=8)
    onnx.save(model, str(path), **more)
    return str(path)


def classifier(path, classes, outputs):
    """Scores, their softmax and the name of the best class, as the converters of other libraries write them."""
    count = len(classes)
    nodes = [
        make.make_node("MatMul", ["x", "W"], ["scores"]),
        make.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        make.make_node("ArgMax", ["scores"], ["place"], axis=1, keepdims=0),
        make.make_node("Gather", ["names", "place"], ["label"]),
        make.make_node("ZipMap", ["probabilities"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=classes),
    ]
    map_type = make.make_map_type_proto(kinds.INT64, make.make_tensor_type_proto(kinds.FLOAT, None))
    known = {
        "label": make.make_tensor_value_info("label", kinds.INT64, ["n"]), "place": make.make_tensor_value_info("place", kinds.INT64, ["n"]),
        "probabilities": make.make_tensor_value_info("probabilities", kinds.FLOAT, ["n", count]),
        "scores": make.make_tensor_value_info("scores", kinds.FLOAT, ["n", count]),
        "maps": make.make_value_info("maps", make.make_sequence_type_proto(map_type)),
    }  # fmt: skip
    if "maps" not in outputs:
        nodes = nodes[:-1]
    tensors = [packed(WEIGHT[:, :count].copy(), "W"), packed(np.array(classes), "names")]
    return save(path, nodes, [make.make_tensor_value_info("x", kinds.FLOAT, ["n", 4])], [known[one] for one in outputs], tensors)


@pytest.mark.parametrize("outputs", [["label", "probabilities"], ["probabilities", "label"], ["label", "maps"], ["label", "scores"]])
@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 2, 3], [1, 2]])
def test_scores_are_found_by_their_type(classes, outputs, tmp_path):
    """Whichever comes first; gradients and bounds come from the same output."""
    victim = sp.victim(classifier(tmp_path / "m.onnx", classes, outputs), TABLE)
    scores = X.astype("f4") @ WEIGHT[:, : len(classes)]
    assert victim.classes == len(classes)
    assert (victim.label(X).numpy() == scores.argmax(1)).all()
    assert len(np.unique(victim.scores(X).numpy())) > len(classes) + 1
    if outputs[1] == "maps":
        assert victim.class_names == [str(one) for one in classes]
        assert "gradients" not in victim.exposes
    else:
        assert "gradients" in victim.exposes
        assert network_of(victim).outputs == len(classes)


def test_two_outputs_of_scores_need_a_name(tmp_path):
    path = classifier(tmp_path / "m.onnx", [0, 1, 2], ["probabilities", "scores"])
    with pytest.raises(LoadError, match=r"several outputs that may hold scores, .*: name one, output='probabilities'"):
        sp.victim(path, TABLE)
    one, other = (sp.victim(path, TABLE, output=name) for name in ("probabilities", "scores"))
    assert torch.allclose(one.scores(X), other.scores(X).softmax(1), atol=1e-6)
    assert one.fingerprint != other.fingerprint
    with pytest.raises(LoadError, match="has no output 'logits' of numbers; its outputs are probabilities"):
        sp.victim(path, TABLE, output="logits")


def test_class_numbers_alone_expose_labels(tmp_path):
    path = classifier(tmp_path / "m.onnx", [0, 1, 2], ["place"])
    with pytest.raises(LoadError, match="returns class numbers alone: say how many classes it has"):
        sp.victim(path, TABLE)
    data = sp.Data.of(X, (X.astype("f4") @ WEIGHT[:, :3]).argmax(1), TABLE)
    victim = load_model(path, data)
    assert victim.exposes == {"labels"}
    assert (victim.label(data.x) == data.y).all()
    with pytest.raises(AccessError, match="exposes labels, not scores"):
        victim.scores(data.x)
    assert sp.victim(path, TABLE, classes=2).label(X).max() <= 1, "what is no class is no answer"


IMAGES = RNG.random((6, 3, 4, 4)).astype("f4")


def linear(path, shape, kind=kinds.FLOAT, rows="n"):
    """A linear network over inputs of a shape."""
    weight = RNG.normal(size=(int(np.prod(IMAGES[0].shape)), 5)).astype("f4")
    nodes = [make.make_node("Cast", ["x"], ["c"], to=kinds.FLOAT)] if kind != kinds.FLOAT else []
    nodes += [make.make_node("Flatten", ["c" if nodes else "x"], ["f"]), make.make_node("MatMul", ["f", "W"], ["y"])]
    inputs, outputs = [make.make_tensor_value_info("x", kind, [rows, *shape])], [make.make_tensor_value_info("y", kinds.FLOAT, [rows, 5])]
    return save(path, nodes, inputs, outputs, [packed(weight, "W")]), weight


@pytest.mark.parametrize("shape", [(4, 4, 3), ("h", "w", 3)])
def test_channels_last_get_their_pixels(shape, tmp_path):
    """Scores, gradients and bounds."""
    path, weight = linear(tmp_path / "last.onnx", shape)
    victim = sp.victim(path, sp.image(3, 4, 4))
    x = torch.tensor(IMAGES)
    wanted = IMAGES.transpose(0, 2, 3, 1).reshape(6, -1) @ weight
    assert np.allclose(victim.scores(x).numpy(), wanted, atol=1e-4)
    grad = victim.gradient(x, lambda scores: scores[:, 2]).grad
    assert np.allclose(grad[0].permute(1, 2, 0).flatten().numpy(), weight[:, 2], atol=1e-5)
    assert np.allclose(network_of(victim)(x.double()).numpy(), wanted, atol=1e-4)


def test_the_same_order_stays(tmp_path):
    """Channels first, and flat pixels."""
    for shape in ((3, 4, 4), (48,), (1, 48)):
        path, weight = linear(tmp_path / "net.onnx", shape)
        victim = sp.victim(path, sp.image(3, 4, 4))
        assert np.allclose(victim.scores(torch.tensor(IMAGES)).numpy(), IMAGES.reshape(6, -1) @ weight, atol=1e-4)


def test_layout_says_what_the_shape_does_not(tmp_path):
    nodes = [make.make_node("Flatten", ["x"], ["f"]), make.make_node("MatMul", ["f", "W"], ["y"])]
    weight = RNG.normal(size=(27, 2)).astype("f4")
    ends = make.make_tensor_value_info("x", kinds.FLOAT, ["n", 3, 3, 3]), make.make_tensor_value_info("y", kinds.FLOAT, ["n", 2])
    path = save(tmp_path / "cube.onnx", nodes, ends[:1], ends[1:], [packed(weight, "W")])
    x = RNG.random((4, 3, 3, 3)).astype("f4")
    first, last = sp.victim(path, sp.image(3, 3, 3)), sp.victim(path, sp.image(3, 3, 3), layout="channels last")
    assert np.allclose(first.scores(torch.tensor(x)).numpy(), x.reshape(4, -1) @ weight, atol=1e-5)
    assert np.allclose(last.scores(torch.tensor(x)).numpy(), x.transpose(0, 2, 3, 1).reshape(4, -1) @ weight, atol=1e-5)
    assert first.fingerprint != last.fingerprint
    with pytest.raises(LoadError, match="write 'channels first' or 'channels last'"):
        sp.victim(path, sp.image(3, 3, 3), layout="rows")
    assert sp.victim(path, sp.image(3, 3, 3), layout="NHWC").fingerprint == last.fingerprint


def test_other_shapes_of_as_many_pixels_are_refused(tmp_path):
    for shape in ((6, 8), (3, 8, 2), (4, 3, 4)):
        path, _ = linear(tmp_path / "turned.onnx", shape)
        with pytest.raises(LoadError, match="describe the inputs in the shape of the file"):
            sp.victim(path, sp.image(3, 4, 4))


def test_an_input_of_bytes_gets_bytes(tmp_path):
    """Pixels of [0, 1] and of [0, 255] reach it as whole numbers from 0 to 255."""
    path, weight = linear(tmp_path / "bytes.onnx", (3, 4, 4), kinds.UINT8)
    whole = np.round(IMAGES * 255)
    wanted = whole.reshape(6, -1) @ weight
    for domain, x in ((sp.image(3, 4, 4), whole / 255), (sp.image(3, 4, 4, high=255), whole)):
        victim = sp.victim(path, domain)
        assert np.allclose(victim.scores(torch.tensor(x).float()).numpy(), wanted, rtol=1e-4, atol=1e-2)
        assert np.allclose(victim.gradient(torch.tensor(x).float(), lambda s: s[:, 0]).grad.flatten(1).numpy(), weight[:, 0] * 255 / domain.high, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "high", "settings", "said"),
    [
        (kinds.UINT8, 255, {"scale": 255}, r"from 0 to 255, values in \[0, 255\] become \[0, 65025\], which wrap around: leave out mean=, std= and scale="),
        (kinds.UINT8, 1, {"mean": 0.5, "std": 0.25}, r"become \[-2, 2\], which wrap around: leave out"),
        (kinds.INT32, 1, {"mean": 0.5, "std": 0.25}, r"become \[-2, 2\]: give scale=255"),
        (kinds.INT8, 255, {}, r"from -128 to 127, values in \[0, 255\] become \[0, 255\], which wrap around: give scale=1 and mean=128 only"),
        (kinds.INT8, 1, {"scale": 255}, "give scale=255 and mean=128 only"),
        (kinds.INT64, 1, {}, "say scale=255"),
    ],
)
def test_whole_numbers_of_a_file_do_not_wrap_around(kind, high, settings, said, tmp_path):
    path, _ = linear(tmp_path / "whole.onnx", (3, 4, 4), kind)
    with pytest.raises(LoadError, match=said):
        sp.victim(path, sp.image(3, 4, 4, high=high), **settings)


@pytest.mark.parametrize(("high", "scale"), [(1, 255), (255, 1)])
def test_the_numbers_that_a_message_recommends_are_right(high, scale, tmp_path):
    path, weight = linear(tmp_path / "signed.onnx", (3, 4, 4), kinds.INT8)
    victim = sp.victim(path, sp.image(3, 4, 4, high=high), scale=scale, mean=128)
    whole = np.round(IMAGES * 255)
    wanted = (whole - 128).reshape(6, -1) @ weight
    assert np.allclose(victim.scores(torch.tensor(whole / 255 * high).float()).numpy(), wanted, rtol=1e-4, atol=1e-2)


def test_rows_that_wrap_around_are_refused_when_they_are_asked(tmp_path):
    nodes = [make.make_node("Cast", ["x"], ["f"], to=kinds.FLOAT), make.make_node("MatMul", ["f", "W"], ["y"])]
    ends = make.make_tensor_value_info("x", kinds.UINT8, ["n", 4]), make.make_tensor_value_info("y", kinds.FLOAT, ["n", 4])
    victim = sp.victim(save(tmp_path / "rows.onnx", nodes, ends[:1], ends[1:], [packed(WEIGHT, "W")]), TABLE)
    assert np.allclose(victim.scores(torch.tensor([[0.0, 255, 3, 4]])).numpy(), np.array([[0, 255, 3, 4]]) @ WEIGHT)
    for wrong in (256.0, -1.0):
        with pytest.raises(LoadError, match="takes whole numbers from 0 to 255, the inputs become"):
            victim.scores(torch.tensor([[0.0, wrong, 3, 4]]))


def external(folder, location="net.onnx.data", name="net.onnx"):
    weight = RNG.normal(size=(4, 512)).astype("f4"), RNG.normal(size=(512, 3)).astype("f4")
    nodes = [make.make_node("MatMul", ["x", "A"], ["a"]), make.make_node("Relu", ["a"], ["r"]), make.make_node("MatMul", ["r", "B"], ["y"])]
    ends = make.make_tensor_value_info("x", kinds.FLOAT, ["n", 4]), make.make_tensor_value_info("y", kinds.FLOAT, ["n", 3])
    more = {"save_as_external_data": True, "location": location, "size_threshold": 1024}
    folder.mkdir(exist_ok=True)
    return save(folder / name, nodes, ends[:1], ends[1:], [packed(weight[0], "A"), packed(weight[1], "B")], **more), weight


def test_weights_beside_the_file(tmp_path, monkeypatch):
    """They are found from any working folder, give gradients, and belong to the fingerprint."""
    _, weight = external(tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    victim = sp.victim("models/net.onnx", TABLE)
    assert np.allclose(victim.scores(X).numpy(), np.maximum(X @ weight[0], 0) @ weight[1], atol=1e-2)
    assert "gradients" in victim.exposes, victim.no_gradients
    external(tmp_path / "others")
    assert sp.victim("others/net.onnx", TABLE).fingerprint != victim.fingerprint
    (tmp_path / "net.onnx.data").write_bytes(b"other weights")
    assert sp.victim("models/net.onnx", TABLE).fingerprint == victim.fingerprint


def relocated(path, **entries):
    """The same file with other places for its weights."""
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        if tensor.data_location == kinds.EXTERNAL:
            known = {one.key: one.value for one in tensor.external_data} | entries
            del tensor.external_data[:]
            for key, value in known.items():
                tensor.external_data.add(key=key, value=str(value))
    onnx.save(proto, path)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"location": "../secret"}, "outside the folder of the network"),
        ({"location": "/etc/hostname"}, "outside the folder"),
        ({"location": "..\\secret"}, "outside the folder"),
        ({"location": "C:\\secret"}, "outside the folder"),
        ({"location": "link"}, "leads out of the folder"),
        ({"location": "within/secret"}, "leads out of the folder"),
        ({"location": "nowhere"}, "does not exist"),
        ({"location": ""}, "outside the folder"),
        ({"length": 10**9}, "which has"),
        ({"offset": -5}, "which has"),
        ({"offset": "many"}, "has no place"),
    ],
)
def test_weights_are_read_from_the_folder_alone(entries, said, tmp_path):
    path, _ = external(tmp_path / "models")
    (tmp_path / "secret").write_bytes(bytes(20_000))
    (tmp_path / "models" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "models" / "within").symlink_to(tmp_path)
    relocated(path, **entries)
    with pytest.raises(LoadError, match=said):
        sp.victim(path, TABLE)
