"""Builds libFuzzer's targets of tests/fuzz, NAME.c each, with the C core and sanitizers, and runs them.

The one rule: what undoes a journal runs in a cage, where a bug of ours has nothing of the machine to break.
"""

import os
import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "src" / "_fastpath"
CORPUS = HERE / "corpus"
SECONDS = int(os.environ.get("URUNC_FUZZ_SECONDS", "1"))  # a target
SEED = os.environ.get("URUNC_FUZZ_SEED", "1")  # of the first inputs; what is covered decides the later ones
PLAIN_ADDRESSES = ("setarch", "-R")  # clang 14's sanitizers do not start with all that newer kernels vary
TARGETS = ("image", "journal", "json", "plan", "record", "spt_image", "uinit_config")
SANITIZERS = "address,undefined"
FLAGS = ("-std=gnu11", "-O1", "-g", "-w", "-iquote", str(SOURCES), "-fno-sanitize-recover=undefined")
# Programs of their own, and what is another machine's.
NOT_CORE = ("embedded", "front", "init.c", "spt", "uinit.c", "uinit_mount", "uinit_network", "uinit_run")
MACHINES = {"x86_64", "aarch64"} - {platform.machine()}
SIZE_MAX = 1 << 16

# Its own network, processes and IPC; every mount but the directory's read-only; no control group, no network
# namespace by its name.
CAGE = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--net", "--ipc", "--kill-child", "sh", "-c")
BARS = r"""
mount --bind "$0" "$0" && mount -o remount,bind,ro / && cd "$0/work" || exit 9
export TMPDIR=$0/work
umount -R -l /sys/fs/cgroup /run/netns 2>/dev/null
while read -r _ _ _ _ point _; do
    case $point in "$0" | "$0"/* | /proc) ;; *) mount -o remount,bind,ro "$(printf %b "$point")" 2>/dev/null ;; esac
done </proc/self/mountinfo
! touch /var/tmp/.urunc-fuzz 2>/dev/null || exit 9
exec "$@"
"""


def core_sources() -> list[Path]:
    """C files of the core: the linker takes what a target calls."""
    files = [path for path in sorted(SOURCES.glob("*.c")) if not path.name.startswith(NOT_CORE)]
    return [path for path in files if not path.stem.endswith(tuple(MACHINES))]


def build(directory: Path, compiler: tuple[str, ...], link: tuple[str, ...], *more: Path) -> dict[str, Path]:
    """Name of the target -> its program; `more` are linked to each."""
    objects = {source: directory / f"{source.stem}.o" for source in core_sources()}
    objects |= {HERE / f"{name}.c": directory / f"target_{name}.o" for name in TARGETS}
    objects |= {source: directory / f"more_{source.stem}.o" for source in more}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda pair: run(*compiler, *FLAGS, "-c", pair[0], "-o", pair[1]), objects.items()))
    archive = directory / "core.a"
    run("ar", "rcs", archive, *(path for source, path in objects.items() if source.parent == SOURCES))
    programs = {name: directory / name for name in TARGETS}
    for name, program in programs.items():
        own = [directory / f"target_{name}.o", *(directory / f"more_{source.stem}.o" for source in more)]
        run(*link, *own, archive, "-o", program)
    return programs


def run(*command: str | Path) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    assert ended.returncode == 0, f"$ {' '.join(map(str, command))}\n{ended.stderr[-4000:]}"


def fuzz(command: tuple[str | Path, ...], directory: Path, corpus: Path, seconds: int, *, caged: bool = False) -> str:
    """Try the corpus, then what libFuzzer makes of it for some seconds; return what it said.

    The working directory is the target's to write to.  When something is found, the input is printed in base64.
    """
    found, work = directory / "found", directory / "work"
    found.mkdir()
    work.mkdir()
    options = (f"-seed={SEED}", f"-artifact_prefix={work}/", f"-max_len={SIZE_MAX}")
    limits = ("-timeout=100", "-rss_limit_mb=4096", f"-max_total_time={seconds}" if seconds else "-runs=0")
    whole = [*PLAIN_ADDRESSES, *command, *options, *limits, str(found), str(corpus)]
    if caged:
        whole = [*CAGE, BARS, str(directory), *whole]
    ended = subprocess.run(whole, cwd=work, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                           errors="replace", timeout=600 + seconds)  # fmt: skip

    assert ended.returncode == 0, f"$ {' '.join(map(str, whole))}\n{ended.stdout[-2000:]}{ended.stderr[-8000:]}"
    return ended.stderr
