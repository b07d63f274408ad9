"""Pictures in and out."""

import numpy as np
import pytest
import torch
from PIL import Image

import ganworks


def noise_picture(mode: str = "RGB", size: tuple[int, int] = (20, 12)) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.RandomState(0).randint(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(), mode=mode)


def test_a_picture_survives_the_way_to_a_tensor_and_back() -> None:
    picture = noise_picture()
    tensor = ganworks.to_tensor(picture)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 12, 20), torch.float32)
    assert -1 <= tensor.min() <= tensor.max() <= 1
    assert ganworks.to_image(tensor).tobytes() == picture.tobytes()


def test_values_outside_the_range_are_clamped() -> None:
    assert ganworks.to_image(torch.full((3, 1, 1), 9.0)).getpixel((0, 0)) == (255, 255, 255)
    assert ganworks.to_image(torch.full((3, 1, 1), -9.0)).getpixel((0, 0)) == (0, 0, 0)


def test_a_size_crops_to_the_middle_square() -> None:
    picture = Image.new("RGB", (30, 10), "red")
    picture.paste("blue", (10, 0, 20, 10))
    tensor = ganworks.to_tensor(picture, size=8)
    assert tensor.shape == (1, 3, 8, 8)
    assert ganworks.to_image(tensor).getpixel((4, 4)) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "YCbCr", "LA"])
def test_other_modes_become_rgb(mode: str) -> None:
    assert ganworks.to_tensor(noise_picture(mode)).shape == (1, 3, 12, 20)


def test_transparency_is_laid_on_white() -> None:
    assert ganworks.to_tensor(Image.new("RGBA", (2, 2), (0, 0, 0, 0))).min() == 1


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    pixels = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    picture = ganworks.to_image(ganworks.to_tensor(Image.fromarray(pixels)))
    assert [picture.getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]


def test_a_tensor_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ganworks.InvalidInput, match="shape"):
        ganworks.to_image(torch.zeros(2, 3, 4, 4))
