"""Who may import whom (DESIGN, Layout) and what a cold start may import (DESIGN, Speed), read from the sources."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src"

# What the modules of a cold start may import when they are imported themselves.
COLD = {"os", "sys", "errno"}
COLD_EXTRAS = {
    "urunc.embedded": {"builtins"},
    "urunc.__main__": {"_imp"},  # a builtin: loads the native module
}
# long-running, a tool: may import what they like
WARM = tuple(
    f"urunc.{name}"
    for name in ["aio", "api", "container", "modules", "pack", "planner", "pool", "repeated", "shim", "spans"]
)

# From the bottom up: a module imports from the layers below its own, and a family from itself.
LAYERS = (
    {"_fastpath", "_record", "errors", "slots", "__init__"},
    {"jsonfault"},
    {"closure", "jsontext", "request", "superblock"},
    {"bpf", "mount_flags", "pool", "resources", "spans", "streams", "templates", "trace", "tree"},
    {"devices", "limits", "subnet"},
    {"mounts", "uinit"},
    {"arguments", "audit", "cage", "calls", "calls_x86_64", "config", "lifecycle"},
    {"annotations", "cgroup", "monitors", "spec", "unikernels"},
    {"bundle"},
    {"credentials", "delegate", "documents", "hooks", "kvm", "network", "seccomp", "snapshot", "state"},
    {"agent", "blocks", "storage", "userns"},
    {"image", "knative", "shared", "tsc"},
    {"payload"},
    {"machine", "plan", "systemd"},
    {"facts", "terminal"},
    {"launch", "modules", "pack"},
    {"late", "ordinary"},
    {"wanted"},
    {"runtime"},
    {"events", "foreground", "listing", "update"},
    {"joined"},
    {"cli", "container", "repeated"},
    {"api"},
    {"aio", "planner"},
    {"__main__", "embedded", "shim"},
)
PURE = {
    "_record",
    "annotations",
    "calls",
    "calls_x86_64",
    "cgroup",
    "credentials",
    "devices",
    "lifecycle",
    "limits",
    "machine",
    "mount_flags",
    "monitors",
    "mounts",
    "network",
    "payload",
    "plan",
    "shared",
    "slots",
    "snapshot",
    "storage",
    "subnet",
    "uinit",
    "unikernels",
}
PURE_EXTRAS = {"urunc.annotations": {"binascii"}}  # base64 is a function of its argument alone
FAMILIES = {"monitors", "unikernels"}


@dataclass(frozen=True)
class Import:
    """One imported module; `typing` = for type checkers only, `top` = when its importer is imported."""

    module: str
    line: int
    top: bool
    typing: bool


def module_name(path: Path) -> str:
    """urunc.plan for .../urunc/plan.py, urunc.monitors for .../urunc/monitors/__init__.py."""
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


MODULES = {module_name(path): path for path in sorted((SOURCES / "urunc").rglob("*.py"))}


def layer_name(module: str) -> str:
    """The name in LAYERS: urunc.monitors.qemu is of monitors."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> list[Import]:
    """Every import statement of a source file, relative ones resolved."""
    return list(walk(ast.parse(path.read_text(), str(path)).body, path, top=True, typing=False))


def walk(nodes: list[ast.stmt], path: Path, *, top: bool, typing: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in imported_names(node, path):
                yield Import(name, node.lineno, top, typing)
            continue
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for name, children in ast.iter_fields(node):
            for child in children if isinstance(children, list) else []:
                if isinstance(child, ast.ExceptHandler | ast.match_case):
                    yield from walk(child.body, path, top=top and not inside, typing=typing)
                elif isinstance(child, ast.stmt):
                    is_typing = typing or (for_types and name == "body")
                    yield from walk([child], path, top=top and not inside, typing=is_typing)


def imported_names(node: ast.Import | ast.ImportFrom, path: Path) -> Iterator[str]:
    """`from . import name` imports the module `name` if there is one, else the package."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        package = path.relative_to(SOURCES).parts[: -node.level]
        base = ".".join([*package, *filter(None, [node.module])])
    for alias in node.names:
        full = f"{base}.{alias.name}"
        yield full if full in MODULES or full == "urunc._fastpath" else base


def is_ours(module: str) -> bool:
    return f"{module}.".startswith("urunc.")


def complaint(importer: str, found: Import) -> str:
    return f"{MODULES[importer].relative_to(SOURCES.parent)}:{found.line}: imports {found.module}"


@pytest.mark.parametrize("module", [module for module in MODULES if not module.startswith(WARM)])
def test_cold_module_imports_only_what_is_cheap(module: str) -> None:
    allowed = COLD | COLD_EXTRAS.get(module, set())

    found = [
        complaint(module, entry)
        for entry in imports(MODULES[module])
        if entry.top and not entry.typing and not is_ours(entry.module) and entry.module not in allowed
    ]

    assert [] == found


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_from_layers_below(module: str) -> None:
    """Names for type checkers may come from anywhere: they import nothing."""
    name = layer_name(module)
    height = {entry: number for number, layer in enumerate(LAYERS) for entry in layer}
    assert name in height, f"{module} has no place in LAYERS"

    found = []
    for entry in imports(MODULES[module]):
        target = layer_name(entry.module)
        if entry.typing or not is_ours(entry.module) or (target == name and name in FAMILIES | {"shim"}):
            continue
        if height.get(target, len(LAYERS)) >= height[name]:
            found.append(complaint(module, entry))

    assert [] == found


@pytest.mark.parametrize("module", [module for module in MODULES if layer_name(module) in PURE])
def test_pure_module_imports_only_pure_ones(module: str) -> None:
    """Wherever in the module: what decides cannot ask the machine, whatever time it is."""
    found = [
        complaint(module, entry)
        for entry in imports(MODULES[module])
        if not entry.typing
        and entry.module not in PURE_EXTRAS.get(module, set())
        and not (is_ours(entry.module) and layer_name(entry.module) in PURE | {"errors"})
    ]

    assert [] == found


@pytest.mark.parametrize("module", [module for module in MODULES if layer_name(module) in FAMILIES])
def test_guests_and_monitors_do_not_know_each_other(module: str) -> None:
    (other,) = FAMILIES - {layer_name(module)}

    found = [
        complaint(module, entry)
        for entry in imports(MODULES[module])
        if is_ours(entry.module) and layer_name(entry.module) == other
    ]

    assert [] == found


def test_walk_sees_what_it_should() -> None:
    """The checks above are worth as much as this."""
    source = (
        "import os\n"
        "if TYPE_CHECKING:\n    from typing import Any\n"
        "try:\n    import a\nexcept ImportError:\n    import b\n"
        "def f():\n    from . import plan\n    with x:\n        from .monitors.qemu import MONITOR\n"
    )
    path = SOURCES / "urunc" / "example.py"

    found = list(walk(ast.parse(source).body, path, top=True, typing=False))

    assert [
        ("os", True, False),
        ("typing", True, True),
        ("a", True, False),
        ("b", True, False),
        ("urunc.plan" if "urunc.plan" in MODULES else "urunc", False, False),
        ("urunc.monitors.qemu", False, False),
    ] == [(entry.module, entry.top, entry.typing) for entry in found]
