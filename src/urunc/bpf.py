"""Seccomp filters made one, and short: libseccomp compares a call with every one of a list, this with ranges of them.

The one rule: the new program decides as the old ones did together, whatever the call; where one is not understood
they stay as they are.  The kernel converts and compiles a filter for each process that loads it, which costs by its
length.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    # struct sock_filter of linux/filter.h: code, jt, jf, k
    Instruction = tuple[int, int, int, int]
    # of a call: ("return", action), or ("block", index) from where on its arguments matter
    Outcome = tuple[str, int]
    Answer = tuple[int, int]  # the strictest action so far, and which program's it is
    Blocks = tuple[tuple[int, int], ...]  # of which programs the arguments matter still, and where they begin to

SIZE = 8  # bytes of an instruction
MOST = 4096  # instructions that the kernel takes, BPF_MAXINSNS
# linux/bpf_common.h
LOAD, JUMP, EQUAL, GREATER, AT_LEAST, RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
CLASS, JUMPS, RETURNS = 0x07, 0x05, 0x06
NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
TOP = 1 << 32
ORDER = sys.byteorder
FAR = 250  # a conditional jump reaches 255 instructions
# linux/seccomp.h
KILL_PROCESS, ALLOW, ACTION = 0x80000000, 0x7FFF0000, 0xFFFF0000


class NotUnderstoodError(Exception):
    """The program does something that no list of calls needs."""


def shortened(program: bytes) -> bytes:
    """Return a shorter program that decides the same; `program` itself if none is found."""
    return joined(program) or program


def joined(*programs: bytes) -> bytes:
    """Return one program that decides as all of `programs` do; b"" if none is shorter and can be loaded."""
    old = [[_read(program[at : at + SIZE]) for at in range(0, len(program), SIZE)] for program in programs]
    try:
        made = _Writer(old).program()
    except NotUnderstoodError:
        return b""
    return b"".join([_written(*row) for row in made]) if len(made) < min(sum(map(len, old)), MOST + 1) else b""


def _stricter(one: "Answer", other: "Answer") -> "Answer":
    """Return what the kernel takes, the action of highest precedence.

    Of two error numbers the kernel takes that of the newest filter, and this the oldest's: it is no less an error.
    """
    return min(one, other, key=lambda answer: ((answer[0] & ACTION) ^ KILL_PROCESS, answer[1]))


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

    def __init__(self, old: "list[list[Instruction]]") -> None:
        self._old = old
        self._new: list[Instruction] = []  # the last one first
        # where an instruction of an old program is in the new one, by what is known and open when it is reached
        self._copies: dict[tuple[int, int, Answer, Blocks], int] = {}
        self._returns: dict[int, int] = {}  # where an action is returned

    def program(self) -> "list[Instruction]":
        constants = {k for old in self._old for code, _, _, k in old if code in (EQUAL, GREATER, AT_LEAST)}
        # between two of these a number is compared with the same results
        edges = sorted({0, *constants, *(k + 1 for k in constants)} - {TOP})
        unknown = next(token for token in range(len(constants) + 1) if token not in constants)
        if any(_follow(old, unknown, 0)[1] for old in self._old):
            raise NotUnderstoodError  # it does not begin by looking at the architecture
        elsewhere = self._outcome(unknown, 0)
        rest = self._leaf(*elsewhere)
        for token in edges:
            if any(_follow(old, token, 0) != _follow(old, unknown, 0) for old in self._old):
                section = self._straight((LOAD, 0, 0, NUMBER), self._tree(self._ranges(token, edges)))
                rest = self._branch(EQUAL, token, section, rest)
        self._straight((LOAD, 0, 0, ARCHITECTURE), rest)
        return self._new[::-1]

    def _outcome(self, architecture: int, number: int) -> "tuple[Answer, Blocks]":
        """Return what is known of a call by its number, and what its arguments decide."""
        answer, blocks = (ALLOW, len(self._old)), []
        for index, old in enumerate(self._old):
            (kind, value), _ = _follow(old, architecture, number)
            if kind == "block":
                blocks.append((index, value))
            else:
                answer = _stricter(answer, (value, index))
        return answer, () if answer[0] & ACTION == KILL_PROCESS else tuple(blocks)

    def _ranges(self, architecture: int, edges: "list[int]") -> "list[tuple[int, tuple[Answer, Blocks]]]":
        """Return from which number on which outcome holds."""
        found: list[tuple[int, tuple[Answer, Blocks]]] = []
        for number in edges:
            (action, index), blocks = self._outcome(architecture, number)
            outcome = (action, index if blocks else -1), blocks
            if not found or found[-1][1] != outcome:
                found.append((number, outcome))
        return found

    def _tree(self, ranges: "list[tuple[int, tuple[Answer, Blocks]]]") -> int:
        if len(ranges) == 1:
            return self._leaf(*ranges[0][1])
        middle = len(ranges) // 2
        above, below = self._tree(ranges[middle:]), self._tree(ranges[:middle])
        return self._branch(AT_LEAST, ranges[middle][0], above, below)

    def _leaf(self, answer: "Answer", blocks: "Blocks") -> int:
        if blocks:
            return self._copy(answer, blocks)
        action = answer[0]
        if action not in self._returns or len(self._new) - self._returns[action] > FAR:
            self._returns[action] = self._add((RETURN, 0, 0, action))
        return self._returns[action]

    def _copy(self, answer: "Answer", blocks: "Blocks") -> int:
        """Copy what can be reached from the first block, the others behind each of its ends; return where it is."""
        (index, start), rest = blocks[0], blocks[1:]
        reached, open_ = set(), [start]
        while open_:
            at = open_.pop()
            if at not in reached:
                reached.add(at)
                open_ += self._after(index, at)
        known = self._copies
        for at in sorted(reached, reverse=True):
            key = (index, at, answer, rest)
            if key in known:
                continue
            code, _, _, k = self._old[index][at]
            after = [known[index, target, answer, rest] for target in self._after(index, at)]
            if code == RETURN:
                known[key] = self._leaf(_stricter(answer, (k, index)), rest)
            elif code == JUMP:
                known[key] = after[0]
            elif len(after) == 2:
                known[key] = self._branch(code, k, *after)
            elif after:
                known[key] = self._straight(self._old[index][at], after[0])
            else:
                raise NotUnderstoodError  # what it returns has been computed
        return known[index, start, answer, rest]

    def _after(self, index: int, at: int) -> "list[int]":
        code, jt, jf, k = self._old[index][at]
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
