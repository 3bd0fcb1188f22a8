"""Hostile data."""

import gzip
import io
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
        "terabyte": pair(npy((2**40,), "|u1", b"")),
        "negative": pair(npy((-5, 8, 8), "|u1", bytes(1280))),
        "overflow": pair(npy((2**62, 4), "<f8", b"")),
        "two-negatives": pair(npy((-20, -8, 8), "|u1", bytes(1280))),
        "objects": objects.getvalue(),
        "no-shape": pair(npy((), "<f8", bytes(8))),
        "deep-header": pair(b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000),
        "code-header": pair(npy((1,), "<i8', 'x': open('CANARY','w'), 'y': 'a", bytes(8))),
        "label-2-62": pair(y=npy((20,), "<i8", (np.arange(20) * 2**57).tobytes())),
        "label-1e8": pair(y=npy((20,), "<i8", (np.arange(20) * 10**7).tobytes())),
        "label-1e30": pair(y=npy((20,), "<f8", np.full(20, 1e30).tobytes())),
        "label-nan": pair(y=npy((20,), "<f8", np.full(20, np.nan).tobytes())),
        "label-negative": pair(y=npy((20,), "<i8", (-np.arange(20)).tobytes())),
        "label-uint64": pair(y=npy((20,), "<u8", np.full(20, 2**64 - 1, np.uint64).tobytes())),
        "bomb": lambda: pair(npy((1, 2**31), "|u1", bytes(2**28)), compressed=True),
        "wide": lambda: pair(npy((1, 2**21), "<f4", bytes(2**23)), npy((1,), "<i8", bytes(8)), compressed=True),
        "infinite": pair(npy((20, 4), "<f8", np.full((20, 4), np.inf).tobytes())),
        "complex": pair(npy((20, 4), "<c16", bytes(1280))),
        "void": pair(npy((20,), "|V64", bytes(1280))),
        "strings": pair(npy((20,), "<U2000000000", b"")),
        "dates": pair(npy((20, 4), "<M8[s]", bytes(640))),
        "classes-objects": pair(**{"classes.npy": npy((2**50,), "<U8", b"")}),
        "no-numbers": pair(npy((20, 0), "<f8", b"")),
        "path": pair(**{"../../CANARY": b"x"}),
        "unicode-surrogates": pair(npy((20,), "<U1", b"\0\xd8\0\0" * 20)),
        "beyond-unicode": pair(npy((20,), "<U1", b"\xff" * 80)),
    }
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
        "columns": ",".join(["1"] * 100_000) + "\n" + ",".join(["2"] * 100_000) + "\n",
        "long-field": f"a,target\n{'x' * 10**6},1\n" * 3,
        "open-quote": 'a,target\n"' + "1,2\n" * 200_000,
        "one-line": "1" * 5_000_000,
        "deep": "[" * 10**6,
        "nulls": "a,target\n\0,1\n\0,0\n",
        "label-2-62": "a,target\n1,0\n2,4611686018427387904\n",
        "label-1e30": "a,target\n1,0\n2,1e30\n",
        "label-400-digits": "a,target\n1,0\n2," + "9" * 400 + "\n",
        "label-1e8": "a,target\n1,0\n2,100000000\n",
        "infinite": "a,target\ninf,0\n-inf,1\n",
        "numbers-400-digits": "a,target\n" + "9" * 400 + ",0\n1,1\n",
        "same-names": "a,a,target\n1,2,0\n3,4,1\n",
        "no-names": ",,\n1,2,0\n3,4,1\n",
        "only-header": "a,b,target\n",
        "blank": "\n\n\n",
        "quotes": '"' * 100_001,
        "categories": "a,b,target\n" + "".join(f"w{a},{a},{a % 2}\n" for a in range(50_000)),
        "formula": "a,target\n=cmd|' /C calc'!A0,0\n1,1\n",
        "ragged": "a,b,target\n1,2,0\n1,2\n1,2,3,4,5\n",
        "control": "a\x1b]0;x\x07,target\n1,0\n2,1\n",
        "surrogates": "a,target\n\udcff,0\nb,1\n",
        "hex": "a,target\n0x10,0\n1_000,1\n",
        "carriage": "a,target\r1,0\r2,1\r",
        "many-marks": ",;\t" * 10_000,
    }
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
        "meta-no-json": b"{",
        "meta-list": b"[]",
        "meta-index": b'{"index_columns": ["nowhere"], "columns": [], "column_indexes": []}',
        "meta-range": b'{"index_columns": [{"kind": "range", "name": null, "start": 0, "stop": 1e99, "step": 0}], "columns": [], "column_indexes": []}',
        "meta-type": b'{"index_columns": [], "columns": [{"name": "a", "field_name": "height", "pandas_type": "object", "numpy_type": "evil", "metadata": 3}],'
        b' "column_indexes": [{"name": 1, "pandas_type": "x", "numpy_type": "y"}]}',
        "meta-deep": b"[" * DEEP,
        "meta-not-text": b"\xff\xfe",
    }.items():
        table = pa.Table.from_pandas(frame).replace_schema_metadata({**(schema.metadata or {}), b"pandas": meta})
        writer.add("parquet", name, written(table), ".parquet")
    odd = {
        "binary": pa.array([b"\xff"] * 10),
        "lists": pa.array([[1, 2]] * 10),
        "structs": pa.array([{"a": 1}] * 10),
        "maps": pa.array([[("a", 1)]] * 10, pa.map_(pa.string(), pa.int64())),
        "nulls": pa.nulls(10),
        "decimal": pa.array([10**37] * 10, pa.decimal128(38)),
        "dates": pa.array([2**62] * 10, pa.timestamp("us")),
        "words": pa.array(["x" * 10**5] * 10),
        "nan": pa.array([float("nan")] * 10),
        "infinite": pa.array([float("inf")] * 10),
        "durations": pa.array([2**62] * 10, pa.duration("ns")),
        "uint64": pa.array([2**64 - 1] * 10, pa.uint64()),
        "dictionary": pa.array(["a", "b"] * 5).dictionary_encode(),
        "halves": pa.array(np.ones(10, np.float16)),
    }
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
        "no-tabs": "word " * 10_000,
        "many-tabs": "\t" * 100_000,
        "one-line": "x" * 5_000_000 + "\t1\n" + "y\t0\n",
        "blank": "\t\n" * 100,
        "controls": "a\x1b[31m\t0\nb\x00\t1\n",
        "many-classes": "".join(f"text {place}\tclass {place}\n" for place in range(3000)),
        "digits": "a\t" + "9" * 5000 + "\nb\t1\n",
        "surrogates": "\udcff\udcfe\t1\nb\t0\n",
    }.items():
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
