"""Whose ids a lab's programs may have: all of root's, a user's range where there is one, else one."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.support.labs import PAIR, machine, run_program

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a user a range")
SOMEBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR")
SHOW = PAIR + """
import os
with Lab(pair()) as lab:
    def show(*words):
        return lab["left"].run(words, capture_output=True, text=True)
    print(*show("cat", "/proc/self/uid_map").stdout.split())
    print(show("id", "-u").stdout.strip())
    print(show("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "id", "-u").stdout.strip() or "refused")
    lab["left"].run(["ping", "-c1", "-W5", "5.5.5.2"], check=True, stdout=-3)
"""  # fmt: skip


def ranges(uids: str, gids: str) -> str:
    """The setup of a machine whose user 65534 has these lines in /etc/subuid and /etc/subgid."""
    return f"""
    mount --make-rprivate / && mkdir /run/etc
    printf '{uids}' > /run/etc/subuid && printf '{gids}' > /run/etc/subgid
    for file in subuid subgid; do
      test -e /etc/$file || exit 77
      mount --bind /run/etc/$file /etc/$file
    done
    """


def shown(setup: str) -> list[str]:
    return run_program(SHOW, before=(*machine(setup), *SOMEBODY)).splitlines()


@only_root
@pytest.mark.skipif(shutil.which("newuidmap") is None, reason="there is no newuidmap")
@pytest.mark.skipif(not os.path.exists("/etc/subuid"), reason="there is no /etc/subuid")
def test_a_user_with_a_range_has_its_ids_in_the_lab() -> None:
    mapped, user, other = shown(ranges("65534:200000:65536\\n", "65534:300000:65536\\n"))
    assert mapped.split() == ["0", "65534", "1", "1", "200000", "65536"]
    assert (user, other) == ("0", "1000")


@only_root
@pytest.mark.skipif(not os.path.exists("/etc/subuid"), reason="there is no /etc/subuid")
@pytest.mark.parametrize(
    "lines",
    [
        ("", ""),
        ("65534:200000:65536\\n", ""),
        ("65534:oops\\n", "65534:oops\\n"),
        ("65534:0:65536\\n", "65534:0:65536\\n"),
    ],
)
def test_a_user_without_a_range_or_with_a_bad_one_has_one_id(lines: tuple[str, str]) -> None:
    # The last: newuidmap would not give the ids of root away. What it refuses must leave a lab of one id.
    mapped, user, other = shown(ranges(*lines))
    found = mapped.split()
    assert found[:3] == ["0", "65534", "1"]
    assert user == "0"
    if lines[0] != lines[1] or "oops" in lines[0] or not lines[0]:
        assert len(found) == 3
        assert other == "refused"


@only_root
def test_root_keeps_every_id() -> None:
    mapped, user, other = run_program(SHOW).splitlines()
    assert mapped.split() == ["0", "0", "4294967295"]
    assert (user, other) == ("0", "1000")
