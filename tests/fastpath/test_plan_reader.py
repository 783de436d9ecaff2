"""The reader of plans: what is malformed is refused with EINVAL before anything of it is executed."""

import errno
import functools
import os
import re
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI
from hypothesis import given
from hypothesis import strategies as st

from urunc import _fastpath

REPOSITORY = Path(__file__).resolve().parents[2]
HEADER = (REPOSITORY / "src" / "_fastpath" / "plan.h").read_text()
DECLARATIONS = """
struct fp_error { int number; char step[48]; char path[256]; };
struct fp_plan { const uint8_t *bytes; uint32_t size; uint32_t count; };
struct fp_operation { int code; uint64_t arguments[16]; };
int fp_plan_open(const void *bytes, size_t size, struct fp_plan *ret, struct fp_error *error);
bool fp_plan_next(const struct fp_plan *plan, uint32_t *offset, struct fp_operation *ret);
"""
MAGIC, VERSION, SLOTS, MAX = 0x4E4C5055, 1, 64, 16 << 20
CODES = {name: code for code, name in enumerate(re.findall(r'X\(\w+, "(\w+)", "[isbnv]*"\)', HEADER))}
GOOD = (
    ("stage", "sandbox"),
    ("clone", 0x20000),
    ("stage", "root"),
    ("file", "guest/kernel", 0o444, b"\0\1\2"),
    ("clone_tree", 2, "/run/tree", 7),
    ("stage", "enter"),
    ("hook", -1, "/bin/true", ("true", ""), ("A=1",), 0, b"{}", "/", "createContainer hook #0"),
    ("stage", "exec"),
    ("groups", (1, 2, 3)),
    ("exec", "/monitor", ("monitor", "a b", ""), ()),
)


class Reader:
    """fp_plan_open and fp_plan_next of the core, without Python's binding."""

    def __init__(self) -> None:
        libraries = sorted(REPOSITORY.glob("build/cpython-*/libfastpath_core.so"))
        assert libraries, "libfastpath_core.so is not built: run ci/build"
        self.ffi: Any = FFI()
        self.ffi.cdef(DECLARATIONS)
        self.c: Any = self.ffi.dlopen(str(libraries[0]))

    def read(self, data: bytes, shift: int = 0) -> list[int] | int:
        """Return the codes of the operations, or the errno; the plan ends where its memory ends."""
        # a buffer of cffi is 8-aligned; one of exactly this size lets a sanitizer see what is read behind it
        buffer = self.ffi.new("uint64_t[]", (len(data) + shift + 7) // 8)
        at = self.ffi.cast("uint8_t *", buffer) + shift
        self.ffi.memmove(at, data, len(data))
        plan, error = self.ffi.new("struct fp_plan *"), self.ffi.new("struct fp_error *")
        if self.c.fp_plan_open(at, len(data), plan, error) < 0:
            assert b"plan" == self.ffi.string(error.step)
            return int(error.number)
        codes = []
        offset, operation = self.ffi.new("uint32_t *"), self.ffi.new("struct fp_operation *")
        while self.c.fp_plan_next(plan, offset, operation):
            codes.append(int(operation.code))
        return codes


@functools.cache
def reader() -> Reader:
    return Reader()


def number(value: int) -> bytes:
    return struct.pack("=q", value)


def text(data: bytes, length: int | None = None) -> bytes:
    return struct.pack("=Q", len(data) if length is None else length) + data + bytes(8 - len(data) % 8)


def operation(name: str, *arguments: bytes, size: int | None = None, code: int | None = None) -> bytes:
    body = b"".join(arguments)
    code = CODES[name] if code is None else code
    return struct.pack("=HHI", code, 0, len(body) + 8 if size is None else size) + body


def packed(*operations: bytes, **header: int) -> bytes:
    """A plan of these operations; `header` sets a field of its header to a lie."""
    body = b"".join(operations)
    fields = {"magic": MAGIC, "version": VERSION, "size": len(body) + 16, "count": len(operations)} | header
    return struct.pack("=IHHII", fields["magic"], fields["version"], 0, fields["size"], fields["count"]) + body


def test_a_good_plan_is_read_to_its_end() -> None:
    assert [CODES[str(given[0])] for given in GOOD] == reader().read(_fastpath.pack(GOOD))
    assert [] == reader().read(packed())


def test_a_plan_cut_at_any_byte_is_refused() -> None:
    whole = _fastpath.pack(GOOD)

    assert {errno.EINVAL} == {reader().read(whole[:size]) for size in range(len(whole))}


def test_a_cut_plan_whose_header_agrees_is_refused() -> None:
    whole = _fastpath.pack(GOOD)
    for size in range(16, len(whole)):
        cut = bytearray(whole[:size])
        struct.pack_into("=I", cut, 8, size)
        assert errno.EINVAL == reader().read(bytes(cut)), size


@pytest.mark.parametrize("behind", [1, 7, 8, 4096])
def test_bytes_behind_the_last_operation_are_refused(behind: int) -> None:
    good = packed(operation("umask", number(0)))
    grown = bytearray(good + bytes(behind))
    struct.pack_into("=I", grown, 8, len(grown))

    assert errno.EINVAL == reader().read(good + bytes(behind))
    assert errno.EINVAL == reader().read(bytes(grown))


@pytest.mark.parametrize("shift", range(1, 8))
def test_a_plan_that_is_not_aligned_is_refused(shift: int) -> None:
    assert errno.EINVAL == reader().read(_fastpath.pack(GOOD), shift)


def test_a_plan_that_is_too_large_is_refused() -> None:
    filler = operation("file", text(b"x"), number(0), text(bytes(MAX)))

    assert errno.EINVAL == reader().read(packed(filler))


UMASK = operation("umask", number(0o22))
LIES = {
    "another magic": packed(UMASK, magic=MAGIC ^ 1),
    "another version": packed(UMASK, version=VERSION + 1),
    "a larger size": packed(UMASK, size=16 + len(UMASK) + 8),
    "a smaller size": packed(UMASK, size=16 + len(UMASK) - 8),
    "a size of zero": packed(UMASK, size=0),
    "more operations than there are": packed(UMASK, count=2),
    "fewer operations than there are": packed(UMASK, UMASK, count=1),
    "no operations": packed(UMASK, count=0),
    "2^32 - 1 operations": packed(UMASK, count=2**32 - 1),
    "an unknown operation": packed(operation("umask", number(0), code=len(CODES))),
    "operation 65535": packed(operation("umask", number(0), code=65535)),
    "an operation of no bytes": packed(operation("umask", number(0), size=0)),
    "an operation smaller than its head": packed(operation("umask", number(0), size=4)),
    "an operation that ends early": packed(operation("umask", number(0), size=8)),
    "an operation larger than the plan": packed(operation("umask", number(0), size=24)),
    "an operation of 4 GiB": packed(operation("umask", number(0), size=2**32 - 8)),
    "an operation of an odd size": packed(operation("umask", number(0), size=15)),
    "an argument too many": packed(operation("umask", number(0), number(0))),
    "an argument too few": packed(operation("rlimit", number(0), number(0))),
    "a text longer than the plan": packed(operation("hostname", text(b"name", 1 << 20))),
    "a text of 2^64 - 1 bytes": packed(operation("hostname", text(b"name", 2**64 - 1))),
    "a text of 2^64 - 8 bytes": packed(operation("hostname", text(b"name", 2**64 - 8))),
    "a text without its NUL": packed(operation("hostname", struct.pack("=Q", 7) + b"namename")),
    "a text shorter than it says": packed(operation("hostname", text(b"name", 5))),
    "a text with a NUL inside": packed(operation("hostname", text(b"na\0me"))),
    "a text that ends before it says": packed(operation("hostname", text(b"name", 3))),
    "a list longer than the plan": packed(operation("groups", number(4), number(0))),
    "a list of 2^61 numbers": packed(operation("groups", number(1 << 61), number(0))),
    "a list of 2^63 numbers": packed(operation("groups", struct.pack("=Q", 1 << 63), number(0))),
    "a list shorter than its operation": packed(operation("groups", number(0), number(0))),
    "a vector longer than the plan": packed(operation("exec", text(b"/m"), number(9), text(b"m"), number(0))),
    "a vector with a NUL in a word": packed(operation("exec", text(b"/m"), number(1), text(b"a\0b"), number(0))),
    "a vector of 2^60 words": packed(operation("exec", text(b"/m"), number(1 << 60), text(b"m"), number(0))),
    "stages out of order": packed(operation("stage", number(2)), operation("stage", number(1))),
    "a stage that does not exist": packed(operation("stage", number(len(_fastpath.STAGES)))),
    "a negative stage": packed(operation("stage", number(-1))),
    "a stage of 2^32": packed(operation("stage", number(2**32))),
}


@pytest.mark.parametrize("name", LIES)
def test_a_plan_that_lies_is_refused(name: str) -> None:
    assert errno.EINVAL == reader().read(LIES[name])


SLOTTED: dict[str, Callable[[int], tuple[bytes, ...]]] = {
    "clone_tree": lambda slot: (number(slot), text(b"/"), number(0)),
    "clone_file": lambda slot: (number(slot), number(0)),
    "console": lambda slot: (number(slot), text(b"/s"), *[number(0)] * 4),
    "attach": lambda slot: (number(slot), text(b"x")),
    "terminal": lambda slot: (number(slot),),
    "exec_slot": lambda slot: (number(slot), number(0), number(0)),
    "keep": lambda slot: (number(slot), number(5)),
}


@pytest.mark.parametrize("name", SLOTTED)
@pytest.mark.parametrize("slot", [-1, SLOTS, SLOTS + 1, 2**31, -(2**31), 2**32, 2**63 - 1, -(2**63)])
def test_a_slot_that_does_not_exist_is_refused(name: str, slot: int) -> None:
    """Slots are indices into tables of C."""
    assert errno.EINVAL == reader().read(packed(operation(name, *SLOTTED[name](slot))))
    assert [CODES[name]] == reader().read(packed(operation(name, *SLOTTED[name](SLOTS - 1))))


@pytest.mark.parametrize(("slot", "good"), [(-2, False), (-1, True), (0, True), (SLOTS - 1, True), (SLOTS, False)])
def test_a_hook_may_have_no_slot(slot: int, *, good: bool) -> None:
    plan = packed(operation("hook", number(slot), text(b"/h"), *[number(0)] * 3, text(b""), text(b"/"), text(b"")))

    assert reader().read(plan) == ([CODES["hook"]] if good else errno.EINVAL)


@pytest.mark.parametrize(("target", "good"), [(2, False), (3, True), (SLOTS - 1, True), (SLOTS, False), (2**32, False)])
def test_a_kept_descriptor_replaces_no_standard_stream(target: int, *, good: bool) -> None:
    plan = packed(operation("keep", number(1), number(target)))

    assert reader().read(plan) == ([CODES["keep"]] if good else errno.EINVAL)


@given(st.data())
def test_a_plan_with_any_byte_changed_does_no_harm(data: st.DataObject) -> None:
    """It is read or refused; what is read still ends where the plan does."""
    plan = bytearray(_fastpath.pack(GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        plan[data.draw(st.integers(0, len(plan) - 1))] = data.draw(st.integers(0, 255))
    found = reader().read(bytes(plan))

    assert errno.EINVAL == found or (isinstance(found, list) and len(GOOD) >= len(found))


@given(st.binary(max_size=400))
def test_noise_is_refused(noise: bytes) -> None:
    assert errno.EINVAL == reader().read(noise)


# --- the executor, which opens a plan before it does anything


@pytest.fixture
def state_fd(tmp_path: Path) -> Any:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def refused(sandbox: _fastpath.Sandbox, plan: bytes) -> OSError:
    with pytest.raises(OSError) as caught:  # noqa: PT011  the errno is what is asserted
        sandbox.execute(plan)
    return caught.value


@pytest.mark.parametrize("name", ["fewer operations than there are", "stages out of order", "an unknown operation"])
def test_a_malformed_plan_is_not_executed(state_fd: int, tmp_path: Path, name: str) -> None:
    """Not even the good operations before the malformed one."""
    sandbox = _fastpath.Sandbox(state_fd)
    clone = operation("clone", number(0x20000))
    body = clone + LIES[name][16:]
    count = struct.unpack_from("=I", LIES[name], 12)[0] + 1
    error = refused(sandbox, struct.pack("=IHHII", MAGIC, VERSION, 0, len(body) + 16, count) + body)

    assert errno.EINVAL == error.errno
    assert "plan" == error.step  # type: ignore[attr-defined]
    assert (0, []) == (sandbox.pid, os.listdir(tmp_path))


def test_an_operation_in_the_stage_of_another_process_is_refused(state_fd: int, tmp_path: Path) -> None:
    """What urunc-init does, the caller does not do."""
    own = os.uname().nodename
    for given_operation in (("hostname", "changed"), ("pivot_root",), ("user", 1, 1), ("exec", "/bin/true", (), ())):
        error = refused(_fastpath.Sandbox(state_fd), _fastpath.pack([("stage", "root"), given_operation]))
        assert errno.EINVAL == error.errno

    assert (own, []) == (os.uname().nodename, os.listdir(tmp_path))


def test_a_second_clone_is_refused_and_the_first_is_ended(state_fd: int) -> None:
    sandbox = _fastpath.Sandbox(state_fd)
    error = refused(sandbox, _fastpath.pack([("stage", "sandbox"), ("clone", 0x20000), ("clone", 0x20000)]))
    pid = sandbox.pid
    sandbox.close()

    assert errno.EEXIST == error.errno
    assert not Path(f"/proc/{pid}").exists()


def test_too_many_descriptors_are_refused(state_fd: int) -> None:
    with pytest.raises(ValueError, match="descriptors"):
        _fastpath.Sandbox(state_fd).execute(_fastpath.pack([]), (0,) * 65)


def test_a_create_that_runs_out_of_descriptors_leaves_its_id_free(tmp_path: Path) -> None:
    """The third: of the root, of the lock, of the state directory that has been made."""
    free = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    for fd in free:
        os.close(fd)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    document = (b"", b"", _fastpath.Json(b""), b"")
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[2], before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            _fastpath.Sandbox(-1).create(str(tmp_path), "c", (b"", b"", b""), (), 0, 0, document)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert "open" == caught.value.step  # type: ignore[attr-defined]
    assert [".lock"] == os.listdir(tmp_path)


def test_a_slot_that_is_empty_is_an_error_of_the_step(state_fd: int) -> None:
    error = refused(_fastpath.Sandbox(state_fd), _fastpath.pack([("stage", "root"), ("clone_file", 5, 0)]))

    assert errno.EBADF == error.errno
    assert "open_tree" == error.step  # type: ignore[attr-defined]
