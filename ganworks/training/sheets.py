"""Contact sheets."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def save_sheet(pictures: Tensor, path: Path, columns: int) -> None:
    """Lay pictures [N, 3, S, S] in [-1, 1] out in rows and save them; the path's ending gives the format."""
    count, _, size, _ = pictures.shape
    rows = -(-count // columns)
    blank = torch.full((rows * columns - count, 3, size, size), 1.0)
    grid = torch.cat([pictures.cpu().float(), blank]).view(rows, columns, 3, size, size)
    pixels = ((grid + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    sheet = pixels.permute(0, 3, 1, 4, 2).reshape(rows * size, columns * size, 3).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, quality=90)
