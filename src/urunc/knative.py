"""Knative's pods: user-container is the guest, and queue-proxy, an ordinary container, has to find it.

The one rule: of queue-proxy's config.json nothing changes but where it looks for the program it serves.
"""

import os

from .annotations import PREFIX
from .errors import SpecError
from .jsontext import decode, encode
from .state import write_whole
from .subnet import STATIC_ADDRESS

_PROBE, _REDIRECT = "SERVING_READINESS_PROBE=", "REDIRECT_IP="
_HANDLERS = ("httpGet", "tcpSocket")  # of a probe (core/v1), those that have a host


def prepare(bundle: str, annotations: "tuple[tuple[str, str], ...]") -> None:
    """Have queue-proxy ask the guest, in its bundle's config.json.

    A pod that says that its guest is alone, or without a network, has no guest at that address.
    """
    network = dict(annotations).get(PREFIX + "network", "")
    if network in ("alone", "none"):
        return
    path = f"{bundle}/config.json"
    with open(path, "rb") as file:
        document = decode(file.read(), path)
    process = document.get("process") if isinstance(document, dict) else None
    if not isinstance(process, dict):
        raise SpecError(f"{path}: process must be an object")
    env = tuple(process.get("env") or ())
    asked = redirected(env)
    if asked != env:
        process["env"] = asked
        _replace(path, encode(document).encode("utf-8", "surrogateescape"))


def redirected(env: "tuple[str, ...]") -> "tuple[str, ...]":
    """Return queue-proxy's environment with the guest's address in its readiness probe, and as REDIRECT_IP."""
    made = [_PROBE + _probe(entry[len(_PROBE) :]) if entry.startswith(_PROBE) else entry for entry in env]
    return (*(entry for entry in made if not entry.startswith(_REDIRECT)), _REDIRECT + STATIC_ADDRESS)


def _probe(text: str) -> str:
    """Return a probe, or a list of them, with the guest's address; what is none is none of our business."""
    try:
        probe = decode(text.encode("utf-8", "surrogateescape"), _PROBE)
    except SpecError:
        return text
    for one in probe if isinstance(probe, list) else [probe]:
        for handler in _HANDLERS:
            if isinstance(one, dict) and isinstance(one.get(handler), dict):
                one[handler]["host"] = STATIC_ADDRESS
    return encode(probe)


def _replace(path: str, content: bytes) -> None:
    """Write the file whole or not at all, with the mode and owner that it has."""
    before = os.stat(path)
    temporary = f"{path}.urunc"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        write_whole(fd, temporary, content)
        os.fchown(fd, before.st_uid, before.st_gid)
        os.fchmod(fd, before.st_mode & 0o7777)
    finally:
        os.close(fd)
    os.rename(temporary, path)
