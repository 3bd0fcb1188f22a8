"""Hostile plans, rules, properties and lists."""

import gzip
import json

from hostile.writer import bomb

DEEP = 100_000


def write(writer) -> None:
    """Write the files of this room."""
    documents(writer)
    properties(writer)


def documents(writer) -> None:
    plan = "model: zoo:digits-plain\ndata: digits\ntake: 4\nthreat: linf 0.1\nattacks: fgsm\n"
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9))
    bad = {
        "date": "take: 2001-99-99",
        "int-tag": 'take: !!int "abc"',
        "float-tag": "seconds: !!float x",
        "bool-tag": "cascade: !!bool maybe",
        "time-tag": "take: !!timestamp x",
        "binary-tag": "data: !!binary '%%'",
        "object-tag": "data: !!python/object/apply:os.system [touch CANARY]",
        "deep-list": "[" * DEEP,
        "deep-map": "{a: " * 5000,
        "deep-dashes": "- " * 5000,
        "laughs": laughs,
        "itself": "data: &a [*a]",
        "twice": "data: digits\ndata: iris",
        "merge-itself": "a: &a\n  <<: *a",
        "digits": "take: " + "9" * 400,
        "hex": "take: 0x" + "f" * 5000,
        "negative": "take: -5",
        "huge": "take: 9223372036854775807",
        "infinite": "seconds: .inf",
        "nan": "seconds: .nan",
        "batch-0": "batch: 0",
        "seed": "seed: 18446744073709551616",
        "shard-superscript": "shard: ²/³",
        "shard-huge": "shard: 1/" + "9" * 400,
        "shard-arabic": "shard: ١/٢",
        "list-key": "? [a]\n: b",
        "map-key": "? {a: b}\n: c",
        "null": "",
        "scalar": "digits",
        "list": "- a\n- b",
        "not-text": "\udcff\udcfe",
        "nul": "\0",
        "directive": "%YAML 9.9\n---\na: b",
        "two": "a: b\n---\nc: d",
        "unknown": "modle: x",
        "number-key": "1: 2",
        "long": "data: " + "x" * 10**6,
        "million-keys": "".join(f"k{place}: 1\n" for place in range(150_000)),
        "evaluations-deep": "evaluations:\n  - evaluations:\n    - evaluations: [{}]",
        "evaluations-itself": "evaluations: [1, null]",
        "threat-huge": "threat: patch 99999999999999999999",
        "threat-digits": "threat: linf " + "9" * 5000,
        "threat-nan": "threat: linf nan",
        "model-nul": 'model: "a\\0b.onnx"',
        "gate": "gate: robust_accuracy >= " + "9" * 5000,
        "attack-parens": "attacks: " + "pgd(" * 5000,
        "weights": "weights: [1]",
        "trials": "trials: 1e400",
        "model-device": "model: /dev/zero.onnx",
        "data-device": "data: /dev/zero",
        "data-pipe": "data: pipe.csv",
        "set": "data: !!set {a, b}",
        "omap": "data: !!omap [a]",
        "pairs": "classes: !!pairs [a: b]",
        "octal": "take: 0o8",
        "sexagesimal": "take: 1:99:99:99:99:99:99:99",
    }
    writer.add("plan", "honest", plan, ".yaml")
    for name, text in bad.items():
        given = {line.split(":", 1)[0] for line in text.splitlines()}
        rest = (
            ""
            if text[:1] in ("[", "-", "", "\0", "\udcff", "%") or name in ("scalar", "two")
            else "".join(line + "\n" for line in plan.splitlines() if line.split(":", 1)[0] not in given)
        )
        writer.add("plan", name, f"{text}\n{rest}", ".yaml")
    rules = "radius: 1\ncolumns:\n  mean radius: {reach: 1, cost: 1}\nrelations:\n  - {weights: {mean radius: 1}, bound: 20}\n"
    writer.add("rules", "honest", rules, ".yaml")
    for name, text in {
        **{
            name: text
            for name, text in bad.items()
            if name in ("date", "deep-list", "deep-map", "laughs", "itself", "not-text", "nul", "null", "scalar", "list", "object-tag", "million-keys")
        },
        "twice": "radius: 1\nradius: 2\ncolumns: {mean radius: {}}",
        "twice-inside": "radius: 1\ncolumns: {mean radius: {}, mean radius: {}}",
        "digits": f"radius: {'9' * 400}\ncolumns: {{mean radius: {{}}}}",
        "infinite": "radius: .inf\ncolumns: {mean radius: {}}",
        "negative": "radius: -1\ncolumns: {mean radius: {}}",
        "nan": "radius: .nan\ncolumns: {mean radius: {reach: .nan}}",
        "no-such": "radius: 1\ncolumns: {nowhere: {}}",
        "weights": "radius: 1\ncolumns: {mean radius: {}}\nrelations: [{weights: {nowhere: 1}}]",
        "one-hot": "radius: 1\ncolumns: {mean radius: {}}\none_hot: [[mean radius, nowhere]]",
        "numbers-as-names": "radius: 1\ncolumns: {1: {}, 2: {}}",
        "text-radius": "radius: much\ncolumns: {mean radius: {}}",
        "many-columns": "radius: 1\ncolumns:\n" + "".join(f"  c{place}: {{}}\n" for place in range(20_000)),
    }.items():
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
        "deep-open": "(" * DEEP,
        "deep-close": ")" * DEEP,
        "deep-and": head + box + "(assert " + "(and " * DEEP + "(<= Y_0 0)" + ")" * DEEP + ")",
        "deep-plus": head + box + "(assert (<= Y_0 " + "(+ 1 " * DEEP + "0" + ")" * DEEP + "))",
        "many-or": head + box + "(assert (or (<= Y_0 0) (>= Y_0 1)))\n" * 60,
        "x-1e9": "(declare-const X_999999999 Real)",
        "gaps": "(declare-const X_0 Real)(declare-const X_77777777 Real)(declare-const Y_0 Real)",
        "digits": head + box + f"(assert (<= Y_0 {'9' * 10**6}))",
        "exponent": head + box + "(assert (<= Y_0 1e999999999))",
        "tiny": head + box + "(assert (<= Y_0 1e-999999999))",
        "nan": head + box + "(assert (<= Y_0 nan))",
        "product": head + box + "(assert (<= (* X_0 X_1) 1))",
        "product-of-numbers": head + box + f"(assert (<= Y_0 {'(* 1e300 ' * 3000}1{')' * 3000}))",
        "twice": head + head,
        "empty-box": head + "(assert (<= X_0 0))(assert (>= X_0 1))" + box,
        "no-bounds": head + "(assert (<= Y_0 0))",
        "comment": ";" * 10**6,
        "not": head + box + "(assert (not (and (<= Y_0 0) (>= Y_0 1))))",
        "second-deep": "(vnnlib-version <2.0>)" + "(" * DEEP,
        "second": "(vnnlib-version <2.0>)(declare-network f (declare-input X Real [999999999,999999999]) (declare-output Y Real [1]))(assert (<= Y[0] 1.0))",
        "second-one": "(declare-network f (declare-input X float32 [1]) (declare-output Y float32 [1]))(assert (<= Y[5] 1.0))(assert (<= X[0] 1.0))",
        "many-inputs": "".join(f"(declare-const X_{place} Real)" for place in range(100_000))
        + "(declare-const Y_0 Real)"
        + "".join(f"(assert (<= X_{place} 1))(assert (>= X_{place} 0))" for place in range(100_000))
        + "(assert (<= Y_0 0))",
    }.items():
        writer.add("vnnlib", name, text, ".vnnlib")
    writer.add("vnnlib", "packed", gzip.compress(honest.encode()), ".vnnlib.gz")
    writer.add("vnnlib", "packed-cut", gzip.compress(honest.encode())[:30], ".vnnlib.gz")
    writer.add("vnnlib", "bomb", bomb(1 << 29, b"(and    "), ".vnnlib.gz")
    writer.add("vnnlib", "not-text", b"\xff\xfe\0", ".vnnlib")
    writer.bent("instances", b"net.onnx,safe.vnnlib,10\nnet.onnx,unsafe.vnnlib,10\n", ".csv", flips=5)
    for name, text in {
        "no-time": "a,b,nan\n",
        "negative": "a,b,-1\n",
        "digits": f"a,b,{'9' * 5000}\n",
        "escape": "../../../../../../etc/passwd,../../../etc/passwd,1\n",
        "devices": "/dev/zero,/dev/zero,1\n",
        "long": "x" * 200_000 + ",b,1\n",
        "quote": '"' * 1001,
        "nul": "a\0b,c,1\n",
    }.items():
        writer.add("instances", name, text, ".csv")
