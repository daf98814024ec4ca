"""What several families ask of their sizes: each fault in one sentence, raised before a model is built."""

from __future__ import annotations


def check_blocks(kind: str, widths: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """Raise ValueError unless there are widths, all 1 or more, and as many such strides; `kind` names the class."""
    if not widths or min(widths) < 1:
        raise ValueError(
            f"{kind}.widths is {widths}, but needs at least one width of 1 or more; "
            "name the width of each block."
        )
    if len(strides) != len(widths) or min(strides) < 1:
        raise ValueError(
            f"{kind}.strides is {strides}, but must hold one stride of 1 or more for "
            f"each of the {len(widths)} widths; write 1 where a block keeps its frames."
        )


def check_kernel(kind: str, kernel: int) -> None:
    """Raise ValueError unless a kernel has an odd number of frames."""
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(
            f"{kind}.kernel is {kernel}, but must be odd and at least 1: an even "
            "kernel shifts the output by half a frame."
        )


def check_dropout(kind: str, dropout: float) -> None:
    """Raise ValueError unless the share that is dropped in training lies in [0, 1)."""
    if not 0 <= dropout < 1:
        raise ValueError(f"{kind}.dropout is {dropout}, but must lie in [0, 1); 0 turns it off.")
