"""The virtual machine of a container, decided from the spec, the unikernel's configuration and the facts.  Pure.

The one rule: what cannot be given is refused here, before anything is made.
"""

from . import network, snapshot, storage
from ._record import replace
from .errors import HostError, SpecError, UnikernelError
from .monitors import EXIT_CODES, Disk, Machine
from .payload import Payload, init_of, payload, root_kind, shared_root
from .shared import helpers
from .unikernels import Boot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .annotations import Unikernel
    from .facts import Host, Network
    from .monitors import Monitor
    from .spec import Spec
    from .unikernels import Guest, Interface

MIB = 1 << 20
LIMITED_CPU = "host,arch-capabilities=off"  # nested KVM says that it has this register (MSR 0x10a), and fails to set it
STATUS = "/guest/status/sector"  # in the monitor's root: FP_COMPANION_SECTOR
BUTTON = "/guest/button/socket"  # the same: of the monitors that make it


def check_pair(guest: "Guest", chosen: "Monitor") -> None:
    """Raise UnikernelError if the framework does not run on the monitor."""
    if chosen.name not in guest.monitors:
        raise UnikernelError(
            f'unikernelType "{guest.name}" does not run on hypervisor "{chosen.name}":'
            f" use one of {', '.join(guest.monitors)}"
        )


def machine_of(  # noqa: PLR0913, PLR0917  all that the machine is made of
    spec: "Spec", unikernel: "Unikernel", guest: "Guest", chosen: "Monitor", host: "Host", net: "Network"
) -> Machine:
    """Return the virtual machine that the monitor is to make; the pair has been checked."""
    _check_kernel(guest, chosen, host)
    paths = {file.role: f"/guest/{file.role}" for file in host.files}
    net = placed(spec, unikernel, net)
    fast = accelerator(unikernel.accelerator or host.config.accelerator, chosen, host.kvm)
    nics = network.nics(guest, chosen, host, net, unikernel.solo5_net, _vcpus(spec, host), fast)
    free_fd = network.next_fd(nics)
    taken = snapshot.chosen(unikernel, guest, host)
    disks = storage.disks(guest, host, taken, read_only=spec.readonly, name=unikernel.solo5_block)
    boot = _boot(spec, unikernel, guest, chosen, host, net.interfaces[: len(nics)], len(disks))
    given = _payload(spec, guest, chosen, host, boot)
    exit_code = "sector" if boot.init == "uinit" else dict(guest.status).get(chosen.name, "as-is")
    disks += (Disk(path=STATUS, id="urunc-status"),) if exit_code == "sector" else ()
    return Machine(
        binary=host.binary,
        accelerator=fast,
        memory_mib=boot.memory_mib,
        vcpus=boot.vcpus,
        kernel=paths["kernel"],
        initrd="/guest/initrd" if given.archive else paths.get("initrd", ""),
        words=_words(unikernel, host, guest.words(boot)),
        nics=nics,
        disks=disks,
        private=net.private,
        archive=given.archive,
        share=given.share and replace(given.share, fd=free_fd + 2),  # behind QMP and power button
        helpers=helpers(given.share, host.virtiofsd),
        snapshot=taken,
        type=_type(unikernel, guest, host),
        cpu=guest.cpu,
        host_cpu="host" if host.kvm == "full" else LIMITED_CPU,
        acpi=guest.acpi,
        virtio=guest.virtio,
        debug_exit=guest.debug_exit,
        exit_code=exit_code,
        **_watched(chosen, exit_code, free_fd, stops=_powers_down(unikernel, guest, chosen)),
    )


def _watched(chosen: "Monitor", exit_code: str, free_fd: int, *, stops: bool) -> "dict[str, Any]":
    """Return by what the monitor is watched and told to stop: descriptors, from `free_fd` on, or a socket."""
    watched = exit_code in EXIT_CODES and (chosen.qmp or chosen.events)
    watch_fd = free_fd if watched else -1
    button = stops or (exit_code == "sector" and not chosen.qmp)
    return {
        "qmp_fd": watch_fd if chosen.qmp else -1,
        "events_fd": watch_fd if chosen.events else -1,
        "control_fd": free_fd + watched if button and chosen.qmp else -1,
        "button": BUTTON if button and chosen.powerdown and not chosen.qmp else "",
    }


def _words(unikernel: "Unikernel", host: "Host", words: "tuple[str, ...]") -> "tuple[str, ...]":
    """Return the guest's command line, behind what the host's administrator has for the kernel."""
    configured = next((kernel.cmdline for kernel in host.config.kernels if kernel.name == unikernel.kernel), "")
    return (configured, *words) if configured else words


def placed(spec: "Spec", unikernel: "Unikernel", net: "Network") -> "Network":
    """Return the network as the guest is to have it: the container's own, or a private subnet of it.

    The latter for Knative's user-container, where the annotation `network` says shared, and beside guests of others.
    """
    if net.is_host:
        network.refuse_host()
    if not net.interfaces or unikernel.network == "alone":
        return net
    static = unikernel.for_queue_proxy
    if not (static or unikernel.network == "shared" or net.taps):
        return net
    from . import subnet

    return subnet.placed(unikernel.ports or (subnet.knative_port(spec.env) if static else ""), net, static=static)


def check(spec: "Spec", unikernel: "Unikernel", guest: "Guest", chosen: "Monitor", host: "Host") -> "tuple[str, ...]":
    """Raise what `machine_of` would for any network; return notices about what the guest does not get."""
    _check_kernel(guest, chosen, host)
    _type(unikernel, guest, host)
    _check_memory(spec, guest, host)
    _powers_down(unikernel, guest, chosen)
    if network.wanted(unikernel, guest, host) and all(namespace.type != "network" for namespace in spec.namespaces):
        network.refuse_host()
    accelerator(unikernel.accelerator or host.config.accelerator, chosen, host.kvm)
    taken = snapshot.chosen(unikernel, guest, host)
    disks = storage.disks(guest, host, taken, read_only=spec.readonly, name=unikernel.solo5_block)
    boot = _boot(spec, unikernel, guest, chosen, host, (), len(disks))
    storage.check_filesystems(guest, unikernel, host, uinit=boot.init == "uinit")
    guest.words(boot)
    return _payload(spec, guest, chosen, host, boot).notices


def copied_bytes(chosen: "Monitor", host: "Host") -> int:
    """Return how much of kernel and initrd the monitor keeps beside the guest's memory: part of its control group."""
    kernel = host.files[0]
    if not set(kernel.kinds) & set(chosen.copies):
        return 0
    return max(kernel.extent, kernel.size) + sum([file.size for file in host.files if file.role.startswith("initrd")])


def _payload(spec: "Spec", guest: "Guest", chosen: "Monitor", host: "Host", boot: Boot) -> Payload:
    # most guests of other frameworks have nothing to be asked: the modules of the others are not loaded for them
    status = "/dev/vd" + "abcdefghijklmnopqrstuvwxyz"[boot.disks] if boot.init == "uinit" else ""
    return payload(spec, guest, chosen, host, boot, status) if guest.uinit or spec.mounts or boot.root else Payload()


def _powers_down(unikernel: "Unikernel", guest: "Guest", chosen: "Monitor") -> bool:
    """Whether the guest is asked to stop by its power button: one that does not listen would be waited for in vain.

    Of Linux the kernel may listen, but a program must, too: the image's author says so by the annotation `stop`.
    What a framework says of itself is about ACPI's button, not the keys that Firecracker has instead.
    """
    if unikernel.stop == "powerdown" and not chosen.powerdown:
        raise UnikernelError(f"stop powerdown: {chosen.name} has no power button for guests: use hypervisor qemu")
    return bool((unikernel.stop or (guest.stop if chosen.qmp else "")) == "powerdown" and chosen.powerdown)


def hints(spec: "Spec", unikernel: "Unikernel", guest: "Guest", chosen: "Monitor", host: "Host") -> "tuple[str, ...]":
    """Return what may become of a machine that was checked: for those who look for the reason of a failure."""
    found = [f"{unikernel.source}: {key} is not known, and changes nothing" for key in unikernel.unknown]
    memory_mib = _memory_mib(spec, guest, host)
    if memory_mib < guest.memory_min_mib:
        found.append(
            f"a {guest.name} guest with {memory_mib} MiB of memory may fail: give it {guest.memory_min_mib} MiB or more"
        )
    wanted = unikernel.accelerator or host.config.accelerator
    if wanted == "auto" and host.kvm == "limited" and chosen.kvm == "needed":
        found.append(f"KVM runs simple guests only on this host: this one may fail on {chosen.name}")
    if wanted == "auto" and host.kvm != "full" and chosen.kvm == "optional":
        found.append(f"KVM is not fit for guests on this host ({host.kvm}): {chosen.name} emulates, which is slow")
    return tuple(found)


def _type(unikernel: "Unikernel", guest: "Guest", host: "Host") -> str:
    """Return QEMU's machine type, as image or host say: no kernel's header tells whether it drives virtio-mmio."""
    configured = next((kernel.machine for kernel in host.config.kernels if kernel.name == unikernel.kernel), "")
    wanted = unikernel.machine or configured or guest.machines[0]
    if wanted not in guest.machines:
        raise UnikernelError(f"machine {wanted}: a {guest.name} guest boots on {', '.join(guest.machines)}")
    return wanted


def _check_memory(spec: "Spec", guest: "Guest", host: "Host") -> None:
    """Raise what the monitor would only find out, and say in its own words: kernel and initrd do not fit."""
    kernel = host.files[0]
    loaded = [file.size for file in host.files if file.role.startswith("initrd")]
    needed = max(kernel.extent, kernel.size if "bzimage" in kernel.kinds else 0) + sum(loaded)
    memory_mib = _memory_mib(spec, guest, host)
    if needed > memory_mib * MIB:
        raise SpecError(
            f"linux.resources.memory.limit leaves {memory_mib} MiB for the guest, whose binary {kernel.name}"
            f" {'and initrd need' if loaded else 'needs'} {-(-needed // MIB)} MiB: raise it"
        )


def device_nodes(
    unikernel: "Unikernel", guest: "Guest", chosen: "Monitor", host: "Host"
) -> "tuple[tuple[str, int, int], ...]":
    """Return the devices that the monitor may come to open: type, major, minor."""
    taken = snapshot.chosen(unikernel, guest, host)
    blocks = [(taken.major, taken.minor)] if taken else []  # what linux.devices gives is in the rules of the spec
    kvm = (("", 10, 232),) if host.kvm in ("full", "limited") else ()
    nodes = (*chosen.nodes, *kvm, *chosen.tap_nodes)
    return (*(("c", major, minor) for _, major, minor in nodes), *(("b", *pair) for pair in blocks))


def _boot(  # noqa: PLR0913, PLR0917  all that a guest may be told
    spec: "Spec",
    unikernel: "Unikernel",
    guest: "Guest",
    chosen: "Monitor",
    host: "Host",
    interfaces: "tuple[Interface, ...]",
    disks: int,
) -> Boot:
    args = _args(spec, unikernel)
    init = init_of(unikernel, guest, args)
    accelerated = accelerator(unikernel.accelerator or host.config.accelerator, chosen, host.kvm)
    places = storage.places(unikernel, host) if guest.uinit else ()
    return Boot(
        monitor=chosen.name,
        args=args,
        init=init,
        root=_root(unikernel, guest, chosen, host, init),
        env=spec.env,
        initrd=any(file.role == "initrd" for file in host.files),
        block=disks > 0 and places[:1] in ((), ("/",)),
        places=places,
        interfaces=interfaces,
        disks=disks,
        version=unikernel.version,
        mount_point=unikernel.block_mount_point,
        hostname=spec.hostname,
        tsc_khz=host.tsc_khz if accelerated == "tcg" else 0,
        memory_mib=_memory_mib(spec, guest, host),
        vcpus=_vcpus(spec, host),
    )


def _root(unikernel: "Unikernel", guest: "Guest", chosen: "Monitor", host: "Host", init: str) -> str:
    """Return what / is on, "" where the image's initrd and block device say it.

    What mountRootfs gives comes before an initrd of the image: that is the kernel's own, which mounts what root= names.
    """
    if snapshot.chosen(unikernel, guest, host):
        return "block"
    return (root_kind if init == "uinit" else shared_root)(unikernel, guest, chosen, host)


def _check_kernel(guest: "Guest", chosen: "Monitor", host: "Host") -> None:
    """Raise what the monitor would say in words of its own, and refuse an image of another framework."""
    kernel = host.files[0]
    kinds = set(kernel.kinds)
    if not kinds & set(chosen.kernels):
        raise UnikernelError(
            f"binary {kernel.name} is {' '.join(kernel.kinds)}: {chosen.name} loads {', '.join(chosen.kernels)}"
        )
    if any(kind.startswith("solo5-") for kind in kinds):
        kinds.discard("elf64")  # all of Solo5's are
    if not kinds & set(guest.kernels):
        raise UnikernelError(
            f"binary {kernel.name} is {' '.join(kernel.kinds)}: a {guest.name} guest is {', '.join(guest.kernels)}"
        )


def accelerator(wanted: str, chosen: "Monitor", kvm: str) -> str:
    """Return kvm, tcg or none; HostError if what is wanted does not work (DESIGN section 4)."""
    if chosen.kvm == "none":
        return "none"
    if wanted == "tcg" or (wanted == "auto" and chosen.kvm == "optional" and kvm != "full"):
        if chosen.kvm == "needed":
            raise HostError(f"accelerator tcg: {chosen.name} has none, it needs KVM: use hypervisor qemu")
        return "tcg"
    if kvm == "none":
        raise HostError("accelerator kvm: /dev/kvm does not work here: enable virtualization, or use accelerator tcg")
    return "kvm"


def _args(spec: "Spec", unikernel: "Unikernel") -> "tuple[str, ...]":
    # published images are started with the placeholder `unikernel`; their command line is the annotation's, which bunny
    # writes empty for a guest that wants none
    return tuple(unikernel.cmdline.split()) if spec.args in ((), ("unikernel",)) else spec.args


def _memory_mib(spec: "Spec", guest: "Guest", host: "Host") -> int:
    if not spec.memory_limit_bytes:
        return max(host.config.default_memory_mib, guest.memory_min_mib)
    if spec.memory_limit_bytes < MIB:
        raise SpecError(f"linux.resources.memory.limit of {spec.memory_limit_bytes} bytes: a guest needs 1 MiB or more")
    return spec.memory_limit_bytes // MIB


def _vcpus(spec: "Spec", host: "Host") -> int:
    if spec.cpu_quota_us <= 0:
        return 1
    period = spec.cpu_period_us or 100_000  # the kernel's default
    return max(1, min(-(-spec.cpu_quota_us // period), host.cpus))
