"""Images moved by a few pixels, in the ways that the literature moves them. Without torch until an image moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from bnonly.errors import BadInput

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Border = Literal["circular", "black", "crop"]


@dataclass(frozen=True)
class Shifts:
    """All shifts by whole pixels within a window, each as likely as any other.

    border: what comes in at a side as the image leaves at the other. "circular": what has left, as Zhang shifts
    CIFAR-10's images. "black": zeros, as in the crops that CIFAR networks are trained on. "crop": more of the image,
    which must be larger than what the network sees, as Zhang shifts ImageNet's.
    most: pixels. Of circular and black shifts both offsets run from -most to most, those of a crop from 0 to most.
    side: pixels a side that a crop leaves. black: what a black pixel is after normalisation, by channel.
    """

    border: Border = "circular"
    most: int = 4
    side: int = 0
    black: tuple[float, ...] = (0.0, 0.0, 0.0)

    def __post_init__(self):
        if self.border not in get_args(Border):
            raise BadInput(f"border={self.border!r} is unknown: use one of {', '.join(get_args(Border))}")
        if not 0 <= self.most <= 1 << 12:
            raise BadInput(f"shifts by {self.most} pixels are impossible: give from 0 to {1 << 12}")
        if self.border == "crop" and self.side < 1:
            raise BadInput("crops need the side of what the network sees, in pixels")

    @property
    def offsets(self) -> range:
        """Of either direction."""
        return range(0 if self.border == "crop" else -self.most, self.most + 1)

    def check(self, images: Tensor) -> None:
        """Raises BadInput for images [B, C, H, W] too small for these shifts."""
        rows, columns = images.shape[2:]
        least = self.side + self.most if self.border == "crop" else self.most + 1
        if min(rows, columns) < least:
            what = f"crops of {self.side} pixels, shifted" if self.border == "crop" else "shifts"
            raise BadInput(
                f"{what} by up to {self.most} pixels need images of {least} x {least} or more, and these have "
                f"{rows} x {columns}: ask for fewer pixels"
            )

    def moved(self, images: Tensor, down: torch.Tensor, right: torch.Tensor) -> Tensor:
        """Each image moved by offsets of its own: [B, C, H, W], int64 [B], int64 [B] -> [B, C, H, W].

        Content moves down and to the right by the offsets; of a crop it is the window that does.
        """
        import torch

        sign, device = (1 if self.border == "crop" else -1), images.device
        sides = (self.side, self.side) if self.border == "crop" else images.shape[2:]
        rows, columns = (
            torch.arange(side, device=device) + sign * offset.to(device)[:, None]
            for side, offset in zip(sides, (down, right), strict=True)
        )
        height, width = images.shape[2:]
        batch = torch.arange(len(images), device=device)[:, None, None]
        # Channels last in the index, so that images keep their memory format.
        found = images.permute(0, 2, 3, 1)[batch, (rows % height)[:, :, None], (columns % width)[:, None, :]]
        if self.border == "black":
            inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
            black = torch.tensor(self.black, dtype=images.dtype, device=device)
            found = torch.where(inside[..., None], found, black)
        found = found.permute(0, 3, 1, 2)
        last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
        return found.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
