"""Hostile exported programs of torch."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable

import torch
from hostile.writer import repacked
from torch import nn

CODE = "__import__('os').system('touch CANARY')"


class _Trap:
    def __reduce__(self):
        return open, ("CANARY", "w")


class _Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.register_buffer("shift", torch.ones(10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.relu(x.flatten(1))) + self.shift + torch.tensor([1.0])


def exported() -> bytes:
    """Return an honest program over images [n, 1, 8, 8]."""
    torch.manual_seed(0)
    program = torch.export.export(_Net().eval(), (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
    made = io.BytesIO()
    torch.export.save(program, made)
    return made.getvalue()


def write(writer) -> None:
    """Write the files of this room."""
    honest = exported()
    writer.bent("pt2", honest, ".pt2", cuts=5, flips=10)
    with zipfile.ZipFile(io.BytesIO(honest)) as archive:
        names = archive.namelist()
        root = names[0].split("/")[0]
        program = json.loads(archive.read(f"{root}/models/model.json"))
        weights = json.loads(archive.read(f"{root}/data/weights/model_weights_config.json"))
        constants = json.loads(archive.read(f"{root}/data/constants/model_constants_config.json"))

    def put(member: str, content: bytes) -> bytes:
        return repacked(honest, lambda name, part: content if name == f"{root}/{member}" else part)

    for member, document in (
        ("models/model.json", program),
        ("data/weights/model_weights_config.json", weights),
        ("data/constants/model_constants_config.json", constants),
    ):
        writer.documents(
            f"pt2-{member.split('/')[-1].split('.')[0]}", document, ".pt2", 20 if "models/" in member else 10, lambda text, member=member: put(member, text)
        )

    def changed(name: str, change: Callable[[dict], object]) -> None:
        copy = json.loads(json.dumps(program))
        change(copy)
        writer.add("pt2", name, lambda: put("models/model.json", json.dumps(copy).encode()), ".pt2")

    def graph(one: dict) -> dict:
        return one["graph_module"]["graph"]

    def node(target: str, inputs: list[dict], output: str = "extra") -> dict:
        arguments = [{"name": name, "arg": arg, "kind": 1} for one in inputs for name, arg in one.items()]
        return {
            "target": target,
            "inputs": arguments,
            "outputs": [{"as_tensor": {"name": output}}],
            "metadata": {},
            "is_hop_single_tensor_return": None,
            "name": output,
        }

    def extra(target: str, *inputs: dict, sizes: tuple[int, ...] = (4,)) -> Callable[[dict], None]:
        def change(one: dict) -> None:
            graph(one)["nodes"].insert(0, node(target, list(inputs)))
            plain = {"dtype": 7, "requires_grad": False, "device": {"type": "cpu", "index": None}, "storage_offset": {"as_int": 0}, "layout": 7}
            graph(one)["tensor_values"]["extra"] = {**plain, "sizes": [{"as_int": side} for side in sizes], "strides": [{"as_int": 1} for _ in sizes]}

        return change

    changed(
        "from-file", extra("torch.ops.aten.from_file.default", {"filename": {"as_string": "CANARY"}}, {"shared": {"as_bool": True}}, {"size": {"as_int": 4}})
    )
    for target in (
        "torch.ops.aten.set_.source_Storage",
        "torch.ops.aten.resize_.default",
        "torch.ops.aten.add.str",
        "torch.ops.aten.mul.left_t",
        "torch.ops.aten.relu.out",
        "torch.ops.higher_order.cond",
        "torch.ops.load_library",
        "torch.ops.aten.__class__.__base__",
        "torch.hub.load",
        "torch.load",
        "torch.serialization.os.system",
        "torch.ops.inductor.resize_storage_bytes_.default",
        "torch.ops.prim.Print.default",
        "_operator.attrgetter",
        "_operator.pow",
        "_operator.lshift",
        "math.factorial",
        "#triton:os.system",
        "builtins.eval",
        "os.system",
        "torch.ops.aten.relu",
        "torch.sym_sqrt",
        "torch.ops..",
        "torch",
    ):
        changed(f"target-{target.replace('#', '').replace(':', '-')}", lambda one, target=target: graph(one)["nodes"][0].update(target=target))
    for name, expression in {
        "exec": CODE,
        "chr": "exec(chr(49))",
        "power": "9**9**9**9",
        "powers": "((((((((9**9)**9)**9)**9)**9)**9)**9)**9)",
        "pow": "Pow(9, Pow(9, Pow(9, 9)))",
        "pow-integer": "Pow(Integer(9), Integer(999999999))",
        "long": "1+" * 10**6 + "1",
        "deep": "(" * 10**5,
        "lambda": "(lambda: 1)()",
        "attribute": "s0.__class__",
        "factorial": "factorial(99999)",
        "digits": "9" * 10**5,
        "nul": "s0\0",
        "f-string": "f'{open(1)}'",
        "walrus": "(a := 1)",
        "shift": "1 << 999999999",
        "list": "[0] * 999999999",
    }.items():
        changed(f"expression-{name}", lambda one, text=expression: _first(one, "expr_str", text))
        changed(f"guard-{name}", lambda one, text=expression: one.update(guards_code=[text]))
    injected = "x):\n    open('CANARY', 'w')\n    return x\ndef other(self"
    changed("name-of-a-value", lambda one: _renamed(one, graph(one)["nodes"][0]["name"], injected))
    changed("name-of-the-input", lambda one: _renamed(one, graph(one)["inputs"][-1]["as_tensor"]["name"], injected))
    changed("name-of-an-argument", lambda one: graph(one)["nodes"][0]["inputs"][0].update(name="self, **{'x': open('CANARY', 'w')}", kind=2))
    changed("name-keyword", lambda one: _renamed(one, graph(one)["nodes"][0]["name"], "import"))
    changed("parameter", lambda one: _renamed(one, "layer.weight", 'a"), open("CANARY", "w"), ("b'))
    changed("tree-enum", lambda one: _specs(one, '{"__enum__": true, "fqn": "os:system", "name": "x"}'))
    changed("tree-import", lambda one: _specs(one, None, "collections.defaultdict"))
    changed("tree-names", lambda one: _specs(one, "[\"x, y=open('CANARY', 'w')\"]", "builtins.dict"))
    changed("range-of-symbols", lambda one: one.update(range_constraints={"u999999999": {"min_val": 0, "max_val": 5}}))
    changed("range-name", lambda one: one.update(range_constraints={CODE: {"min_val": 0, "max_val": 5}}))
    for name, target, *inputs in (
        ("full", "torch.ops.aten.full.default", {"size": {"as_ints": [2**40]}}, {"fill_value": {"as_float": 1.0}}),
        ("ones", "torch.ops.aten.ones.default", {"size": {"as_ints": [2**31, 2**31]}}),
        ("arange", "torch.ops.aten.arange.default", {"end": {"as_int": 2**40}}),
        ("eye", "torch.ops.aten.eye.default", {"n": {"as_int": 2**20}}),
        ("zeros-16", "torch.ops.aten.zeros.default", {"size": {"as_ints": [2**31]}}),
        ("rand", "torch.ops.aten.rand.default", {"size": {"as_ints": [2**33]}}),
        ("tril", "torch.ops.aten.tril_indices.default", {"row": {"as_int": 2**31}}, {"col": {"as_int": 2**31}}),
        ("hann", "torch.ops.aten.hann_window.default", {"window_length": {"as_int": 2**35}}),
    ):
        changed(f"grows-{name}", extra(target, *inputs))
    changed("nodes", lambda one: graph(one)["nodes"].extend(graph(one)["nodes"][:1] * 60_000))
    changed(
        "metadata",
        lambda one: [
            each.update(
                metadata={"nn_module_stack": injected, "source_fn_stack": f"a,{CODE}", "stack_trace": injected, "from_node": "[" * 10**5, "custom": "{"}
            )
            for each in graph(one)["nodes"]
        ],
    )
    changed("device", lambda one: _first(one, "type", "evil"))
    changed("huge-meta", lambda one: _first(one, "as_int", 2**62))

    pickled = pickle.dumps(_Trap())
    first = next(iter(weights["config"]))
    meta = weights["config"][first]["tensor_meta"]

    def config(member: str, name: str, more: dict[str, bytes] | None = None, **payload: object) -> None:
        document = {
            "config": {
                "x" if "constants" in member else first: {"path_name": "weight_0", "is_param": False, "use_pickle": False, "tensor_meta": meta, **payload}
            }
        }
        content = repacked(
            honest,
            lambda one, part: json.dumps(document).encode() if one.endswith(member) else part,
            {f"{root}/data/{key}": value for key, value in (more or {}).items()},
        )
        writer.add("pt2", name, content, ".pt2")

    config("model_constants_config.json", "opaque-object", {"constants/opaque_obj_0": pickled}, path_name="opaque_obj_0")
    config("model_constants_config.json", "custom-object", {"constants/custom_obj_0": pickled}, path_name="custom_obj_0", use_pickle=True)
    config("model_constants_config.json", "constant-pickle", {"constants/tensor_9": pickled}, path_name="tensor_9", use_pickle=True)
    config("model_weights_config.json", "weight-pickle", {"weights/weight_0p": pickled}, path_name="weight_0p", use_pickle=True)
    config("model_weights_config.json", "weight-path", path_name="../../../models/model.json")
    config(
        "model_weights_config.json",
        "weight-of-petabytes",
        {"weights/weight_77": b""},
        path_name="weight_77",
        tensor_meta={**meta, "sizes": [{"as_int": 2**50}], "strides": [{"as_int": 0}]},
    )
    config("model_weights_config.json", "weight-expanded", tensor_meta={**meta, "sizes": [{"as_int": 2**40}], "strides": [{"as_int": 0}]})
    config("model_weights_config.json", "weight-outside", tensor_meta={**meta, "storage_offset": {"as_int": 2**40}})
    config("model_weights_config.json", "weight-negative", tensor_meta={**meta, "sizes": [{"as_int": -1}], "strides": [{"as_int": -1}]})

    evil = json.loads(json.dumps(program))
    _first(evil, "expr_str", CODE)
    text = json.dumps(evil).encode()
    for name, more, change in (
        ("other-suffix", {f"{root}/models/model.jsox": text}, lambda one, part: part),
        ("second-model", {f"{root}/models/other.json": text}, lambda one, part: part),
        ("other-suffix-alone", {f"{root}/models/model.jsox": text}, lambda one, part: None if one.endswith("models/model.json") else part),
        ("sample-inputs", {}, lambda one, part: pickled if "sample_inputs" in one else part),
        ("legacy-weights", {f"{root}/data/weights/model.pt": pickled}, lambda one, part: part),
        ("legacy-constants", {f"{root}/data/constants/model.pt": pickled}, lambda one, part: part),
        ("compiled", {f"{root}/data/aotinductor/model/model.so": b"\x7fELF"}, lambda one, part: part),
        ("compiled-elsewhere", {f"{root}/data/aotinductor/model/wrapper.json": b"{}"}, lambda one, part: part),
        ("path", {"../../CANARY": b"x"}, lambda one, part: part),
        ("version", {}, lambda one, part: b"\xff" if one.endswith("archive_version") else part),
        ("byteorder", {}, lambda one, part: b"big" if one.endswith("byteorder") else part),
        ("other-root", {"evil/models/model.json": text}, lambda one, part: part),
    ):
        writer.add("pt2", f"archive-{name}", repacked(honest, change, more), ".pt2")
    writer.add("pt2", "archive-bomb", lambda: repacked(honest, lambda one, part: bytes(1 << 28) if one.endswith("weight_0") else part, compressed=True), ".pt2")
    writer.add("pt2", "archive-deep", put("models/model.json", b'{"a":' * 10**5), ".pt2")
    old = io.BytesIO()
    with zipfile.ZipFile(old, "w") as made:
        for name, part in {
            "version": b"8.0",
            "serialized_exported_program.json": text,
            "serialized_state_dict.pt": pickled,
            "serialized_constants.pt": pickled,
            "serialized_example_inputs.pt": pickled,
        }.items():
            made.writestr(name, part)
    writer.add("pt2", "archive-of-2-7", old.getvalue(), ".pt2")


def _first(node: object, key: str, value: object) -> bool:
    """Replace the first value under a key, wherever it stands."""
    if isinstance(node, dict):
        if key in node:
            node[key] = value
            return True
        return any(_first(one, key, value) for one in node.values())
    return isinstance(node, list) and any(_first(one, key, value) for one in node)


def _renamed(node: object, old: str, new: str) -> None:
    """Replace a name everywhere, as value and as key."""
    for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []:
        if value == old:
            node[key] = new
        _renamed(value, old, new)
        if key == old:
            node[new] = node.pop(old)


def _specs(program: dict, context: str | None, kind: str = "builtins.tuple") -> None:
    """Replace how arguments are described."""
    for one in program["graph_module"]["module_call_graph"]:
        signature = one.get("signature") or {}
        for key in ("in_spec", "out_spec"):
            if signature.get(key):
                protocol, tree = json.loads(signature[key])
                tree.update(type=kind, context=context)
                signature[key] = json.dumps([protocol, tree])
