"""The directory of labs is ours alone: who reaches a lab's socket can run commands as us."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labs import PAIR, machine, pair, run_program
from wanlab import Lab, LabExists
from wanlab.runtime.directory import claim, labs, runtime_directory

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


# Everything in /tmp is seen, but for the directories of labs; what is made there is gone with the machine.
OWN_TMP = """
mount --make-rprivate / && mkdir /run/tmp && mount --rbind /tmp /run/tmp && mount -t tmpfs -o mode=1777 tmpfs /tmp
for entry in /run/tmp/*; do
  case "$entry" in */wanlab-[0-9]*) continue ;; esac
  if [ -d "$entry" ] && [ ! -L "$entry" ]; then
    mkdir "/tmp/${entry##*/}" && mount --rbind "$entry" "/tmp/${entry##*/}"
  fi
done
unset XDG_RUNTIME_DIR
"""


@pytest.fixture
def own_tmp() -> tuple[str, ...]:
    """What to put before a program so that no /tmp/wanlab-... is there, and none that it makes stays."""
    return machine(OWN_TMP)


def test_the_directory_and_each_lab_are_for_their_owner_only(runtime: Path) -> None:
    before = os.umask(0)
    try:
        with Lab(pair()) as lab:
            for path in (runtime, runtime / lab.name):
                assert stat.S_IMODE(path.stat().st_mode) == 0o700
                assert path.stat().st_uid == os.geteuid()
            assert stat.S_ISSOCK((runtime / lab.name / "socket").stat().st_mode)
    finally:
        os.umask(before)


def test_a_directory_that_others_may_enter_is_closed_again(runtime: Path) -> None:
    runtime.mkdir(mode=0o755)
    runtime.chmod(0o755)
    assert runtime_directory() == runtime
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["missing", "a file", "a link", "writable by all"])
def test_a_runtime_directory_of_the_session_that_cannot_be_trusted_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, runtime: Path, tmp_path: Path, kind: str
) -> None:
    given = tmp_path / "given"
    if kind == "a file":
        given.touch()
    elif kind == "a link":
        given.symlink_to(runtime.parent)
    elif kind == "writable by all":
        given.mkdir()
        given.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(given))
    assert runtime_directory() == Path(f"/tmp/wanlab-{os.geteuid()}")


@only_root
def test_a_runtime_directory_of_another_user_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_directory() == Path("/tmp/wanlab-0")


def test_without_a_runtime_directory_of_the_session_labs_are_below_tmp(own_tmp: tuple[str, ...]) -> None:
    out = run_program(PAIR + """
import os
with Lab(pair(), name="here") as lab:
    lab["left"].run(["ping", "-c1", "-W5", "5.5.5.2"], check=True, stdout=-3)
    print(oct(os.stat(f"/tmp/wanlab-{os.geteuid()}").st_mode), sorted(os.listdir(f"/tmp/wanlab-{os.geteuid()}/here")))
print(os.listdir(f"/tmp/wanlab-{os.geteuid()}"))
""", before=own_tmp)  # fmt: skip
    first, second = out.splitlines()
    assert first == "0o40700 ['inside', 'lock', 'socket']"
    assert second in ("[]", "['.turn']")


@pytest.mark.parametrize("trap", ["os.symlink('/tmp/evil', path)", "open(path, 'w')", "os.symlink('/nowhere', path)"])
def test_a_link_or_a_file_in_place_of_the_directory_is_refused(own_tmp: tuple[str, ...], trap: str) -> None:
    out = run_program(PAIR + f"""
import os
from wanlab import MachineError
os.mkdir("/tmp/evil", 0o700)
path = f"/tmp/wanlab-{{os.geteuid()}}"
{trap}
try:
    Lab(pair()).up()
except MachineError as error:
    print(error)
print(os.listdir("/tmp/evil"))
""", before=own_tmp)  # fmt: skip
    said, left = out.splitlines()
    assert "/tmp/wanlab-0" in said
    assert "\n" not in said
    assert left == "[]"


@only_root
def test_a_directory_made_by_somebody_else_is_refused(own_tmp: tuple[str, ...]) -> None:
    out = run_program(PAIR + """
import os
from wanlab import MachineError
os.mkdir("/tmp/wanlab-0", 0o777)
os.chown("/tmp/wanlab-0", 65534, 65534)
try:
    Lab(pair()).up()
except MachineError as error:
    print(error)
""", before=own_tmp)  # fmt: skip
    assert "/tmp/wanlab-0 belongs to somebody else" in out


@only_root
def test_another_user_cannot_talk_to_a_lab_even_where_it_reaches_the_socket(runtime: Path) -> None:
    with Lab(pair(), name="mine"):
        for path in (runtime.parent, runtime, runtime / "mine", runtime / "mine" / "socket"):
            path.chmod(0o777)
        code = """
import json, socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
body = json.dumps({"verb": "info"}).encode()
try:
    s.sendall(struct.pack("!I", len(body)) + body)
    print(s.recv(100))
except ConnectionError:
    print(b"")
"""
        asked = ["/usr/bin/python3", "-c", code, str(runtime / "mine" / "socket")]
        somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        done = subprocess.run([*somebody, *asked], capture_output=True, text=True, cwd="/", check=False)
        assert done.stdout == "b''\n", done
        done = subprocess.run(asked, capture_output=True, text=True, cwd="/", check=False)
        assert "mine" in done.stdout


def test_a_path_longer_than_a_sockets_name_may_be_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with Lab(pair(), name="far") as lab:
        assert lab["left"].run(["true"]).returncode == 0
        assert (long / "wanlab" / "far" / "socket").is_socket()


# -- claims ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="wl"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_a_place_is_taken_as_long_as_its_lock_is_open(directory: Path) -> None:
    place = claim(directory, "lab")
    assert labs(directory) == ["lab"]
    with pytest.raises(LabExists):
        claim(directory, "lab")
    os.close(place.lock)
    assert labs(directory) == []
    assert not place.path.exists()


@pytest.mark.parametrize("ruin", ["empty", "without a lock", "whole"])
def test_a_ruin_is_cleared_by_who_meets_it(directory: Path, ruin: str) -> None:
    (directory / "lab" / "inside").mkdir(parents=True)
    if ruin == "empty":
        (directory / "lab" / "inside").rmdir()
    if ruin == "whole":
        (directory / "lab" / "lock").touch()
        (directory / "lab" / "socket").touch()
    os.close(claim(directory, "lab").lock)
    (directory / "lab" / "inside" / "more").touch()
    assert labs(directory) == []
    assert not (directory / "lab").exists()


def test_a_place_that_is_cleared_is_free_for_the_next(directory: Path) -> None:
    first = claim(directory, "lab")
    first.clear()
    second = claim(directory, "lab")
    assert second.path.is_dir()
    os.close(first.lock)
    assert labs(directory) == ["lab"]
    os.close(second.lock)
