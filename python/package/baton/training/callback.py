"""Initial states in transformers' own training loop."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Optional, Union

import torch
from transformers import TrainerCallback

from .distributed import rank
from .states import InitialStates


class InitialStatesCallback(TrainerCallback):
    """`InitialStates` for a `transformers.Trainer`; the arguments are the same.

    Each checkpoint holds what is carried, a file for each process, and a run that goes on from the checkpoint of its
    output folder takes it up; `resume_from` names the folder where it is another. What has to be read in order
    (truncated BPTT) the trainer's sampler has to give in order.
    """

    def __init__(
        self,
        policy: Union[str, dict[str, Any]] = "state_passing",
        *,
        seed: int = 0,
        resume_from: Optional[Union[str, Path]] = None,
    ) -> None:
        self.policy, self.seed, self.resume_from = policy, seed, resume_from
        self.states: Optional[InitialStates] = None

    def on_train_begin(self, args, state, control, model=None, train_dataloader=None, **kwargs):
        self.states = InitialStates(model, self.policy, seed=self.seed)
        if state.global_step > 0:
            folder = self.resume_from or Path(args.output_dir) / f"checkpoint-{state.global_step}"
            saved = torch.load(_file(folder), weights_only=True)
            self.states.load_state_dict(saved)
        elif train_dataloader is not None and self.states.fit_batches:
            device = next(model.parameters()).device
            self.states.fit(batch["input_ids"].to(device) for batch in train_dataloader)

    def on_step_end(self, args, state, control, **kwargs):
        self.states.step()

    def on_save(self, args, state, control, **kwargs):
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if folder.is_dir():
            torch.save(self.states.state_dict(), _file(folder))
        else:
            warnings.warn(f"no checkpoint at {folder}: the carried states are not saved", stacklevel=2)

    def on_train_end(self, args, state, control, **kwargs):
        self.states.detach()


def _file(folder: Union[str, Path]) -> Path:
    return Path(folder) / f"baton-initial-states-{rank()}.pt"
