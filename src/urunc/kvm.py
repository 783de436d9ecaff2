"""What KVM is good for on this machine, asked once per boot and by use.

The one rule: presence proves nothing.  Nested and paravirtual hosts emulate a guest's ring 0 and lack
instructions that kernels need, so the question is put to a real vCPU (kvm_probe_x86_64.c).
"""

import os

from . import _fastpath
from .config import CACHE
from .errors import SpecError
from .jsontext import decode, encode


def level(cache: str = CACHE) -> str:
    """Return what KVM is good for: full, limited or none; asked once per boot (DESIGN section 4)."""
    with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
        boot = file.read(64).decode().strip()
    path = f"{cache}/kvm"
    try:
        with open(path, "rb", buffering=0) as file:
            known = decode(file.read(4096), path)
        if isinstance(known, dict) and known.get("boot") == boot and known.get("kvm") in ("full", "limited", "none"):
            return str(known["kvm"])
    except (OSError, SpecError):
        pass  # not asked since the machine came up
    answer = ("none", "limited", "full")[_probe()]
    keep(cache, "kvm", encode({"boot": boot, "kvm": answer}).encode())
    return answer


def keep(directory: str, name: str, content: bytes) -> None:
    """Write a file of the cache, atomically; that it cannot be written is no error."""
    temporary = f"{directory}/.{name}.{os.getpid()}"
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
        os.rename(temporary, f"{directory}/{name}")
    except OSError:
        pass  # a read-only /run costs the probing time again, nothing else


def _probe() -> int:
    image = _fastpath.program("urunc-init")
    try:
        # a process of its own, which ends by its own alarm: a vCPU that hangs must not take a server along
        pid = os.posix_spawn(f"/proc/self/fd/{image}", ["urunc-init", "--probe-kvm"], {})
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(image)
    code = os.waitstatus_to_exitcode(status)
    return code if 0 <= code <= 2 else 0  # the three answers of the probe
