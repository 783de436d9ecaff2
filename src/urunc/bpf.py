"""A seccomp filter made shorter: libseccomp compares a call with each one of a list, this with each range of them.

The one rule: the new program decides as the old one did, whatever the call; one that is not understood stays as it is.
The kernel converts and compiles a filter for each process that loads it, which costs by its length.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    # struct sock_filter of linux/filter.h: code, jt, jf, k
    Instruction = tuple[int, int, int, int]
    # of a call: ("return", action), or ("block", index) from where on its arguments matter
    Outcome = tuple[str, int]

SIZE = 8  # bytes of an instruction
# linux/bpf_common.h
LOAD, JUMP, EQUAL, GREATER, AT_LEAST, RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
CLASS, JUMPS, RETURNS = 0x07, 0x05, 0x06
NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
TOP = 1 << 32
ORDER = sys.byteorder
FAR = 250  # a conditional jump reaches 255 instructions


class NotUnderstoodError(Exception):
    """The program does something that no list of calls needs."""


def shortened(program: bytes) -> bytes:
    """Return a shorter program that decides the same; `program` itself if none is found."""
    old = [_read(program[at : at + SIZE]) for at in range(0, len(program), SIZE)]
    try:
        made = _Writer(old).program()
    except NotUnderstoodError:
        return program
    return b"".join([_written(*row) for row in made]) if len(made) < len(old) else program


def _read(data: bytes) -> "Instruction":
    return int.from_bytes(data[:2], ORDER), data[2], data[3], int.from_bytes(data[4:], ORDER)


def _written(code: int, jt: int, jf: int, k: int) -> bytes:
    return code.to_bytes(2, ORDER) + bytes((jt, jf)) + k.to_bytes(4, ORDER)


def _follow(program: "list[Instruction]", architecture: int, number: int) -> "tuple[Outcome, bool]":
    """Return what becomes of a call, and whether that was decided by its number."""
    at, loaded, asked = 0, -1, False
    while True:
        code, jt, jf, k = program[at]
        if code == LOAD and k in (NUMBER, ARCHITECTURE):
            loaded, asked = k, asked or k == NUMBER
            at += 1
        elif code == LOAD:
            return ("block", at), asked
        elif code == RETURN:
            return ("return", k), asked
        elif code == JUMP:
            at += 1 + k
        elif code == EQUAL or (code in (GREATER, AT_LEAST) and loaded == NUMBER):
            value = number if loaded == NUMBER else architecture
            holds = value == k if code == EQUAL else value > k if code == GREATER else value >= k
            at += 1 + (jt if holds else jf)
        else:
            raise NotUnderstoodError


class _Writer:
    """Writes a program from its end: jumps lead forwards only, so what they lead to is there already."""

    def __init__(self, old: "list[Instruction]") -> None:
        self._old = old
        self._new: list[Instruction] = []  # the last one first
        self._copies: dict[int, int] = {}  # where an instruction of the old program is in the new one
        self._returns: dict[int, int] = {}  # where an action is returned

    def program(self) -> "list[Instruction]":
        constants = {k for code, _, _, k in self._old if code in (EQUAL, GREATER, AT_LEAST)}
        # between two of these a number is compared with the same results
        edges = sorted({0, *constants, *(k + 1 for k in constants)} - {TOP})
        unknown = next(token for token in range(len(constants) + 1) if token not in constants)
        elsewhere = _follow(self._old, unknown, 0)
        if elsewhere[1]:
            raise NotUnderstoodError  # it does not begin by looking at the architecture
        rest = self._leaf(elsewhere[0])
        for token in edges:
            if _follow(self._old, token, 0) != elsewhere:
                section = self._straight((LOAD, 0, 0, NUMBER), self._tree(self._ranges(token, edges)))
                rest = self._branch(EQUAL, token, section, rest)
        self._straight((LOAD, 0, 0, ARCHITECTURE), rest)
        return self._new[::-1]

    def _ranges(self, architecture: int, edges: "list[int]") -> "list[tuple[int, Outcome]]":
        """Return from which number on which outcome holds."""
        found: list[tuple[int, Outcome]] = []
        for number in edges:
            outcome, _ = _follow(self._old, architecture, number)
            if not found or found[-1][1] != outcome:
                found.append((number, outcome))
        return found

    def _tree(self, ranges: "list[tuple[int, Outcome]]") -> int:
        if len(ranges) == 1:
            return self._leaf(ranges[0][1])
        middle = len(ranges) // 2
        above, below = self._tree(ranges[middle:]), self._tree(ranges[:middle])
        return self._branch(AT_LEAST, ranges[middle][0], above, below)

    def _leaf(self, outcome: "Outcome") -> int:
        kind, value = outcome
        if kind == "block":
            return self._copy(value)
        if value not in self._returns or len(self._new) - self._returns[value] > FAR:
            self._returns[value] = self._add((RETURN, 0, 0, value))
        return self._returns[value]

    def _copy(self, start: int) -> int:
        """Copy what can be reached from there; return where it is."""
        reached, open_ = set(), [start]
        while open_:
            at = open_.pop()
            if at not in reached:
                reached.add(at)
                open_ += self._after(at)
        for at in sorted(reached - self._copies.keys(), reverse=True):
            code, _, _, k = self._old[at]
            after = [self._copies[index] for index in self._after(at)]
            if code == JUMP:
                self._copies[at] = after[0]
            elif len(after) == 2:
                self._copies[at] = self._branch(code, k, *after)
            else:
                self._copies[at] = self._straight(self._old[at], after[0]) if after else self._add(self._old[at])
        return self._copies[start]

    def _after(self, at: int) -> "list[int]":
        code, jt, jf, k = self._old[at]
        if code == JUMP:
            return [at + 1 + k]
        kind = code & CLASS
        return [at + 1 + jt, at + 1 + jf] if kind == JUMPS else [] if kind == RETURNS else [at + 1]

    def _add(self, instruction: "Instruction") -> int:
        self._new.append(instruction)
        return len(self._new) - 1

    def _straight(self, instruction: "Instruction", after: int) -> int:
        """Write an instruction that goes on at `after`."""
        if after != len(self._new) - 1:
            self._add((JUMP, 0, 0, len(self._new) - after - 1))
        return self._add(instruction)

    def _branch(self, code: int, k: int, holds: int, fails: int) -> int:
        holds, fails = self._near(holds), self._near(fails)
        here = len(self._new)
        return self._add((code, here - holds - 1, here - fails - 1, k))

    def _near(self, target: int) -> int:
        """Return an instruction within reach that leads there."""
        distance = len(self._new) - target - 1
        return target if distance < FAR else self._add((JUMP, 0, 0, distance))
