"""Weights that a stage has kept, put into the model that their head tells of."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from gaitforge.weights import read_weights, weights_of


def load_kept(model: nn.Module, head: Path, remedy: str) -> dict[str, Tensor]:
    """Put the weights beside a head into a model of its family and sizes; return them by name.

    Raises ValueError, with the remedy, where they are missing, not those that the head tells of, or of
    another model.
    """
    kept = read_weights(head, remedy)
    try:
        weights = load(kept)
        model.load_state_dict(weights)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"{weights_of(head)} holds the weights of another model than {head.name} tells of; {remedy}."
        ) from error
    return weights
