"""What calls give: plain tuples with names, and the exception of a mistake in a text."""

from typing import Any, NamedTuple, Optional


class Port(NamedTuple):
    """A tensor that a recurrence declares."""

    name: str
    #: Dimensions of one head at one step.
    dims: tuple[str, ...]
    #: Shared by the H / G heads of a group.
    per_group: bool
    #: All dimensions, outermost first: ("B", "T", "H", "K").
    layout: tuple[str, ...]


class Run(NamedTuple):
    """What a run gives, by name."""

    outputs: dict[str, Any]
    #: None where it was not asked for.
    final_state: Optional[dict[str, Any]]


class Gradients(NamedTuple):
    """The gradients of everything that a run reads, by name."""

    inputs: dict[str, Any]
    params: dict[str, Any]
    #: Also of states that were absent, which are zero.
    initial_state: dict[str, Any]


class Diagnostic(NamedTuple):
    """A mistake in a text; lines and columns count from 1, in characters."""

    code: str
    message: str
    line: int
    column: int
    length: int
    found: Optional[str]
    expected: Optional[str]
    remedy: Optional[str]


class DiagnosticError(ValueError):
    """A text that is no recurrence. It prints every mistake at its place with the remedy; ``diagnostics`` has
    them, and ``code``, ``line`` and ``column`` are those of the first."""

    def __init__(self, rendered: str, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__(rendered, diagnostics)
        self.diagnostics = diagnostics

    def __str__(self) -> str:
        return self.args[0]

    @property
    def code(self) -> str:
        return self.diagnostics[0].code

    @property
    def line(self) -> int:
        return self.diagnostics[0].line

    @property
    def column(self) -> int:
        return self.diagnostics[0].column
