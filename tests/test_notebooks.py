"""The notebooks of a class: one source, two versions, without outputs, and both run."""

from __future__ import annotations

import json
import re

import pytest
from notebooks import AUDIENCES, SOURCE, notebook, path_of

TEXT = SOURCE.read_text(encoding="utf-8")
SMALL = """a

```python
x = 1
```

```output
1
```
<!-- for: student -->
b
<!-- for: teacher -->
```python
y = 2
```
<!-- for: all -->
c 3<!-- is: 3 -->
"""


def cells(text):
    """Return kind and content of each cell of a notebook."""
    return [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]


def test_each_audience_gets_its_own_cells_and_no_outputs():
    """Blocks of Python become cells, shown output goes, marks choose, checks of numbers are left out."""
    assert cells(notebook(SMALL, "student")) == [
        ("markdown", "a"), ("code", "x = 1"), ("markdown", "b"), ("markdown", "c 3"),
    ]  # fmt: skip
    assert cells(notebook(SMALL, "teacher")) == [
        ("markdown", "a"), ("code", "x = 1"), ("code", "y = 2"), ("markdown", "c 3"),
    ]  # fmt: skip


@pytest.mark.parametrize("audience", AUDIENCES)
def test_a_notebook_is_what_its_source_gives(audience):
    """No version was changed by hand; `python tests/notebooks.py` writes both."""
    assert path_of(audience).read_text(encoding="utf-8") == notebook(TEXT, audience)


def test_the_versions_differ_in_answers_alone():
    """Every exercise stands in both, every answer in the teacher's alone; all other cells are equal."""
    student, teacher = (cells(notebook(TEXT, audience)) for audience in AUDIENCES)
    numbers = [re.findall(r"\*\*Exercise (\d)\.\*\*", str(each)) for each in (student, teacher)]
    assert numbers[0] == numbers[1] == ["1", "2", "3", "4", "5"]
    assert "Answer" not in str(student)
    assert str(teacher).count("**Answer") >= 5
    own = [cell for cell in student if cell not in teacher]
    assert own
    assert all(kind == "code" and ("= None" in text or "# " in text) for kind, text in own)


def test_the_minutes_of_the_plan_are_ninety():
    """The parts of the source, with their minutes, fill the class."""
    assert sum(map(int, re.findall(r"^## .*\((\d+) minutes\)$", TEXT, re.MULTILINE))) == 90


@pytest.mark.parametrize("audience", AUDIENCES)
def test_a_notebook_runs_from_top_to_bottom(audience, tmp_path, monkeypatch):
    """As a person opens it: in a folder that holds nothing else; the student's has no answer that is right yet."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    folder = tmp_path / "class"
    folder.mkdir()
    whole = nbformat.reads(notebook(TEXT, audience), as_version=4)
    nbclient.NotebookClient(whole, timeout=120, resources={"metadata": {"path": folder}}).execute()
    said = [
        line
        for cell in whole.cells
        if cell.cell_type == "code" and "check(" in cell.source
        for output in cell.outputs
        for line in output.get("text", "").split("\n")
    ]
    told = [line for line in said if line in ("no answer yet", "right", "look again")]
    assert told == [{"student": "no answer yet", "teacher": "right"}[audience]] * 4
