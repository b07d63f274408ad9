"""
Files of weights: what is written is read back, and what is damaged or hostile is refused with one sentence.
"""

import io
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganworks import checkpoint
from ganworks.components import open_basis
from ganworks.errors import CheckpointError
from ganworks.generator import open_generator
from ganworks.info import read_generator_info
from ganworks.perceptual import open_critic


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """A file's whole JSON header, and its data."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def put_together(path: Path, header: Any, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def change_meta(path: Path, **changes: Any) -> None:
    """Let a file lie about itself."""
    header, data = parts(path)
    meta = {**json.loads(header["__metadata__"]["ganworks"]), **changes}
    header["__metadata__"]["ganworks"] = json.dumps(meta)
    put_together(path, header, data)


@pytest.fixture
def weights(folder: Path) -> Path:
    return folder / "small" / "generator.safetensors"


def refused(path: Path) -> str:
    """The sentence with which a generator is refused."""
    with pytest.raises(CheckpointError) as caught:
        open_generator(path)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.safetensors"
    checkpoint.write(path, "critic", {"label": "Ünï"}, {"a": torch.arange(6.0).view(2, 3).t()})
    header = checkpoint.read_header(path, "critic")
    assert (header.kind, header.text("label"), header.shapes) == ("critic", "Ünï", {"a": (3, 2)})
    assert checkpoint.read_tensors(path, header)["a"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    checkpoint.write(path, "critic", {}, {"a": torch.ones(2).half(), "b": torch.ones(2).bfloat16()})
    tensors = checkpoint.read_tensors(path, checkpoint.read_header(path))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_the_same_content_gives_the_same_bytes() -> None:
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        checkpoint.write(file, "critic", {"b": 1, "a": 2}, {"y": torch.zeros(2), "x": torch.ones(3)})
    assert files[0].getvalue() == files[1].getvalue()


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.safetensors"
    checkpoint.write(path, "critic", {}, {"a": torch.ones(1)})
    before = path.read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write(path, "critic", {}, {"a": torch.zeros(1)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_kind_that_is_not_known_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="poem"):
        checkpoint.write(tmp_path / "file", "poem", {}, {})


def test_a_hash_follows_the_content_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = checkpoint.sha256_of(path)
    assert checkpoint.sha256_of(path) == first
    path.write_bytes(b"other")
    assert checkpoint.sha256_of(path) != first


@pytest.mark.parametrize("length", [0, 7, 8, 100, 2000])
def test_a_file_that_is_cut_short_is_refused(weights: Path, length: int) -> None:
    weights.write_bytes(weights.read_bytes()[:length])
    assert "short" in refused(weights) or "safetensors" in refused(weights)


def test_a_file_that_lacks_its_last_byte_is_refused(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-1])
    refused(weights)


def test_a_file_with_bytes_to_spare_is_refused(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes() + b"more")
    assert "size" in refused(weights)


@pytest.mark.parametrize("content", [b"\x80\x04pickle" * 100, b"PK\x03\x04" * 300, b"<html>" * 200])
def test_a_file_of_another_format_is_refused(weights: Path, content: bytes) -> None:
    weights.write_bytes(content)
    assert "not a safetensors file" in refused(weights)


@pytest.mark.parametrize("header", [b"not json", b"[1, 2]", b"[" * 100_000, b"\xff\xfe", b'{"a": 1}'])
def test_a_header_that_is_not_what_it_should_be_is_refused(weights: Path, header: bytes) -> None:
    put_together(weights, header, b"")
    refused(weights)


def test_a_file_without_our_header_is_refused(weights: Path) -> None:
    header, data = parts(weights)
    header["__metadata__"] = {"format": "pt"}
    put_together(weights, header, data)
    assert "Import it first" in refused(weights)


def test_a_file_of_a_later_format_says_so(weights: Path) -> None:
    change_meta(weights, schema=2)
    assert "another version" in refused(weights)


def test_a_file_of_another_kind_says_what_it_is(folder: Path) -> None:
    assert "principal components" in refused(folder / "small" / "components.safetensors")
    with pytest.raises(CheckpointError, match="holds a generator"):
        open_basis(folder / "small" / "generator.safetensors")
    with pytest.raises(CheckpointError, match="a critic is needed"):
        open_critic(folder / "small" / "generator.safetensors")


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be opened"):
        checkpoint.read_header(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resolution", 64),
        ("resolution", 48),
        ("resolution", 2**40),
        ("resolution", -32),
        ("resolution", True),
        ("resolution", "32"),
        ("num_ws", 9),
        ("z_dim", 17),
        ("z_dim", 10**12),
        ("w_dim", 0),
        ("w_dim", 512),
        ("c_dim", 4),
        ("channel_base", 2**23),
        ("channel_max", 8000),
        ("num_layers", 3),
        ("conv_clamp", "no"),
        ("lr_multiplier", float("nan")),
        ("img_channels", 1),
        ("architecture", "stylegan9"),
        ("synthesis_architecture", "dense"),
        ("synthesis_architecture", "orig"),
        ("synthesis_architecture", ["resnet"]),
        ("label", 7),
        ("classes", "cat"),
        ("crop", [1, 2]),
        ("kind", ["generator"]),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(
    weights: Path, key: str, value: object
) -> None:
    change_meta(weights, **{key: value})
    refused(weights)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [24], "data_offsets": [0, 95]},
        {"dtype": "F32", "shape": [10**15], "data_offsets": [0, 4 * 10**15]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 96]},
        {"dtype": "F32", "shape": "24", "data_offsets": [0, 96]},
        {"dtype": "F32", "shape": [1] * 9, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [24], "data_offsets": [96, 0]},
        {"dtype": "F32", "shape": [24], "data_offsets": [0]},
        {"dtype": "I64", "shape": [12], "data_offsets": [0, 96]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [24]},
        None,
    ],
)
def test_an_entry_that_lies_about_its_place_is_refused(weights: Path, entry: object) -> None:
    header, data = parts(weights)
    header["mapping.w_avg"] = entry
    put_together(weights, header, data)
    refused(weights)


def test_two_entries_on_the_same_bytes_are_refused(weights: Path) -> None:
    header, data = parts(weights)
    header["mapping.w_avg"]["data_offsets"] = header["mapping.fc0.bias"]["data_offsets"]
    put_together(weights, header, data)
    refused(weights)


def test_a_file_that_lacks_a_tensor_names_it(weights: Path) -> None:
    header = checkpoint.read_header(weights)
    tensors = checkpoint.read_tensors(weights, header)
    del tensors["synthesis.b8.conv0.bias"]
    checkpoint.write(weights, "generator", header.meta, tensors)
    assert "synthesis.b8.conv0.bias" in refused(weights)


def test_a_file_with_an_unknown_tensor_names_it(weights: Path) -> None:
    header = checkpoint.read_header(weights)
    tensors = checkpoint.read_tensors(weights, header)
    checkpoint.write(weights, "generator", header.meta, {**tensors, "extra": torch.ones(1)})
    assert "extra" in refused(weights)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(weights: Path, value: float) -> None:
    header = checkpoint.read_header(weights)
    tensors = checkpoint.read_tensors(weights, header)
    tensors["mapping.w_avg"][3] = value
    checkpoint.write(weights, "generator", header.meta, tensors)
    assert "not finite" in refused(weights)


def test_sizes_that_an_imported_file_leaves_out_are_read_off_its_tensors(weights: Path) -> None:
    header = checkpoint.read_header(weights)
    expected = open_generator(weights)
    sizes = ("num_layers", "channel_base", "channel_max", "lr_multiplier", "conv_clamp")
    meta = {key: value for key, value in header.meta.items() if key not in sizes}
    checkpoint.write(weights, "generator", meta, checkpoint.read_tensors(weights, header))
    found = open_generator(weights)
    ws = expected.mapping(expected.latents([1]))
    torch.testing.assert_close(found.synthesis(ws), expected.synthesis(ws))


@given(data=st.binary(max_size=300), prefix=st.booleans())
def test_no_bytes_at_all_do_more_than_raise_the_one_error(data: bytes, prefix: bool) -> None:
    content = struct.pack("<Q", len(data)) + data if prefix else data
    with pytest.raises(CheckpointError):
        checkpoint.read_header(io.BytesIO(content))


def test_a_basis_whose_table_is_malformed_is_refused(folder: Path) -> None:
    path = folder / "small" / "components.safetensors"
    header = checkpoint.read_header(path)
    tensors = checkpoint.read_tensors(path, header)
    checkpoint.write(path, "components", header.meta, {**tensors, "components": torch.ones(3)})
    with pytest.raises(CheckpointError, match="table"):
        open_basis(path)


def test_a_basis_with_too_few_names_is_refused(folder: Path) -> None:
    path = folder / "small" / "components.safetensors"
    change_meta(path, names=["one"])
    with pytest.raises(CheckpointError, match="one name for each"):
        open_basis(path)


def test_a_critic_of_an_impossible_size_is_refused(folder: Path) -> None:
    path = folder / "small" / "critic.safetensors"
    change_meta(path, resolution=24)
    with pytest.raises(CheckpointError, match="square pictures"):
        open_critic(path)


def test_the_name_of_a_generator_is_its_folders(weights: Path) -> None:
    assert read_generator_info(weights).name == "small"
