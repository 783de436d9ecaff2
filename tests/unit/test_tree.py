"""Prepared trees: what they hold, when they are rebuilt, and whom they trust."""

import errno
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI

from urunc import closure, tree
from urunc.closure import Dependencies
from urunc.errors import HostError
from urunc.tree import lookup, prepare, prune

FASTPATH = Path(__file__).parents[2] / "src" / "_fastpath"
Reader = Callable[[int], Dependencies]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def reader(fd: int) -> Dependencies:
    """Fake ELF files: `elf BITS MACHINE [key=value,value ...]`."""
    words = os.read(fd, 4096).decode(errors="replace").split()
    if words[:1] != ["elf"]:
        raise OSError(errno.ENOEXEC, "not an ELF file")
    fields = dict(word.split("=") for word in words[3:])
    values = {key: tuple(filter(None, fields.get(key, "").split(","))) for key in ("needed", "runpath", "rpath")}
    return Dependencies(
        bits=int(words[1]),
        machine=int(words[2]),
        interpreter=fields.get("interpreter", ""),
        needed=values["needed"],
        search=values["runpath"] or values["rpath"],
        inherited=not values["runpath"],
    )


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a monitor in it, and no libraries but those of the test."""
    monkeypatch.setattr(closure, "_LD_SO_CONF", str(tmp_path / "ld.so.conf"))
    monkeypatch.setattr(closure, "_LD_SO_CACHE", str(tmp_path / "ld.so.cache"))
    monkeypatch.setattr(closure, "_DIRECTORIES", (f"{tmp_path}/usr/lib64",))
    monkeypatch.setattr(closure, "_MULTIARCH", {})
    (tmp_path / "ld.so.cache").write_text("cache")
    write(tmp_path / "bin/monitor", "elf 64 62")
    return tmp_path


def write(path: Path, text: str, mode: int = 0o755) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def make(host: Path, modules: tuple[str, ...] = (), data: tuple[str, ...] = (), name: str = "monitor") -> str:
    return prepare(f"{host}/cache", name, f"{host}/bin/monitor", modules, data, reader)


def held(prepared: str, host: Path) -> list[str]:
    """The files and links of a tree below the test's directory, without the manifest."""
    top = Path(prepared + str(host))
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_symlink() or not path.is_dir())


def test_a_static_binary_is_copied_alone(host: Path) -> None:
    """At its own path, under a name with a key, and the link points there."""
    prepared = make(host)

    assert held(prepared, host) == ["bin/monitor"]
    assert os.path.basename(prepared).startswith("monitor-")
    assert os.readlink(host / "cache/monitor") == os.path.basename(prepared)


def test_the_closure_of_libraries_is_copied(host: Path) -> None:
    """Interpreter, what is needed, and what that needs, through default directories."""
    interpreter = write(host / "lib64/ld.so", "elf 64 62")
    write(host / "bin/monitor", f"elf 64 62 needed=liba.so,libb.so interpreter={interpreter}")
    write(host / "usr/lib64/liba.so", "elf 64 62 needed=libb.so,libc.so.6")
    write(host / "usr/lib64/libb.so", "elf 64 62 needed=liba.so")
    write(host / "usr/lib64/libc.so.6", "elf 64 62")

    assert held(make(host), host) == [
        "bin/monitor",
        "lib64/ld.so",
        "usr/lib64/liba.so",
        "usr/lib64/libb.so",
        "usr/lib64/libc.so.6",
    ]


def test_links_are_made_again(host: Path) -> None:
    """Directories and files: both the name that ELF files use and the real file exist."""
    write(host / "usr/lib64/libx.so.1.2", "elf 64 62")
    (host / "usr/lib64/libx.so.1").symlink_to("libx.so.1.2")
    (host / "lib64").symlink_to("usr/lib64")
    (host / "sbin").symlink_to(host / "bin")
    write(host / "bin/monitor", f"elf 64 62 needed={host}/lib64/libx.so.1")
    prepared = prepare(f"{host}/cache", "monitor", f"{host}/sbin/monitor", (), (), reader)

    assert held(prepared, host) == ["bin/monitor", "lib64", "sbin", "usr/lib64/libx.so.1", "usr/lib64/libx.so.1.2"]
    assert os.readlink(f"{prepared}{host}/lib64") == "usr/lib64"
    assert Path(f"{prepared}{host}/lib64/libx.so.1").read_text() == "elf 64 62"


@pytest.mark.parametrize("origin", ["$ORIGIN", "${ORIGIN}"])
def test_a_runpath_serves_its_own_file_only(host: Path, origin: str) -> None:
    """$ORIGIN is the directory of the file that says it; entries that cannot be known are left out."""
    write(host / "bin/monitor", f"elf 64 62 needed=liba.so runpath=relative,/$LIB,{origin}/../private")
    write(host / "private/liba.so", "elf 64 62 needed=libb.so")
    write(host / "private/libb.so", "elf 64 62")
    with pytest.raises(HostError, match=r"library libb\.so, needed by .*/private/liba\.so, was not found"):
        make(host)
    write(host / "private/liba.so", f"elf 64 62 needed=libb.so runpath={origin}")

    assert held(make(host), host) == ["bin/monitor", "private/liba.so", "private/libb.so"]


def test_an_rpath_serves_what_is_needed_too(host: Path) -> None:
    """Unlike a runpath, ld.so(8)."""
    write(host / "bin/monitor", "elf 64 62 needed=liba.so rpath=$ORIGIN/../private")
    write(host / "private/liba.so", "elf 64 62 needed=libb.so")
    write(host / "private/libb.so", "elf 64 62")

    assert held(make(host), host) == ["bin/monitor", "private/liba.so", "private/libb.so"]


def test_libraries_of_another_kind_are_passed_over(host: Path) -> None:
    """Another class or machine, a linker script, a directory."""
    (host / "ld.so.conf").write_text("# comment\ninclude conf.d/*.conf\n" + str(host / "three"))
    write(host / "conf.d/1.conf", f"{host}/one # comment\n{host}/two\nrelative\ninclude {host}/ld.so.conf\n")
    write(host / "bin/monitor", "elf 64 62 needed=liba.so,libb.so")
    write(host / "one/liba.so", "elf 32 3")
    write(host / "two/liba.so", "GROUP ( /lib/liba.so.6 )")
    (host / "one/libb.so").mkdir()
    write(host / "two/libb.so", "elf 64 183")
    write(host / "three/liba.so", "elf 64 62")
    write(host / "usr/lib64/libb.so", "elf 64 62")

    assert held(make(host), host) == ["bin/monitor", "ld.so.cache", "three/liba.so", "usr/lib64/libb.so"]


def test_the_linkers_cache_is_taken_only_if_needed(host: Path) -> None:
    """Default directories the linker knows without it; the others it knows from there only."""
    (host / "ld.so.conf").write_text(f"{host}/usr/lib64")
    write(host / "bin/monitor", "elf 64 62 needed=liba.so")
    write(host / "usr/lib64/liba.so", "elf 64 62")

    assert "ld.so.cache" not in held(make(host), host)


def test_modules_bring_their_libraries(host: Path) -> None:
    """A glob that matches nothing is left out: distributions differ."""
    write(host / "mod/accel-one.so", "elf 64 62 needed=libm.so")
    write(host / "mod/other.so", "elf 64 62")
    write(host / "usr/lib64/libm.so", "elf 64 62")
    prepared = make(host, modules=(f"{host}/mod/accel-*.so", f"{host}/absent/*.so"))

    assert held(prepared, host) == ["bin/monitor", "mod/accel-one.so", "usr/lib64/libm.so"]


def test_data_is_copied_with_directories_and_links(host: Path) -> None:
    """A directory stands for all in it; a link brings its target."""
    write(host / "seabios/bios.bin", "bios", 0o644)
    write(host / "share/pvh.bin", "pvh", 0o644)
    write(host / "share/keymaps/deep/de", "de", 0o644)
    (host / "share/bios.bin").symlink_to("../seabios/bios.bin")
    prepared = make(host, data=(f"{host}/share/*.bin", f"{host}/share/keymaps"))

    assert held(prepared, host) == [
        "bin/monitor",
        "seabios/bios.bin",
        "share/bios.bin",
        "share/keymaps/deep/de",
        "share/pvh.bin",
    ]
    assert Path(f"{prepared}{host}/share/bios.bin").read_text() == "bios"


def test_modes_are_kept_but_for_special_and_foreign_write_bits(host: Path) -> None:
    """Nothing in a tree is setuid or writable for others, directories are passable whatever the umask."""
    write(host / "bin/monitor", "elf 64 62", 0o6777)
    write(host / "share/data", "x", 0o640)
    old = os.umask(0o077)
    try:
        prepared = make(host, data=(f"{host}/share/data",))
    finally:
        os.umask(old)
    modes = {
        name: stat.S_IMODE(os.stat(f"{prepared}{host}/{name}").st_mode) for name in ("bin/monitor", "share/data", "bin")
    }

    assert modes == {"bin/monitor": 0o755, "share/data": 0o640, "bin": 0o755}
    assert stat.S_IMODE(os.stat(prepared).st_mode) == 0o755


def test_a_current_tree_is_found_again(host: Path) -> None:
    """By lookup and by prepare, for exactly the same wish."""
    write(host / "share/data", "x")
    data = (f"{host}/share/*",)
    prepared = make(host, data=data)
    cache, binary = f"{host}/cache", f"{host}/bin/monitor"

    assert lookup(cache, "monitor", binary, (), data) == prepared == make(host, data=data)
    assert lookup(cache, "monitor", binary) is None
    assert lookup(cache, "monitor", f"{host}/bin/other", (), data) is None
    assert lookup(cache, "other", binary, (), data) is None
    assert lookup(f"{host}/absent", "monitor", binary, (), data) is None


def change(path: Path) -> None:
    write(path, "elf 64 62 ")


@pytest.mark.parametrize(
    "event",
    [
        lambda host: change(host / "bin/monitor"),
        lambda host: change(host / "usr/lib64/liba.so.1"),
        lambda host: change(host / "share/one"),
        lambda host: change(host / "share/two"),
        lambda host: os.utime(host / "bin/monitor", ns=(1, 1)),
        lambda host: ((host / "usr/lib64/liba.so").unlink(), (host / "usr/lib64/liba.so").symlink_to("liba.so.2")),
    ],
    ids=["binary", "library", "data", "new data", "time", "link"],
)
def test_a_change_of_any_source_makes_a_new_tree(host: Path, event: "Callable[[Path], object]") -> None:
    """Contents, times, a link turned elsewhere, a new file that a glob matches; the old tree stays."""
    write(host / "bin/monitor", "elf 64 62 needed=liba.so")
    write(host / "usr/lib64/liba.so.1", "elf 64 62")
    write(host / "usr/lib64/liba.so.2", "elf 64 62")
    (host / "usr/lib64/liba.so").symlink_to("liba.so.1")
    write(host / "share/one", "x")
    data = (f"{host}/share/*",)
    first = make(host, data=data)
    event(host)

    assert lookup(f"{host}/cache", "monitor", f"{host}/bin/monitor", (), data) is None
    second = make(host, data=data)
    assert first != second
    assert os.path.isdir(first)
    assert lookup(f"{host}/cache", "monitor", f"{host}/bin/monitor", (), data) == second


def test_a_removed_source_is_no_crash(host: Path) -> None:
    """lookup answers None, prepare says what is missing."""
    make(host)
    (host / "bin/monitor").unlink()

    assert lookup(f"{host}/cache", "monitor", f"{host}/bin/monitor") is None
    with pytest.raises(HostError, match=r"bin/monitor: No such file or directory$"):
        make(host)


def test_a_missing_library_is_named_with_who_needs_it(host: Path) -> None:
    """One line, and no half-built tree stays behind."""
    write(host / "bin/monitor", "elf 64 62 needed=libgone.so.3")

    with pytest.raises(HostError) as refusal:
        make(host)
    assert str(refusal.value) == f"library libgone.so.3, needed by {host}/bin/monitor, was not found: install it"
    assert os.listdir(host / "cache") == []


@pytest.mark.parametrize(("binary", "words"), [("bin/script", "not an ELF file"), ("bin", "regular file|directory")])
def test_what_is_no_program_is_refused(host: Path, binary: str, words: str) -> None:
    """The message names it."""
    write(host / "bin/script", "#!/bin/sh")

    with pytest.raises(HostError, match=rf"{binary}.*({words})"):
        prepare(f"{host}/cache", "monitor", f"{host}/{binary}", (), (), reader)


@pytest.mark.parametrize("name", ["", "a/b", ".", "..", ".hidden"])
def test_a_name_that_is_a_path_is_refused(host: Path, name: str) -> None:
    """A tree is a child of its cache."""
    with pytest.raises(HostError, match="cannot name a prepared tree"):
        make(host, name=name)


def test_a_path_with_a_line_break_is_refused(host: Path) -> None:
    """The manifest could not say it."""
    write(host / "share/a\nb", "x")

    with pytest.raises(HostError, match="line break"):
        make(host, data=(f"{host}/share/*",))


def test_a_relative_glob_is_refused(host: Path) -> None:
    """It would depend on the working directory."""
    with pytest.raises(HostError, match="absolute path"):
        make(host, data=("share/*",))


def test_a_cache_that_others_can_write_to_is_refused(host: Path) -> None:
    """Group or world."""
    for mode in (0o770, 0o707):
        make(host)
        (host / "cache").chmod(mode)
        with pytest.raises(HostError, match="nobody else can write to"):
            make(host)

        assert lookup(f"{host}/cache", "monitor", f"{host}/bin/monitor") is None
        (host / "cache").chmod(0o700)


def test_a_cache_that_is_a_link_is_refused(host: Path) -> None:
    """Who owns the link decides where it leads."""
    (host / "real").mkdir(mode=0o700)
    (host / "cache").symlink_to("real")

    with pytest.raises(HostError, match="nobody else can write to"):
        make(host)


@as_root
@pytest.mark.parametrize("part", ["", "tree"])
def test_what_another_user_owns_is_refused(host: Path, part: str) -> None:
    """The cache and the tree in it."""
    prepared = make(host)
    os.chown(prepared if part else host / "cache", 1000, -1)

    assert lookup(f"{host}/cache", "monitor", f"{host}/bin/monitor") is None
    with pytest.raises(HostError, match=r"nobody else|remove it"):
        make(host)


def test_a_half_built_or_changed_tree_is_refused(host: Path) -> None:
    """Its name alone proves nothing."""
    manifest = Path(make(host)) / ".manifest"
    for contents in ("", manifest.read_text() + "0:0:0:0 /etc/passwd\n", None):
        manifest.unlink()
        if contents is not None:
            manifest.write_text(contents)

        assert lookup(f"{host}/cache", "monitor", f"{host}/bin/monitor") is None
        with pytest.raises(HostError, match=r"remove it|\.manifest"):
            make(host)
        manifest.touch()


def test_a_source_that_changes_while_it_is_copied_is_an_error(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves nothing behind."""

    def make_directory(path: str) -> None:
        os.makedirs(path)
        change(host / "bin/monitor")

    monkeypatch.setattr(tree, "_make_directory", make_directory)

    with pytest.raises(HostError, match="changed while it was copied"):
        make(host)
    assert os.listdir(host / "cache") == []


def test_concurrent_builders_agree(host: Path) -> None:
    """Each gets the same complete tree, and no temporary ones remain."""
    write(host / "share/data", "x" * 100_000)
    results: list[str] = []
    barrier = threading.Barrier(8)

    def build() -> None:
        barrier.wait()
        results.append(make(host, data=(f"{host}/share/*",)))

    threads = [threading.Thread(target=build) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results) == 8
    assert len(set(results)) == 1
    assert sorted(os.listdir(host / "cache")) == ["monitor", os.path.basename(results[0])]


def test_a_new_tree_makes_old_ones_go(host: Path) -> None:
    """A monitor's package is upgraded again and again; what was current within the hour may be waited for."""
    trees = []
    for _ in range(5):
        change(host / "bin/monitor")
        trees.append(Path(make(host)))
    for made, age_s in zip(trees, (7200, 7100, 60, 50, 40), strict=True):
        os.utime(made, (time.time() - age_s,) * 2)
    change(host / "bin/monitor")
    trees.append(Path(make(host)))

    assert {*trees[2:], host / "cache" / "monitor"} == set((host / "cache").iterdir())


def test_a_tree_that_was_current_for_long_stays_for_who_waits(host: Path) -> None:
    """It is old by its making, and not by its end."""
    first = Path(make(host))
    os.utime(first, (1000, 1000))
    for _ in range(3):
        change(host / "bin/monitor")
        make(host)

    assert (first / ".manifest").exists()


def test_prune_keeps_the_newest_two_and_the_current(host: Path) -> None:
    """And what is not a tree of ours."""
    trees = []
    for _ in range(5):
        change(host / "bin/monitor")
        trees.append(make(host))
    for second, path in enumerate(trees):
        os.utime(path, (second, second))
    cache = host / "cache"
    (cache / "monitor").unlink()
    (cache / "monitor").symlink_to(os.path.basename(trees[0]))
    stale, fresh = cache / f".monitor-{'0' * 16}.12345678", cache / f".monitor-{'1' * 16}.12345678"
    for directory in (stale, fresh, cache / "some-thing", cache / ".hidden"):
        directory.mkdir()
        os.utime(directory, (1000, 1000))
    os.utime(fresh)
    prune(str(cache))

    assert sorted(os.listdir(cache)) == sorted(
        ["monitor", "some-thing", ".hidden", fresh.name, *(os.path.basename(trees[i]) for i in (0, 3, 4))]
    )


@pytest.fixture(scope="session")
def real_reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The C parser, as the Cython binding will offer it."""
    library = tmp_path_factory.mktemp("elf") / "elf.so"
    sources = [FASTPATH / name for name in ("elf.c", "elf_dependencies.c", "error.c")]
    subprocess.run(
        ["gcc", "-std=gnu11", "-O1", "-shared", "-fPIC", "-o", library, *sources],
        check=True,
    )
    ffi: Any = FFI()
    ffi.cdef("""
        struct fp_error { int number; char step[48]; char path[256]; };
        struct fp_elf_dependencies { char *interpreter, *soname, *rpath, *runpath; char **needed; size_t needed_count;
                                     uint16_t machine; uint8_t bits; bool dynamic; };
        int fp_elf_dependencies(int fd, struct fp_elf_dependencies *ret, struct fp_error *error);
        void fp_elf_dependencies_deinit(struct fp_elf_dependencies *dependencies);
    """)
    c = ffi.dlopen(str(library))

    def read(fd: int) -> Dependencies:
        found, error = ffi.new("struct fp_elf_dependencies *"), ffi.new("struct fp_error *")
        try:
            if c.fp_elf_dependencies(fd, found, error) < 0:
                raise OSError(error.number, ffi.string(error.path).decode())
            text = [os.fsdecode(ffi.string(p)) if p else "" for p in (found.interpreter, found.runpath or found.rpath)]
            return Dependencies(
                bits=found.bits,
                machine=found.machine,
                interpreter=text[0],
                needed=tuple(os.fsdecode(ffi.string(found.needed[i])) for i in range(found.needed_count)),
                search=tuple(filter(None, text[1].split(":"))),
                inherited=not found.runpath,
            )
        finally:
            c.fp_elf_dependencies_deinit(found)

    return read


@as_root
@pytest.mark.parametrize("program", ["/bin/true", "/usr/bin/qemu-system-x86_64"])
def test_a_real_program_starts_in_its_tree(tmp_path: Path, real_reader: "Reader", program: str) -> None:
    """With nothing of the host but the tree."""
    if not os.path.exists(program):
        pytest.skip(f"{program} is not installed")
    prepared = prepare(f"{tmp_path}/cache", "program", program, (), (), real_reader)
    done = subprocess.run(["chroot", prepared, program, "--version"], capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stderr)


def test_libraries_agree_with_the_dynamic_linker(tmp_path: Path, real_reader: "Reader") -> None:
    """Each file that ldd names is in the tree."""
    prepared = prepare(f"{tmp_path}/cache", "program", "/bin/ls", (), (), real_reader)
    words = subprocess.run(["ldd", "/bin/ls"], check=True, capture_output=True, text=True).stdout.split()
    names = {os.path.basename(word) for word in words if word.startswith("/")}

    assert names <= {path.name for path in Path(prepared).rglob("*")}
