"""Filters made shorter decide as they did before."""

import itertools
import random
import struct
from typing import Any

import pytest
from bench.bundle import SECCOMP

from urunc import bpf, seccomp
from urunc import calls as urunc_calls
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
    assert 0 < len(bpf.joined(urunc_calls.program("spt", "x86_64"), program)) < len(program) / 4


def stricter(first: int, second: int) -> tuple[int, ...]:
    """What may come of two answers: the action that the kernel takes, and of two error numbers either."""
    actions = [answer & 0xFFFF0000 for answer in (first, second)]
    taken = min(actions, key=lambda action: action ^ KILL)
    return tuple(answer for answer, action in zip((first, second), actions, strict=True) if action == taken)


@pytest.mark.parametrize("monitor", ["spt", "hvt", "qemu", "firecracker", "cloud-hypervisor"])
@pytest.mark.parametrize("log", [False, True], ids=["kills", "logs"])
def test_one_filter_decides_as_two(program: bytes, monitor: str, log: bool) -> None:
    """The monitor's own and that of a profile; none is made that is longer than they are."""
    ours = urunc_calls.program(monitor, "x86_64", log=log)
    both = bpf.joined(ours, program)

    assert len(both) < len(ours) + len(program)
    for call in calls() if both else []:
        assert decide(both, call) in stricter(decide(ours, call), decide(program, call))


def test_two_programs_that_look_at_arguments() -> None:
    """Whatever the first finds in them, the second is asked, unless the first ends the process."""
    programs = []
    for argument, mask, found, else_ in ((16, 1, ERRNO, ALLOW), (24, 2, KILL, ALLOW), (16, 4, 0x7FFC0000, ERRNO + 6)):
        rows = [(0x20, 0, 0, 4), (0x15, 1, 0, X86_64), (0x06, 0, 0, KILL), (0x20, 0, 0, 0), (0x15, 1, 0, 56)]
        rows += [(0x06, 0, 0, ALLOW), (0x20, 0, 0, argument), (0x45, 0, 1, mask), (0x06, 0, 0, found)]
        programs.append(b"".join(struct.pack("=HBBI", *row) for row in [*rows, (0x06, 0, 0, else_)]))
    for first, second in itertools.permutations(programs, 2):
        both = bpf.joined(first, second)
        assert both
        for number, one, two in itertools.product((56, 57), range(8), range(8)):
            call = struct.pack("=IIQ6Q", number, X86_64, 0, one, two, 0, 0, 0, 0)

            assert decide(both, call) in stricter(decide(first, call), decide(second, call))


def test_two_that_are_too_long_for_one_stay_two() -> None:
    """Of 4096 instructions the kernel takes no more."""

    def program(count: int) -> bytes:
        rows = [(0x20, 0, 0, 4), (0x15, 1, 0, X86_64), (0x06, 0, 0, KILL), (0x20, 0, 0, 0), (0x15, 1, 0, 56)]
        rows += [(0x06, 0, 0, ALLOW), (0x20, 0, 0, 16)]
        rows += [row for value in range(count) for row in ((0x15, 0, 1, value), (0x06, 0, 0, ERRNO))]
        return b"".join(struct.pack("=HBBI", *row) for row in [*rows, (0x06, 0, 0, ALLOW)])

    assert bpf.joined(program(900), program(900))
    assert b"" == bpf.joined(program(2000), program(2000))


def test_one_that_is_not_understood_is_joined_with_none() -> None:
    program = struct.pack("=HBBI", 0x06, 0, 0, ALLOW)
    odd = b"".join(struct.pack("=HBBI", *row) for row in [(0x20, 0, 0, 0), (0x15, 0, 1, 3), *[(0x06, 0, 0, KILL)] * 2])

    assert b"" == bpf.joined(program, odd) == bpf.joined(odd, program)


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
