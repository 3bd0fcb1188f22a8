"""Loading: what is read is what was written, ids keep their place, and wrong input says what to do."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Picture

from sparring.core.errors import InputError, LoadError, UnknownName, UsageError
from sparring.data.load import load

SHARED = Path(__file__).parents[3] / "shared" / "data"


def shared(name):
    path = SHARED / name
    if not path.parent.is_dir() or ("*" not in name and not path.exists()):
        pytest.skip(f"needs {path}, which is not here")
    return path


def write_idx(path, array):
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 4, 6), dtype=np.uint8)


@pytest.fixture
def idx(tmp_path, pixels):
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.array([0, 1, 2, 1, 0], dtype=np.uint8))
    return write_idx(tmp_path / "t10k-images-idx3-ubyte", pixels)


def picture(path, size=(6, 4), mode="RGB", colour=(255, 0, 51)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.new(mode, size, colour).save(path)
    return path


class TestEmbedded:
    @pytest.mark.parametrize(("name", "count", "classes"), [("digits", 1797, 10), ("breast-cancer", 569, 2)])
    def test_splits_divide_the_set_at_every_third_row(self, name, count, classes):
        parts = {split: load(name, split=split) for split in ("train", "test", "all")}
        places = {split: [int(one.rsplit("/", 1)[1]) for one in data.ids] for split, data in parts.items()}
        assert places["all"] == list(range(count))
        assert places["test"] == list(range(2, count, 3))
        assert sorted(places["train"] + places["test"]) == places["all"]
        assert {one for split in ("train", "test") for one in parts[split].ids} == set(parts["all"].ids)
        assert len(parts["all"].classes) == classes
        assert parts["train"].domain == parts["test"].domain
        assert "CC BY 4.0" in parts["test"].licence

    def test_the_values_are_scikit_learns(self):
        from sklearn.datasets import load_breast_cancer, load_digits

        digits, cancer = load("digits", split="all"), load("breast-cancer", split="all")
        assert digits.x.dtype == torch.float32
        np.testing.assert_array_equal(digits.x[:, 0].numpy() * 16, load_digits().images)
        np.testing.assert_array_equal(digits.y.numpy(), load_digits().target)
        np.testing.assert_array_equal(cancer.x.numpy(), load_breast_cancer().data)
        assert cancer.domain.names == list(load_breast_cancer().feature_names)

    def test_the_default_is_the_test_split(self):
        assert load("digits").sha256 == load("digits", split="test").sha256

    def test_taking_does_not_rename(self):
        whole, first, some = load("digits"), load("digits", take=3), load("digits", take=3, seed=1)
        assert first.ids == whole.ids[:3]
        rows = [whole.ids.index(one) for one in some.ids]
        assert rows == sorted(rows)
        assert some.ids != first.ids
        assert torch.equal(some.x, whole.x[rows])


class TestIdx:
    def test_images_and_labels_beside(self, idx, pixels):
        data = load(idx, take=4)
        np.testing.assert_array_equal(data.x[:, 0].numpy(), pixels[:4].astype(np.float32) / np.float32(255))
        assert data.y.tolist() == [0, 1, 2, 1]
        assert data.ids[0] == "t10k-images/00000"
        assert data.domain.shape == (1, 4, 6)

    def test_the_folder_has_splits(self, idx, pixels):
        write_idx(idx.with_name("train-images-idx3-ubyte.gz"), pixels[:2])
        write_idx(idx.with_name("train-labels-idx1-ubyte"), np.array([3, 4], dtype=np.uint8))
        assert len(load(idx.parent)) == 5
        assert load(idx.parent, split="train").y.tolist() == [3, 4]
        with pytest.raises(UnknownName, match="did you mean train"):
            load(idx.parent, split="trian")

    def test_gzipped_images(self, idx, pixels):
        idx.unlink()
        packed = write_idx(idx.with_name("t10k-images-idx3-ubyte.gz"), pixels)
        assert len(load(packed)) == 5


class TestNpz:
    @pytest.mark.parametrize(("shape", "expected"), [((4, 5, 6), (1, 5, 6)), ((4, 5, 6, 3), (3, 5, 6)), ((4, 3, 5, 6), (3, 5, 6)), ((4, 1, 5, 6), (1, 5, 6))])
    def test_layouts_of_images(self, tmp_path, shape, expected):
        x = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape).astype(np.uint8)
        np.savez(tmp_path / "a.npz", x=x, y=np.arange(4) % 2)
        data = load(tmp_path / "a.npz")
        assert tuple(data.x.shape) == (4, *expected)
        assert data.x.dtype == torch.float32
        first = x[0, 0, 1] if len(shape) == 3 else x[0, 0, 1, 0] if shape[-1] == 3 else x[0, 0, 0, 1]
        assert float(data.x[0, 0, 0, 1]) == pytest.approx(first / 255)

    def test_splits(self, tmp_path):
        x = np.zeros((5, 3, 3), dtype=np.uint8)
        np.savez(tmp_path / "m.npz", x_train=x[:3], y_train=[0, 1, 7], x_test=x[3:], y_test=[2, 1])
        assert load(tmp_path / "m.npz").ids == ["m/test/00000", "m/test/00001"]
        assert load(tmp_path / "m.npz", split="train").y.tolist() == [0, 1, 7]
        whole = load(tmp_path / "m.npz", split="all")
        assert whole.y.tolist() == [0, 1, 7, 2, 1]
        assert len(load(tmp_path / "m.npz").classes) == 8

    def test_masks_may_be_called_masks(self, tmp_path):
        """An archive of images and masks is read as it comes; 255 marks pixels that do not count."""
        true = np.array([[[0, 1], [1, 255]]] * 3, dtype=np.uint8)
        np.savez(tmp_path / "cells.npz", x=np.zeros((3, 2, 2), dtype=np.uint8), mask=true)
        data = load(tmp_path / "cells.npz", task="mask(2)")
        assert data.y.tolist() == [[[0, 1], [1, -1]]] * 3
        assert load(tmp_path / "cells.npz", task="mask(2)").task == data.task

    def test_rows_strings_and_named_classes(self, tmp_path):
        np.savez(tmp_path / "rows.npz", x=np.eye(3), y=["b", "a", "b"])
        rows = load(tmp_path / "rows.npz")
        assert rows.domain.kind == "table"
        assert rows.classes == ["a", "b"]
        assert rows.y.tolist() == [1, 0, 1]
        np.savez(tmp_path / "words.npz", x=np.array(["one two", "three"]), y=[0, 1], classes=["bad", "good"])
        words = load(tmp_path / "words.npz")
        assert words.domain.kind == "text"
        assert words.classes == ["bad", "good"]


class TestImages:
    def test_a_folder_a_class(self, tmp_path):
        picture(tmp_path / "set" / "cat" / "1.png")
        picture(tmp_path / "set" / "dog" / "9.png")
        (tmp_path / "set" / "dog" / "notes.txt").write_text("no picture")
        data = load(tmp_path / "set", deployed="8bit")
        assert data.classes == ["cat", "dog"]
        assert data.ids == ["set/cat/1.png", "set/dog/9.png"]
        assert tuple(data.x.shape) == (2, 3, 4, 6)
        torch.testing.assert_close(data.x[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.2]))
        assert data.domain.deployed == "8bit"

    def test_sizes_are_scaled_where_asked(self, tmp_path):
        picture(tmp_path / "cat" / "1.png", mode="L", colour=51)
        picture(tmp_path / "dog" / "2.png", size=(8, 8), mode="L", colour=255)
        assert tuple(load(tmp_path, size=(5, 7)).x.shape) == (2, 1, 5, 7)
        assert load(tmp_path, size=5).x[0].unique().tolist() == pytest.approx([0.2])

    def test_folders_of_splits(self, tmp_path):
        for split in ("train", "test"):
            picture(tmp_path / "s" / split / "cat" / f"{split}.png")
        assert load(tmp_path / "s").ids == ["s/test/cat/test.png"]
        assert load(tmp_path / "s", split="train").ids == ["s/train/cat/train.png"]


class TestTables:
    frame = pd.DataFrame({"age": [30, 41, 22], "label": ["no", "yes", "no"], "colour": ["red", "blue", "red"], "height": [1.5, 1.7, 1.6]})

    @pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
    def test_types_and_classes(self, tmp_path, name):
        write = self.frame.to_parquet if name.endswith("parquet") else self.frame.to_csv
        write(tmp_path / name, index=False)
        data = load(tmp_path / name)
        assert [column.kind for column in data.domain.columns] == ["integer", "category", "real"]
        assert data.domain.columns[1].levels == ("blue", "red")
        assert data.classes == ["no", "yes"]
        assert data.y.tolist() == [0, 1, 0]
        assert data.x[0].tolist() == [30, 1, 1.5]
        assert data.ids == ["t/00000", "t/00001", "t/00002"]

    def test_the_target_may_be_named(self, tmp_path):
        self.frame.to_csv(tmp_path / "t.csv", index=False)
        data = load(tmp_path / "t.csv", target="colour")
        assert data.domain.names == ["age", "label", "height"]
        assert data.classes == ["blue", "red"]

    def test_without_header_no_row_is_lost(self, tmp_path):
        (tmp_path / "t.csv").write_text("39, Private, 1\n50, Self, 2\n")
        data = load(tmp_path / "t.csv")
        assert len(data) == 2
        assert data.domain.names == ["column 0", "column 1"]
        assert data.domain.columns[1].levels == ("Private", "Self")
        assert data.classes == ["1", "2"]

    def test_semicolons(self, tmp_path):
        (tmp_path / "t.csv").write_text("a;b;quality\n1,5;2;0\n".replace(",", ".") + "2.5;3;1\n")
        assert load(tmp_path / "t.csv").domain.names == ["a", "b"]


class TestText:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("m.tsv", 'ham\tgo "home\nspam\twin now\nham\tgo home\n'),
            ("m.tsv", 'label\ttext\nham\tgo "home\nspam\twin now\nham\tgo home\n'),
            ("m.txt.gz", 'text\tlabel\ngo "home\tham\nwin now\tspam\ngo home\tham'),
            ("m.csv", 'text,label\n"go ""home",ham\nwin now,spam\ngo home,ham\n'),
        ],
    )
    def test_text_and_label(self, tmp_path, name, content):
        packed = gzip.compress(content.encode()) if name.endswith(".gz") else content.encode()
        (tmp_path / name).write_bytes(packed)
        data = load(tmp_path / name)
        assert list(data.x) == ['go "home', "win now", "go home"]
        assert data.classes == ["ham", "spam"]
        assert data.y.tolist() == [0, 1, 0]

    def test_a_file_a_class_in_two_encodings(self, tmp_path):
        (tmp_path / "film.neg.txt").write_bytes("trop long\n\ntrès mauvais\n".encode("latin-1"))
        (tmp_path / "film.pos.txt.gz").write_bytes(gzip.compress("très bon\n".encode()))
        for source in (tmp_path, tmp_path / "film.*.txt*"):
            data = load(source)
            assert data.classes == ["neg", "pos"]
            assert list(data.x) == ["trop long", "très mauvais", "très bon"]
            assert data.ids == ["film/neg/00000", "film/neg/00002", "film/pos/00000"]


def put(name, content=b""):
    """A case that writes one file and loads it."""

    def make(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return make


def put_npz(**arrays):
    def make(folder):
        np.savez(folder / "a.npz", **arrays)
        return folder / "a.npz"

    return make


def cut(folder):
    np.savez(folder / "a.npz", x=np.zeros((2, 3, 3), np.uint8), y=[0, 1])
    (folder / "a.npz").write_bytes((folder / "a.npz").read_bytes()[:200])
    return folder / "a.npz"


def cut_array(folder):
    import zipfile

    np.savez(folder / "b.npz", x=np.zeros((2, 3, 3), np.uint8), y=[0, 1])
    with zipfile.ZipFile(folder / "b.npz") as good, zipfile.ZipFile(folder / "a.npz", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, good.read(name)[: 5 if name == "x.npy" else None])
    return folder / "a.npz"


def short_gzip(folder):
    (folder / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 200)[:-12])
    return folder / "t.csv.gz"


def idx_files(images=None, labels=None, name="t10k-images-idx3-ubyte"):
    def make(folder):
        if labels is not None:
            (folder / name.replace("images", "labels").replace("idx3", "idx1")).write_bytes(labels)
        (folder / name).write_bytes(images)
        return folder / name

    return make


IMAGES = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 2, 2) + bytes(8)
TWO, THREE = (bytes([0, 0, 8, 1]) + struct.pack(">I", count) + bytes(count) for count in (2, 3))


def bad_picture(folder):
    picture(folder / "cat" / "1.png")
    (folder / "cat" / "2.png").write_bytes(picture(folder / "other.png").read_bytes()[:40])
    (folder / "other.png").unlink()
    return folder


def two_sizes(folder):
    picture(folder / "cat" / "1.png")
    picture(folder / "cat" / "2.png", size=(8, 8))
    return folder


def deep_picture(folder):
    picture(folder / "cat" / "1.png", mode="I;16", colour=9)
    return folder


def no_pictures(folder):
    (folder / "cat").mkdir()
    return folder


def one_text(folder):
    (folder / "pos.txt").write_text("fine\n")
    return folder


WRONG = {
    "missing file": (lambda folder: folder / "no.csv", {}, LoadError, "no.csv does not exist: check the path"),
    "missing folder": (lambda folder: folder / "no" / "x.csv", {}, LoadError, "there is no folder"),
    "near file": (lambda folder: put("data.csv", b"a")(folder).with_name("dta.csv"), {}, LoadError, "did you mean data.csv"),
    "near name": (lambda folder: "digit", {}, UnknownName, "did you mean digits"),
    "unknown split": (lambda folder: "digits", {"split": "tset"}, UnknownName, "did you mean test"),
    "option without meaning": (lambda folder: "digits", {"target": "y"}, InputError, "target='y' has no meaning for the embedded set 'digits': use split"),
    "unknown suffix": (put("a.xyz", b"1"), {}, LoadError, "no reader for a.xyz: supported are .*npz.*csv"),
    "empty folder": (lambda folder: folder, {}, LoadError, "is empty: expected one sub-folder of images per class"),
    "nothing taken": (lambda folder: "digits", {"take": 0}, InputError, "give a whole number of at least 1"),
    "idx magic": (idx_files(b"PK\x03\x04" + bytes(20), TWO), {}, LoadError, "begins with 50 4b 03 04"),
    "idx cut": (idx_files(IMAGES[:-1], TWO), {}, LoadError, r"truncated \(23 bytes, expected 24 for 2 x 2 x 2"),
    "idx header cut": (idx_files(IMAGES[:9], TWO), {}, LoadError, "the header needs 16"),
    "idx too long": (idx_files(IMAGES + b"1", TWO), {}, LoadError, "too long .25 bytes"),
    "idx without labels": (idx_files(IMAGES), {}, LoadError, "expected t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz"),
    "idx counts": (idx_files(IMAGES, THREE), {}, LoadError, "2 images but .* 3 labels"),
    "idx labels given": (put("t10k-labels-idx1-ubyte", TWO), {}, LoadError, "give the file of the images"),
    "npz objects": (put_npz(x=np.array([[1], [2, 3]], dtype=object), y=[0, 1]), {}, LoadError, "x holds pickled Python objects"),
    "npz cut": (cut, {}, LoadError, "not a valid .npz archive"),
    "npz empty": (put("a.npz"), {}, LoadError, "a.npz is empty"),
    "npz array cut": (cut_array, {}, LoadError, "not a valid .npz archive|x (cannot be read|is not a valid NumPy)"),
    "npz other": (put("a.npz", b"x,y"), {}, LoadError, "not a valid .npz archive"),
    "npz names": (put_npz(inputs=[1.0], outputs=[1]), {}, LoadError, "holds inputs, outputs: expected x and y"),
    "npz counts": (put_npz(x=np.zeros((3, 2, 2), np.uint8), y=[0, 1]), {}, LoadError, r"x has shape \(3, 2, 2\) but y \(2,\)"),
    "npz whole numbers": (put_npz(x=np.full((2, 3, 3), 255), y=[0, 1]), {}, InputError, r"int64 with values in \[255, 255\]: save images as uint8"),
    "npz range": (put_npz(x=np.full((2, 3, 3), 7.0), y=[0, 1]), {}, InputError, "divide by 255, or describe them"),
    "npz channels": (put_npz(x=np.zeros((2, 3, 5, 3), np.uint8), y=[0, 1]), {}, InputError, "both ends could be the channel axis"),
    "npz no channels": (put_npz(x=np.zeros((2, 7, 5, 7), np.uint8), y=[0, 1]), {}, InputError, "no axis has a possible number of channels"),
    "npz one-hot": (put_npz(x=np.zeros((2, 3, 3), np.uint8), y=np.eye(2)), {}, InputError, "not one-hot"),
    "npz split": (put_npz(x_test=np.zeros((2, 3, 3), np.uint8), y_test=[0, 1]), {"split": "train"}, UnknownName, "known: test"),
    "npz empty set": (put_npz(x=np.zeros((0, 3, 3), np.uint8), y=np.zeros(0, np.int64)), {}, InputError, "there are no samples"),
    "picture": (bad_picture, {}, LoadError, "2.png cannot be read as an image"),
    "picture sizes": (two_sizes, {}, InputError, r"2 sizes, \(4, 6\) in 1.png and \(8, 8\) in 2.png: give size"),
    "picture depth": (deep_picture, {}, InputError, "more than 8 bits per pixel"),
    "picture size": (two_sizes, {"size": 0}, UsageError, "size=0: give a side in pixels"),
    "no pictures": (no_pictures, {}, LoadError, "has no images in its sub-folders"),
    "csv empty": (put("t.csv"), {}, LoadError, "t.csv is empty"),
    "csv header": (put("t.csv", b"a,b\n"), {}, LoadError, "has no rows"),
    "csv target": (put("t.csv", b"age,labell\n1,x\n"), {"target": "label"}, UnknownName, "did you mean labell"),
    "csv class missing": (put("t.csv", b"age,size,label\n1,2,x\n3,2,\n"), {}, InputError, "has no class in 1 rows"),
    "csv real target": (put("t.csv", b"age,price\n1,2.5\n3,4.5\n"), {}, InputError, "column 'price' holds 2.5, not a class"),
    "csv many classes": (put("t.csv", b"age,name\n" + b"".join(b"1,n%d\n" % one for one in range(60))), {}, InputError, "60 different values in 60 rows"),
    "csv one column": (put("t.csv", b"label\nx\n"), {}, LoadError, "only the column 'label'"),
    "csv ragged": (put("t.csv", b"a,b\n1,2\n1,2,3,4\n"), {}, LoadError, "the same columns in every line"),
    "csv gzip cut": (short_gzip, {}, LoadError, "t.csv.gz is a truncated gzip file"),
    "csv no gzip": (put("t.csv.gz", b"a,b\n1,2\n"), {}, LoadError, "not a valid gzip file"),
    "csv encoding": (put("t.csv", b"a,b\n\xff,2\n"), {"encoding": "utf-8"}, LoadError, "cannot be read as utf-8"),
    "csv no encoding": (put("t.csv", b"a,b\n1,2\n"), {"encoding": "utf-99"}, LoadError, "cannot be read as utf-99"),
    "parquet": (put("t.parquet", b"PAR1 nothing"), {}, LoadError, "not a valid Parquet file"),
    "no tab": (put("t.tsv", b"ham\tgo\nspam go\n"), {}, LoadError, "line 2 has 1 columns .*separate text and label by one tab"),
    "commas": (put("t.txt", b"1,2,3,x\n"), {}, LoadError, "for a comma-separated table, use the suffix .csv"),
    "which column": (put("t.tsv", b"a\tb\nc\td\n"), {}, InputError, 'target="0" or target="1"'),
    "text target": (put("t.tsv", b"label\ttext\nx\tgo\n"), {"target": "lable"}, UnknownName, "did you mean label"),
    "one text file": (one_text, {}, LoadError, "single text file pos.txt"),
    "pattern": (lambda folder: folder / "film.*.txt", {}, LoadError, "no text file matches"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_says_what_to_do(case, tmp_path):
    make, options, kind, sentence = WRONG[case]
    with pytest.raises(kind, match=sentence):
        load(make(tmp_path), **options)


@pytest.mark.shared
class TestShared:
    def test_mnist(self):
        data = load(shared("images/mnist.npz"), take=43)
        assert data.ids[42] == "mnist/test/00042"
        assert data.y[:4].tolist() == [7, 2, 1, 0]
        assert tuple(data.x.shape[1:]) == (1, 28, 28)

    @pytest.mark.parametrize(
        ("name", "count", "classes"),
        [
            ("tabular/uci_phishing.csv.gz", 11055, ["-1", "1"]),
            ("tabular/german.csv.gz", 1000, ["1", "2"]),
            ("text/sms_spam.tsv.gz", 5574, ["ham", "spam"]),
            ("text/rt-polarity.*.txt.gz", 10662, ["neg", "pos"]),
        ],
    )
    def test_tables_and_texts_keep_every_row(self, name, count, classes):
        data = load(shared(name))
        assert (len(data), data.classes) == (count, classes)
