"""Hostile data, plans, rules, properties and lists."""

import gzip
import io
import json
import struct
import warnings
import zipfile

import numpy as np
import pandas as pd

from hostile.writer import bomb, npy, repacked

DEEP = 100_000


def write(writer) -> None:
    """Write the files of this room."""
    arrays(writer)
    idx(writer)
    csv(writer)
    parquet(writer)
    sentences(writer)
    pictures(writer)
    documents(writer)
    properties(writer)


def arrays(writer) -> None:
    rng = np.random.default_rng(0)
    packed = io.BytesIO()
    np.savez(packed, x=rng.integers(0, 255, (20, 8, 8), dtype=np.uint8), y=np.arange(20) % 4)
    honest = packed.getvalue()
    writer.bent("npz", honest, ".npz")
    labels = npy((20,), "<i8", np.arange(20, dtype=np.int64).tobytes())
    pixels = npy((20, 8, 8), "|u1", bytes(1280))

    def pair(x: bytes = pixels, y: bytes = labels, compressed: bool = False, **more: bytes) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as new:
            for name, part in {"x.npy": x, "y.npy": y, **more}.items():
                new.writestr(name, part)
        return made.getvalue()

    objects = io.BytesIO()
    np.savez(objects, x=np.array([{"a": 1}] * 3, dtype=object), y=np.arange(3))
    lying = {
        "terabyte": pair(npy((2**40,), "|u1", b"")), "negative": pair(npy((-5, 8, 8), "|u1", bytes(1280))), "overflow": pair(npy((2**62, 4), "<f8", b"")),
        "two-negatives": pair(npy((-20, -8, 8), "|u1", bytes(1280))), "objects": objects.getvalue(), "no-shape": pair(npy((), "<f8", bytes(8))),
        "deep-header": pair(b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000), "code-header": pair(npy((1,), "<i8', 'x': open('CANARY','w'), 'y': 'a", bytes(8))),
        "label-2-62": pair(y=npy((20,), "<i8", (np.arange(20) * 2**57).tobytes())), "label-1e8": pair(y=npy((20,), "<i8", (np.arange(20) * 10**7).tobytes())),
        "label-1e30": pair(y=npy((20,), "<f8", np.full(20, 1e30).tobytes())), "label-nan": pair(y=npy((20,), "<f8", np.full(20, np.nan).tobytes())),
        "label-negative": pair(y=npy((20,), "<i8", (-np.arange(20)).tobytes())), "label-uint64": pair(y=npy((20,), "<u8", np.full(20, 2**64 - 1, np.uint64).tobytes())),
        "bomb": lambda: pair(npy((1, 2**31), "|u1", bytes(2**28)), compressed=True), "wide": lambda: pair(npy((1, 2**21), "<f4", bytes(2**23)), npy((1,), "<i8", bytes(8)), compressed=True),
        "infinite": pair(npy((20, 4), "<f8", np.full((20, 4), np.inf).tobytes())), "complex": pair(npy((20, 4), "<c16", bytes(1280))),
        "void": pair(npy((20,), "|V64", bytes(1280))), "strings": pair(npy((20,), "<U2000000000", b"")), "dates": pair(npy((20, 4), "<M8[s]", bytes(640))),
        "classes-objects": pair(**{"classes.npy": npy((2**50,), "<U8", b"")}), "no-numbers": pair(npy((20, 0), "<f8", b"")),
        "path": pair(**{"../../CANARY": b"x"}), "unicode-surrogates": pair(npy((20,), "<U1", b"\0\xd8\0\0" * 20)), "beyond-unicode": pair(npy((20,), "<U1", b"\xff" * 80)),
    }  # fmt: skip
    for name, content in lying.items():
        writer.add("npz", name, content, ".npz")
    twice = repacked(honest, lambda name, part: part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = io.BytesIO(twice)
        with zipfile.ZipFile(made, "a") as more:
            more.writestr("x.npy", pixels)
    writer.add("npz", "name-twice", made.getvalue(), ".npz")


def idx(writer) -> None:
    def content(*shape: int, data: bytes, magic: bytes = b"\0\0\x08") -> bytes:
        return magic + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + data

    labels = content(10, data=bytes(range(10)))
    writer.add("labels", "honest-labels-idx1-ubyte", labels, "")

    def add(name: str, images: bytes, own: bytes = labels, packed: bool = False) -> None:
        suffix = ".gz" if packed else ""
        writer.add("idx", f"{name}-images-idx3-ubyte", images, suffix)
        (writer.folder / f"idx--{name}-labels-idx1-ubyte").write_bytes(own)

    honest = content(10, 8, 8, data=bytes(640))
    add("honest", honest)
    add("packed", gzip.compress(honest), packed=True)
    for cut in (0, 3, 7, 15, 200):
        add(f"cut-{cut}", honest[:cut])
        add(f"packed-cut-{cut}", gzip.compress(honest)[: cut // 4], packed=True)
    add("lying", content(2**31, 2**31, 2**31, data=bytes(640)))
    add("empty-axis", content(0, 8, 8, data=b""), content(0, data=b""))
    add("no-pixels", content(10, 0, 8, data=b""))
    add("doubles", content(10, 8, 8, data=bytes(5120), magic=b"\0\0\x0e"))
    add("labels-as-images", labels)
    add("bomb", bomb(1 << 29), packed=True)
    add("bomb-with-header", gzip.compress(content(1, 2**14, 2**18, data=b"")) + bomb(1 << 29), packed=True)
    add("many-members", gzip.compress(b"") * 20000, packed=True)
    add("rest", gzip.compress(honest) + b"rest", packed=True)


def csv(writer) -> None:
    rows = "\n".join(f"{a / 7:.3f},{a % 5},{'red' if a % 2 else 'blue'},{a % 3}" for a in range(60))
    honest = f"height,count,colour,target\n{rows}\n"
    writer.bent("csv", honest.encode(), ".csv")
    many = {
        "columns": ",".join(["1"] * 100_000) + "\n" + ",".join(["2"] * 100_000) + "\n", "long-field": f"a,target\n{'x' * 10**6},1\n" * 3,
        "open-quote": 'a,target\n"' + "1,2\n" * 200_000, "one-line": "1" * 5_000_000, "deep": "[" * 10**6, "nulls": "a,target\n\0,1\n\0,0\n",
        "label-2-62": "a,target\n1,0\n2,4611686018427387904\n", "label-1e30": "a,target\n1,0\n2,1e30\n", "label-400-digits": "a,target\n1,0\n2," + "9" * 400 + "\n",
        "label-1e8": "a,target\n1,0\n2,100000000\n", "infinite": "a,target\ninf,0\n-inf,1\n", "numbers-400-digits": "a,target\n" + "9" * 400 + ",0\n1,1\n",
        "same-names": "a,a,target\n1,2,0\n3,4,1\n", "no-names": ",,\n1,2,0\n3,4,1\n", "only-header": "a,b,target\n", "blank": "\n\n\n", "quotes": '"' * 100_001,
        "categories": "a,b,target\n" + "".join(f"w{a},{a},{a % 2}\n" for a in range(50_000)), "formula": "a,target\n=cmd|' /C calc'!A0,0\n1,1\n",
        "ragged": "a,b,target\n1,2,0\n1,2\n1,2,3,4,5\n", "control": "a\x1b]0;x\x07,target\n1,0\n2,1\n", "surrogates": "a,target\n\udcff,0\nb,1\n",
        "hex": "a,target\n0x10,0\n1_000,1\n", "carriage": "a,target\r1,0\r2,1\r", "many-marks": ",;\t" * 10_000,
    }  # fmt: skip
    for name, text in many.items():
        writer.add("csv", name, text, ".csv")
    writer.add("csv", "utf-16", honest.encode("utf-16"), ".csv")
    writer.add("csv", "packed", gzip.compress(honest.encode()), ".csv.gz")
    writer.add("csv", "packed-cut", gzip.compress(honest.encode())[:40], ".csv.gz")
    writer.add("csv", "bomb", bomb(1 << 29, b"1,2,3,0\n"), ".csv.gz")
    writer.add("csv", "small-bomb", bomb(100 << 20, b"1,0\n"), ".csv.gz")
    writer.add("csv", "not-packed", honest, ".csv.gz")


def parquet(writer) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = pd.DataFrame({"height": np.arange(50) / 7, "count": np.arange(50) % 5, "colour": ["red", "blue"] * 25, "target": np.arange(50) % 3})

    def written(table: object, **settings: object) -> bytes:
        made = io.BytesIO()
        pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), made, **settings)
        return made.getvalue()

    honest = written(pa.Table.from_pandas(frame))
    writer.bent("parquet", honest, ".parquet", flips=24)
    target = pa.array([0, 1] * 5)
    schema = pa.Table.from_pandas(frame).schema
    for name, meta in {
        "meta-no-json": b"{", "meta-list": b"[]", "meta-index": b'{"index_columns": ["nowhere"], "columns": [], "column_indexes": []}',
        "meta-range": b'{"index_columns": [{"kind": "range", "name": null, "start": 0, "stop": 1e99, "step": 0}], "columns": [], "column_indexes": []}',
        "meta-type": b'{"index_columns": [], "columns": [{"name": "a", "field_name": "height", "pandas_type": "object", "numpy_type": "evil", "metadata": 3}],'
        b' "column_indexes": [{"name": 1, "pandas_type": "x", "numpy_type": "y"}]}',
        "meta-deep": b"[" * DEEP, "meta-not-text": b"\xff\xfe",
    }.items():  # fmt: skip
        table = pa.Table.from_pandas(frame).replace_schema_metadata({**(schema.metadata or {}), b"pandas": meta})
        writer.add("parquet", name, written(table), ".parquet")
    odd = {
        "binary": pa.array([b"\xff"] * 10), "lists": pa.array([[1, 2]] * 10), "structs": pa.array([{"a": 1}] * 10), "maps": pa.array([[("a", 1)]] * 10, pa.map_(pa.string(), pa.int64())),
        "nulls": pa.nulls(10), "decimal": pa.array([10**37] * 10, pa.decimal128(38)), "dates": pa.array([2**62] * 10, pa.timestamp("us")), "words": pa.array(["x" * 10**5] * 10),
        "nan": pa.array([float("nan")] * 10), "infinite": pa.array([float("inf")] * 10), "durations": pa.array([2**62] * 10, pa.duration("ns")),
        "uint64": pa.array([2**64 - 1] * 10, pa.uint64()), "dictionary": pa.array(["a", "b"] * 5).dictionary_encode(), "halves": pa.array(np.ones(10, np.float16)),
    }  # fmt: skip
    for name, column in odd.items():
        writer.add("parquet", f"column-{name}", written({"a": column, "target": target}), ".parquet")
    writer.add("parquet", "wide", lambda: written({f"c{place}": [1] for place in range(31_000)}, compression="zstd"), ".parquet")
    writer.add(
        "parquet",
        "bomb",
        lambda: written({"a": pa.array(np.zeros(20_000_000, np.int64)), "target": pa.array(np.zeros(20_000_000, np.int8))}, compression="zstd"),
        ".parquet",
    )
    writer.add(
        "parquet",
        "bomb-words",
        lambda: written({"a": pa.array(["x" * 1000] * 500_000), "target": pa.array(np.zeros(500_000, np.int8))}, compression="zstd"),
        ".parquet",
    )
    writer.add("parquet", "empty", written({"a": pa.array([], pa.int64()), "target": pa.array([], pa.int64())}), ".parquet")
    same = pa.Table.from_arrays([target, target, target], names=["a", "a", "target"])
    writer.add("parquet", "same-names", written(same), ".parquet")


def sentences(writer) -> None:
    honest = "".join(f"a {'good' if place % 2 else 'bad'} film {place}\t{place % 2}\n" for place in range(40))
    writer.bent("lines", honest.encode(), ".tsv", flips=4)
    for name, text in {
        "no-tabs": "word " * 10_000, "many-tabs": "\t" * 100_000, "one-line": "x" * 5_000_000 + "\t1\n" + "y\t0\n", "blank": "\t\n" * 100, "controls": "a\x1b[31m\t0\nb\x00\t1\n",
        "many-classes": "".join(f"text {place}\tclass {place}\n" for place in range(3000)), "digits": "a\t" + "9" * 5000 + "\nb\t1\n", "surrogates": "\udcff\udcfe\t1\nb\t0\n",
    }.items():  # fmt: skip
        writer.add("lines", name, text, ".tsv")
    writer.add("lines", "bomb", bomb(1 << 29, b"a\t1\n"), ".tsv.gz")


def pictures(writer) -> None:
    from PIL import Image

    made = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(made, "png")
    writer.bent("picture", made.getvalue(), ".png", flips=5)
    huge = bytearray(made.getvalue())
    huge[16:24] = struct.pack(">II", 2**30, 2**30)
    writer.add("picture", "huge-claim", bytes(huge), ".png")

    def large() -> bytes:
        packed = io.BytesIO()
        Image.new("1", (16_000, 16_000)).save(packed, "png")
        return packed.getvalue()

    writer.add("picture", "bomb", large, ".png")


def documents(writer) -> None:
    plan = "model: zoo:digits-plain\ndata: digits\ntake: 4\nthreat: linf 0.1\nattacks: fgsm\n"
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9))
    bad = {
        "date": "take: 2001-99-99", "int-tag": 'take: !!int "abc"', "float-tag": "seconds: !!float x", "bool-tag": "cascade: !!bool maybe", "time-tag": "take: !!timestamp x",
        "binary-tag": "data: !!binary '%%'", "object-tag": "data: !!python/object/apply:os.system [touch CANARY]", "deep-list": "[" * DEEP, "deep-map": "{a: " * 5000, "deep-dashes": "- " * 5000,
        "laughs": laughs, "itself": "data: &a [*a]", "twice": "data: digits\ndata: iris", "merge-itself": "a: &a\n  <<: *a", "digits": "take: " + "9" * 400, "hex": "take: 0x" + "f" * 5000,
        "negative": "take: -5", "huge": "take: 9223372036854775807", "infinite": "seconds: .inf", "nan": "seconds: .nan", "batch-0": "batch: 0", "seed": "seed: 18446744073709551616",
        "shard-superscript": "shard: ²/³", "shard-huge": "shard: 1/" + "9" * 400, "shard-arabic": "shard: ١/٢", "list-key": "? [a]\n: b", "map-key": "? {a: b}\n: c", "null": "", "scalar": "digits",
        "list": "- a\n- b", "not-text": "\udcff\udcfe", "nul": "\0", "directive": "%YAML 9.9\n---\na: b", "two": "a: b\n---\nc: d", "unknown": "modle: x", "number-key": "1: 2", "long": "data: " + "x" * 10**6,
        "million-keys": "".join(f"k{place}: 1\n" for place in range(150_000)), "evaluations-deep": "evaluations:\n  - evaluations:\n    - evaluations: [{}]", "evaluations-itself": "evaluations: [1, null]",
        "threat-huge": "threat: patch 99999999999999999999", "threat-digits": "threat: linf " + "9" * 5000, "threat-nan": "threat: linf nan", "model-nul": 'model: "a\\0b.onnx"', "gate": "gate: robust_accuracy >= " + "9" * 5000,
        "attack-parens": "attacks: " + "pgd(" * 5000, "weights": "weights: [1]", "trials": "trials: 1e400", "model-device": "model: /dev/zero.onnx", "data-device": "data: /dev/zero",
        "data-pipe": "data: pipe.csv", "set": "data: !!set {a, b}", "omap": "data: !!omap [a]", "pairs": "classes: !!pairs [a: b]", "octal": "take: 0o8", "sexagesimal": "take: 1:99:99:99:99:99:99:99",
    }  # fmt: skip
    writer.add("plan", "honest", plan, ".yaml")
    for name, text in bad.items():
        given = {line.split(":", 1)[0] for line in text.splitlines()}
        rest = "" if text[:1] in ("[", "-", "", "\0", "\udcff", "%") or name in ("scalar", "two") else "".join(
            line + "\n" for line in plan.splitlines() if line.split(":", 1)[0] not in given
        )  # fmt: skip
        writer.add("plan", name, f"{text}\n{rest}", ".yaml")
    rules = "radius: 1\ncolumns:\n  mean radius: {reach: 1, cost: 1}\nrelations:\n  - {weights: {mean radius: 1}, bound: 20}\n"
    writer.add("rules", "honest", rules, ".yaml")
    for name, text in {
        **{name: text for name, text in bad.items() if name in ("date", "deep-list", "deep-map", "laughs", "itself", "not-text", "nul", "null", "scalar", "list", "object-tag", "million-keys")},
        "twice": "radius: 1\nradius: 2\ncolumns: {mean radius: {}}", "twice-inside": "radius: 1\ncolumns: {mean radius: {}, mean radius: {}}", "digits": f"radius: {'9' * 400}\ncolumns: {{mean radius: {{}}}}",
        "infinite": "radius: .inf\ncolumns: {mean radius: {}}", "negative": "radius: -1\ncolumns: {mean radius: {}}", "nan": "radius: .nan\ncolumns: {mean radius: {reach: .nan}}",
        "no-such": "radius: 1\ncolumns: {nowhere: {}}", "weights": "radius: 1\ncolumns: {mean radius: {}}\nrelations: [{weights: {nowhere: 1}}]", "one-hot": "radius: 1\ncolumns: {mean radius: {}}\none_hot: [[mean radius, nowhere]]",
        "numbers-as-names": "radius: 1\ncolumns: {1: {}, 2: {}}", "text-radius": "radius: much\ncolumns: {mean radius: {}}", "many-columns": "radius: 1\ncolumns:\n" + "".join(f"  c{place}: {{}}\n" for place in range(20_000)),
    }.items():  # fmt: skip
        writer.add("rules", name, text, ".yaml")
    words = {"good": ["fine", "nice"], "bad": ["poor"]}
    writer.bent("neighbours", json.dumps(words).encode(), ".json", flips=4)
    writer.documents("neighbours", words, ".json", 12)
    writer.add("neighbours", "deep", "[" * DEEP, ".json")
    writer.add("neighbours", "digits", '{"a": [' + "9" * 5000 + "]}", ".json")
    ids = "".join(f"digits/test/{place:05d}\n" for place in range(2, 20, 3))
    writer.bent("members", ids.encode(), ".txt", flips=3)
    writer.add("members", "long", "x" * 10**7, ".txt")


def properties(writer) -> None:
    head = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n"
    box = "(assert (<= X_0 1))\n(assert (>= X_0 0))\n(assert (<= X_1 1))\n(assert (>= X_1 0))\n"
    honest = head + box + "(assert (or (and (>= Y_0 3)) (and (<= Y_0 -3))))\n"
    writer.bent("vnnlib", honest.encode(), ".vnnlib", flips=8)
    for name, text in {
        "deep-open": "(" * DEEP, "deep-close": ")" * DEEP, "deep-and": head + box + "(assert " + "(and " * DEEP + "(<= Y_0 0)" + ")" * DEEP + ")", "deep-plus": head + box + "(assert (<= Y_0 " + "(+ 1 " * DEEP + "0" + ")" * DEEP + "))",
        "many-or": head + box + "(assert (or (<= Y_0 0) (>= Y_0 1)))\n" * 60, "x-1e9": "(declare-const X_999999999 Real)", "gaps": "(declare-const X_0 Real)(declare-const X_77777777 Real)(declare-const Y_0 Real)", "digits": head + box + f"(assert (<= Y_0 {'9' * 10**6}))",
        "exponent": head + box + "(assert (<= Y_0 1e999999999))", "tiny": head + box + "(assert (<= Y_0 1e-999999999))", "nan": head + box + "(assert (<= Y_0 nan))", "product": head + box + "(assert (<= (* X_0 X_1) 1))", "product-of-numbers": head + box + f"(assert (<= Y_0 {'(* 1e300 ' * 3000}1{')' * 3000}))",
        "twice": head + head, "empty-box": head + "(assert (<= X_0 0))(assert (>= X_0 1))" + box, "no-bounds": head + "(assert (<= Y_0 0))", "comment": ";" * 10**6, "not": head + box + "(assert (not (and (<= Y_0 0) (>= Y_0 1))))",
        "second-deep": "(vnnlib-version <2.0>)" + "(" * DEEP, "second": "(vnnlib-version <2.0>)(declare-network f (declare-input X Real [999999999,999999999]) (declare-output Y Real [1]))(assert (<= Y[0] 1.0))", "second-one": "(declare-network f (declare-input X float32 [1]) (declare-output Y float32 [1]))(assert (<= Y[5] 1.0))(assert (<= X[0] 1.0))",
        "many-inputs": "".join(f"(declare-const X_{place} Real)" for place in range(100_000)) + "(declare-const Y_0 Real)" + "".join(f"(assert (<= X_{place} 1))(assert (>= X_{place} 0))" for place in range(100_000)) + "(assert (<= Y_0 0))",
    }.items():  # fmt: skip
        writer.add("vnnlib", name, text, ".vnnlib")
    writer.add("vnnlib", "packed", gzip.compress(honest.encode()), ".vnnlib.gz")
    writer.add("vnnlib", "packed-cut", gzip.compress(honest.encode())[:30], ".vnnlib.gz")
    writer.add("vnnlib", "bomb", bomb(1 << 29, b"(and    "), ".vnnlib.gz")
    writer.add("vnnlib", "not-text", b"\xff\xfe\0", ".vnnlib")
    writer.bent("instances", b"net.onnx,safe.vnnlib,10\nnet.onnx,unsafe.vnnlib,10\n", ".csv", flips=5)
    for name, text in {
        "no-time": "a,b,nan\n", "negative": "a,b,-1\n", "digits": f"a,b,{'9' * 5000}\n", "escape": "../../../../../../etc/passwd,../../../etc/passwd,1\n", "devices": "/dev/zero,/dev/zero,1\n", "long": "x" * 200_000 + ",b,1\n", "quote": '"' * 1001, "nul": "a\0b,c,1\n",
    }.items():  # fmt: skip
        writer.add("instances", name, text, ".csv")
