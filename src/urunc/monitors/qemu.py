"""QEMU, from 7.2 (qemu(1), docs/system/i386)."""

from . import Machine, Monitor


def escaped(value: str) -> str:
    """Return `value` for use inside an option with commas (QemuOpts: a comma in a value is doubled)."""
    return value.replace(",", ",,")


def argv(machine: Machine) -> "tuple[str, ...]":
    """Return QEMU's command line: nothing that was not asked for, the serial port as the container's streams."""
    cpu = "host" if machine.accelerator == "kvm" else "max"
    line = [machine.binary, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    line += ["-M", f"q35,accel={machine.accelerator}", "-cpu", cpu]
    line += ["-m", str(machine.memory_mib), "-smp", str(machine.vcpus)]
    # signal=off: Ctrl-C is for the guest
    line += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console", "-nic", "none"]
    line += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    line += ["-kernel", machine.kernel]
    if machine.initrd:
        line += ["-initrd", machine.initrd]
    return (*line, "-append", machine.words[0])


MONITOR = Monitor(
    name="qemu",
    binaries=("qemu-system-x86_64",),
    argv=argv,
    kvm="optional",
    modules=("/usr/lib/*/qemu/accel-tcg-x86_64.so", "/usr/lib64/qemu/accel-tcg-x86_64.so"),
    data=(
        "/usr/share/seabios/bios-256k.bin",
        "/usr/share/qemu/bios-256k.bin",
        "/usr/share/qemu/bios-microvm.bin",
        "/usr/share/qemu/kvmvapic.bin",  # QEMU warns without it
        "/usr/share/qemu/linuxboot_dma.bin",  # a bzImage
        "/usr/share/qemu/multiboot_dma.bin",
        "/usr/share/qemu/pvh.bin",
    ),
    nodes=(("dev/null", 1, 3), ("dev/urandom", 1, 9)),
    kernels=("bzimage", "pvh", "multiboot"),
)
