"""TOML from strangers: a bomb, a fault or a form that no file of evsim has is one line, before memory goes."""

from __future__ import annotations

import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from commands import refused
from hypothesis import given
from hypothesis import strategies as st

from evsim.errors import ProfileError
from evsim.toml import LARGEST_BYTES, MOST_PARTS, parse_toml, read_toml

HOSTILE = Path(__file__).parents[2] / "shared" / "cases" / "hostile"
MOST_MEMORY = 500 << 20

DOTTED = ".".join("a" * 20_000)
BOMBS = {
    "dotted key": f"{DOTTED} = 1",
    "dotted header": f"[{DOTTED}]\nx = 1",
    "dotted array of tables": f"[[{DOTTED}]]\nx = 1",
    "dotted within an inline table": f"x = {{{DOTTED} = 1}}",
    "quoted parts": ".".join(['"a"', "'b'"] * 8_000) + " = 1",
    "spaces between parts": " . ".join("a" * 15_000) + " = 1",
    "long header, many keys": f"[{'.'.join('a' * 8_000)}]\n" + "b.c = 1\n" * 4_000,
    "behind a string with escaped quotes": f'name = "\\"" \n{DOTTED} = 1',
    "behind a string that ends in five quotes": f'name = """x"""""\n{DOTTED} = 1',
    "behind a literal string of a quote": f"name = '\"'\n{DOTTED} = 1",
    "behind a comment with a quote": f'# say "\n{DOTTED} = 1',
    "behind an empty long string": f'name = """"""\n{DOTTED} = 1',
    "nested lists": "x = " + "[" * 30_000,
    "nested tables": "x = " + "{a=" * 20_000,
    "too long": "#" * (LARGEST_BYTES + 1),
    "many digits": "x = " + "1" * 60_000,
    "unterminated": 'x = """' + '\\"""' * 12_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_one_line(name, tmp_path):
    """Each bomb is refused by name within 500 MB of address space above what Python takes."""
    path = tmp_path / "bomb.toml"
    path.write_text(BOMBS[name])
    process = bounded("profiles", "--profile", str(path))
    assert process.returncode == 2, process.stderr[-500:]
    assert process.stdout == ""
    assert process.stderr.count("\n") == 1
    assert str(path) in process.stderr
    assert len(process.stderr) < 400 + len(str(path))


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="../shared absent")
@pytest.mark.parametrize("name", ["dotted.toml", "e308.toml"])
def test_hostile_profiles(name):
    """The files that took 1.6 GB and ended in a traceback are refused in one line."""
    process = bounded("profiles", "--profile", str(HOSTILE / name))
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert name in process.stderr


def bounded(*words):
    """Run evsim in a process that gets 500 MB."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))

    code = "from evsim.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, preexec_fn=limit, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"\xff\xfe", "is not in UTF-8 (byte 0); save it in UTF-8"),
        (b'name = "x', "is no valid TOML"),
        (b"a = 1\na = 2", "is no valid TOML"),
        (b"a.b.c.d.e.f.g.h.i = 1", f"line 1 has a key of more than {MOST_PARTS} parts"),
        (b'x = """\n\n"""\na.b.c.d.e.f.g.h.i = 1', f"line 4 has a key of more than {MOST_PARTS} parts"),
        (b"x = 1\r\n[a.b.c.d.e.f.g.h.i]", "line 2 has a key"),
    ],
)
def test_faults_are_named(text, says, tmp_path):
    """A fault is told with the file, its line where there is one, and what to do."""
    path = tmp_path / "faulty.toml"
    path.write_bytes(text)
    with pytest.raises(ProfileError) as caught:
        read_toml(path, ProfileError, "see the manual")
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_file(tmp_path):
    """A folder and a missing file are told; a pipe or device is never read."""
    for path in (tmp_path, tmp_path / "missing.toml", Path("/dev/zero")):
        with pytest.raises(ProfileError, match=str(path)):
            read_toml(path, ProfileError, "see the manual")


def test_dots_in_texts_are_no_keys(tmp_path):
    """Names with initials, addresses, comments and lists of numbers are read; so is a byte order mark."""
    text = (
        '# a.b.c.d.e.f.g.h.i.j\nsource = "A. B. C. D. E. F. G. H. I. Author, https://a.b.c.d.e.f.g.h.i.j"\n'
        'other = \'a.b.c.d.e.f.g.h.i.j\'\nlong = """a.b.c.d.e.f.g.h.i.j """"\nnumbers = [1.0, 2.0, 3.0, 4.0, 5.0]\n'
        "date = 1979-05-27T07:32:00.999\n[a.b.c.d.e.f.g.h]\nx = 1\n"
    )
    path = tmp_path / "fine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_toml(path, ProfileError, "") == tomllib.loads(text)


@given(st.text(st.sampled_from("a.'\"\\#\n= []{}x1"), max_size=60))
def test_only_deep_keys_are_refused_beyond_what_toml_refuses(text):
    """Whatever is in a text: evsim refuses what is no TOML, and of what is TOML keys of many parts alone."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(ProfileError):
            parse_toml(text, "x.toml", ProfileError, "")
        return
    if depth(content) <= MOST_PARTS:
        assert parse_toml(text, "x.toml", ProfileError, "") == content


def depth(value):
    """Return how deep tables and lists lie within each other."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, inner), default=0) if isinstance(value, dict | list) else 0


def test_a_profile_names_its_faulty_keys_in_short(tmp_path):
    """A key, a name or a source of a stranger is shown in short, and moves no cursor."""
    path = tmp_path / "mine.toml"
    price = '[e_ac_pj]\nvalue = 1\nsource = "me"\n'
    for text, says in (
        (f'name = "mine"\n"{"k" * 30_000}" = 1\n{price}', "unknown key 'kkk"),
        (f'name = "mine"\n"\\u001b[2J" = 1\n{price}', "unknown key '\\x1b[2J'"),
        (f'name = "mine\\u001b[2J"\n{price}', "name must be a text that can be printed"),
        (f'name = "{"n" * 200}"\n{price}', "name must be a text of 1 to 100 characters, got 200"),
        (f'name = ""\n{price}', "name must be a text of 1 to 100 characters, got 0"),
        (f'name = "mine"\n{price}"{"k" * 30_000}" = 1', "unknown key e_ac_pj.'kkk"),
        (price.replace("me", "\\u202e").join(('name = "mine"\n', "")), "e_ac_pj.source must be a text that can be"),
    ):
        path.write_text(text)
        line = refused("profiles", "--profile", path)
        assert says in line
        assert len(line) < 300 + len(str(path))
