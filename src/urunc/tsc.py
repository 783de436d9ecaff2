"""The frequency of the host's time stamp counter, measured once per boot.

Linux on QEMU's microvm under emulation calibrates by nothing that holds on a busy host and may hang for ever; QEMU's
emulated counter runs as the host's does, so the guest can be told (tsc_early_khz=).
"""

from . import _fastpath, kvm
from .config import CACHE


def khz(cache: str = CACHE) -> int:
    """Return the frequency in kHz; 0 where there is no such counter."""
    with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
        boot = file.read(64).decode().strip()
    try:
        with open(f"{cache}/tsc", "rb", buffering=0) as file:
            known, _, value = file.read(128).decode("ascii", "replace").partition(" ")
        if known == boot and value.isdigit():
            return int(value)
    except OSError:
        pass  # not measured since the machine came up
    measured = _fastpath.tsc_khz()
    kvm.keep(cache, "tsc", f"{boot} {measured}".encode())
    return measured
