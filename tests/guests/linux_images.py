"""Ordinary images of Debian's own packages: a web server and a data base, as anybody would put them into an image."""

import hashlib
import os
import shutil
from pathlib import Path

from tests.guests.build import cached, run

from urunc.pack import File

SERVERS = ("nginx", "nginx-common", "redis-server", "redis-tools")
LIBRARIES = (
    *("libc6", "libgcc-s1", "libstdc++6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g", "libjemalloc2"),
    *("liblua5.1-0", "lua-bitop", "lua-cjson", "libsystemd0", "liblzf1", "libatomic1", "libhiredis0.14", "libcap2"),
    *("libgcrypt20", "liblzma5", "libzstd1", "liblz4-1", "libgpg-error0"),
)
# what no program reads
DROPPED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/lib/x86_64-linux-gnu/gconv")


def servers(cache: Path) -> Path:
    """A tree with nginx and redis and all that they load; the packages are downloaded, never installed."""
    packages = (*SERVERS, *LIBRARIES)
    key = hashlib.sha256(repr((packages, DROPPED)).encode()).hexdigest()
    return cached(cache, f"servers-{key[:16]}", lambda made: _unpack(packages, made)) / "tree"


def _unpack(packages: tuple[str, ...], directory: Path) -> None:
    # Debian keeps only the newest version: lists that are older than it lead nowhere.
    get = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages)
    try:
        run(get, directory)
    except Exception:  # noqa: BLE001  whatever it was, it is tried again
        run(("apt-get", "-qq", "update"))
        run(get, directory)
    for archive in directory.glob("*.deb"):
        run(("dpkg", "-x", archive.name, "tree"), directory)
        archive.unlink()
    for name in DROPPED:
        shutil.rmtree(directory / "tree" / name, ignore_errors=True)


def files(tree: Path) -> list[File]:
    """The files of a tree for `pack`, which knows no links: each is what it leads to inside the tree."""
    found = []
    for path in sorted(tree.rglob("*")):
        source = path
        while source.is_symlink():
            target = os.readlink(source)
            source = tree / target.lstrip("/") if target.startswith("/") else source.parent / target
        if source.is_file():
            found.append(File(source=str(source), path=f"/{path.relative_to(tree)}"))
    return found
