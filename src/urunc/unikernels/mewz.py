"""Mewz: runs one WebAssembly program (src/param.zig of its sources).

It takes an address and a gateway and nothing else: WASI's arguments and environment are empty in it.  Its timer asks
the driver of its interface for frames, whether there is one or not (src/timer.zig): without it its first tick is its
end.  Newer ones take the first virtiofs for their file system, whatever its tag (src/drivers/virtio/fs.zig).
"""

from . import Boot, Guest, refuse


def words(boot: Boot) -> "tuple[str, ...]":
    """Return the network's parameters; the first argument is the program's name and goes nowhere."""
    if len(boot.args) > 1:
        raise refuse("Mewz", "process.args", boot.args[1], "its programs have no arguments, leave them out")
    if not boot.interfaces or not boot.interfaces[0].ipv4:
        return ("ip=0.0.0.0/0", "gateway=0.0.0.0")  # lwIP routes nothing through an interface with this address
    interface = boot.interfaces[0]
    address, prefix = interface.ipv4[0]
    # without a gateway it would not look at its interface
    return (f"ip={address}/{prefix}", f"gateway={interface.gateway4 or '0.0.0.0'}")


GUEST = Guest(
    name="mewz",
    monitors=("qemu",),
    words=words,
    kernels=("multiboot",),
    net=1,
    needs_net=True,
    roots=("virtiofs",),
    memory_min_mib=512,
    virtio="modern",
    offloads=False,
    debug_exit=0x501,
    status=(("qemu", "isa-debug-exit"),),
)
