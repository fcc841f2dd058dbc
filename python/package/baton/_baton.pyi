"""The compiled core."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Optional, Protocol, Union, final

import numpy as np
from numpy.typing import NDArray

from ._types import Gradients, Port, Run

class SupportsDLPack(Protocol):
    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __dlpack_device__(self) -> Any: ...

# float32, or float64 throughout.
Array = Union[NDArray[np.float32], NDArray[np.float64], SupportsDLPack]
Arrays = Mapping[str, Optional[Array]]

@final
class Recurrence:
    def __new__(cls, name: str) -> Recurrence: ...
    @classmethod
    def from_text(cls, text: str, name: str = "<text>") -> Recurrence: ...
    @classmethod
    def from_file(cls, path: Union[str, PathLike[str]]) -> Recurrence: ...
    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def dims(self) -> tuple[str, ...]: ...
    @property
    def inputs(self) -> tuple[Port, ...]: ...
    @property
    def params(self) -> tuple[Port, ...]: ...
    @property
    def states(self) -> tuple[Port, ...]: ...
    @property
    def outputs(self) -> tuple[Port, ...]: ...
    @property
    def class_(self) -> str: ...
    def derivation(self, *, gradient: bool = False) -> str: ...
    def __call__(
        self,
        *,
        initial_state: Optional[Arrays] = None,
        output_final_state: bool = False,
        cu_seqlens: Optional[Any] = None,
        **tensors: Array,
    ) -> Run: ...
    def vjp(
        self,
        *,
        initial_state: Optional[Arrays] = None,
        cu_seqlens: Optional[Any] = None,
        **tensors: Array,
    ) -> tuple[Run, Pullback]: ...
    def backward(
        self,
        *,
        d_outputs: Optional[Arrays] = None,
        d_final_state: Optional[Arrays] = None,
        initial_state: Optional[Arrays] = None,
        cu_seqlens: Optional[Any] = None,
        **tensors: Array,
    ) -> Gradients: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Pullback:
    def __call__(
        self, d_outputs: Optional[Arrays] = None, d_final_state: Optional[Arrays] = None
    ) -> Gradients: ...

# An address, and strides in bytes.
Place = tuple[int, Sequence[int]]

@final
class Addressed:
    def __new__(
        cls,
        recurrence: Recurrence,
        device: str,
        number: int,
        low: bool,
        shapes: Sequence[Sequence[int]],
        states: Sequence[Optional[Sequence[int]]],
        cu_seqlens: Optional[Any] = None,
    ) -> Addressed: ...
    @property
    def inputs(self) -> list[str]: ...
    @property
    def outputs(self) -> list[tuple[str, list[int]]]: ...
    @property
    def states(self) -> list[list[int]]: ...
    def forward(
        self,
        stream: int,
        given: Sequence[Place],
        states: Sequence[int],
        outputs: Sequence[Place],
        final_states: Sequence[int],
    ) -> None: ...
    def backward(
        self,
        stream: int,
        given: Sequence[Place],
        states: Sequence[int],
        d_outputs: Sequence[Place],
        d_final_states: Sequence[int],
        gradients: Sequence[Place],
        d_states: Sequence[int],
    ) -> None: ...

def builtins() -> tuple[str, ...]: ...
def set_num_threads(threads: Optional[int]) -> None: ...
def follow_num_threads(threads: int) -> None: ...
def get_num_threads() -> int: ...
def keep_memory() -> None: ...
