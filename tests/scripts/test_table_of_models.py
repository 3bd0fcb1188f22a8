"""The table of forms of models in docs/models.md is the one that its script writes."""

import json
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_form_of_model_labels_as_its_own_library(capsys, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import table_of_models as script

    monkeypatch.setattr(sys, "argv", ["table_of_models.py"])
    with warnings.catch_warnings():
        script.main()
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert len(rows) >= 20
    assert len({name for row in rows for name in row["clean"]}) >= 5
    assert [row["model"] for row in rows if any(row["differ"].values())] == []
    document = (ROOT / "docs" / "models.md").read_text()
    for row in rows:
        assert f"| {row['model']} | `{script.how(row)}` | {row['exposes']} |" in document
