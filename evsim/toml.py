"""TOML from strangers: bounded before it is parsed, for tomllib's memory grows with the square of a dotted key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from evsim.errors import EvsimError
from evsim.files import check_input

LARGEST_BYTES = 1 << 16
MOST_PARTS = 8
"""Parts of a dotted key, ``a.b.c`` has three: tomllib keeps every beginning of a key, so a long one is a bomb."""

MOST_DIGITS = 4300
"""Digits of an integer beyond which Python does not read it."""

SHOWN = 60
"""Characters of a faulty value that a message repeats."""

ASIDE = re.compile(
    r"""\"{3}(?:[^\\]|\\.)*?(?:"{3,5}|\Z)|'{3}.*?(?:'{3,5}|\Z)|"(?:[^"\\\n]|\\.)*(?:"|(?=\n)|\Z)|'[^'\n]*'?|\#[^\n]*""",
    re.DOTALL,
)
"""Strings and comments as TOML bounds them; one that does not end takes the rest, where tomllib stops anyway."""

DEEP = re.compile(rf"\.(?:[ \t]*[\w-]+[ \t]*\.){{{MOST_PARTS - 1}}}")


def read_toml(path: str | Path, error: type[EvsimError], form: str) -> dict[str, Any]:
    """Read a TOML file; a byte order mark is passed over.

    Parameters
    ----------
    path
        Of the file.
    error
        What to raise.
    form
        What a person is told to give, as in "for the form of a profile see docs: Hardware profiles".

    Raises
    ------
    EvsimError
        Of class `error`: if it is no regular file of at most `LARGEST_BYTES`, or `parse_toml` refuses its text.
    """
    check_input(path, error, f"a TOML file; {form}")
    try:
        with Path(path).open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason.strerror}); check the path") from reason
    if len(raw) > LARGEST_BYTES:
        raise error(f"{path} is longer than {LARGEST_BYTES >> 10} KiB; {form}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(f"{path} is not in UTF-8 (byte {reason.start}); save it in UTF-8") from reason
    return parse_toml(text, str(path), error, form)


def parse_toml(text: str, name: str, error: type[EvsimError], form: str) -> dict[str, Any]:
    """Parse TOML.

    Parameters
    ----------
    text
        What is parsed.
    name
        Of its file, for messages.
    error, form
        As `read_toml` takes them.

    Raises
    ------
    EvsimError
        Of class `error`: if it is no TOML, or a key, a number or a nesting is longer than any that evsim takes.
    """
    bare = ASIDE.sub(_blank, text.replace("\r\n", "\n"))
    if deep := DEEP.search(bare):
        line = bare.count("\n", 0, deep.start()) + 1
        raise error(f"{name}: line {line} has a key of more than {MOST_PARTS} parts with dots between; {form}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise error(f"{name} is no valid TOML: {_short(str(reason))}; {form}") from reason
    except ValueError as reason:
        raise error(f"{name}: {_endless(text)} is a number of too many digits; write it shorter") from reason
    except RecursionError as reason:
        raise error(f"{name}: lists or tables are nested too deep; {form}") from reason


def shown(value: object) -> str:
    """Return a faulty value for a message: in short, for it may be of any length or depth."""
    if isinstance(value, int) and value.bit_length() > SHOWN:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer within has too many digits, or lists are nested too deep
        return f"a {type(value).__name__} that is too long to show"
    return _short(text)


def shown_key(key: str) -> str:
    """Return a key for a message: as it is if TOML takes it bare, else quoted and in short."""
    return key if re.fullmatch(rf"[A-Za-z0-9_-]{{1,{SHOWN}}}", key) else shown(key)


def _blank(match: re.Match[str]) -> str:
    """Return what takes the place of a string or comment: a word for a part of a key, and as many lines."""
    return ("" if match[0].startswith("#") else "x") + "\n" * match[0].count("\n")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _endless(text: str) -> str:
    """Return where in a TOML text an integer has more digits than Python reads."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(rf"[0-9_]{{{MOST_DIGITS}}}", line):
            key, equals, _ = line.partition("=")
            return f"line {number}, {_short(key.strip())}," if equals else f"line {number}"
    return "a value"
