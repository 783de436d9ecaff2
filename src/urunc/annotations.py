"""com.urunc.unikernel.*: what the author of a pod or image asks for, from config.json or urunc.json.  Pure.

The one rule: who asked for a VM gets one or an error.  None, an ordinary container, is the answer only where
no key of ours stands in either source, or for a pod's sandbox.
"""

from ._record import Record, replace
from .errors import UnikernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PREFIX = "com.urunc.unikernel."
ACCELERATORS = ("auto", "kvm", "tcg")
NETWORKS = ("alone", "shared", "none")  # whether the guest takes the container's address over
SHARES = ("9pfs", "virtiofs")  # of the rootfs with a guest that mounts it by itself
INITS = ("urunc", "image")  # what runs the program of a Linux guest
_SANDBOX = ("io.kubernetes.cri.container-type", "sandbox")
_ANNOTATIONS = "annotations of config.json"
_FILE = "urunc.json"
# Knative's two containers of a pod, by containerd's CRI: the one looks for the other at a fixed address
USER_CONTAINER = ("io.kubernetes.cri.container-name", "user-container")
QUEUE_PROXY = ("io.kubernetes.cri.container-name", "queue-proxy")
KNOWN = (PREFIX, _SANDBOX[0], USER_CONTAINER[0])  # how keys begin that count: there may be a thousand others
_OF_POD = ("network", "ports")  # what a pod's annotations say of all its containers, whatever they are
_UNKNOWN_MAX = 3
_MANDATORY = ("unikernelType", "hypervisor", "binary")
_TRUE = ("1", "t", "T", "TRUE", "true", "True")  # as Go's strconv.ParseBool
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SHOWN = 64  # characters of a value in an error
_DEVICE_NAME_MAX = 67  # of Solo5's manifest, mft_abi.h


class Unikernel(Record):
    """The keys of one source, decoded; "" is an absent key.

    Paths are in the container's rootfs and have no component `..`; `mount_rootfs` is None if neither
    mountRootfs nor useDMBlock is given; `source` says where the keys stood, for people.
    """

    type: str
    hypervisor: str
    binary: str
    cmdline: str
    version: str
    initrd: str
    block: str
    block_mount_point: str
    kernel: str
    accelerator: str
    init: str
    network: str
    ports: str
    solo5_net: str
    solo5_block: str
    mount_rootfs: "bool | None"
    source: str
    machine: str = ""
    stop: str = ""
    share: str = ""  # how the rootfs is to be shared, if mountRootfs says that
    unknown: "tuple[str, ...]" = ()  # some of the keys of `source` that this version does not know, to be shown
    for_queue_proxy: bool = False  # whether Knative's other container of the pod looks for this one


def resolve(
    annotations: "tuple[tuple[str, str], ...]", urunc_json: "Mapping[str, object] | None", types: "tuple[str, ...]"
) -> "Unikernel | None":
    """Return what is asked for, None for an ordinary container.

    Of `annotations` those count that begin as KNOWN says.  The first source with a mandatory key wins as a whole: they,
    then `urunc_json` (None if the rootfs has none).  Its values are all plain if the type is one of `types` as it
    stands, all base64 (standard, padded) otherwise.  `network` and `ports` may be a pod's: they count for an image that
    says by urunc.json what it is, and do not make an ordinary container anything else.  Whether the hypervisor is known
    and the files exist is not looked at here.  UnikernelError for a key that is missing or wrong, or if there are only
    optional keys.
    """
    if is_pod_sandbox(annotations):
        return None
    own = {key[len(PREFIX) :]: value for key, value in annotations if key.startswith(PREFIX)}
    if _has_mandatory(own):
        return _unikernel(own, _ANNOTATIONS, types, USER_CONTAINER in annotations)
    filed = _keys_of_file(urunc_json or {})
    if _has_mandatory(filed):
        found = _unikernel(filed, _FILE, types, USER_CONTAINER in annotations)
        of_pod = {key: own[key] for key in _OF_POD if own.get(key)}
        return replace(found, **_checked(of_pod, _ANNOTATIONS)) if of_pod else found
    for source, keys in ((_ANNOTATIONS, [key for key in own if key not in _OF_POD]), (_FILE, list(filed))):
        if keys:
            raise UnikernelError(
                f"{source}: {_shown(PREFIX + keys[0])} is given without {_listed(_MANDATORY)}: add them, or remove it"
            )
    return None


def decides(annotations: "tuple[tuple[str, str], ...]") -> bool:
    """Whether `resolve` needs no urunc.json to answer: the annotations name a unikernel, or a pod's sandbox."""
    return is_pod_sandbox(annotations) or any(
        PREFIX + key == name for key in _MANDATORY for name, value in annotations if value
    )


def asks_for_process(annotations: "tuple[tuple[str, str], ...]") -> bool:
    """Whether config.json asks for the process monitor, which is no VM: no other key is needed for that."""
    return (PREFIX + "hypervisor", "process") in annotations and not is_pod_sandbox(annotations)


def is_pod_sandbox(annotations: "tuple[tuple[str, str], ...]") -> bool:
    """Whether this is the pause container of a pod, which gets the pod's annotations too (containerd's CRI)."""
    return _SANDBOX in annotations


def _has_mandatory(values: "Mapping[str, str]") -> bool:
    return any(values.get(key) for key in _MANDATORY)


def _keys_of_file(content: "Mapping[str, object]") -> "dict[str, str]":
    values = {}
    for key, value in content.items():
        if key.startswith(PREFIX):
            if not isinstance(value, str):
                raise UnikernelError(f"{_FILE}: {_shown(key)} must be a string")
            values[key[len(PREFIX) :]] = value
    return values


def _unikernel(values: "Mapping[str, str]", source: str, types: "tuple[str, ...]", for_queue_proxy: bool) -> Unikernel:
    """Build the record from one source.  Keys that are not known change nothing, as the runtime-spec wants."""
    is_base64 = _is_base64(values, source, types)
    plain = {}
    for key in _KEYS:
        value = values.get(key, "")
        if value and is_base64:
            decoded = _decoded(value)
            if decoded is None:
                raise _fault(source, key, value, "must be base64, as the type is")
            value = decoded
        plain[key] = value
    fields = _checked(plain, source)
    mandatory = ("unikernelType", "hypervisor") if fields["kernel"] else _MANDATORY
    missing = [PREFIX + key for key in mandatory if not fields[_KEYS[key][0]]]
    if missing:
        raise UnikernelError(f"{source}: {_listed(missing)} must be given, as other keys are: add what is missing")
    asked = fields.pop("mount_rootfs") or fields["use_dm_block"]
    del fields["use_dm_block"]
    share = asked if asked in SHARES else ""
    unknown = tuple([_shown(PREFIX + key) for key in sorted(values.keys() - _KEYS.keys())[:_UNKNOWN_MAX]])
    fields |= {"share": share, "source": source, "unknown": unknown, "for_queue_proxy": for_queue_proxy}
    return Unikernel(**fields, mount_rootfs=asked in (*_TRUE, *SHARES) if asked else None)


def _checked(values: "Mapping[str, str]", source: str) -> "dict[str, Any]":
    """Return the values by the names of their fields."""
    fields = {}
    for key, value in values.items():
        field, check = _KEYS[key]
        fault = (_text_fault(value) or check(value)) if value else ""
        if fault:
            raise _fault(source, key, value, fault)
        fields[field] = value
    return fields


def _is_base64(values: "Mapping[str, str]", source: str, types: "tuple[str, ...]") -> bool:
    name = values.get("unikernelType", "")
    if not name:
        raise UnikernelError(f"{source}: {PREFIX}unikernelType must be given, as other keys are: {_listed(types)}")
    if name in types:
        return False
    if _decoded(name) not in types:
        raise _fault(source, "unikernelType", name, f"must be one of {_listed(types)}, plain or in base64")
    return True


def _decoded(value: str) -> "str | None":
    """Return the text that `value` is the one standard, padded base64 form of (RFC 4648, 4); None if it is none."""
    body = value.rstrip("=")
    padding = len(value) - len(body)
    digits = [_BASE64.find(character) for character in body] + [0] * padding
    if len(digits) % 4 or padding > 2 or min(digits, default=0) < 0:
        return None
    raw = bytearray()
    for start in range(0, len(digits), 4):
        first, second, third, fourth = digits[start : start + 4]
        raw += (first << 18 | second << 12 | third << 6 | fourth).to_bytes(3, "big")
    end = len(raw) - padding
    try:
        return None if any(raw[end:]) else raw[:end].decode()
    except UnicodeDecodeError:
        return None


def _text_fault(value: str) -> str:
    """No value may be what an argument cannot be; the fault of `value` or ""."""
    if "\0" in value:
        return "must not contain a NUL byte"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "must not contain a lone surrogate"
    return ""


def _path_fault(value: str) -> str:
    if "\n" in value:
        return "must not contain a newline"
    return "must not contain a component .." if ".." in value.split("/") else ""


def _accelerator_fault(value: str) -> str:
    return "" if value in ACCELERATORS else f"must be one of {_listed(ACCELERATORS)}"


def _init_fault(value: str) -> str:
    return "" if value in INITS else f"must be one of {_listed(INITS)}"


def _network_fault(value: str) -> str:
    return "" if value in NETWORKS else f"must be one of {_listed(NETWORKS)}"


def _ports_fault(value: str) -> str:
    from .subnet import ports

    try:
        ports(value)
    except ValueError:
        return "must be up to 64 ports, as in 80,53/udp"
    return ""


def _stop_fault(value: str) -> str:
    return "" if value in ("powerdown", "signal") else "must be powerdown or signal"


def _boolean_fault(value: str) -> str:
    return "" if value in _TRUE + _FALSE else "must be true or false"


def _rootfs_fault(value: str) -> str:
    return "" if value in _TRUE + _FALSE + SHARES else f"must be true, false, {_listed(SHARES)}"


def _device_fault(value: str) -> str:
    """Solo5's own rule; anything else could add to the option that carries the name (--net:NAME=TAP)."""
    good = value.isascii() and value.isalnum() and len(value) <= _DEVICE_NAME_MAX
    return "" if good else f"must be 1 to {_DEVICE_NAME_MAX} letters and digits"


def _no_fault(_: str) -> str:
    return ""


def _fault(source: str, key: str, value: str, fault: str) -> UnikernelError:
    return UnikernelError(f"{source}: {PREFIX}{key} {_shown(value)} {fault}")


def _shown(value: str) -> str:
    return ascii(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")


def _listed(names: "tuple[str, ...] | list[str]") -> str:
    return ", ".join(names)


# key -> field of Unikernel, check that returns the fault or ""
_KEYS = {
    "unikernelType": ("type", _no_fault),
    "hypervisor": ("hypervisor", _no_fault),
    "binary": ("binary", _path_fault),
    "cmdline": ("cmdline", _no_fault),
    "unikernelVersion": ("version", _no_fault),
    "initrd": ("initrd", _path_fault),
    "block": ("block", _path_fault),
    "blkMntPoint": ("block_mount_point", _path_fault),
    "kernel": ("kernel", _no_fault),
    "accelerator": ("accelerator", _accelerator_fault),
    "init": ("init", _init_fault),
    "machine": ("machine", _no_fault),
    "network": ("network", _network_fault),
    "ports": ("ports", _ports_fault),
    "stop": ("stop", _stop_fault),
    "solo5NetDev": ("solo5_net", _device_fault),
    "solo5BlkDev": ("solo5_block", _device_fault),
    "mountRootfs": ("mount_rootfs", _rootfs_fault),
    "useDMBlock": ("use_dm_block", _boolean_fault),
}
