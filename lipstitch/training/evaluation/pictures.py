"""Pictures of how far training is, and filmstrips for the eye to judge; PNG, faces at twice their size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional

from media.base.files import atomic_file

SCALE = 2
LABEL_PX = 14
"""Height of the line of text above a row."""
GAP_PX = 12
"""Width between groups of columns."""
MOST_COLUMNS = 10


def draw_progress(path: Path, groups: Sequence[tuple[Tensor, Tensor, Tensor]], networks: Sequence[nn.Module]) -> None:
    """Write a picture with the rows reference, input, truth, output and average.

    groups: inputs (N, 6, 96, 96), truths (N, 3, 96, 96) and mel windows (N, 1, 80, 16) of each group of columns.
    networks: in eval mode, one for each of the last rows.
    """
    columns = []
    for inputs, truths, mels in groups:
        chosen = torch.linspace(0, len(inputs) - 1, min(MOST_COLUMNS, len(inputs))).long().to(inputs.device)
        inputs, truths, mels = inputs[chosen], truths[chosen], mels[chosen]
        columns.append([inputs[:, 3:], inputs[:, :3], truths, *(network(mels, inputs).float() for network in networks)])
    labels = ["reference", "input", "truth", "output", "average"]
    rows = [(label, [group[number] for group in columns]) for number, label in enumerate(labels)]
    draw_rows(path, rows)


def draw_rows(path: Path, rows: Sequence[tuple[str, Sequence[Tensor]]]) -> None:
    """Write labelled rows of faces; each row holds groups of faces (N, 3, 96, 96) in [0, 1], BGR, side by side."""
    strips = [(label, _strip(groups)) for label, groups in rows]
    width, height = strips[0][1].width, sum(strip.height + LABEL_PX for _, strip in strips)
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    top = 0
    for label, strip in strips:
        pen.text((2, top), label, fill="black")
        picture.paste(strip, (0, top + LABEL_PX))
        top += LABEL_PX + strip.height
    with atomic_file(path, makes_folders=True) as partial:
        picture.save(partial, format="PNG")


def _strip(groups: Sequence[Tensor]) -> Image.Image:
    parts: list[Tensor] = []
    for faces in groups:
        if parts:
            parts.append(torch.ones(3, parts[0].shape[1], GAP_PX))
        large = functional.interpolate(faces.float().cpu(), scale_factor=SCALE, mode="nearest")
        parts.append(torch.cat(list(large), dim=2))
    levels = (torch.cat(parts, dim=2) * 255).round().clamp(0, 255).byte()
    return Image.fromarray(levels.flip(0).permute(1, 2, 0).contiguous().numpy())  # BGR to RGB
