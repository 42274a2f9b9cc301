"""The results of a matrix as JUnit XML, for CI systems that show such: a test case for each cell."""

from __future__ import annotations

import re
import time
from xml.etree import ElementTree as xml

from wanlab.matrix.results import Result, Results, State

_MOST_OUTPUT = 4000  # characters of a command's output: who needs more has the file
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def junit(results: Results) -> str:
    """The XML. A cell that failed or timed out is a failure, one that could not be built an error."""
    counts = results.counts
    matrix = results.matrix
    numbers = {
        "tests": str(len(results.results)),
        "failures": str(counts.get(State.FAILED, 0) + counts.get(State.TIMED_OUT, 0)),
        "errors": str(counts.get(State.NOT_BUILT, 0)),
        "skipped": str(counts.get(State.NOT_RUN, 0)),
        "time": f"{sum(result.seconds for result in results.results):.3f}",
    }
    name = f"wanlab matrix {matrix.topology.name}"
    suites = xml.Element("testsuites", {"name": name, **numbers})
    about = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()), "hostname": "localhost"}
    suite = xml.SubElement(suites, "testsuite", {"name": name, **numbers, **about})
    properties = xml.SubElement(suite, "properties")
    for key, value in (("command", " ".join(matrix.command)), ("node", matrix.node or "")):
        xml.SubElement(properties, "property", {"name": key, "value": _clean(value)})
    for result in results.results:
        _case(suite, results, result)
    xml.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(suites, encoding="unicode") + "\n"


def _case(suite: xml.Element, results: Results, result: Result) -> None:
    attributes = {
        "classname": results.matrix.topology.name,
        "name": _clean(result.cell.name),
        "time": f"{result.seconds:.3f}",
    }
    case = xml.SubElement(suite, "testcase", attributes)
    state = result.state
    message = {"message": _clean(result.problem)}
    if state in (State.FAILED, State.TIMED_OUT):
        failure = xml.SubElement(case, "failure", {**message, "type": state.value})
        failure.text = _clean(str(result.cell))
    elif state is State.NOT_BUILT:
        xml.SubElement(case, "error", {**message, "type": state.value})
    elif state is State.NOT_RUN:
        xml.SubElement(case, "skipped", {"message": "not run"})
    if result.attempts:
        xml.SubElement(case, "system-out").text = _clean(_told(results, result))


def _told(results: Results, result: Result) -> str:
    lines = []
    theory = results.matrix.theories.get(result.cell)
    if theory is not None:
        lines.append(f"theory, UDP: {theory.udp}")
    for number, attempt in enumerate(result.attempts, 1):
        where = results.directory / attempt.directory
        lines.append(f"attempt {number}: {attempt.problem or attempt.state.words}; files: {where}")
    if not result.state.good:
        lines.append(results.output(result.attempts[-1], _MOST_OUTPUT))
    return "\n".join(lines)


def _clean(text: str) -> str:
    return _NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)
