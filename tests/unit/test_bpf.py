"""Filters made shorter decide as they did before."""

import random
import struct
from typing import Any

import pytest
from bench.bundle import SECCOMP

from urunc import bpf, seccomp
from urunc.errors import HostError

X86_64, X86, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
X32 = 0x40000000  # added to the numbers of x86-64
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050001, 0x80000000
VALUES = (0, 1, 8, 40, 41, 0x20000, 0x20008, 0x7E020000, 0x10000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 8)


def decide(program: bytes, data: bytes) -> int:
    """What the kernel would do (Documentation/networking/filter.rst), of what libseccomp writes."""
    rows = list(struct.iter_unpack("=HBBI", program))
    at = value = 0
    while True:
        code, jt, jf, k = rows[at]
        at += 1
        if code == 0x06:
            return int(k)
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, k)
        elif code == 0x54:
            value &= k
        elif code == 0x05:
            at += k
        else:
            at += jt if {0x15: value == k, 0x25: value > k, 0x35: value >= k, 0x45: value & k}[code] else jf


def calls() -> list[bytes]:
    """Every number there is and some that are none, on each architecture, each with some arguments."""
    draw = random.Random(1)
    numbers = [*range(520), *range(X32 - 1, X32 + 560), 0x7FFFFFFF, 0xFFFFFFFF]
    return [
        struct.pack("=IIQ6Q", number, architecture, 0, *draw.choices(VALUES, k=6))
        for architecture in (X86_64, X86, AARCH64, 0)
        for number in numbers
        for _ in range(2)
    ]


def rule(action: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": f"SCMP_ACT_{action}", **more}


def about(index: int, operator: str, value: int, second: int = 0) -> dict[str, int | str]:
    return {"index": index, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": second}


ONE = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]}
PROFILES = {
    "as engines give it": SECCOMP,
    "a list of what is denied": {**ONE, "syscalls": [rule("ERRNO", "ptrace", "mount", "kexec_load", errnoRet=7)]},
    "arguments": {
        **ONE,
        "syscalls": [
            rule("ERRNO", "socket", args=[about(0, "EQ", 40), about(1, "NE", 1)]),
            rule("KILL", "clone", "unshare", args=[about(0, "MASKED_EQ", 0x7E020000, 0x10000000)]),
            rule("TRAP", "write", args=[about(2, "GE", 1 << 32)]),
            rule("ERRNO", "ioctl", "fcntl", args=[about(1, "LT", 41)]),
        ],
    },
    "nothing": {**ONE, "syscalls": []},
}


@pytest.fixture(params=PROFILES)
def program(request: pytest.FixtureRequest) -> bytes:
    try:
        return seccomp._compiled(PROFILES[request.param], "test")
    except HostError as error:
        pytest.skip(str(error))


def test_it_decides_as_before(program: bytes) -> None:
    short = bpf.shortened(program)

    assert len(short) <= len(program)
    assert all(decide(program, call) == decide(short, call) for call in calls())


def test_lists_get_much_shorter() -> None:
    try:
        program = seccomp._compiled(SECCOMP, "test")
    except HostError as error:
        pytest.skip(str(error))

    assert len(bpf.shortened(program)) < len(program) / 2


def test_random_lists(subtests: pytest.Subtests) -> None:
    """Of numbers as libseccomp would compare them, one by one, far more of them than a jump reaches."""
    draw = random.Random(2)
    for _ in range(8):
        listed = sorted(draw.sample(range(1200), draw.choice((1, 50, 700))))
        actions = {number: draw.choice((ALLOW, ERRNO, KILL)) for number in listed}
        rows = [(0x20, 0, 0, 4), (0x15, 1, 0, X86_64), (0x06, 0, 0, KILL), (0x20, 0, 0, 0)]
        for number, action in actions.items():
            rows += [(0x15, 0, 1, number), (0x06, 0, 0, action)]
        rows.append((0x06, 0, 0, ERRNO))
        program = b"".join(struct.pack("=HBBI", *row) for row in rows)
        short = bpf.shortened(program)
        with subtests.test(size=len(listed)):
            for architecture in (X86_64, X86):
                for number in [*range(1210), 0xFFFFFFFF]:
                    call = struct.pack("=II56x", number, architecture)

                    assert decide(program, call) == decide(short, call)


@pytest.mark.parametrize(
    "rows",
    [
        [(0x20, 0, 0, 0), (0x15, 0, 1, 3), (0x06, 0, 0, KILL), (0x06, 0, 0, ALLOW)],
        [(0x20, 0, 0, 4), (0x35, 0, 1, X86), (0x06, 0, 0, KILL), (0x06, 0, 0, ALLOW)],
        [(0x20, 0, 0, 4), (0x54, 0, 0, 1), (0x15, 0, 1, 0), (0x06, 0, 0, KILL), (0x06, 0, 0, ALLOW)],
        [(0x20, 0, 0, 4), (0x15, 1, 0, X86), (0x06, 0, 0, 0), (0x20, 0, 0, 0), (0x45, 0, 1, 3), *[(0x06, 0, 0, 0)] * 2],
    ],
    ids=["no architecture", "a range of architectures", "an architecture in part", "a number in part"],
)
def test_what_is_not_understood_stays(rows: list[tuple[int, int, int, int]]) -> None:
    program = b"".join(struct.pack("=HBBI", *row) for row in rows)

    assert program == bpf.shortened(program)
