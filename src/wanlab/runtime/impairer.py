"""Chooses what impairs a lab's links, when the first of them is to be impaired."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from wanlab.errors import MachineError
from wanlab.kernel import nftables
from wanlab.kernel.execute import Namespaces
from wanlab.kernel.means import VARIABLE, Means, try_netem
from wanlab.kernel.queues import queues, traffic
from wanlab.plan.steps import SetImpairment, Step
from wanlab.runtime.wire import Wire

_DOCTOR = "`wanlab doctor` tells what this machine can do"


class Impairer:
    """Netem where the kernel has it, else the wire; or what was asked for, or nothing."""

    def __init__(self, wanted: str | None, namespaces: Namespaces, tell: Callable[[str], None]) -> None:
        self._wanted = None if wanted is None else Means(wanted)
        self.means: Means | None = None
        """None until a link is to be impaired."""
        self._why = ""
        self._namespaces = namespaces
        self._wire = Wire(namespaces, tell)

    @property
    def wire(self) -> Wire | None:
        """The wire, where it is what impairs links."""
        return self._wire if self.means is Means.WIRE else None

    def require(self, steps: Sequence[Step]) -> None:
        """Choose, if that is to be done now. In a namespace that has no use for its `lo`. Raises MachineError."""
        impaired = [step for step in steps if isinstance(step, SetImpairment)]
        if not impaired:
            return
        seeded = next((step for step in impaired if step.impairment.seed is not None), None)
        if self.means is not None:
            return
        means = self._choose(seeded)
        if means is Means.WIRE:
            nftables.require()
            try:
                self._wire.rehearse()
            except OSError as error:
                words = f"links cannot be impaired: {self._why}; wire: {error.strerror or error}"
                raise MachineError(words, hint=_DOCTOR) from None
        self.means = means

    def _choose(self, seeded: SetImpairment | None) -> Means:
        if self._wanted is Means.WIRE:
            self._why = "asked for"
            return Means.WIRE
        try:
            knows_seeds = try_netem()
        except OSError as error:
            self._why = f"netem: {error.strerror}"
            if self._wanted is None:
                return Means.WIRE
            raise MachineError(f"links cannot be impaired by netem: {error.strerror}", hint=_DOCTOR) from None
        if seeded is not None and not knows_seeds:
            self._why = "netem of this kernel knows no seeds"
            if self._wanted is None:
                return Means.WIRE
            raise MachineError(
                f"node {seeded.node!r}: {seeded.interface!r} has a seed, and netem of this kernel knows none",
                hint=f"leave the seed out, or {VARIABLE}=wire",
            )
        self._why = "asked for" if self._wanted else "the kernel has it"
        return Means.NETEM

    def report(self) -> dict[str, Any]:
        """What impairs links, why it was chosen, and the process that does; `trouble`: why it does not."""
        return {
            "means": None if self.means is None else self.means.value,
            "why": self._why,
            "pid": self._wire.pid or None,
            "trouble": self._wire.trouble,
        }

    def note_end(self, pid: int, status: int) -> None:
        """One of the lab's processes has ended: perhaps it was the wire's, which is then started anew."""
        self._wire.note_end(pid, status)

    def in_place(self, nodes: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The interfaces of these nodes that are impaired now, whatever was said: programs may take that away.

        Raises OSError.
        """
        try:
            for node in nodes if self.means is not None else ():
                self._namespaces.enter(node)
                if self.means is Means.WIRE:
                    names = self._wire.in_place(node)
                else:
                    known = {each.index: each.name for each in traffic()}
                    names = [known[each.index] for each in queues() if each.kind == "netem"]
                yield from ((node, name) for name in names)
        finally:
            self._namespaces.enter(None)
