"""`ScriptLab`: runs a printed script in empty namespaces of its own, and commands in the nodes that it made.

Uses util-linux and iproute2 alone, so that it is independent of wanlab. Nothing of the machine is touched: the script
finds a /run and an /etc/netns that exist only in a mount namespace, and all that it starts ends with this object, or
with this process.
"""

from __future__ import annotations

import os
import subprocess
from typing import IO

# An ordinary user that owns nothing and can gain nothing.
UNPRIVILEGED = (
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
    "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all",
)  # fmt: skip

# First process of its PID namespace: when its standard input ends, so does everything. It says its PID as seen from
# outside while it still sees the outer /proc. The real /etc lies below /run/etc, and /etc is made of links into it:
# one can write there, and `ip netns exec` can still mount a node's own hosts file over the real one.
_FIRST_PROCESS = """
read -r pid _ < /proc/self/stat
mount -t tmpfs tmpfs /run &&
  mkdir /run/etc && mount --rbind /etc /run/etc &&
  mount -t tmpfs tmpfs /etc && ln -s /run/etc/* /etc/ &&
  { rm -f /etc/netns; mkdir /etc/netns; } || exit
mount -t proc proc /proc 2> /dev/null # refused in some containers, and not needed much
echo "$pid"
exec cat > /dev/null
"""


class ScriptLab:
    """The lab that a script makes, inside a `with`. *become* precedes every command: UNPRIVILEGED, or nothing."""

    def __init__(self, script: str, become: tuple[str, ...] = ()) -> None:
        self._script = script
        self._become = become
        self._enter: list[str] = []
        self._first: subprocess.Popen[str] | None = None
        self._environment = {
            **os.environ,
            "PATH": f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin",
            "LC_ALL": "C",
        }

    def __enter__(self) -> ScriptLab:
        self._first = subprocess.Popen(
            [*self._become, "unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork",
             "--kill-child", "bash", "-c", _FIRST_PROCESS],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd="/", env=self._environment,
        )  # fmt: skip
        try:
            pid = _stream(self._first.stdout).readline().strip()
            if not pid:
                raise RuntimeError(f"no namespaces for a script: {_stream(self._first.stderr).read()}")
            self._enter = [*self._become, "nsenter", f"--target={pid}", "--user", "--preserve-credentials",
                           "--mount", "--net", "--pid", "--wd=/", "--"]  # fmt: skip
            self.stderr = self._call(["bash"], self._script).stderr
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._first is not None:
            _stream(self._first.stdin).close()
            self._first.wait()
            _stream(self._first.stdout).close()
            _stream(self._first.stderr).close()
            self._first = None

    def outside(self, argv: list[str]) -> str:
        """What a command prints that runs beside the nodes, where the script ran."""
        return self._call(argv).stdout

    def run(self, node: str, argv: list[str]) -> str:
        """What a command prints in a node. Raises subprocess.CalledProcessError, its complaints noted."""
        return self._call(["ip", "netns", "exec", node, *argv]).stdout

    def popen(self, node: str, argv: list[str]) -> subprocess.Popen[str]:
        """Start a command in a node; it ends with the lab at the latest."""
        return subprocess.Popen(
            [*self._enter, "ip", "netns", "exec", node, *argv],
            stdout=subprocess.PIPE, text=True, cwd="/", env=self._environment,
        )  # fmt: skip

    def _call(self, argv: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self._enter, *argv],
            input=text,
            capture_output=True,
            text=True,
            cwd="/",
            env=self._environment,
            check=False,
        )
        try:
            done.check_returncode()
        except subprocess.CalledProcessError as error:
            error.add_note(done.stdout + done.stderr)
            raise
        return done


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
