"""Linux: a kernel with one application (admin-guide/kernel-parameters of the kernel's documentation)."""

from ..errors import SpecError
from . import Boot, Guest

COMMAND_LINE_MAX = 2048  # COMMAND_LINE_SIZE on x86, the terminating NUL included


def quoted(word: str) -> str:
    """Return `word` so that the kernel's next_arg() (lib/cmdline.c) takes it for one argument.

    Only double quotes group; there is no escape, so a word with a blank and a double quote cannot be passed.
    """
    if "\n" in word or "\r" in word:
        raise SpecError(f"a Linux guest cannot be given an argument with a line end: {word!r}")
    if word and not any(c in word for c in ' \t"'):
        return word
    if '"' in word:
        raise SpecError(f"a Linux guest cannot be given an argument with a double quote: {word!r}")
    return f'"{word}"'


def words(boot: Boot) -> "tuple[str, ...]":
    """Return the kernel's command line: its parameters, the environment, init, and after -- the arguments of init."""
    line = ["panic=-1", "console=ttyS0", "quiet"]
    if boot.initrd:
        line.append("root=/dev/ram0 rw")
    elif boot.block:
        line.append("root=/dev/vda rw")
    line += [quoted(variable) for variable in boot.env]
    if boot.args:
        line.append(("rdinit=" if boot.initrd else "init=") + quoted(boot.args[0]))
        line.append("--")
        line += [quoted(argument) for argument in boot.args[1:]]
    text = " ".join(line)
    if len(text.encode("utf-8", "surrogateescape")) >= COMMAND_LINE_MAX:
        raise SpecError(
            f"process.args and process.env make a kernel command line of {len(text)} characters:"
            f" Linux takes {COMMAND_LINE_MAX - 1}, shorten them"
        )
    return (text,)


GUEST = Guest(name="linux", monitors=("qemu",), words=words, stop="powerdown", kernels=("bzimage", "elf64"))
