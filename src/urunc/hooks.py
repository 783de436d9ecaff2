"""Hooks of the runtime-spec: who runs when, and the state that each reads from its standard input.

The one rule: hooks of one stage run one after the other, in the order of the spec (config.md#posix-platform-hooks).
"""

import os

from . import _fastpath
from .jsontext import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .bundle import Hook, Spec

    Operation = tuple[object, ...]


def state(spec: "Spec", container_id: str, status: str, pid: int) -> bytes:
    """Return the OCI state that a hook is given, as JSON; `pid` 0 = none."""
    document: dict[str, object] = {"ociVersion": spec.version, "id": container_id, "status": status}
    if pid:
        document["pid"] = pid
    document |= {"bundle": spec.bundle, "annotations": dict(spec.annotations)}
    return encode(document).encode("utf-8", "surrogateescape")


def run(hooks: "tuple[Hook, ...]", text: bytes, directory: str) -> None:
    """Run `hooks` in the caller's namespaces, from `directory`; OSError for the first that fails."""
    for hook in hooks:
        _fastpath.run_hook(hook.path, hook.args or (hook.path,), hook.env, text, hook.timeout_s, directory)


def inside(spec: "Spec", container_id: str, rootfs_slot: int) -> "tuple[tuple[Operation, ...], tuple[Operation, ...]]":
    """Return the plan's operations for the hooks that urunc-init runs: createContainer's and startContainer's."""
    text = state(spec, container_id, "created", 1)
    return (
        tuple(_operation(hook, text, -1, spec.bundle) for hook in spec.create_container),
        tuple(_operation(hook, text, rootfs_slot, "/") for hook in spec.start_container),
    )


def _operation(hook: "Hook", text: bytes, slot: int, directory: str) -> "Operation":
    return ("hook", slot, hook.path, hook.args or (hook.path,), hook.env, hook.timeout_s, text, directory)


def load(state_fd: int) -> "dict[str, Any]":
    """Return what state.write_hooks has kept."""
    fd = os.open("hooks.json", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=state_fd)
    with open(fd, "rb", buffering=0) as file:
        kept: dict[str, Any] = decode(file.readall(), "hooks.json")  # type: ignore[assignment]
    return kept


def run_kept(kept: "dict[str, Any]", stage: str, container_id: str, status: str, pid: int) -> "tuple[str, ...]":
    """Run the kept hooks of a stage whose failure does not stop the command; return what is to be warned of."""
    document = {"ociVersion": kept["version"], "id": container_id, "status": status, "pid": pid}
    if not pid:
        del document["pid"]
    document |= {"bundle": kept["bundle"], "annotations": kept["annotations"]}
    text = encode(document).encode("utf-8", "surrogateescape")
    directory = kept["bundle"] if os.path.isdir(kept["bundle"]) else "/"
    warnings = []
    for hook in kept[stage]:
        argv, env = hook["args"] or [hook["path"]], hook["env"]
        try:
            _fastpath.run_hook(hook["path"], argv, env, text, hook["timeout"], directory)
        except OSError as error:
            warnings.append(f"{stage} hook {hook['path']}: {getattr(error, 'step', '')} {error.filename}")
    return tuple(warnings)
