"""A map of keys at work, in a process of its own: a regular expression can take for ever, and nothing stops it there.

Started as a script by `evsim.converters.keymap`; imports nothing of evsim. Reads rules and keys as JSON, writes as JSON
each key's new name (empty: left out) and the rules that matched, or which rule failed and how.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

LONGEST = 4096
"""Letters that a key may have on the way; each rule could double it."""


def rewrite(rules: list[list[str]], keys: list[str]) -> dict[str, Any]:
    """Apply every rule in its order to every key."""
    patterns = []
    for number, (old, _) in enumerate(rules):
        try:
            patterns.append(re.compile(old))
        except (re.error, RecursionError, OverflowError) as error:
            return {"rule": number, "pattern": str(error)}
    matched: set[int] = set()
    names = []
    for key in keys:
        name = key
        for number, pattern in enumerate(patterns):
            if pattern.search(name) is None:
                continue
            matched.add(number)
            try:
                name = pattern.sub(rules[number][1], name)
            except (re.error, IndexError) as error:
                return {"rule": number, "replacement": str(error)}
            if len(name) > LONGEST:
                return {"rule": number, "replacement": f"it makes a key of more than {LONGEST} letters"}
        names.append(name)
    return {"names": names, "matched": sorted(matched)}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(rewrite(asked["rules"], asked["keys"]), sys.stdout)
