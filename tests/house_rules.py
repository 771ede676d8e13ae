"""House rules that no linter knows, as a program: run as ``python tests/house_rules.py``; exit code 1 if one is broken.

- The ``Parameters`` section of a public docstring names the parameters of the signature, all of them, in its order.
- The library does not print.
- No bare ``except``, no ``except Exception``.
- No function is longer than 70 lines, kernels excepted: one loop is one function there.
- Every kernel is compiled by `evsim.kernels.compiling.kernel`, so that all are compiled and kept alike.
- The library names options in backticks, as Python spells them (evsim/errors.py); dashes are the command line's.
- What a person reads names a page of the documentation by its title (evsim/manual.py): an installed evsim has no docs/.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("evsim", "converters", "cli")
LONGEST = 70
DASHES = re.compile(r"(?<![\w-])--[a-z]")
PAGE_FILE = re.compile(r"docs/[\w/-]+\.md")
DASHES_STORED = ("converters/facts.py", "evsim/synthesis/model.py")
"""Files whose provenance texts name options with dashes: they are stored in every model.h5."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def faults(root: Path) -> Iterator[str]:
    """Yield every broken rule in the three packages under `root`, one line each."""
    for path in sorted(p for room in ROOMS for p in (root / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        where = path.relative_to(root)
        faulty = [*_faults_in(tree, kernel="kernels" in where.parts, prints=where.parts[0] == "cli")]
        if where.parts[0] != "cli" and not where.as_posix().startswith(DASHES_STORED):
            faulty += _dashed(tree)
        faulty += _files_of_pages(tree)
        for line, fault in sorted(faulty):
            yield f"{where}:{line}: {fault}"


def _faults_in(tree: ast.Module, *, kernel: bool, prints: bool) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and _broad(node.type):
            yield node.lineno, "catch named exceptions, not all of them"
        if isinstance(node, ast.Call) and _name(node.func) == "print" and not prints:
            yield node.lineno, "the library does not print; return the text, cli prints it"
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST and not kernel:
                yield node.lineno, f"{node.name} has {length} lines, at most {LONGEST} are read at once"
            for decorator in node.decorator_list:
                if "jit" in ast.unparse(decorator):
                    yield node.lineno, f"{node.name}: compile kernels by `kernel`"
            yield from _documented(node, node.name, node, skip_self=False)
        if isinstance(node, ast.ClassDef):
            yield from _class(node)


def _dashed(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Find texts with dashed options; docstrings, which are statements of their own, may have them."""
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in documents else None
        if isinstance(text, str) and (option := DASHES.search(text)):
            yield node.lineno, f"the text has {option[0]}..., an option of the command line; name it in backticks"


def _files_of_pages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Find texts that name a file of docs/; the docstring of a module is read in the checkout, which has it."""
    first = tree.body[0] if tree.body else None
    own = first.value if isinstance(first, ast.Expr) else None
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and node is not own else None
        if isinstance(text, str) and (file := PAGE_FILE.search(text)):
            yield node.lineno, f"the text names {file[0]}, which an installed evsim has not; name it by evsim.manual"


def _class(node: ast.ClassDef) -> Iterator[tuple[int, str]]:
    """Hold the docstring of a class against its __init__."""
    for item in node.body:
        if isinstance(item, Function) and item.name == "__init__":
            yield from _documented(node, node.name, item, skip_self=True)


def _documented(
    holder: Function | ast.ClassDef, name: str, signature: Function, *, skip_self: bool
) -> Iterator[tuple[int, str]]:
    documented = _parameters(ast.get_docstring(holder) or "")
    if not documented or name.startswith("_"):
        return
    arguments = signature.args
    starred = [arguments.vararg] if arguments.vararg else []
    named = [arguments.kwarg] if arguments.kwarg else []
    wanted = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *starred, *arguments.kwonlyargs, *named)]
    if skip_self or wanted[:1] in (["self"], ["cls"]):
        wanted = wanted[1:]
    if documented != wanted:
        yield holder.lineno, f"{name} documents {', '.join(documented)}, but takes {', '.join(wanted)}"


def _parameters(docstring: str) -> list[str]:
    """Return the names in the Parameters section of a NumPy-style docstring."""
    found = re.search(r"^Parameters\n-+\n(.*?)(?:\n\n[A-Z][^\n]*\n-+\n|\Z)", docstring, re.DOTALL | re.MULTILINE)
    lines = found[1].splitlines() if found else []
    heads = [line for line in lines if line and not line.startswith(" ")]
    return [name.strip(" *") for line in heads for name in line.split(" : ")[0].split(",")]


def _broad(kind: ast.expr | None) -> bool:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(item is None or _name(item) in ("Exception", "BaseException") for item in kinds)


def _name(node: ast.expr | None) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


if __name__ == "__main__":
    broken = list(faults(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
    print("\n".join(broken) if broken else "house rules kept")
    sys.exit(bool(broken))
