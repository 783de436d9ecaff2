"""The image packer: the layout it writes, and what it refuses."""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from urunc.errors import UruncError
from urunc.pack import File, main, pack

NAME = "docker.io/library/hello:latest"
HELLO = {"unikernelType": "linux", "hypervisor": "qemu", "binary": "/boot/hello"}
PREFIX = "com.urunc.unikernel."


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    path = tmp_path / "guest"
    path.write_bytes(b"a guest")
    return path


def read(path: Path) -> dict[str, bytes]:
    """Content of every file of an image."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]


def manifest_of(files: dict[str, bytes]) -> Any:
    index = json.loads(files["index.json"])
    return json.loads(files[blob_name(index["manifests"][0])])


def blob_name(descriptor: dict[str, str]) -> str:
    return "blobs/" + descriptor["digest"].replace(":", "/")


def layer_of(path: Path, directory: Path) -> tarfile.TarFile:
    files = read(path)
    (directory / "layer").write_bytes(files[blob_name(manifest_of(files)["layers"][0])])
    return tarfile.open(directory / "layer")


def test_every_blob_is_what_its_descriptor_says(tmp_path: Path, guest: Path) -> None:
    pack(tmp_path / "image", NAME, [File(source=str(guest), path="/boot/hello")], HELLO, ["a", "b"], ["K=v"])

    files = read(tmp_path / "image")
    index = json.loads(files["index.json"])
    manifest = manifest_of(files)
    descriptors = (*index["manifests"], manifest["config"], *manifest["layers"])
    blobs = {name for name in files if name.startswith("blobs/")}
    assert blobs == {blob_name(descriptor) for descriptor in descriptors}
    for descriptor in descriptors:
        content = files[blob_name(descriptor)]
        assert (descriptor["size"], descriptor["digest"]) == (
            len(content),
            f"sha256:{hashlib.sha256(content).hexdigest()}",
        )
    assert {"imageLayoutVersion": "1.0.0"} == json.loads(files["oci-layout"])


def test_documents_say_what_was_asked_for(tmp_path: Path, guest: Path) -> None:
    annotations = {**HELLO, "org.opencontainers.image.title": "hello"}
    pack(tmp_path / "image", NAME, [File(source=str(guest), path="/boot/hello")], annotations, ["a", "b"], ["K=v"])

    files = read(tmp_path / "image")
    manifest = manifest_of(files)
    config = json.loads(files[blob_name(manifest["config"])])
    assert ["a", "b"] == config["config"]["Cmd"]
    assert ["K=v"] == config["config"]["Env"]
    assert [manifest["layers"][0]["digest"]] == config["rootfs"]["diff_ids"]
    assert {
        **{PREFIX + key: value for key, value in HELLO.items()},
        "org.opencontainers.image.title": "hello",
    } == manifest["annotations"]
    assert {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": NAME} == json.loads(
        files["index.json"]
    )["manifests"][0]["annotations"]


def test_layer_holds_files_below_their_parents(tmp_path: Path, guest: Path) -> None:
    guest.chmod(0o700)
    files = [
        File(source=str(guest), path="/usr/lib/guest", mode=0o4711),
        File(source=str(guest), path="/boot/hello"),
    ]
    pack(tmp_path / "image", NAME, files, HELLO)

    with layer_of(tmp_path / "image", tmp_path) as layer:
        members = [(member.name, member.mode, member.isdir()) for member in layer]
        owners = {(member.uid, member.gid, member.uname, member.mtime) for member in layer}
    assert [
        ("boot", 0o755, True),
        ("boot/hello", 0o755, False),
        ("urunc.json", 0o644, False),
        ("usr", 0o755, True),
        ("usr/lib", 0o755, True),
        ("usr/lib/guest", 0o4711, False),
    ] == members
    assert {(0, 0, "", 0)} == owners


@pytest.mark.parametrize(("base64", "value"), [(False, "linux"), (True, "bGludXg=")])
def test_urunc_json_has_full_keys(tmp_path: Path, guest: Path, base64: bool, value: str) -> None:
    annotations = {PREFIX + "unikernelType": "linux", "hypervisor": "qemu", "binary": "/boot/hello", "other.key": "x"}
    pack(tmp_path / "image", NAME, [File(source=str(guest), path="/boot/hello")], annotations, base64=base64)

    with layer_of(tmp_path / "image", tmp_path) as layer:
        file = layer.extractfile("urunc.json")
        assert file
        content = json.loads(file.read())
    assert value == content[PREFIX + "unikernelType"]
    assert {PREFIX + key for key in HELLO} == set(content)
    assert "linux" == manifest_of(read(tmp_path / "image"))["annotations"][PREFIX + "unikernelType"]


def test_image_without_annotations_is_an_ordinary_one(tmp_path: Path, guest: Path) -> None:
    pack(tmp_path / "image", NAME, [File(source=str(guest), path="/guest")], {})

    with layer_of(tmp_path / "image", tmp_path) as layer:
        assert ["guest"] == layer.getnames()


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, guest: Path) -> None:
    one, two = File(source=str(guest), path="/boot/hello"), File(source=str(guest), path="/a")
    pack(tmp_path / "first", NAME, [one, two], HELLO, ["x"])
    guest.touch()
    pack(tmp_path / "second", NAME, [two, one], dict(reversed(HELLO.items())), ["x"])

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_command_line_makes_the_same_image(tmp_path: Path, guest: Path) -> None:
    pack(tmp_path / "first", NAME, [File(source=str(guest), path="/boot/hello", mode=0o755)], HELLO, ["-x"], ["K=a=b"])
    words = [word for key, value in HELLO.items() for word in ("--annotation", f"{key}={value}")]

    place = ("--output", str(tmp_path / "second"), "--name", NAME, "--file", f"{guest}:/boot/hello:755")
    status = main([*place, *words, "--cmd=-x", "--env", "K=a=b"])

    assert 0 == status
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("--name hello", 2, "image name 'hello' must be a full one"),
        ("--file guest", 2, "--file 'guest' must be SOURCE:/path/in/image"),
        ("--file guest:/a:9", 2, "--file 'guest:/a:9' must be SOURCE:/path"),
        ("--file guest:/../a", 2, "path in the image '/../a' must be absolute"),
        ("--file guest:/a/", 2, "path in the image '/a/' must be absolute"),
        ("--file guest:/", 2, "path in the image '/' is the root"),
        ("--file guest:/a --file guest:/a", 2, "path in the image '/a' is given twice"),
        ("--file guest:/a --file guest:/a/b", 2, "path in the image '/a/b' lies below another file"),
        ("--file absent:/a", 1, "absent: no such file or directory"),
        ("--file .:/a", 1, ".: is a directory"),
        ("--file /dev/null:/a", 1, "/dev/null is not a regular file"),
        ("--env K", 2, "--env 'K' must be NAME=VALUE"),
        ("--annotation initd=/a", 2, "annotation 'initd' is none of urunc's: use one of unikernelType"),
        ("--annotation initrd=/a", 1, "urunc.json: 'com.urunc.unikernel.initrd' is given without"),
        ("--annotation unikernelType=linux", 1, "com.urunc.unikernel.hypervisor, com.urunc.unikernel.binary must be"),
        (
            "--annotation unikernelType=linux --annotation hypervisor=qemu --annotation binary=/a",
            1,
            "binary /a is not among the files of the image",
        ),
        (
            "--annotation unikernelType=linux --annotation hypervisor=none --annotation binary=/a --file guest:/a",
            1,
            'does not run on hypervisor "none"|hypervisor "none" is not supported',
        ),
        ("--output absent/image", 1, "no such file or directory"),
        ("--unknown", 2, "unrecognized arguments: --unknown"),
    ],
)
def test_refusal_is_one_line(  # noqa: PLR0917  two fixtures of pytest's own
    tmp_path: Path,
    guest: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert status == main(["--output", "image", "--name", NAME, *words.split()])

    output = capsys.readouterr()
    assert "" == output.out
    assert output.err.startswith("urunc.pack: ")
    assert 1 == output.err.count("\n")
    assert any(part in output.err for part in said.split("|"))
    assert ["guest"] == [path.name for path in tmp_path.iterdir()]


def test_urunc_json_is_not_given_twice(tmp_path: Path, guest: Path) -> None:
    files = [File(source=str(guest), path="/boot/hello"), File(source=str(guest), path="/urunc.json")]

    with pytest.raises(UruncError, match=r"^/urunc\.json is among the files and made of the annotations"):
        pack(tmp_path / "image", NAME, files, HELLO)
