"""What the command line prints: options as they are typed, any code page, closed streams."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import evsim, refused

from evsim import demo
from evsim.cli import output, progress, words
from evsim.cli.main import COMMANDS, app
from evsim.errors import spelled

MODEL = demo.model_path()
RECORDING = next(iter(demo.recordings().values()))
EVSIM = Path(sys.executable).parent / "evsim"


def shell(line, *arguments, **environment):
    """Run a line of shell with ``$0`` as evsim; return exit code, standard output and standard error as bytes."""
    command = ["sh", "-c", line, EVSIM, *map(str, arguments)]
    outcome = subprocess.run(command, capture_output=True, check=False, env=os.environ | environment)
    return outcome.returncode, outcome.stdout, outcome.stderr


def spelled_for(name, text):
    """Return a text as a command prints it."""
    import typer

    words.speak_for(typer.main.get_command(app).commands[name].params)
    return spelled(text, words.spell)


@pytest.mark.parametrize(
    ("command", "text", "typed"),
    [
        ("run", "give `timesteps=4`", "give --timesteps 4"),
        ("run", "give `allow_truncated=True`", "give --allow-truncated"),
        ("run", "give `duration_us=5`", "give --duration 5"),
        ("run", "use `precision=float64` or `heads`", "use --precision float64 or --heads"),
        ("run", "by `nonspike=binary-only`", "by --nonspike binary-only"),
        ("run", "by `detail=True`", "by --counts FILE"),
        ("run", "mend `json_file`, `json`", "mend --json, --json"),
        ("check", "give `sample` or `source`", "give --sample or --input"),
        ("energy", "by `nonspike=binary-only`", "by --set nonspike=binary-only"),
        ("energy", "or `sram=fit`, `sram`", "or --set sram=fit, --set sram=VALUE"),
        ("energy", "give `time_ms` and `method=chip`", "give --time-ms and --method chip"),
        ("run", "or `sram=fit`", "or --set sram=fit"),
        ("convert", "mend `out` and `checkpoint`", "mend OUT and CHECKPOINT"),
        ("synthesize", "mend `out` and `sample`", "mend --out and --sample"),
        ("sweep", "`depths` and `dims=60`", "--depth and --dim 60"),
        ("demo", "give another `folder`", "give another --save"),
        ("run", "no option: `A b`, `simulate(x)`", "no option: `A b`, `simulate(x)`"),
    ],
)
def test_options_are_spelled_as_the_command_declares_them(command, text, typed):
    """A name in backticks becomes what a person types for that command."""
    assert spelled_for(command, text) == typed


def test_no_alias_leads_nowhere():
    """Every spelling in the table of differing names is an option of some command."""
    import typer

    group = typer.main.get_command(app)
    known = {option for command in COMMANDS for p in group.commands[command.name].params for option in p.opts}
    assert set(words.ALIASES.values()) <= known


def test_errors_and_reports_are_spelled(tmp_path):
    """No backtick of the library reaches a terminal: neither in an error nor in a report."""
    text = refused("sweep", "--depth", "1", "--dim", "60")
    assert text == "evsim: --dim must be a multiple of 8, got 60\n"
    (tmp_path / "file").write_text("in the way")
    assert "--save" in refused("demo", "--save", tmp_path / "file")
    outcome = evsim("check", MODEL)
    assert "`" not in outcome.out + outcome.err


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1:strict"])
def test_any_code_page_will_do(encoding):
    """Bars and signs that a code page lacks become plain characters; the exit code stays 0."""
    code, out, err = shell('exec "$0" events "$1"', RECORDING, PYTHONIOENCODING=encoding)
    assert (code, err) == (0, b"")
    bars = re.search(rb"[#=_-]{8,}", out)
    assert bars, out
    assert b"?" not in out


def test_a_name_beyond_the_code_page_is_one_line(tmp_path):
    """A file name that the terminal cannot show does not hide the error."""
    path = tmp_path / "\u6a21\u578b.h5"
    code, out, err = shell('exec "$0" info "$1"', path, PYTHONIOENCODING="ascii")
    assert (code, out, err.count(b"\n")) == (2, b"", 1)
    assert b"??.h5 does not exist" in err


def test_a_closed_standard_output_loses_nothing_that_lies_in_a_file(tmp_path):
    """With an output file the command does its work and exits with 0; where all would be lost, one line says so."""
    run = 'exec "$0" run "$1" --input "$2" --json "$3" >&-'
    file = tmp_path / "run.json"
    assert shell(run, MODEL, RECORDING, file) == (0, b"", f"wrote {file}\n".encode())
    assert file.read_text().startswith("{")
    for line in ('exec "$0" info "$1" >&-', 'exec "$0" run "$1" --input "$2" --json - >&-', 'exec "$0" --version >&-'):
        code, out, err = shell(line, MODEL, RECORDING)
        assert (code, out) == (2, b"")
        assert (
            err == b"evsim: standard output is closed, so nothing can be printed; leave it open, or send it to a file\n"
        )


def test_a_closed_standard_error_changes_no_exit_code(tmp_path):
    """Without standard error, errors are silent and still exit with 2; what is printed is printed."""
    assert shell('exec "$0" info "$1" 2>&-', tmp_path / "none.h5") == (2, b"", b"")
    code, out, _ = shell('exec "$0" info "$1" 2>&-', MODEL)
    assert code == 0
    assert out


def test_a_long_run_without_standard_error_shows_no_bar(monkeypatch):
    """The bar of a run that lasts goes nowhere where standard error is closed."""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", None)
    output.prepare()
    bar = progress.Progress(3)
    for _ in range(3):
        bar.observe()
    bar.close()
    sys.stderr.close()


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    """The model is not opened as file 1, where a library's message would be written into it."""
    before = MODEL.read_bytes()
    line = 'exec "$0" run "$1" --input "$2" --counts "$3" >&- 2>&-'
    assert shell(line, MODEL, RECORDING, tmp_path / "c.h5")[0] == 0
    assert MODEL.read_bytes() == before
    code, out, _ = shell('exec "$0" energy "$1"', tmp_path / "c.h5")
    assert code == 0
    assert b"exact" in out


def test_documents_are_printed_as_they_are(capsys):
    """JSON on standard output keeps Python's spelling: it is for programs."""
    output.show("text with `heads`", {"note": "give `heads`"}, "-")
    assert capsys.readouterr().out == '{\n "note": "give `heads`"\n}\n'
    output.show("text with `heads`", {}, None)
    assert capsys.readouterr().out == "text with --heads\n"


def test_the_old_name_of_method_still_works(tmp_path):
    """`evsim energy --model` does what --method does, is not shown, and does not go with it."""
    assert evsim("run", MODEL, "--input", RECORDING, "--counts", tmp_path / "c.h5").code == 0
    new = evsim("energy", tmp_path / "c.h5", "--method", "exact")
    old = evsim("energy", tmp_path / "c.h5", "--model", "exact")
    assert new == old
    assert new.code == 0
    assert "--model" not in evsim("energy", "--help").out
    text = refused("energy", tmp_path / "c.h5", "--method", "exact", "--model", "exact")
    assert "--method is the name that --model had before" in text
