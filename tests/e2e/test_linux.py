"""Ordinary images as Linux guests through `ctr run`: their status, their mounts, their end, servers that answer.

Boots are dear under emulation, so each test asks one of them for all that it can tell.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.containerd import Containerd, wait_until
from tests.e2e.lan import Lan
from tests.guests import build, linux_build, linux_images

from urunc import facts
from urunc.pack import File, pack

pytestmark = pytest.mark.e2e

RUNTIME = ("--runtime", "io.containerd.urunc.v2")
BOOT_S = 150  # Debian's kernel takes 4 s on an idle machine, 40 on a busy one
NUMBERS = itertools.count()
APPLETS = ("sh", "cat", "chmod", "chown", "echo", "env", "grep", "hostname", "id", "ip", "ls", "mount", "sleep", "stat")
NGINX_CONF = """\
daemon off;
master_process off;
error_log stderr;
pid /tmp/nginx.pid;
events { worker_connections 16; }
http {
    access_log off;
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
    server { listen 80; root /srv; }
}
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with two kernels: Debian's, and `guest`, the one of ci/kernel if that was run."""
    kernel, initrd = linux_build.debian(build.default_cache())
    tailored = linux_build.tailored()
    guest = f'path = "{tailored}"' if tailored else f'path = "{kernel}"\ninitrd = "{initrd}"'
    config = tmp_path_factory.mktemp("etc") / "config.toml"
    config.write_text(
        f'accelerator = "tcg"\n[linux.kernels.guest]\n{guest}\n[linux.kernels.ram]\n{guest}\nroot = "initrd"\n'
        f'[linux.kernels.debian]\npath = "{kernel}"\ninitrd = "{initrd}"\nroot = "9pfs"\n'
    )
    return config


@pytest.fixture(scope="module")
def daemon(runtime_binary: Path, kernels: Path) -> Iterator[Containerd]:
    with Containerd(runtime_binary.parent, {"URUNC_CONFIG_FILE": str(kernels)}) as instance:
        yield instance


@pytest.fixture(scope="module")
def busybox(daemon: Containerd, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image like any other: nothing in it knows of urunc."""
    directory = tmp_path_factory.mktemp("busybox")
    (directory / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
    files = [File(source=str(build.BUSYBOX), path=f"/bin/{name}") for name in APPLETS]
    files.append(File(source=str(directory / "passwd"), path="/etc/passwd"))
    name = "docker.io/library/ordinary:latest"
    pack(directory / "image.tar", name, files, {}, ["sh"], ["PATH=/bin"])
    return daemon.import_image(directory / "image.tar")


@pytest.fixture
def name(daemon: Containerd) -> Iterator[str]:
    """A container's name; ends what the test left."""
    name = f"urunc-linux-{os.getpid()}-{next(NUMBERS)}"
    yield name
    if daemon.task_status(name):
        daemon.ctr("task", "delete", "--force", name)
    if name in daemon.ctr("container", "ls", "-q").stdout.split():
        daemon.ctr("container", "delete", name)
    wait_until(lambda: not daemon.left_of(name), f"nothing is left of {name}", 60)


def words(kernel: str = "guest", **keys: str) -> list[str]:
    """The options that make a Linux guest of any image."""
    all_keys = {"unikernelType": "linux", "hypervisor": "qemu", "kernel": kernel} | keys
    pairs = ((f"com.urunc.unikernel.{key}", value) for key, value in all_keys.items())
    return [*RUNTIME, *itertools.chain.from_iterable(("--annotation", f"{key}={value}") for key, value in pairs)]


def mount(source: Path, target: str, *options: str) -> tuple[str, str]:
    return "--mount", f"type=bind,src={source},dst={target},options={':'.join(('rbind', *options))}"


def run(daemon: Containerd, image: str, name: str, options: list[str], *command: str) -> tuple[int, list[str]]:
    """The status and the lines of a container that ends by itself."""
    ended = daemon.ctr("run", "--rm", *options, image, name, *command, check=False, timeout=BOOT_S)

    assert "" == ended.stderr, ended.stderr
    return ended.returncode, ended.stdout.splitlines()


def volumes(directory: Path) -> tuple[Path, Path, Path]:
    (directory / "resolv.conf").write_text("nameserver 10.1.2.3\n")
    (directory / "data").mkdir()
    (directory / "secret").mkdir()
    (directory / "secret" / "key").write_text("hidden\n")
    (directory / "secret" / "out").symlink_to("/proc/1/comm")
    return directory / "resolv.conf", directory / "data", directory / "secret"


SCRIPT = """\
grep -o "^urunc / [a-z0-9]*" /proc/mounts
cat /etc/resolv.conf /secret/key
(echo x >/secret/no) 2>/dev/null || echo refused
echo "from the guest" >/data/written && chmod 640 /data/written && chown 33:44 /data/written
cat /secret/out
echo "$COLOUR" "$0" "$@"
id -u
grep -c . /proc/net/dev >/dev/null && ls -1 -d /dev/shm /dev/pts/ptmx
exit 7
"""
SAID = ["nameserver 10.1.2.3", "hidden", "refused", "init", "light blue two words", "0", "/dev/pts/ptmx", "/dev/shm"]


# with the best there is, and with 9p
@pytest.mark.parametrize("kernel", ["guest", "debian"])
def test_an_ordinary_image_on_a_shared_rootfs(
    daemon: Containerd, busybox: str, name: str, tmp_path: Path, kernel: str
) -> None:
    """Its status, what it says byte for byte, volumes both ways; a link leads nowhere but into the guest."""
    resolv, data, secret = volumes(tmp_path)
    options = [
        *words(kernel),
        *mount(resolv, "/etc/resolv.conf", "ro"),
        *mount(data, "/data", "rw"),
        *mount(secret, "/secret", "ro"),
        *("--env", "COLOUR=light blue"),
    ]

    status, lines = run(daemon, busybox, name, options, "sh", "-c", SCRIPT, "two", "words")

    best = "virtiofs" if any(map(os.path.exists, facts.VIRTIOFSD)) else "9p"
    assert (7, [f"urunc / {best if kernel == 'guest' else '9p'}", *SAID]) == (status, lines)
    written = data / "written"
    assert "from the guest\n" == written.read_text()
    assert (0o640, 33, 44) == (written.stat().st_mode & 0o7777, written.stat().st_uid, written.stat().st_gid)
    assert not (secret / "no").exists()
    wait_until(lambda: not daemon.left_of(name), "nothing is left", 60)


def test_an_ordinary_image_in_an_initrd(daemon: Containerd, busybox: str, name: str, tmp_path: Path) -> None:
    """Read-only volumes are copied; a program that a signal has ended tells so."""
    resolv, _, secret = volumes(tmp_path)
    options = [*words("ram"), *mount(resolv, "/etc/resolv.conf"), *mount(secret, "/secret", "ro"), "--read-only"]

    script = "cat /etc/resolv.conf /secret/key; (echo x >/secret/no) 2>/dev/null || echo refused; kill -9 $$"
    status, lines = run(daemon, busybox, name, options, "sh", "-c", script)

    assert (137, ["nameserver 10.1.2.3", "hidden", "refused"]) == (status, lines)


def test_a_program_that_is_not_there(daemon: Containerd, busybox: str, name: str) -> None:
    """The status is a shell's, and the reason is on the console."""
    status, lines = run(daemon, busybox, name, words("ram"), "/bin/nope")

    assert (127, ["uinit: exec /bin/nope: No such file or directory"]) == (status, lines)


def test_stop_lets_the_program_end(daemon: Containerd, busybox: str, name: str) -> None:
    """The power button is SIGTERM for the program, whose status the client then has."""
    log = daemon.directory / f"{name}.log"
    script = "trap 'echo ending; exit 200' TERM; echo ready; while :; do sleep 0.1; done"
    daemon.ctr("run", "--detach", "--log-uri", f"file://{log}", *words("ram"), busybox, name, "sh", "-c", script)
    wait_until(lambda: log.exists() and "ready" in log.read_text(errors="replace"), "the program runs", BOOT_S)

    daemon.ctr("task", "kill", "--signal", "SIGTERM", name)
    wait_until(lambda: daemon.task_status(name) == "STOPPED", "the guest ends", BOOT_S)

    assert "exit code 200" in daemon.ctr("task", "delete", name).stderr
    assert "ready\nending\n" == log.read_text()


@pytest.mark.skipif(not any(map(os.path.exists, facts.VIRTIOFSD)), reason="virtiofsd is missing")
def test_the_end_of_virtiofsd_is_the_container_s(daemon: Containerd, busybox: str, name: str) -> None:
    log = daemon.directory / f"{name}.log"
    script = "echo ready; while :; do sleep 0.1; done"
    daemon.ctr("run", "--detach", "--log-uri", f"file://{log}", *words(), busybox, name, "sh", "-c", script)
    wait_until(lambda: log.exists() and "ready" in log.read_text(errors="replace"), "the program runs", BOOT_S)
    pid = daemon.task_pid(name)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (server,) = (int(child) for child in children if "virtiofsd" in Path(f"/proc/{child}/comm").read_text())
    # nothing of the host is in its reach but the rootfs, and its cage is not the monitor's
    assert ["sys", "proc"] != os.listdir(f"/proc/{server}/root")
    assert "share" not in os.listdir(f"/proc/{server}/root")

    os.kill(server, signal.SIGKILL)
    wait_until(lambda: daemon.task_status(name) == "STOPPED", "the container ends", BOOT_S)

    assert "exit code 125" in daemon.ctr("task", "delete", name).stderr
    assert "virtiofsd, which the monitor needs, was ended by signal 9: the container ends" in log.read_text()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((*words("other"),), 'kernel "other" is not in the host\'s configuration, which has: guest, ram, debian'),
        ((*words(), "--mount", "type=nfs,src=server,dst=/nfs"), "mounts: /nfs: a guest cannot mount nfs of the host"),
        ((*words(), *mount(Path("/nonexistent"), "/x")), "mounts: /x: source /nonexistent: no such file or directory"),
        ((*words(init="systemd"),), "init 'systemd' must be one of urunc, image"),
    ],
)
def test_what_cannot_be_is_refused(
    daemon: Containerd, busybox: str, name: str, options: tuple[str, ...], reason: str
) -> None:
    ended = daemon.ctr("run", "--rm", *options, busybox, name, "sh", check=False)

    assert 0 != ended.returncode
    assert reason in ended.stderr


@pytest.fixture
def lan() -> Iterator[Lan]:
    made = Lan()
    yield made
    made.remove()


def ask(lan: Lan, program: str) -> str:
    """What a Python program says that runs beside the guest; "" if it fails."""
    command = ("ip", "netns", "exec", lan.outside, sys.executable, "-c", program)
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


@pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="/dev/net/tun is missing")
def test_nginx_and_redis_of_debian_answer(daemon: Containerd, name: str, lan: Lan, tmp_path: Path) -> None:
    """One image of unmodified packages; both servers in one guest, redis behind nginx's back."""
    tree = linux_images.servers(build.default_cache())
    (tmp_path / "nginx.conf").write_text(NGINX_CONF)
    (tmp_path / "index.html").write_text("it works\n")
    (tmp_path / "passwd").write_text("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    (tmp_path / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    files = [
        *linux_images.files(tree),
        File(source=str(tmp_path / "nginx.conf"), path="/nginx.conf"),
        File(source=str(tmp_path / "index.html"), path="/srv/index.html"),
        *(File(source=str(tmp_path / kind), path=f"/etc/{kind}") for kind in ("passwd", "group")),
        File(source=str(build.BUSYBOX), path="/bin/sh"),
        File(source=str(tmp_path / "index.html"), path="/tmp/placeholder"),
        File(source=str(tmp_path / "index.html"), path="/var/log/nginx/placeholder"),
        File(source=str(tmp_path / "index.html"), path="/var/lib/redis/placeholder"),
    ]
    pack(tmp_path / "image.tar", "docker.io/library/servers:latest", files, {}, ["nginx"], ["PATH=/usr/sbin:/usr/bin"])
    image = daemon.import_image(tmp_path / "image.tar")
    lan.usual()
    log = daemon.directory / f"{name}.log"
    script = "redis-server --save '' --protected-mode no --bind 0.0.0.0 & exec nginx -c /nginx.conf"
    options = [*words(), "--with-ns", f"network:/run/netns/{lan.inside}", "--memory-limit", str(512 << 20)]

    daemon.ctr("run", "--detach", "--log-uri", f"file://{log}", *options, image, name, "/bin/sh", "-c", script)

    page = "import urllib.request as r; print(r.urlopen('http://10.9.0.2/', timeout=5).read().decode(), end='')"
    ping = (
        "import socket; s = socket.create_connection(('10.9.0.2', 6379), 5);"
        "s.sendall(b'SET a 7\\r\\nGET a\\r\\n'); import time; time.sleep(1); print(s.recv(99))"
    )
    try:
        wait_until(lambda: ask(lan, page) == "it works\n", "nginx answers", BOOT_S)
        wait_until(lambda: "$1\\r\\n7" in ask(lan, ping), "redis answers", BOOT_S)
    except AssertionError as error:
        with contextlib.suppress(OSError):
            error.add_note(log.read_text(errors="replace"))
        raise
    daemon.ctr("task", "kill", "--signal", "SIGKILL", name)
    wait_until(lambda: daemon.task_status(name) == "STOPPED", "the guest ends", 60)
