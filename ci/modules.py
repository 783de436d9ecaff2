"""Writes the modules of the embedded interpreter, as embedded.c reads them: what a create loads, then the others.

The size of a marshalled pair, 8 bytes; the pair: ((name, is a package, code), ...) in the order in which they are to
run, ((name, is a package, begin, size), ...) of what may be imported later; the marshalled codes of these, one after
the other, which stay where they are until somebody imports them.

The one rule: code only, by the interpreter that will run it, and the same bytes for the same sources.
"""

import ast
import importlib
import marshal
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

# what a create may load; in which order, the import says
ROOTS = (
    *("embedded", "runtime", "calls", f"calls_{os.uname().machine}", "mounts", "bpf", "seccomp", "subnet"),
    *("tree", "uinit"),
)
TABLES = ("monitors", "unikernels")
# for long-running programs; they have an interpreter of their own
LEFT_OUT = tuple(
    f"urunc.{name}" for name in ["__main__", "aio", "api", "container", "pack", "planner", "pool", "shim", "spans"]
)


def main() -> None:
    """Usage: modules.py SOURCES OUTPUT, where SOURCES is the directory that holds the package."""
    sources, output = Path(sys.argv[1]), Path(sys.argv[2])
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(sources))
    paths = {name_of(path, sources): path for path in sorted((sources / "urunc").rglob("*.py"))}
    wanted = [f"urunc.{name}" for name in ROOTS]
    wanted += [name for name in paths if name.startswith(tuple(f"urunc.{table}." for table in TABLES))]
    order = order_of_import([name for name in wanted if name in paths])
    first = tuple(entry(name, paths[name]) for name in order)
    others = [entry(name, path) for name, path in paths.items() if name not in order and not name.startswith(LEFT_OUT)]
    index, codes = [], b""
    for name, is_package, code in others:
        marshalled = marshal.dumps(code)
        index.append((name, is_package, len(codes), len(marshalled)))
        codes += marshalled
    pair = marshal.dumps((first, tuple(index)))
    content = len(pair).to_bytes(8, "little") + pair + codes
    if not output.exists() or output.read_bytes() != content:
        output.write_bytes(content)


class _Native(ModuleType):
    """Stands in for urunc._fastpath, which may not be built yet: nothing of it is used while modules are imported."""

    def __getattr__(self, name: str) -> object:
        return None


def order_of_import(wanted: list[str]) -> list[str]:
    """The modules `wanted`, and those of ours that they load, in the order in which they have run to their end."""
    order: list[str] = []
    sys.modules["urunc._fastpath"] = _Native("urunc._fastpath")
    execute = SourceFileLoader.exec_module

    def record(loader: SourceFileLoader, module: ModuleType) -> None:
        execute(loader, module)
        order.append(module.__name__)

    SourceFileLoader.exec_module = record  # type: ignore[assignment, method-assign]
    for name in wanted:
        importlib.import_module(name)
    SourceFileLoader.exec_module = execute  # type: ignore[method-assign]
    return [name for name in order if f"{name}.".startswith("urunc.")]


def name_of(path: Path, sources: Path) -> str:
    """urunc.plan for SOURCES/urunc/plan.py, urunc.monitors for SOURCES/urunc/monitors/__init__.py."""
    parts = path.relative_to(sources).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def entry(name: str, path: Path) -> tuple[str, bool, CodeType]:
    """Name, whether it is a package, code: without what nobody reads there, as reading it is a tenth of a create."""
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            node.body[0] = ast.copy_location(ast.Pass(), node.body[0])
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    code = compile(tree, f"urunc/{path.name}", "exec", dont_inherit=True, optimize=0)
    return name, path.name == "__init__.py", without_lines(code)


def without_lines(code: CodeType) -> CodeType:
    """`code` and what is defined in it without line numbers: a traceback is printed by an ordinary python3."""
    constants = tuple(without_lines(value) if isinstance(value, CodeType) else value for value in code.co_consts)
    return code.replace(co_consts=constants, co_linetable=b"")


if __name__ == "__main__":
    main()
