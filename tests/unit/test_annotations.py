"""Which source says what unikernel a container is, and what a source may say."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from urunc import _fastpath, annotations
from urunc._record import replace
from urunc.annotations import KNOWN, PREFIX, Unikernel, decides, is_pod_sandbox, resolve
from urunc.errors import UnikernelError

TYPES = ("unikraft", "mirage", "linux")
PLAIN = {"unikernelType": "unikraft", "hypervisor": "qemu", "binary": "/boot/kernel"}
ALL = PLAIN | {
    "cmdline": "nginx -c 'a b'",
    "unikernelVersion": "0.16.0",
    "initrd": "/initrd",
    "block": "disk, with a comma",
    "blkMntPoint": "/data",
    "mountRootfs": "true",
    "kernel": "lts",
    "accelerator": "tcg",
    "init": "image",
    "network": "shared",
    "ports": "80, 53/udp",
    "solo5NetDev": "service0",
    "solo5BlkDev": "storage",
}
ABSENT: dict[str, Any] = dict.fromkeys(Unikernel.__slots__, "") | {
    "mount_rootfs": None,
    "source": "annotations of config.json",
    "unknown": (),
    "for_queue_proxy": False,
}
SANDBOX = (("io.kubernetes.cri.container-type", "sandbox"),)


def full(values: dict[str, str]) -> dict[str, object]:
    return {PREFIX + key: value for key, value in values.items()}


def pairs(values: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((PREFIX + key, value) for key, value in values.items()))


def encoded(values: dict[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}


def unikernel(**values: Any) -> Unikernel:
    return Unikernel(**(ABSENT | values))


def message(values: dict[str, str], urunc_json: "dict[str, object] | None" = None) -> str:
    with pytest.raises(UnikernelError) as caught:
        resolve(pairs(values), urunc_json, TYPES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_key_is_an_ordinary_container() -> None:
    assert resolve((), None, TYPES) is None
    assert resolve((("com.urunc", "x"), ("a", "b")), {"other": 1}, TYPES) is None


@pytest.mark.parametrize("code", [dict, encoded])
def test_every_key_has_its_field(code: "type[dict[str, str]]") -> None:
    """All values of a source are plain, or all are base64."""
    expected = unikernel(
        type="unikraft",
        hypervisor="qemu",
        binary="/boot/kernel",
        cmdline="nginx -c 'a b'",
        version="0.16.0",
        initrd="/initrd",
        block="disk, with a comma",
        block_mount_point="/data",
        kernel="lts",
        accelerator="tcg",
        init="image",
        network="shared",
        ports="80, 53/udp",
        solo5_net="service0",
        solo5_block="storage",
        mount_rootfs=True,
    )

    assert expected == resolve(pairs(code(ALL)), None, TYPES)


@pytest.mark.parametrize("code", [dict, encoded])
def test_urunc_json_counts_where_the_annotations_say_nothing(code: "type[dict[str, str]]") -> None:
    """Docker, nerdctl and CRI do not pass an image's annotations."""
    found = resolve((("org.other", "x"),), full(code(PLAIN)) | {"unknown": [1]}, TYPES)

    assert unikernel(type="unikraft", hypervisor="qemu", binary="/boot/kernel", source="urunc.json") == found


def test_annotations_win_as_a_whole() -> None:
    """Nothing is taken from the other source, not even looked at."""
    found = resolve(pairs(PLAIN), {PREFIX + "initrd": "/x", PREFIX + "binary": 1}, TYPES)

    assert unikernel(type="unikraft", hypervisor="qemu", binary="/boot/kernel") == found


@pytest.mark.parametrize("key", ["unikernelType", "hypervisor", "binary"])
def test_one_mandatory_annotation_is_enough_to_win(key: str) -> None:
    """What is missing then is an error: a container that asked for a VM does not run without one."""
    text = message({key: PLAIN[key]}, full(PLAIN))

    assert text.startswith(f"annotations of config.json: {PREFIX}")
    assert "must be given" in text


def test_stray_optional_annotation_leaves_urunc_json_in_charge() -> None:
    found = resolve(pairs({"useDMBlock": "true"}), full(PLAIN), TYPES)

    assert found is not None
    assert ("urunc.json", None) == (found.source, found.mount_rootfs)


def test_empty_mandatory_annotation_is_as_if_absent_but_still_asks_for_a_vm() -> None:
    found = resolve(pairs({"unikernelType": ""}), full(PLAIN), TYPES)

    assert found is not None
    assert "urunc.json" == found.source
    assert "is given without" in message({"unikernelType": ""})


def test_a_pods_network_does_not_make_its_side_cars_unikernels() -> None:
    """CRI gives a pod's annotations to all its containers: ordinary ones stay what they are."""
    pod = pairs({"network": "shared", "ports": "80"})

    assert resolve(pod, None, TYPES) is None
    assert resolve(pod, {}, TYPES) is None
    assert not decides(pod)
    assert "urunc.json: 'com.urunc.unikernel.initrd' is given" in message({"ports": "80"}, full({"initrd": "y"}))


@pytest.mark.parametrize("code", [dict, encoded])
def test_a_pods_network_counts_for_what_urunc_json_says_is_a_unikernel(code: "type[dict[str, str]]") -> None:
    found = resolve(pairs({"network": "shared", "ports": "80"}), full(code(PLAIN | {"network": "alone"})), TYPES)

    assert found is not None
    assert ("urunc.json", "shared", "80") == (found.source, found.network, found.ports)
    for key, value in (("network", "x"), ("ports", "x")):
        assert message({key: value}, full(PLAIN)).startswith(f"annotations of config.json: {PREFIX}{key} 'x' must be")


@pytest.mark.parametrize(
    ("own", "filed", "source", "key"),
    [
        ({"cmdline": "x"}, None, "annotations of config.json", "cmdline"),
        ({"cmdline": "x"}, {}, "annotations of config.json", "cmdline"),
        ({"cmdline": "x"}, {"initrd": "y"}, "annotations of config.json", "cmdline"),
        ({}, {"initrd": "y"}, "urunc.json", "initrd"),
        ({"unikerneltype": "unikraft"}, None, "annotations of config.json", "unikerneltype"),
    ],
)
def test_only_optional_or_unknown_keys_are_an_error(
    own: dict[str, str], filed: "dict[str, str] | None", source: str, key: str
) -> None:
    """Somebody asked for a unikernel and forgot, or misspelt, what matters."""
    text = message(own, None if filed is None else full(filed))

    assert (
        f"{source}: '{PREFIX}{key}' is given without unikernelType, hypervisor, binary: add them, or remove it" == text
    )


@pytest.mark.parametrize("missing", ["unikernelType", "hypervisor", "binary"])
def test_missing_mandatory_key_is_named(missing: str) -> None:
    values = {key: value for key, value in PLAIN.items() if key != missing}

    for present in (values, values | {missing: ""}):
        assert message(present).startswith(f"annotations of config.json: {PREFIX}{missing} must be given")
    assert message({}, full(values)).startswith(f"urunc.json: {PREFIX}{missing} must be given")


def test_all_that_is_missing_is_named() -> None:
    expected = f"{PREFIX}hypervisor, {PREFIX}binary must be given, as other keys are: add what is missing"

    assert f"annotations of config.json: {expected}" == message({"unikernelType": "linux"})


def test_binary_is_not_needed_with_a_kernel_of_the_host() -> None:
    found = resolve(pairs({"unikernelType": "linux", "hypervisor": "qemu", "kernel": "lts"}), None, TYPES)

    assert unikernel(type="linux", hypervisor="qemu", kernel="lts") == found


@pytest.mark.parametrize("name", ["osv", "Unikraft", "unikraft ", "b3N2", "dW5pa3JhZnQ", "dW5pa3JhZnQ=\n", "\x00", "é"])
def test_unknown_type_is_named_with_the_known_ones(name: str) -> None:
    """Neither as it stands nor in base64."""
    expected = (
        f"annotations of config.json: {PREFIX}unikernelType {name!a} must be one of unikraft, mirage, linux, "
        "plain or in base64"
    )

    assert expected == message(PLAIN | {"unikernelType": name})


@pytest.mark.parametrize(
    "value", ["/boot/kernel", "L2Jvb3Q", "L2Jvb3Q=\n", "L2J vb3Q=", "YR==", "YQ=", "====", "//79", "é"]
)
def test_value_that_is_not_base64_among_base64_is_refused(value: str) -> None:
    """Strictly: padded, canonical, no blanks, UTF-8 inside."""
    text = message(encoded(PLAIN) | {"binary": value})

    assert f"annotations of config.json: {PREFIX}binary {value!a} must be base64, as the type is" == text


@given(st.text())
def test_base64_of_any_text_is_decoded(value: str) -> None:
    assert value == annotations._decoded(base64.b64encode(value.encode()).decode())


@given(st.text(alphabet="AQgw+/=Zz09_- \n", max_size=12))
def test_only_the_canonical_form_is_decoded(value: str) -> None:
    """What is decoded at all, the standard library encodes to the same again."""
    decoded = annotations._decoded(value)

    assert decoded is None or value == base64.b64encode(decoded.encode()).decode()


def test_plain_values_that_happen_to_be_base64_stay_plain() -> None:
    """The type alone decides: "qemu" is valid base64 too."""
    found = resolve(pairs(PLAIN | {"cmdline": "dW5pa3JhZnQ="}), None, TYPES)

    assert found is not None
    assert ("qemu", "dW5pa3JhZnQ=") == (found.hypervisor, found.cmdline)


@pytest.mark.parametrize("code", [dict, encoded])
@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("accelerator", "xen", "must be one of auto, kvm, tcg"),
        ("accelerator", "KVM", "must be one of auto, kvm, tcg"),
        ("mountRootfs", "yes", "must be true, false, 9pfs, virtiofs"),
        ("useDMBlock", "2", "must be true or false"),
        ("binary", "../kernel", "must not contain a component .."),
        ("binary", "/boot/..", "must not contain a component .."),
        ("initrd", "a/../b", "must not contain a component .."),
        ("block", "..", "must not contain a component .."),
        ("blkMntPoint", "/data/../etc", "must not contain a component .."),
        ("binary", "/boot\nkernel", "must not contain a newline"),
        ("initrd", "/initrd\n", "must not contain a newline"),
        ("block", "\n", "must not contain a newline"),
        ("blkMntPoint", "/a\nb", "must not contain a newline"),
        ("binary", "/boot\0", "must not contain a NUL byte"),
        ("cmdline", "a\0b", "must not contain a NUL byte"),
        ("hypervisor", "qemu\0", "must not contain a NUL byte"),
        ("kernel", "\0", "must not contain a NUL byte"),
        ("solo5NetDev", "net:x=", "must be 1 to 67 letters and digits"),
        ("solo5NetDev", "é", "must be 1 to 67 letters and digits"),
        ("init", "systemd", "must be one of urunc, image"),
        ("network", "host", "must be one of alone, shared, none"),
        ("ports", "80,,81", "must be up to 64 ports, as in 80,53/udp"),
        ("ports", "0", "must be up to 64 ports, as in 80,53/udp"),
        ("ports", "65536/tcp", "must be up to 64 ports, as in 80,53/udp"),
        ("ports", "53/sctp", "must be up to 64 ports, as in 80,53/udp"),
        ("ports", ",".join(str(port) for port in range(1, 66)), "must be up to 64 ports, as in 80,53/udp"),
        ("solo5BlkDev", "a" * 68, "must be 1 to 67 letters and digits"),
    ],
)
def test_invalid_value_is_named(key: str, value: str, fault: str, code: "type[dict[str, str]]") -> None:
    shown = ascii(value if len(value) <= 64 else value[:64] + "...")

    assert f"annotations of config.json: {PREFIX}{key} {shown} {fault}" == message(code(PLAIN | {key: value}))


def test_lone_surrogate_is_refused() -> None:
    """JSON can say "\\ud800", an argument cannot."""
    assert message(PLAIN | {"cmdline": "\ud800"}).endswith("cmdline '\\ud800' must not contain a lone surrogate")


@pytest.mark.parametrize("path", ["/boot/kernel", "kernel", "a..b/...", "./a", "/with space, and 'quotes'", "/é"])
def test_paths_are_data(path: str) -> None:
    found = resolve(pairs(PLAIN | {"binary": path}), None, TYPES)

    assert found is not None
    assert path == found.binary


@pytest.mark.parametrize("value", [1, True, None, ["qemu"], {"a": 1}])
@pytest.mark.parametrize("key", ["unikernelType", "binary", "cmdline"])
def test_value_of_urunc_json_that_is_no_string_is_refused(key: str, value: object) -> None:
    assert f"urunc.json: '{PREFIX}{key}' must be a string" == message({}, full(PLAIN) | {PREFIX + key: value})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"mountRootfs": ""}, None),
        ({"mountRootfs": "1"}, True),
        ({"mountRootfs": "F"}, False),
        ({"useDMBlock": "TRUE"}, True),
        ({"useDMBlock": "false"}, False),
        ({"mountRootfs": "false", "useDMBlock": "true"}, False),
        ({"mountRootfs": "true", "useDMBlock": "false"}, True),
    ],
)
def test_mount_rootfs_wins_over_its_old_name(given: dict[str, str], expected: "bool | None") -> None:
    """Booleans are Go's."""
    found = resolve(pairs(PLAIN | given), None, TYPES)

    assert found is not None
    assert expected is found.mount_rootfs
    assert "" == found.share


@pytest.mark.parametrize("kind", ["9pfs", "virtiofs"])
def test_mount_rootfs_says_how_it_is_shared(kind: str) -> None:
    found = resolve(pairs(PLAIN | {"mountRootfs": kind}), None, TYPES)

    assert found is not None
    assert (True, kind) == (found.mount_rootfs, found.share)


def test_unknown_keys_beside_known_ones_change_nothing() -> None:
    """A few of them are kept to be spoken of."""
    known = unikernel(type="unikraft", hypervisor="qemu", binary="/boot/kernel")
    many = {f"k{number}\n": "" for number in range(10)}

    assert replace(known, unknown=(f"'{PREFIX}vAccel'",)) == resolve(pairs(PLAIN | {"vAccel": "vsock\0"}), None, TYPES)
    found = resolve(pairs(PLAIN | many), None, TYPES)
    assert found is not None
    assert (3, False) == (len(found.unknown), "\n" in "".join(found.unknown))


@pytest.mark.parametrize("values", [{}, PLAIN, {"cmdline": "x"}, {"unikernelType": "nonsense"}])
def test_sandbox_of_a_pod_is_always_ordinary(values: dict[str, str]) -> None:
    """The pod's annotations reach its pause container, right or wrong."""
    assert is_pod_sandbox(SANDBOX)
    assert resolve(SANDBOX + pairs(values), full({"binary": "x"}), TYPES) is None


@pytest.mark.parametrize(("name", "expected"), [("user-container", True), ("queue-proxy", False), ("other", False)])
@pytest.mark.parametrize("where", ["annotations", "file"])
def test_the_container_that_queue_proxy_looks_for_is_known(name: str, where: str, expected: bool) -> None:
    of_pod = (("io.kubernetes.cri.container-name", name),)
    given, filed = (pairs(PLAIN), None) if where == "annotations" else ((), full(PLAIN))
    found = resolve(of_pod + given, filed, TYPES)

    assert found
    assert expected is found.for_queue_proxy


def test_container_of_a_pod_is_no_sandbox() -> None:
    given = (("io.kubernetes.cri.container-type", "container"), *pairs(PLAIN))

    assert not is_pod_sandbox(given)
    assert resolve(given, None, TYPES) is not None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), False),
        (pairs({"cmdline": "x"}), False),
        (pairs({"binary": ""}), False),
        (pairs({"binary": "x"}), True),
        (SANDBOX, True),
    ],
)
def test_urunc_json_is_needed_unless_the_annotations_decide(given: tuple[tuple[str, str], ...], expected: bool) -> None:
    assert expected is decides(given)


def of(values: dict[str, str], separators: tuple[str, str]) -> _fastpath.Json:
    return _fastpath.Json(json.dumps(values, separators=separators).encode())


@pytest.mark.parametrize("given", [(), pairs(PLAIN), SANDBOX, SANDBOX + pairs(PLAIN)])
@pytest.mark.parametrize("separators", [(",", ":"), (" ,\n", "\t: ")])
def test_a_thousand_annotations_of_others_are_passed_over(
    given: tuple[tuple[str, str], ...], separators: tuple[str, str]
) -> None:
    """Keys just before and behind ours, and values that look like them."""
    names = [
        "a",
        "com.urunc.unikernel",
        "com.urunc.unikernel/",
        "io.kubernetes.cri",
        "io.kubernetes.cri.container-typf",
    ]
    values = ["x", f"{PREFIX}binary", f'{{"{PREFIX}binary": "y", "{PREFIX}binary": "z"}}', "\\", '"']
    others = tuple((f"{name}{value}", value) for name in names for value in values)

    assert tuple(sorted(given)) == _fastpath.beginning(of(dict(others + given), separators), KNOWN)


BUNNY = {
    "unikernelType": "mirage",
    "hypervisor": "spt",
    "binary": "/.boot/kernel",
    "cmdline": "",
    "mountRootfs": "false",
    "block": "/.boot/rootfs",
    "blkMntPoint": "/",
}
BUNIX = dict.fromkeys(("cmdline", "unikernelVersion", "initrd", "block", "blkMntPoint", "useDMBlock"), "") | {
    "unikernelType": "mirage",
    "hypervisor": "hvt",
    "binary": "/unikernel/app",
}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (BUNNY, {"binary": "/.boot/kernel", "mount_rootfs": False, "block": "/.boot/rootfs", "block_mount_point": "/"}),
        (BUNIX, {"binary": "/unikernel/app"}),
    ],
)
def test_what_packers_write_is_taken(written: dict[str, str], expected: dict[str, Any]) -> None:
    """Urunc.json of bunny 0.0.5, and of bunix, whose keys are all there and may be empty; both are base64."""
    found = resolve((), full(encoded(written)), TYPES)
    named = {"type": written["unikernelType"], "hypervisor": written["hypervisor"], "source": "urunc.json"}

    assert unikernel(**named, **expected) == found
