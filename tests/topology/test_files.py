"""Reading files: both formats, the lines of their keys, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.topology.helpers import refusal, toml, yaml
from wanlab.errors import TopologyError
from wanlab.topology.files import default_file, load, read
from wanlab.topology.lines import lines_of_toml

IN_TOML = """
    title = "Both"
    overlapping_lans = true
    [switch.wan]
    [switch.spare]
    subnet = "10.9.0.0/24"
    [router.home]
    uplink = "wan"
    lan = ["10.1.0.254/24", "fd00:1::/64"]
    firewall = false
    mtu = 1400
    [host.no]
    link = "home"
    [host.laptop]
    [[host.laptop.interface]]
    link = "home"
    [[host.laptop.interface]]
    link = "spare"
    name = "up"
    [[link]]
    ends = ["no", {node = "laptop", name = "x"}]
"""

IN_YAML = """
    title: Both
    overlapping_lans: true
    switch:
      wan:
      spare: {subnet: 10.9.0.0/24}
    router:
      home:
        uplink: wan
        lan: [10.1.0.254/24, "fd00:1::/64"]
        firewall: false
        mtu: 1400
    host:
      no:  # a name like any other, not false
        link: home
      laptop:
        interface:
          - link: home
          - {link: spare, name: up}
    link:
      - ends: [no, {node: laptop, name: x}]
"""


def test_toml_and_yaml_say_the_same() -> None:
    a, b = toml(IN_TOML, "lab.toml"), yaml(IN_YAML, "lab.yaml")
    assert a.to_document() == b.to_document()
    assert a.resolve() == b.resolve()


def test_a_file_is_read_by_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[host.x]\n")
    (tmp_path / "b.yml").write_text("host:\n  x:\n")
    (tmp_path / "c.YAML").write_text("host:\n  x:\n")
    for name in ("a.toml", "b.yml", "c.YAML"):
        assert list(load(tmp_path / name).nodes) == ["x"]
        assert list(load(str(tmp_path / name)).nodes) == ["x"]


def test_a_byte_order_mark_and_windows_line_ends_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(b"\xef\xbb\xbf[host.a]\r\n\r\n[host.b]\r\nlnk = 'x'\r\n")
    with pytest.raises(TopologyError, match=r"a\.toml:4: unknown key 'lnk'"):
        load(file)


# -- files that are none ---------------------------------------------------------------------------------------------


def told(lab: str | Path) -> str:
    with pytest.raises(TopologyError) as caught:
        load(lab)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert told(tmp_path / "a.toml") == f"{tmp_path}/a.toml: cannot read it: No such file or directory"


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a.toml").mkdir()
    assert told(tmp_path / "a.toml") == f"{tmp_path}/a.toml: a directory, not a file"
    assert told(tmp_path) == f"'{tmp_path}' is a directory; name a file in it"


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.toml")
    assert "not a file" in told(tmp_path / "a.toml")


def test_another_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert told(tmp_path / "a.json").endswith("is no lab file; their names end in .toml, .yaml, .yml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").touch(mode=0)
    assert told(tmp_path / "a.toml").endswith("cannot read it: Permission denied")


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"[host.a]\n# caf\xe9\n")
    assert told(tmp_path / "a.toml") == f"{tmp_path}/a.toml:2: not UTF-8 text; save the file as UTF-8"


@pytest.mark.parametrize("suffix", ["toml", "yaml"])
@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_an_empty_file(text: str, suffix: str) -> None:
    assert refusal(text, f"lab.{suffix}").startswith(f"lab.{suffix}: the file is empty")


def test_an_unknown_format() -> None:
    with pytest.raises(TopologyError, match="no lab is written in 'json'"):
        read("{}", "lab.json", "json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[host.a]\nlink = \n", "lab.toml:2: not TOML: Invalid value"),
        ("[host.a]\n[host.a]\n", "lab.toml:2: not TOML: Cannot declare"),
        ("a = 1\na = 2\n", "lab.toml:2: not TOML: Cannot overwrite a value"),
        ("a = '''\n\n", "lab.toml:3: not TOML: "),
        ("a = " + "[" * 5000, "lab.toml: nested too deeply"),
        ("a = " + "9" * 5000, "lab.toml: not TOML: "),
    ],
)
def test_what_is_not_toml(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("host:\n  a: [", "lab.yaml:2: not YAML: "),
        ("host:\n\ta: 1", "lab.yaml:2: not YAML: found character '\\t'"),
        ("host:\n  a:\n  b:\n  a:\n", "lab.yaml:4: key 'a' is there twice; the other is in line 2"),
        ("host: {a: &x {}, b: *x}", "lab.yaml:1: an alias; write out what it stands for"),
        ("host: &x\n  a: *x", "lab.yaml:1: an alias"),
        ("host: *x", "lab.yaml:1: not YAML: found undefined alias"),
        ("title: !!binary aGk=", "lab.yaml:1: a value of YAML's type 'binary'"),
        (
            "title: !!python/object/apply:os.getcwd []",
            "lab.yaml:1: a value of YAML's type 'python/object/apply:os.getcwd'",
        ),
        ("host: !!set {a}", "lab.yaml:1: a value of YAML's type 'set'"),
        ("host:\n  ? [a]\n  : {}", "lab.yaml:2: a key that is no text"),
        ("--- 1\n--- 2\n", "lab.yaml:2: not YAML: but found another document"),
        ("a: \x00", "lab.yaml:1: not YAML: special characters are not allowed"),
        ('a: "\\UFFFFFFFF"', "lab.yaml: not YAML: "),
        ("host:\n  a:\n    mtu: " + "9" * 5000, "lab.yaml:3: a value of YAML's type 'int'"),
        ("a: " + "[" * 5000, "lab.yaml: nested too deeply"),
        ("host:\n  a:\n    mtu:\n", "lab.yaml:3: 'mtu' of host 'a' must be a whole number, not nothing"),
        ("host:\n  a:\n    link: [x\n      ,y]\n", "lab.yaml:3: 'link' of host 'a' must be text, not a list"),
        ("router:\n  r:\n    firewall: yes\n", "lab.yaml:3: router 'r': firewall 'yes' is not known; use true"),
        ("- a\n- b\n", "lab.yaml: the lab must be a table, not a list"),
        ("link:\n  - ends: [a, b]\n    mtu: 9\nhost: {a: , b: }\n", "lab.yaml:3: mtu 9 is out of range"),
    ],
)
def test_what_is_not_plain_yaml(text: str, message: str) -> None:
    assert refusal(text, "lab.yaml").startswith(message)


def test_yaml_texts_that_yaml_1_1_would_read_as_numbers_stay_text() -> None:
    t = yaml("switch: {on: {subnet: 10.0.0.0/24}, y: {subnet: 1:2:3:4:5:6:0:0/112}}\nhost: {1a: {link: on}}\n")
    assert list(t.nodes) == ["on", "y", "1a"]
    assert str(t.resolve().segments["y"].subnets[0]) == "1:2:3:4:5:6::/112"


# -- lines -----------------------------------------------------------------------------------------------------------


def test_every_key_of_a_toml_file_has_its_line() -> None:
    lines = lines_of_toml(
        "# [host.no]\n"
        'title = """\n'
        "[host.fake]\n"
        'x = 1 \\""" \n'
        '"""  # the end\n'
        "other = '''\n[[link]]'''\n"
        "[host.\"a.b\".'c']  # 8\n"
        "k . l = {x = 1, y = [\n"
        "  '#]', # ]\n"
        "  {z = '}'},\n"
        "]}\n"
        "[[link]]\n"
        "[[link]]\n"
        "ends = [ 'a',\n"
        " 'b' ]\n"
        "[link.sub]\n"
        "when = 1979-05-27 07:32:00Z\n"
        "[[link.deep]]\n"
        "v = -1.5e3\n"
        "[[link.deep]]\n"
        'w = """""" # empty\n'
        'q = """a"""""\n'
        "e = ''''''\n"
        "last = 1"
    )
    base = ("host", "a.b", "c", "k", "l")
    expected: dict[tuple[str | int, ...], int] = {
        ("title",): 2,
        ("other",): 6,
        ("host",): 8,
        base: 9,
        (*base, "y", 0): 10,
        (*base, "y", 1, "z"): 11,
        ("link", 0): 13,
        ("link", 1): 14,
        ("link", 1, "ends"): 15,
        ("link", 1, "ends", 1): 16,
        ("link", 1, "sub"): 17,
        ("link", 1, "sub", "when"): 18,
        ("link", 1, "deep", 0, "v"): 20,
        ("link", 1, "deep", 1): 21,
        ("link", 1, "deep", 1, "w"): 22,
        ("link", 1, "deep", 1, "q"): 23,
        ("link", 1, "deep", 1, "e"): 24,
        ("link", 1, "deep", 1, "last"): 25,
    }
    assert {path: lines.of(path) for path in expected} == expected


def test_an_unknown_place_has_the_line_of_what_is_around_it() -> None:
    lines = lines_of_toml("\n[host.a]\nlink = 'x'\n")
    assert lines.of(("host", "a", "link", 0)) == 3
    assert lines.of(("host", "a", "mtu")) == 2
    assert lines.of(("switch",)) is None


# -- the file of a directory -----------------------------------------------------------------------------------------


def test_wanlab_toml_is_the_file_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[host.a]\n")
    (tmp_path / "wanlab.toml").write_text("[host.b]\n")
    assert default_file(tmp_path) == tmp_path / "wanlab.toml"


def test_else_it_is_the_only_one_that_looks_like_a_lab(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.x]\nhost = 1\n")
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    (tmp_path / "broken.yaml").write_text("[")
    (tmp_path / "bytes.toml").write_bytes(b"\xff[host.a]\n")
    (tmp_path / "dir.toml").mkdir()
    (tmp_path / "net.yaml").write_text("host:\n  a:\n")
    assert default_file(tmp_path) == tmp_path / "net.yaml"


def test_a_lab_with_a_mistake_is_still_the_file_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text("[host.a]\nlink = \n")
    assert default_file(tmp_path) == tmp_path / "net.toml"


def test_no_file_and_several_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="no lab file in"):
        default_file(tmp_path)
    (tmp_path / "a.toml").write_text("[host.a]\n")
    (tmp_path / "b.yaml").write_text("host: {a: }\n")
    with pytest.raises(TopologyError, match=r"several lab files in .*: a\.toml, b\.yaml; say which one"):
        default_file(tmp_path)
    (tmp_path / "wanlab.yaml").write_text("host: {a: }\n")
    (tmp_path / "wanlab.toml").write_text("[host.a]\n")
    with pytest.raises(TopologyError, match=r": wanlab\.toml, wanlab\.yaml; say"):
        default_file(tmp_path)
    with pytest.raises(TopologyError, match="cannot list"):
        default_file(tmp_path / "none")
