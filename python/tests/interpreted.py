"""mamba_ssm's kernels of the combined scan beside ours, on the CPU by Triton's interpreter: their reference in PyTorch knows
neither `seq_idx` nor `cu_seqlens`. A program, as Triton asks when it is imported whether it interprets."""

import contextlib
import os
import sys
import types
from importlib.util import find_spec

os.environ |= {"TRITON_INTERPRET": "1", "MAMBA_DETERMINISTIC": "1"}  # the second: no configuration is measured

import torch

package = types.ModuleType("mamba_ssm")  # itself it asks for a compiled extension
package.__path__ = list(find_spec("mamba_ssm").submodule_search_locations)
sys.modules["mamba_ssm"] = package
torch.cuda.device = lambda _: contextlib.nullcontext()
torch.cuda.get_device_properties = lambda _: types.SimpleNamespace(multi_processor_count=1)

from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined as theirs  # noqa: E402

from baton.mamba_ssm import mamba_chunk_scan_combined as ours  # noqa: E402

T, H, P, G, N, CHUNK = 40, 2, 16, 1, 16, 16
INDEX = torch.tensor([[0] * 10 + [1] * 20 + [2] * 10, [3] * 25 + [4] * 15], dtype=torch.int32)
OFFSETS = torch.tensor([0, 10, 30, 40], dtype=torch.int32)


def given(rows, begun):
    random = torch.Generator().manual_seed(1)
    shapes = {"x": (rows, T, H, P), "dt": (rows, T, H), "A": (H,), "B": (rows, T, G, N), "C": (rows, T, G, N)}
    if begun:
        shapes["initial_states"] = (rows, H, P, N)
    made = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    made["dt"], made["A"] = made["dt"].sigmoid(), -made["A"].sigmoid()
    return {name: tensor.requires_grad_() for name, tensor in made.items()}


def compare(rows, begun=True, **options):
    found = []
    for function in (ours, theirs):
        tensors = given(rows, begun)
        results = function(**tensors, chunk_size=CHUNK, return_final_states=True, **options)
        if "return_varlen_states" not in options:  # else they have no backward
            random = torch.Generator().manual_seed(2)
            loss = sum((result * torch.randn(result.shape, generator=random)).sum() for result in results)
            results = [*results, *torch.autograd.grad(loss, list(tensors.values()))]
        found.append(results)
    for i, (one, other) in enumerate(zip(*found, strict=True)):
        assert one.shape == other.shape, (i, options)
        assert (one - other).abs().max() < 2e-5 * max(1.0, other.abs().max().item()), (i, options)


compare(2)
compare(2, cu_seqlens=OFFSETS)
compare(2, seq_idx=INDEX)
compare(1, seq_idx=INDEX[:1], cu_seqlens=OFFSETS)
compare(1, False, seq_idx=INDEX[:1], cu_seqlens=OFFSETS, return_varlen_states=True)
compare(1, False, seq_idx=INDEX[:1], cu_seqlens=torch.tensor([0, 0, 10, 10, 30]), return_varlen_states=True)
compare(1, seq_idx=INDEX[1:] - 3, cu_seqlens=torch.tensor([0, 25, 40]), return_varlen_states=True)
compare(1, cu_seqlens=torch.tensor([0, 40]), return_varlen_states=True)
