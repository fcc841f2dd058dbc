"""What processes that train together agree on; alone, nothing is asked of torch.distributed."""

import torch.distributed
from torch import Tensor


def _together() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def rank() -> int:
    return torch.distributed.get_rank() if _together() else 0


def summed(tensor: Tensor) -> Tensor:
    """The sum over all processes, each of which has to call this."""
    if _together():
        torch.distributed.all_reduce(tensor)
    return tensor
