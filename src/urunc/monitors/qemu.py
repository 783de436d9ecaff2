"""QEMU, from 7.2 (qemu(1), docs/system/i386)."""

from . import Disk, Machine, Monitor, Nic, Share, plain

# of virtio-net: what a guest without checksums and segmentation must not be offered
_NO_OFFLOADS = (
    *("csum=off", "gso=off", "guest_csum=off", "guest_tso4=off", "guest_tso6=off", "guest_ecn=off", "guest_ufo=off"),
    *("host_tso4=off", "host_tso6=off", "mrg_rxbuf=off"),
)
_ETHERNET_MTU = 1500


def escaped(value: str) -> str:
    """Return `value` for use inside an option with commas (QemuOpts: a comma in a value is doubled)."""
    return value.replace(",", ",,")


def argv(machine: Machine) -> "tuple[str, ...]":
    """Return QEMU's command line: nothing that was not asked for, the serial port as the container's streams."""
    cpu = machine.host_cpu if machine.accelerator == "kvm" else machine.cpu or "max"
    line = [machine.binary, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    line += ["-M", _type(machine), "-cpu", cpu]
    line += ["-m", str(machine.memory_mib), "-smp", str(machine.vcpus)]
    # signal=off: Ctrl-C is for the guest
    line += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    line += _control(machine)
    line += _devices(machine)
    line += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    # a multiboot guest finds the kernel's name before its first blank; modules are a list with commas and arguments
    line += ["-kernel", plain(machine.kernel, " ", "qemu")]
    if machine.initrd:
        line += ["-initrd", plain(machine.initrd, ", ", "qemu")]
    return (*line, *(("-append", " ".join(machine.words)) if machine.words else ()))


def _control(machine: Machine) -> "list[str]":
    """Return the connection of who is to start the guest, and that of who stops it.

    What ends before the first has said so is QEMU's own failure.
    """
    line = []
    if machine.qmp_fd >= 0:
        line += ["-chardev", f"socket,id=qmp,fd={machine.qmp_fd}", "-mon", "chardev=qmp,mode=control", "-S"]
    if machine.control_fd >= 0:
        line += ["-chardev", f"socket,id=control,fd={machine.control_fd},server=on,wait=off"]
        line += ["-mon", "chardev=control,mode=control"]
    return line


def _type(machine: Machine) -> str:
    options = [machine.type, f"accel={machine.accelerator}"]
    if machine.share and machine.share.kind == "virtiofs":
        options.append("memory-backend=memory")  # virtiofsd has the guest's memory mapped
    if machine.type == "microvm":
        # without ACPI QEMU writes the devices behind our command line, where they are arguments of the program
        return ",".join([*options, "acpi=on"])
    return ",".join(options if machine.acpi else [*options, "acpi=off"])


def _devices(machine: Machine) -> "list[str]":
    line = ["-global", "virtio-mmio.force-legacy=off"] if machine.type == "microvm" else []
    if machine.debug_exit:
        line += ["-device", f"isa-debug-exit,iobase={machine.debug_exit:#x},iosize=2"]
    line += [] if machine.nics else ["-nic", "none"]
    for number, nic in enumerate(sorted(machine.nics, key=_order)):
        line += ["-netdev", _backend(nic, number), "-device", _nic(machine, nic, number)]
    for number, disk in enumerate(sorted(machine.disks, key=_order)):
        read_only = ",read-only=on" if disk.read_only else ""
        line += ["-drive", f"if=none,id=disk{number},format=raw{read_only},file={escaped(disk.path)}"]
        line += ["-device", _disk(machine, disk, number)]
    if machine.share:
        line += _share(machine, machine.share)
    return line


def _share(machine: Machine, share: Share) -> "list[str]":
    if share.kind == "virtiofs":
        chardev = f"socket,id=share,fd={share.fd}"
        bus = "device" if machine.type == "microvm" else "pci"
        device = f"vhost-user-fs-{bus},chardev=share,queue-size=1024,tag={escaped(share.tag)}"
        memory = f"memory-backend-memfd,id=memory,size={machine.memory_mib}M,share=on"
        return ["-object", memory, "-chardev", chardev, "-device", device]
    return _9p(machine, share)


def _9p(machine: Machine, share: Share) -> "list[str]":
    """Return a directory by 9p.  Owners and modes are those of the files, as a container's are.

    remap: what is shared may be of several file systems, whose inode numbers are the same.
    """
    options = ["local,id=share", f"path={escaped(share.path)}", "security_model=passthrough", "multidevs=remap"]
    options += ["readonly=on"] if share.read_only else []
    device = ",".join([*_model(machine, "9p"), "fsdev=share", f"mount_tag={escaped(share.tag)}"])
    return ["-fsdev", ",".join(options), "-device", device]


def _order(device: "Nic | Disk") -> int:
    return device.order


def _backend(nic: Nic, number: int) -> str:
    if not nic.linked:  # without any other end QEMU would warn
        return f"dgram,id=net{number},local.type=fd,local.str={nic.fd}"
    if nic.fd >= 0:
        vhost = ",vhost=on," + _descriptors("vhostfd", nic.vhost_fd, nic.queues) if nic.vhost_fd >= 0 else ""
        return f"tap,id=net{number}," + _descriptors("fd", nic.fd, nic.queues) + vhost
    return f"tap,id=net{number},ifname={escaped(nic.tap)},script=no,downscript=no"


def _descriptors(name: str, first: int, count: int) -> str:
    """Return the option for one descriptor, or for several that follow each other."""
    if count == 1:
        return f"{name}={first}"
    return f"{name}s=" + ":".join([str(first + number) for number in range(count)])


def _nic(machine: Machine, nic: Nic, number: int) -> str:
    options = [*_model(machine, "net"), f"netdev=net{number}", f"mac={nic.mac}"]
    if nic.queues > 1:  # an interrupt for each direction of each, for the control queue, and for changes
        options += ["mq=on"] if machine.type == "microvm" else ["mq=on", f"vectors={2 * nic.queues + 2}"]
    options += [] if machine.type == "microvm" else ["romfile="]  # nobody boots from it
    options += [f"host_mtu={nic.mtu}"] if nic.mtu not in {0, _ETHERNET_MTU} else []
    return ",".join([*options, *(() if nic.offloads else _NO_OFFLOADS)])


def _disk(machine: Machine, disk: Disk, number: int) -> str:
    serial = [f"serial={escaped(disk.id)}"] if disk.id else []
    return ",".join([*_model(machine, "blk"), f"drive=disk{number}", *serial])


def _model(machine: Machine, kind: str) -> "list[str]":
    if machine.type == "microvm":
        return [f"virtio-{kind}-device"]
    modern = ["disable-legacy=on", "disable-modern=off"] if machine.virtio == "modern" else []
    return [f"virtio-{kind}-pci", *modern]


MONITOR = Monitor(
    name="qemu",
    binaries=("qemu-system-x86_64",),
    argv=argv,
    kvm="optional",
    modules=(
        *("/usr/lib/*/qemu/accel-tcg-x86_64.so", "/usr/lib64/qemu/accel-tcg-x86_64.so"),
        *("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"),
    ),
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
    copies=("multiboot",),  # hw/i386/multiboot.c: whole, with the memory behind it, for its option ROM to read
    takes_tap="fd",
    powerdown="qmp",
    queues=True,
    shares=("virtiofs", "9pfs"),
    qmp=True,
    seccomp=True,
)
