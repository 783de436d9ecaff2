"""Mewz: runs one WebAssembly program (src/param.zig of its sources).

It takes an address and a gateway and nothing else: WASI's arguments and environment are empty in it.
"""

from . import Boot, Guest, refuse


def words(boot: Boot) -> "tuple[str, ...]":
    """Return the network's parameters; the first argument is the program's name and goes nowhere."""
    if len(boot.args) > 1:
        raise refuse("Mewz", "process.args", boot.args[1], "its programs have no arguments, leave them out")
    if not boot.interfaces or not boot.interfaces[0].ipv4:
        return ()
    interface = boot.interfaces[0]
    address, prefix = interface.ipv4[0]
    # without a gateway it would have no network at all
    return (f"ip={address}/{prefix}", f"gateway={interface.gateway4 or '0.0.0.0'}")


GUEST = Guest(
    name="mewz",
    monitors=("qemu",),
    words=words,
    kernels=("multiboot",),
    net=1,
    memory_min_mib=512,
    virtio="modern",
    offloads=False,
    debug_exit=0x501,
    status=(("qemu", "isa-debug-exit"),),
)
