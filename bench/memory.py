"""What a container takes of the memory: while it is made, while it waits, while its guest runs.

The one rule: sizes are what they are, whatever else the machine does; they have no noise and no peer.
"""

import os
import time
from pathlib import Path

from bench import bundle as bundle_of
from bench.rig import Runtime, Size
from tests.container import CONFIG, UNIKERNEL, merged, write_bundle
from tests.guests import build as guest_cache
from tests.guests import multiboot_build

DEADLINE_S = 60.0

# maxrss of a process counts what its parent was when it was spawned: this one is small
PEAK = r"""
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    struct rusage usage;
    pid_t pid = fork();
    if (pid == 0)
        execv(argv[2], argv + 2);
    FILE *file = fopen(argv[1], "w");
    int failed = pid < 0 || !file || wait4(pid, &(int){0}, 0, &usage) < 0 || fprintf(file, "%ld", usage.ru_maxrss) < 0;
    return failed || fclose(file) || argc < 3;
}
"""


def sizes(urunc: Runtime, bundle: Path, directory: Path) -> list[Size]:
    """Rows of MB and what they may be: the peak of create, what waits, what stays beside the monitor while it runs."""
    kib = directory / "peak"
    words = ("create", "--bundle", bundle, "--pid-file", urunc.root / "pid", "c")
    urunc.spawn(bundle_of.compiled(directory, "maxrss", PEAK), kib, urunc.program, "--root", urunc.root, *words)
    pid = int((urunc.root / "pid").read_text())
    waiting = resident_kib(pid)
    beside = len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()) - 1
    urunc("delete", "--force", "c")
    os.waitpid(pid, 0)
    return [
        ("peak of create, MB", int(kib.read_text()) / 1000, 16),
        ("what waits between create and start, MB", waiting / 1000, 1),
        ("processes beside the container's own", float(beside), 0),
        ("what a companion adds to its monitor, kB", float(companion(urunc, directory)), 300),
    ]


def companion(urunc: Runtime, directory: Path) -> int:
    """The kB of urunc-init beside a monitor that needs it: a guest that has halted, in QEMU."""
    image = multiboot_build.image(guest_cache.default_cache(), "halt")
    asked = {"annotations": UNIKERNEL | {"com.urunc.unikernel.unikernelType": "mewz"}}
    bundle = write_bundle(directory / "companion", {"hello": image}, merged(CONFIG, asked))
    _, pid = urunc.create(bundle)
    urunc("start", "c")
    end = time.monotonic() + DEADLINE_S
    while not Path(f"/proc/{pid}/task/{pid}/children").read_text() and time.monotonic() < end:
        time.sleep(0.01)
    resident = resident_kib(pid)
    urunc("delete", "--force", "c")
    os.waitpid(pid, 0)
    return resident


def resident_kib(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:"))
