"""A person's own map of keys, `keys=map.toml`: regular expressions and what they become, applied in a child process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evsim.converters.values import shown
from evsim.errors import OptionError
from evsim.toml import read_toml

MOST_RULES = 256
FORM = "a table [keys] of lines 'regular expression' = 'new name'"
SCRIPT = Path(__file__).with_name("rewrite.py")

SECONDS = 10.0
"""How long all rules may take; those of a sound map take milliseconds."""

Rule = tuple[str, str]
"""A regular expression, and what it becomes."""


def read_map(path: str) -> list[Rule]:
    """Read a map of keys: regular expressions and what they become, in order.

    Raises
    ------
    OptionError
        If it is no such file.
    """
    held = read_toml(path, OptionError, f"`keys` takes {FORM}; quote the regular expression")
    table = held.get("keys")
    if held.keys() != {"keys"} or type(table) is not dict or not table or len(table) > MOST_RULES:
        raise OptionError(f"{path} is no map of keys; it must hold {FORM}, at most {MOST_RULES}")
    for old, new in table.items():
        if type(new) is not str:
            raise OptionError(f"{path}: {shown(old)} must become a text; it must hold {FORM}")
    return list(table.items())


def rewritten(keys: Iterable[str], rules: list[Rule], source: str) -> tuple[list[str], list[Rule]]:
    """Return the new name of each key, "" for one that is left out, and the rules that match none.

    Parameters
    ----------
    keys
        Of a checkpoint.
    rules
        As `read_map` returns them; each is applied to what those before it made of a key.
    source
        Path of the map, for messages.

    Raises
    ------
    OptionError
        If a rule is no regular expression, cannot replace, or takes too long.
    """
    answer = _answer(json.dumps({"rules": rules, "keys": list(keys)}), source)
    if "names" in answer:
        matched = set(answer["matched"])
        return answer["names"], [rule for number, rule in enumerate(rules) if number not in matched]
    old, new = rules[answer["rule"]]
    if "pattern" in answer:
        raise OptionError(f"{source}: {shown(old)} is no regular expression ({answer['pattern']}); mend it")
    raise OptionError(f"{source}: {shown(new)} cannot replace {shown(old)} ({answer['replacement']}); mend it")


def _answer(request: str, source: str) -> dict[str, Any]:
    command = [sys.executable, "-I", "-S", "-W", "ignore", str(SCRIPT)]
    try:
        child = subprocess.run(  # noqa: S603 - our own
            command, input=request.encode(), capture_output=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise OptionError(
            f"{source}: its regular expressions take more than {SECONDS:g} s; mend those that repeat a repetition, "
            "as (a+)+ does"
        ) from None
    if child.returncode:
        raise OptionError(f"{source}: its regular expressions take more memory than there is; mend them")
    answer: dict[str, Any] = json.loads(child.stdout)
    return answer
