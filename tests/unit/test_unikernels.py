"""Command lines of guests, and that each framework's own parser gets from them what the container asks for.

The parsers below follow the frameworks' sources, not the modules under test.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from urunc import unikernels
from urunc._record import replace
from urunc.errors import SpecError, UnikernelError
from urunc.machine import check_pair
from urunc.monitors import MODULES as MONITORS
from urunc.monitors import load as load_monitor
from urunc.unikernels import Boot, Interface

ETH0 = Interface(name="eth0", mac="02:00:00:00:00:01", mtu=1500, ipv4=(("10.4.0.2", 22),), gateway4="10.4.0.1")
ETH1 = Interface(name="eth1", mac="02:00:00:00:00:02", mtu=1500, ipv4=(("10.8.0.2", 30),), dns=("10.8.0.1",))
IPV6 = Interface(name="eth0", mac="02:00:00:00:00:01", ipv6=(("fd00::2", 64),), gateway6="fd00::1")
NO_GATEWAY = replace(ETH0, gateway4="")
NO_GATEWAY_BUT_DNS = replace(NO_GATEWAY, dns=("1.1.1.1",))
BLK = '"path":"/dev/ld0a","fstype":"blk","mountpoint"'
NET = '"type":"inet","method":"static","addr":"10.4.0.2","mask":"22"'
LINUX = "panic=-1 console=ttyS0 quiet"
BOOT = Boot(monitor="qemu", args=("app", "-v"), interfaces=(ETH0,))


def words(framework: str, boot: Boot = BOOT, **changes: Any) -> str:
    return " ".join(unikernels.load(framework).words(replace(boot, **changes)))


@pytest.mark.parametrize(
    ("framework", "changes", "expected"),
    [
        ("unikraft", {}, "app netdev.ip=10.4.0.2/22:10.4.0.1 -- -v"),
        ("unikraft", {"interfaces": (NO_GATEWAY,)}, "app netdev.ip=10.4.0.2/22 -- -v"),
        ("unikraft", {"interfaces": (NO_GATEWAY_BUT_DNS,)}, "app netdev.ip=10.4.0.2/22::1.1.1.1 -- -v"),
        ("unikraft", {"interfaces": (IPV6, ETH1, IPV6)}, "app netdev.ip= netdev.ip=10.8.0.2/30::10.8.0.1 -- -v"),
        ("unikraft", {"interfaces": ()}, "app -- -v"),
        (
            *("unikraft", {"interfaces": (), "env": ("A=1", "B=x y", "C=[]")}),
            "app env.vars=[ A=1 'B=x y' ] env.vars=C=[] -- -v",
        ),
        ("unikraft", {"interfaces": (), "root": "9pfs"}, 'app vfs.fstab=[ "fs0:/:9pfs:::" ] -- -v'),
        ("mirage", {}, "--ipv4=10.4.0.2/22 --ipv4-gateway=10.4.0.1 app -v"),
        ("mirage", {"interfaces": (NO_GATEWAY,)}, "--ipv4=10.4.0.2/22 app -v"),
        ("mirage", {"interfaces": (IPV6,)}, "--ipv6=fd00::2/64 --ipv6-gateway=fd00::1 app -v"),
        ("mirage", {"interfaces": ()}, "app -v"),
        ("mirage", {"interfaces": (), "args": ()}, ""),
        ("mewz", {"args": ("app",)}, "ip=10.4.0.2/22 gateway=10.4.0.1"),
        ("mewz", {"args": ("app",), "interfaces": (NO_GATEWAY,)}, "ip=10.4.0.2/22 gateway=0.0.0.0"),
        ("mewz", {"args": (), "interfaces": ()}, "ip=0.0.0.0/0 gateway=0.0.0.0"),
        ("mewz", {"args": ("app",), "interfaces": (IPV6,)}, "ip=0.0.0.0/0 gateway=0.0.0.0"),
        ("rumprun", {"interfaces": ()}, '{"cmdline":"app -v"}'),
        (
            *("rumprun", {"interfaces": (), "disks": 1, "monitor": "hvt"}),
            '{"cmdline":"app -v","blk":{"source":"etfs",' + BLK + ':"/data"}}',
        ),
        (
            *("rumprun", {"interfaces": (), "disks": 1, "mount_point": "/etc"}),
            '{"cmdline":"app -v","blk":{"source":"dev",' + BLK + ':"/etc"}}',
        ),
        (
            *("rumprun", {"monitor": "spt", "env": ("A=1", "B=<&>")}),
            '{"cmdline":"app -v","env":"A=1","env":"B=<&>","net":{"if":"ukvmif0","cloner":"True",'
            + NET
            + ',"gw":"10.4.0.1"}}',
        ),
        ("rumprun", {"interfaces": (NO_GATEWAY,)}, '{"cmdline":"app -v","net":{"if":"vioif0",' + NET + "}}"),
        ("linux", {"interfaces": ()}, f"{LINUX} init=app -- -v"),
        ("linux", {}, f"{LINUX} ip=10.4.0.2::10.4.0.1:255.255.252.0:urunc:eth0:off init=app -- -v"),
        (
            *("linux", {"interfaces": (ETH1, ETH0), "hostname": "web-0"}),
            f"{LINUX} ip=10.8.0.2:::255.255.255.252:web-0:eth0:off:10.8.0.1 init=app -- -v",
        ),
        (
            *("linux", {"interfaces": (IPV6,), "hostname": "a:b", "block": True}),
            f"{LINUX} root=/dev/vda rw init=app -- -v",
        ),
        (
            *("linux", {"interfaces": (), "tsc_khz": 2100000, "initrd": True}),
            f"{LINUX} tsc_early_khz=2100000 root=/dev/ram0 rw rdinit=app -- -v",
        ),
        ("osv", {"interfaces": ()}, "app -v"),
        (
            *("osv", {"interfaces": (ETH0, ETH1)}),
            "--ip=eth0,10.4.0.2,255.255.252.0 --ip=eth1,10.8.0.2,255.255.255.252 --defaultgw=10.4.0.1 app -v",
        ),
        (
            *("osv", {"interfaces": (ETH1,), "monitor": "firecracker", "args": ("-x", "a b"), "env": ("A=x y",)}),
            '--nopci --ip=eth0,10.8.0.2,255.255.255.252 --nameserver=10.8.0.1 --env=A=x\\ y "-x" "a b"',
        ),
    ],
)
def test_command_line(framework: str, changes: dict[str, Any], expected: str) -> None:
    assert expected == words(framework, **changes)


COMPATIBLE = (
    "app netdev.ipv4_addr=10.4.0.2 netdev.ipv4_gw_addr=10.4.0.1 netdev.ipv4_subnet_mask=255.255.252.0"
    " vfs.rootfs=initrd -- -v"
)
CURRENT = 'app netdev.ip=10.4.0.2/22:10.4.0.1 vfs.fstab=[ "initrd0:/:extract::ramfs=2:" ] -- -v'


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("", CURRENT),
        ("0.16.1", CURRENT),
        ("v0.16.1", CURRENT),
        ("0.16.1-rc1", CURRENT),
        ("0.17", CURRENT),
        ("v1", CURRENT),
        ("0.20.0~1a2b3c", CURRENT),
        ("0.16.0", COMPATIBLE),
        ("v0.16.0", COMPATIBLE),
        ("0.16", COMPATIBLE),
        ("0.9.12", COMPATIBLE),
    ],
)
def test_unikraft_changes_its_parameters_with_0_16_1(version: str, expected: str) -> None:
    assert expected == words("unikraft", version=version, initrd=True)


@pytest.mark.parametrize(
    "version", ["latest", "0.x", "v", "0..1", "-1", "1.2.3.4.5", "9" * 5000, "\u0660.1", "0.16.1 "]
)
def test_version_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(UnikernelError, match=r"unikernelVersion '.*' is no version of Unikraft: write it as"):
        words("unikraft", version=version)


@pytest.mark.parametrize("framework", ["unikraft", "rumprun", "linux", "osv"])
@pytest.mark.parametrize("entry", ["", "A", "=", "=x"])
def test_variable_without_a_name_is_refused(framework: str, entry: str) -> None:
    with pytest.raises(SpecError, match=rf"process.env: a .* guest cannot be given '{entry}': it must be NAME=VALUE"):
        words(framework, env=("PATH=/bin", entry))


@pytest.mark.parametrize(
    ("framework", "changes", "message"),
    [
        ("mewz", {"args": ("app", "-v")}, "process.args: .* Mewz .* '-v': its programs have no arguments, leave them"),
        ("linux", {"args": ("sh", "--", "y")}, "process.args: a Linux guest cannot be given '--': the kernel drops"),
        ("linux", {"env": ("a.b=c",)}, "process.env: .* Linux .* 'a.b=c': a dot makes the name a module's parameter"),
        ("linux", {"args": ("app", 'a "b"')}, "process.args: .* Linux .* 'a \"b\"': the kernel's command line has no"),
        ("linux", {"args": ("app", "x" * 2048)}, "a command line of 2[0-9]* bytes: a Linux guest takes 2047, shorten"),
        ("mirage", {"args": ("x" * 8192,)}, "a command line of 8[0-9]* bytes: a MirageOS guest takes 8191, shorten"),
        ("rumprun", {"args": ("x" * 4096,)}, "a command line of 4[0-9]* bytes: a Rumprun guest takes 4080, shorten"),
        ("rumprun", {"args": ("_RUMPRUN_ROOTFSCFG=/x",)}, "process.args: .* _RUMPRUN_ROOTFSCFG= has a meaning of its"),
        ("rumprun", {"disks": 1, "mount_point": '/"'}, "blkMntPoint: .* Rumprun .* '/\"': its configuration has no"),
        ("osv", {"args": ("x", "virtio_mmio.device=4K@0xd0000000:5")}, "virtio_mmio.device= has a meaning of its own"),
        ("linux", {"env": ("A=x -- y",), "monitor": "firecracker"}, "process.env: .* 'A=x -- y': Firecracker takes --"),
        ("osv", {"args": ("x", "$HOME")}, "process.args: .* OSv guest cannot be given '\\$HOME': it would put a var"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(framework: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        words(framework, **changes)


def test_command_line_of_the_kernels_length_is_taken() -> None:
    fixed = len(words("linux", args=("app", ""))) - 2

    assert 2047 == len(words("linux", args=("app", "x" * (2047 - fixed))))


def test_as_many_arguments_and_variables_as_the_kernel_hands_over_are_taken() -> None:
    env = ("HOME=/root", "TERM=vt100", *[f"V{number}=" for number in range(31)])

    line = words("linux", args=("app", *["x"] * 32), env=env)

    assert line.endswith(" -- " + " ".join(["x"] * 32))
    with pytest.raises(SpecError, match=r"process.env has 34 variables: the Linux kernel hands 31 over, remove some"):
        words("linux", env=(*env, "V31="))


@pytest.mark.parametrize("name", unikernels.MODULES)
def test_framework_has_the_name_of_its_line_and_known_monitors(name: str) -> None:
    guest = unikernels.load(name)

    assert name == guest.name
    assert set(guest.monitors) <= set(MONITORS)
    assert {monitor for monitor, _ in guest.status} <= set(guest.monitors)


@pytest.mark.parametrize("name", unikernels.MODULES)
@pytest.mark.parametrize("monitor", MONITORS)
def test_pair_is_allowed_by_the_framework_or_refused(name: str, monitor: str) -> None:
    guest = unikernels.load(name)
    if monitor in guest.monitors:
        check_pair(guest, load_monitor(monitor))
        return

    with pytest.raises(UnikernelError, match=f'unikernelType "{name}" does not run on hypervisor "{monitor}"'):
        check_pair(guest, load_monitor(monitor))


@pytest.mark.parametrize("name", ["", "plan9", "../linux", "Linux"])
def test_unknown_framework_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnikernelError, match=f'unikernelType "{name}" is not supported: use one of linux, mewz, '):
        unikernels.load(name)


@pytest.mark.parametrize(
    ("prefix", "mask"), [(0, "0.0.0.0"), (1, "128.0.0.0"), (22, "255.255.252.0"), (32, "255.255.255.255")]
)
def test_netmask(prefix: int, mask: str) -> None:
    assert mask == unikernels.netmask(prefix)


# No argument is split, merged, changed or lost.

MMIO = "virtio_mmio.device=4K@0xd0000000:5"
Parsed = tuple[list[str], list[str]]  # arguments behind the program's name, environment


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def linux(line: str) -> Parsed:
    """parse_args() and next_arg() of the kernel, set_init_arg() and unknown_bootoption() of its init/main.c."""
    found, rest, blanks = [], line.encode(), b"\t\n\v\f\r \xa0"
    while rest := rest.lstrip(blanks):
        quoted = in_quote = rest[:1] == b'"'
        rest = rest[quoted:]
        end, equals = len(rest), 0
        for number in range(len(rest)):
            byte = rest[number : number + 1]
            if byte in blanks and not in_quote:
                end = number
                break
            if not equals and byte == b"=":
                equals = number
            if byte == b'"':
                in_quote = not in_quote
        word, rest = rest[:end], rest[end:]
        value = word[equals + 1 :] if equals else None
        if value is not None and value[:1] == b'"':
            value = value[1:-1] if value[-1:] == b'"' else value[1:]
        elif quoted and word[-1:] == b'"':
            word = word[:-1]
            value = value[:-1] if value is not None else None
        found.append(text(word if value is None else word[:equals] + b"=" + value))
    stop = found.index("--") if "--" in found else len(found)  # Firecracker takes a last one away
    before, after = found[:stop], found[stop + 1 :]
    ours = ("panic=", "console=", "init=", "quiet", "reboot=", MMIO)
    return after[: after.index("--")] if "--" in after else after, [w for w in before if not w.startswith(ours)]


def argnparse(line: str) -> list[str]:  # noqa: C901  as long as the function that it follows
    """uk_argnparse() since 0.13."""
    buffer, starts, number = [*line, "\0"], [], 0
    fresh, escape, quote = True, False, ""
    while buffer[number] != "\0":
        c, regular = buffer[number], True
        if c in " \r\n\t\v":
            if not quote and not escape:
                buffer[number], fresh, regular = "\1", True, False  # NUL in C, which goes by the length
        elif c in "'\"" and not (escape and not quote):
            if escape and c == '"':
                del buffer[number - 1]
                number, escape = number - 1, False
            elif not quote or quote == c:
                quote, regular = ("" if quote else c), False
                del buffer[number]
                number -= 1
        if regular:
            if fresh:
                starts.append(number)
                fresh = escape = False
            if buffer[number] == "\\" and quote != "'":
                if escape:
                    del buffer[number]
                    number -= 1
                escape = not escape
            elif escape:
                if not quote:
                    del buffer[number - 1]
                    number -= 1
                escape = False
        number += 1
    return ["".join(buffer[start:]).partition("\1")[0].partition("\0")[0] for start in starts]


def unikraft(line: str) -> Parsed:
    """uk_libparam_parse() for env.vars."""
    found = argnparse(line)
    stop = found.index("--", 1) if "--" in found[1:] else len(found)  # as above
    variables, in_list = [], False
    for word in found[1:stop]:
        value = word
        if value == MMIO and not in_list:
            continue
        if not in_list:
            assert word.startswith("env.vars="), word
            value = word.removeprefix("env.vars=")
            if value[:1] == "[":
                in_list, value = True, value[1:]
        if in_list and value[-1:] == "]":
            in_list, value = False, value[:-1]
        variables += [value] if value else []
    return found[stop + 1 :], variables


def mirage(line: str) -> Parsed:
    """Parse_argv.parse."""
    found: list[str] = []
    word, quote, characters = "", "", iter(line)
    for c in characters:
        if c == "\\" and quote != "'":
            word += next(characters)
        elif c in "'\"" and quote in {"", c}:
            quote = "" if quote else c
        elif c in " \t\n\v\f\r" and not quote:
            found, word = [*found, word], ""
        else:
            word += c
    return [word for word in [*found, word] if word][1:], []


def rumprun(line: str) -> Parsed:  # noqa: C901  one parser after the other
    """jsmn_parse_string(), rumprun_config() and rumprun_parseargs()."""
    assert line[0] == "{"
    assert line[-1] == "}"
    strings, number = [], 1
    while number < len(line) - 1:
        assert line[number] in '",:', line[number:]
        if line[number] == '"':
            start = number = number + 1
            while line[number] != '"':
                number += 1
                if line[number - 1] == "\\":
                    assert line[number] in '"/\\bfrnt'
                    number += 1
            strings.append(line[start:number])
        number += 1
    pairs = list(zip(strings[::2], strings[1::2], strict=True))
    found: list[str] = []
    quote, characters = -1, iter(pairs[0][1])
    for c in characters:
        real = next(characters) if c == "\\" else c
        if c in " \n\t":
            quote = -1 if quote == 0 else quote
            if quote == -1:
                continue
        if quote == -1:
            found.append("")
            quote = 0
        if quote > 0 and ord(c) == quote:
            quote = 0
        elif c in "'\"":
            quote = ord(c)
        else:
            found[-1] += real
    assert {"env"} >= {key for key, _ in pairs[1:]}
    return found[1:], [value for _, value in pairs[1:]]


def osv(line: str) -> Parsed:
    """loader_parse_cmdline() with stresep(), then the grammar of parse_command_line_min()."""
    variables: list[str] = []
    line = line.removeprefix("--nopci").replace(MMIO, "")
    while (line := line.lstrip(" \t\n"))[:1] == "-":
        number, word = 0, ""
        while line[number] not in " \t\n":
            number += line[number] == "\\"
            word, number = word + line[number], number + 1
        assert word.startswith("--env="), word
        variables.append(word.removeprefix("--env="))
        line = line[number + 1 :]
    found: list[str] = []
    escapes = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))
    while line := line.lstrip(" \t\n\v\f\r"):
        quoted, word, number = line[0] == '"', "", int(line[0] == '"')
        while number < len(line) and line[number] not in ('"' if quoted else " ;&!"):
            assert line[number].isascii()
            if line[number] == "\\" and line[number + 1] in escapes:
                word, number = word + escapes[line[number + 1]], number + 2
            else:
                word, number = word + line[number], number + 1
        assert number == len(line) or quoted or line[number] == " ", line
        line = line[number + quoted :]
        assert not line or line[0] == " "
        found.append(word.partition("$")[0])
    return found[1:], variables


PARSERS: dict[str, Callable[[str], Parsed]] = {
    "linux": linux,
    "unikraft": unikraft,
    "mirage": mirage,
    "rumprun": rumprun,
    "osv": osv,
}
# what a framework may refuse, and nothing else
REFUSED_ARGUMENTS: dict[str, Callable[[str], bool]] = {
    "linux": lambda value: bool(set(value) & set('"\r\n')) or value == "--",
    "unikraft": lambda value: not value,
    "mirage": lambda value: not value,
    "rumprun": lambda value: "'" in value,
    "osv": lambda value: "$" in value or not value.isascii(),
}
REFUSED_VALUES: dict[str, Callable[[str], bool]] = {
    "linux": lambda value: bool(set(value) & set('"\r\n')),
    "rumprun": lambda value: bool(set(value) & set('"\\')),
}
# of whose programs the container's environment is none
WITHOUT_ENVIRONMENT = {
    "mirage",
}
ANY = st.text(st.characters(codec="utf-8", exclude_characters="\0\1"), max_size=12)
AWKWARD = st.text(" \t\n\r\v\f'\"\\=[]{},:;-$&!a.\u00a0\u00e0", max_size=8)
VALUES = ANY | AWKWARD | st.sampled_from(["a -- b", " -- ", "--", " --", "-- x"])


def started(line: str, monitor: str) -> str:
    """What the guest sees: Firecracker adds a device (Cmdline::try_from() and insert() of rust-vmm's linux-loader)."""
    if monitor != "firecracker":
        return line
    before, separator, after = line.partition(" -- ")
    after = after.strip(" ")
    return before.strip(" ") + " " + MMIO + (separator + after if after else "")


@pytest.mark.parametrize(("framework", "monitor"), [(f, m) for f in PARSERS for m in unikernels.load(f).monitors])
@given(arguments=st.lists(VALUES, max_size=4), values=st.lists(VALUES, max_size=3))
def test_guest_gets_every_argument_and_variable_whole(
    framework: str, monitor: str, arguments: list[str], values: list[str]
) -> None:
    env = tuple(f"V{number}={value}" for number, value in enumerate(values))
    boot = Boot(monitor=monitor, args=("app", *arguments), env=env)
    try:
        line = words(framework, boot)
    except SpecError:
        refused = REFUSED_VALUES.get(framework, lambda _: False)
        separated = monitor == "firecracker" and any(" -- " in value + " " for value in (*arguments, *values))
        assert any(map(REFUSED_ARGUMENTS[framework], arguments)) or any(map(refused, values)) or separated
        assume(False)

    found, variables = PARSERS[framework](started(line, monitor))

    assert arguments == found
    assert ([] if framework in WITHOUT_ENVIRONMENT else sorted(env)) == sorted(variables)


@pytest.mark.parametrize(
    ("framework", "line", "expected"),
    [
        (
            *("linux", 'quiet A="b c" "D=e f" -- "x y" z="1 2" -- lost'),
            (["x y", "z=1 2"], ["A=b c", "D=e f"]),
        ),
        ("linux", "-- \u00e0", (["\udcc3"], [])),
        (
            *("unikraft", r"""n env.vars=[ A=1 "B=x y" ] -- 'a b' a\ b "c\"d" e'f'g"""),
            (["a b", "a b", 'c"d', "efg"], ["A=1", "B=x y"]),
        ),
        ("mirage", r"""app f\ oo b\"r "b a'r" 'b\\"r'""", (["f oo", 'b"r', "b a'r", 'b\\\\"r'], [])),
        ("rumprun", r"""{"cmdline":"a 'b c' \"d\" \\","env":"X=1"}""", (["b c", '"d"', "\\"], ["X=1"])),
        ("osv", r"""--env=A=x\ y prog "a \"b\"" c\\d""", (['a "b"', "c\\d"], ["A=x y"])),
    ],
)
def test_parsers_above_are_the_frameworks(framework: str, line: str, expected: Parsed) -> None:
    """Lines from the frameworks' own tests and documentation: the property is worth as much as its parsers."""
    assert expected == PARSERS[framework](line)
