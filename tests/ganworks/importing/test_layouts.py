"""Checkpoints that are unusual: what is known is imported, and what would draw other pictures is refused by its name."""

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ganworks
from ganworks import checkpoint
from ganworks.importing.found import Found
from ganworks.importing.reader import read
from ganworks.importing.refusal import Refused

from .support import refused
from .writer import (
    Call,
    Name,
    average,
    child,
    from_network,
    generator,
    legacy,
    network,
    pickled,
    rosinality,
    snapshot,
    state_of,
    tiny,
    weights_of,
    zipped,
)


def found(value: Any) -> Found:
    return read(memoryview(pickled(value)))


def numbers(data: bytes) -> list[Any]:
    return [weights.floats() for weights in read(memoryview(data)).tensors.values()]


def refusal(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        numbers(data)
    assert caught.value.advice.endswith(".")
    return caught.value.reason


# --- StyleGAN2-ADA and StyleGAN3 ----------------------------------------------------------------------------


def changed(name: str, *path: str, **attributes: Any) -> bytes:
    """A vector's generator, one module of which has other attributes."""
    whole = generator(name)
    state_of(child(whole, *path)).update(attributes)
    return pickled({"G_ema": whole})


UNUSUAL: dict[str, tuple[Callable[[], bytes], str]] = {
    "activation": (
        lambda: changed("skip", "synthesis", "b8", "conv1", activation="relu"),
        "the activation 'relu'",
    ),
    "mapping activation": (
        lambda: changed("skip", "mapping", "fc0", activation="linear"),
        "activation 'linear'",
    ),
    "affine activation": (
        lambda: changed("skip", "synthesis", "b8", "conv1", "affine", activation="lrelu"),
        "lrelu",
    ),
    "an activation that is a bomb": (
        lambda: changed("skip", "synthesis", "b8", "conv1", activation=[[]]),
        "a list",
    ),
    "gain": (lambda: changed("skip", "synthesis", "b8", "conv1", act_gain=1.0), "other factors"),
    "factor": (lambda: changed("skip", "synthesis", "b8", "conv0", up=4), "other factors"),
    "clamps": (
        lambda: changed("cond", "synthesis", "b8", "conv0", conv_clamp=1),
        "clamps its layers to different",
    ),
    "clamp": (
        lambda: changed("cond", "synthesis", "b8", "conv0", conv_clamp="x"),
        "clamps its layers to a strange",
    ),
    "weight gain": (lambda: changed("skip", "mapping", "fc1", weight_gain=1.0), "scales a linear layer"),
    "gain of colours": (
        lambda: changed("skip", "synthesis", "b8", "torgb", weight_gain=1.0),
        "scales a convolution",
    ),
    "gain of a shortcut": (
        lambda: changed("resnet", "synthesis", "b8", "skip", weight_gain=1),
        "scales a convolution",
    ),
    "rates": (lambda: changed("skip", "mapping", "fc1", bias_gain=0.5), "different rates"),
    "architecture": (lambda: changed("skip", "synthesis", "b8", architecture="orig"), "than it says"),
    "no text": (lambda: changed("skip", "synthesis", "b8", architecture=3), "malformed architecture"),
    "shortcut": (lambda: changed("resnet", "synthesis", "b8", "skip", activation="lrelu"), "not linear"),
    "no list of layers": (lambda: changed("sg3t", "synthesis", layer_names=None), "no list of layers"),
    "other layers": (
        lambda: changed("sg3t", "synthesis", layer_names=["L0_36_16"]),
        "other layers than it lists",
    ),
    "no padding": (lambda: changed("sg3t", "synthesis", "L3_36_16", padding=[1]), "malformed padding"),
    "a text as a size": (lambda: changed("sg3t", "synthesis", "input", size="x"), "malformed size"),
    "colours": (
        lambda: changed("sg3t", "synthesis", "L3_36_16", is_torgb=None),
        "which layer makes the colours",
    ),
    "no configuration": (lambda: changed("alis", _init_kwargs={}), "no configuration"),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_a_generator_that_would_draw_otherwise_is_refused(case: str) -> None:
    make, sentence = UNUSUAL[case]
    assert sentence in refusal(make())


def without(name: str, *path: str) -> bytes:
    """A vector's generator that lacks a module or a tensor."""
    whole = generator(name)
    state = state_of(child(whole, *path[:-1]))
    for group in ("_modules", "_parameters", "_buffers"):
        state[group].pop(path[-1], None)
    return pickled({"G_ema": whole})


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (("mapping",), "no part 'mapping'"),
        (("synthesis",), "no part 'synthesis'"),
        (("mapping", "w_avg"), "no average of w"),
        (("mapping", "fc0"), "no mapping network"),
        (("synthesis", "b8"), "no part 'b8'"),
        (("synthesis", "b8", "conv0"), "no part 'conv0'"),
        (("synthesis", "b4", "const"), "architecture that is not known"),
        (("synthesis", "b32", "torgb"), "takes its colours from strange places"),
    ],
)
def test_a_generator_that_lacks_something_is_refused(path: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(without("skip", *path))


def test_another_filter_is_refused() -> None:
    whole = generator("skip")
    state_of(child(whole, "synthesis", "b8"))["_buffers"]["resample_filter"] = torch.ones(4, 4) / 16
    assert "another filter" in refusal(pickled({"G_ema": whole}))


def test_a_generator_of_gray_pictures_is_refused() -> None:
    assert "1 channels" in refusal(pickled({"G_ema": from_network(tiny(img_channels=1))}))


def test_a_generator_without_noise_gets_noise_of_no_strength() -> None:
    whole = generator("skip")
    layer = state_of(child(whole, "synthesis", "b8", "conv1"))
    del layer["_buffers"]["noise_const"], layer["_parameters"]["noise_strength"]
    tensors = found({"G_ema": whole}).tensors
    assert not tensors["synthesis.b8.conv1.noise_const"].floats().any()
    assert tensors["synthesis.b8.conv1.noise_const"].shape == (8, 8)
    assert tensors["synthesis.b8.conv1.noise_strength"].shape == ()


def test_channels_last_and_half_precision_are_read_in_order() -> None:
    whole = generator("skip")
    state = state_of(child(whole, "synthesis", "b8", "conv1"))["_parameters"]
    weight = torch.nn.Parameter(state["weight"].half().contiguous(memory_format=torch.channels_last), False)
    state["weight"] = weight
    for data in (pickled({"G_ema": whole}), zipped(whole), legacy(whole)):
        read_back = read(memoryview(data)).tensors["synthesis.b8.conv1.weight"].floats()
        assert np.array_equal(read_back, weight.float().numpy())


@pytest.mark.parametrize("form", [torch.bfloat16, torch.float64])
def test_other_float_formats_are_read_as_float32(form: torch.dtype) -> None:
    whole = generator("skip")
    state = state_of(child(whole, "mapping"))["_buffers"]
    state["w_avg"] = state["w_avg"].to(form)
    read_back = read(memoryview(zipped(whole))).tensors["mapping.w_avg"].floats()
    assert np.array_equal(read_back, state["w_avg"].float().numpy())


def test_whole_numbers_are_no_weights() -> None:
    whole = generator("skip")
    state_of(child(whole, "mapping"))["_buffers"]["w_avg"] = torch.zeros(64, dtype=torch.int64)
    assert "whole numbers" in refusal(pickled({"G_ema": whole}))


def test_a_number_too_large_for_float32_is_refused() -> None:
    whole = generator("skip")
    state_of(child(whole, "mapping"))["_buffers"]["w_avg"] = torch.full((64,), 1e300, dtype=torch.float64)
    assert "not finite" in refusal(pickled({"G_ema": whole}))


@pytest.mark.parametrize(
    ("path", "value"),
    [("num_modes", 3), ("patchwise.grid_size", 4), ("coords.use_cips_embs", True), ("input.type", "const")],
)
def test_another_configuration_of_alis_is_refused(path: str, value: Any) -> None:
    whole = generator("alis")
    place = state_of(whole)["_init_kwargs"]["synthesis_cfg"]
    *folders, leaf = path.split(".")
    for folder in folders:
        place = place[folder]
    place[leaf] = value
    assert f"for '{path}' in its configuration" in refusal(pickled({"G_ema": whole}))


def test_values_of_the_configuration_may_refer_to_others() -> None:
    whole = generator("alis")
    configuration = state_of(whole)["_init_kwargs"]["synthesis_cfg"]
    configuration["coords"]["grid_size"] = "${patchwise.grid_size}"
    assert found({"G_ema": whole}).meta["architecture"] == "alis"
    configuration["coords"]["grid_size"] = "${coords.grid_size}"
    assert "coords.grid_size" in refusal(pickled({"G_ema": whole}))


@pytest.mark.parametrize(
    ("path", "needed"), [("coords.fallback", False), ("fmm", False), ("patchwise.enabled", True)]
)
def test_a_configuration_may_lack_switches_that_are_off(path: str, needed: bool) -> None:
    whole = generator("alis")
    place = state_of(whole)["_init_kwargs"]["synthesis_cfg"]
    *folders, leaf = path.split(".")
    for folder in folders:
        place = place[folder]
    del place[leaf]
    if needed:
        assert f"has None for '{path}'" in refusal(pickled({"G_ema": whole}))
    else:
        assert found({"G_ema": whole}).meta["resolution"] == 32


def omegaconf(value: Any, parent: Any = None) -> Any:
    """A configuration as omegaconf's own classes keep it: each part knows the whole, and many harmless names."""
    kind = "DictConfig" if isinstance(value, dict) else "ListConfig" if isinstance(value, list) else ""
    module = f"omegaconf.{kind.lower()}" if kind else "omegaconf.nodes"
    found = Call(Name(module, kind or "AnyNode"), (), new=True)
    flags = Call(Name("collections", "defaultdict"), (Name("builtins", "dict"),))
    notes = {
        "ref_type": Name("typing", "Any"),
        "object_type": Name("builtins", "list"),
        "resolver_cache": flags,
    }
    metadata = Call(
        Name("omegaconf.base", "ContainerMetadata" if kind else "Metadata"), (), state=notes, new=True
    )
    content: Any = value
    if isinstance(value, dict):
        content = {key: omegaconf(item, found) for key, item in value.items()}
    elif isinstance(value, list):
        content = [omegaconf(item, found) for item in value]
    found.state = {"_metadata": metadata, "_parent": parent, "_content" if kind else "_val": content}
    return found


def test_the_configuration_in_its_own_classes_is_passed_over() -> None:
    whole = generator("alis")
    configuration = state_of(whole)["_init_kwargs"]["synthesis_cfg"]
    state_of(whole)["synthesis_cfg"] = omegaconf({**configuration, "ranks": [1, 2, {"x": None}]})
    for protocol in (2, 3, 4):
        read_back = read(memoryview(pickled({"G_ema": whole}, protocol)))
        assert read_back.meta["architecture"] == "alis"


def test_a_snapshot_without_a_running_average_is_refused_with_what_it_has() -> None:
    reason = refusal(pickled({"G": generator("skip"), "other": 1}))
    assert "a dictionary ('G', 'other')" in reason


def test_what_is_left_out_is_told() -> None:
    whole = {**snapshot("skip"), "cur_nimg": 7, "D": generator("orig"), "training_set_kwargs": {"path": "x"}}
    ignored = found(whole).ignored
    assert any("discriminator" in sentence for sentence in ignored)
    assert any("'cur_nimg'" in sentence for sentence in ignored)
    assert any("bytes of embedded source text were not run" in sentence for sentence in ignored)


# --- TensorFlow -----------------------------------------------------------------------------------------------


def tensorflow(name: str) -> tuple[Any, ...]:
    """A PyTorch vector as the TensorFlow code would have kept it: the reader's changes, the other way round."""
    weights = {key: value.detach().numpy() for key, value in weights_of(generator(name)).items()}
    mapping = [
        (f"Dense{i}/{part}", weights[f"mapping.fc{i}.{part}"].T)
        for i in range(2)
        for part in ("weight", "bias")
    ]
    synthesis: list[tuple[str, Any]] = []
    for r in (4, 8, 16, 32):
        first = 2 * int(np.log2(r)) - 5
        layers = (
            {"Conv": ("conv1", 0)}
            if r == 4
            else {"Conv0_up": ("conv0", first), "Conv1": ("conv1", first + 1)}
        )
        for there, (here, number) in layers.items():
            key = f"synthesis.b{r}.{here}"
            synthesis += modulated(weights, key, f"{r}x{r}/{there}", flipped=there == "Conv0_up")
            synthesis.append((f"{r}x{r}/{there}/noise_strength", weights[f"{key}.noise_strength"][()]))
            synthesis.append((f"noise{number}", weights[f"{key}.noise_const"][None, None]))
        if f"synthesis.b{r}.torgb.weight" in weights:
            synthesis += modulated(weights, f"synthesis.b{r}.torgb", f"{r}x{r}/ToRGB")
        if f"synthesis.b{r}.skip.weight" in weights:
            kernel = weights[f"synthesis.b{r}.skip.weight"].transpose(2, 3, 1, 0)
            synthesis.append((f"{r}x{r}/Skip/weight", kernel[::-1, ::-1]))
    synthesis.append(("4x4/Const/const", weights["synthesis.b4.const"][None]))
    parts = {"mapping": part(mapping), "synthesis": part(synthesis)}
    average_of_w = [("lod", np.float32(0)), ("dlatent_avg", weights["mapping.w_avg"])]
    return part([]), part([]), part(average_of_w, components=parts)


def modulated(weights: dict[str, Any], here: str, there: str, flipped: bool = False) -> list[tuple[str, Any]]:
    kernel = weights[f"{here}.weight"].transpose(2, 3, 1, 0)
    return [
        (f"{there}/weight", kernel[::-1, ::-1] if flipped else kernel),
        (f"{there}/mod_weight", weights[f"{here}.affine.weight"].T),
        (f"{there}/mod_bias", weights[f"{here}.affine.bias"] - 1),
        (f"{there}/bias", weights[f"{here}.bias"]),
    ]


def part(variables: list[tuple[str, Any]], **state: Any) -> Call:
    whole = {"version": 4, "static_kwargs": {}, "components": {}, "variables": variables, **state}
    return network(whole)


@pytest.mark.parametrize("name", ["skip", "orig", "resnet"])
def test_all_architectures_of_tensorflow_get_the_weights_of_the_others(name: str) -> None:
    read_back, wanted = found(tensorflow(name)), found({"G_ema": generator(name)})
    assert read_back.meta["synthesis_architecture"] == name
    assert read_back.tensors.keys() == wanted.tensors.keys()
    for key, weights in wanted.tensors.items():
        np.testing.assert_allclose(read_back.tensors[key].floats(), weights.floats(), atol=1e-6, err_msg=key)


def with_variable(name: str) -> bytes:
    networks = tensorflow("skip")
    networks[2].state["components"]["synthesis"].state["variables"].append((name, np.zeros(1, np.float32)))
    return pickled(networks)


def with_setting(**settings: Any) -> bytes:
    networks = tensorflow("skip")
    networks[2].state["components"]["synthesis"].state["static_kwargs"].update(settings)
    return pickled(networks)


OTHERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "StyleGAN1": (lambda: with_variable("4x4/Const/StyleMod/weight"), "StyleGAN1"),
    "progressive": (lambda: with_variable("ToRGB_lod0/weight"), "grew progressively"),
    "classes of old": (lambda: with_variable("LabelConcat/weight"), "before StyleGAN2-ADA"),
    "twice": (lambda: with_variable("noise0"), "not of the form that is known"),
    "activation": (lambda: with_setting(nonlinearity="relu"), "the activation 'relu'"),
    "filter": (lambda: with_setting(resample_kernel=[1, 1]), "another filter"),
    "latents": (lambda: with_setting(normalize_latents=False), "normalise its latents"),
    "clamp": (lambda: with_setting(conv_clamp="x"), "malformed clamp"),
    "two networks": (lambda: pickled(tensorflow("skip")[:2]), "a tuple, and no generator"),
    "no components": (lambda: pickled((part([]), part([]), part([]))), "no mapping, or no synthesis"),
    "version 1": (
        lambda: pickled((part([]), part([]), part([], version=1))),
        "not of the form that is known",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_networks_of_tensorflow_are_refused_by_their_name(case: str) -> None:
    make, sentence = OTHERS[case]
    assert sentence in refusal(make())


# --- rosinality and e4e -----------------------------------------------------------------------------------------


def test_a_missing_average_of_w_is_computed() -> None:
    read_back = read(memoryview(zipped({"g_ema": rosinality()})))
    computed = read_back.tensors["mapping.w_avg"].floats()
    assert any("was computed" in sentence for sentence in read_back.ignored)
    again = read(memoryview(zipped({"g_ema": rosinality()}))).tensors["mapping.w_avg"].floats()
    assert np.array_equal(computed, again)
    assert np.abs(computed - mean_of_w()).max() < 0.05


def test_the_average_is_computed_in_the_child_process_too(tmp_path: Path) -> None:
    state = {
        **rosinality(),
        "style.1.bias": torch.full((64,), 3e38),
    }  # numbers grow beyond what float32 holds
    for weights, sentence in ((rosinality(), ""), (state, "not finite")):
        source = tmp_path / "file.pt"
        source.write_bytes(zipped({"g_ema": weights}))
        if sentence:
            assert sentence in refused(tmp_path / sentence, source)
        else:
            ganworks.import_checkpoint(source, tmp_path / "m" / "generator.safetensors")


def mean_of_w() -> Any:
    weights = {key: value.detach() for key, value in weights_of(generator("skip")).items()}
    x = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(3))
    x = x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    for i in range(2):
        x = x @ weights[f"mapping.fc{i}.weight"].T * (0.01 / 8) + weights[f"mapping.fc{i}.bias"] * 0.01
        x = torch.nn.functional.leaky_relu(x, 0.2) * 2**0.5
    return x.mean(0).numpy()


def test_a_bare_state_dict_and_one_of_a_parallel_module_are_read() -> None:
    for state in (rosinality(), {f"module.{key}": value for key, value in rosinality().items()}):
        whole = state if "convs.0.conv.weight" in state else {"g_ema": state}
        assert read(memoryview(zipped(whole))).meta["resolution"] == 32


def test_one_average_for_each_row_is_one_average() -> None:
    rows = average().repeat(8, 1)
    read_back = read(memoryview(zipped({"g_ema": rosinality(), "latent_avg": rows})))
    assert np.array_equal(read_back.tensors["mapping.w_avg"].floats(), average().numpy())
    rows[3] += 1
    assert "average of w for each row" in refusal(zipped({"g_ema": rosinality(), "latent_avg": rows}))


def test_other_tensors_filters_and_colours_are_refused() -> None:
    state = rosinality()
    assert "a tensor 'extra'" in refusal(zipped({"g_ema": {**state, "extra": torch.zeros(1)}}))
    kernel = torch.ones(4, 4) / 16
    assert "another filter" in refusal(zipped({"g_ema": {**state, "to_rgbs.0.upsample.kernel": kernel}}))
    missing = {key: value for key, value in state.items() if key != "conv1.activate.bias"}
    assert "no tensor 'conv1.activate.bias'" in refusal(zipped({"g_ema": missing}))
    odd = {key: value for key, value in state.items() if not key.startswith("convs.5.")}
    assert "odd number" in refusal(zipped({"g_ema": odd}))


def test_a_whole_object_of_somebodys_code_is_refused_by_its_name() -> None:
    whole = Call(Name("models.stylegan2.model", "Generator"), (), new=True)
    assert "'models.stylegan2.model.Generator'" in refusal(zipped({"g_ema": whole}))


# --- PixelLift's own ------------------------------------------------------------------------------------------


def own(change: Callable[[dict[str, Any]], None] | None = None, **meta: Any) -> bytes:
    """A file of our format, its header changed."""
    file = io.BytesIO()
    sizes = {
        "architecture": "stylegan2",
        "resolution": 8,
        "z_dim": 2,
        "w_dim": 3,
        "num_ws": 4,
        "num_layers": 1,
    }
    checkpoint.write(file, "generator", {**sizes, **meta}, tiny().state_dict())
    data = file.getvalue()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    if change is not None:
        change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def test_a_file_of_pixellift_keeps_its_words() -> None:
    read_back = read(memoryview(own(label="Mine", classes=[], crop=[0, 1, 8, 7])))
    assert read_back.format == "PixelLift"
    assert read_back.meta["label"] == "Mine"
    assert read_back.meta["crop"] == [0, 1, 8, 7]


def lied(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        header["mapping.w_avg"][key] = value

    return change


HEADERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "no words of ours": (lambda: own(lambda header: header.pop("__metadata__")), "PixelLift did not write"),
    "another place": (lambda: own(lied("data_offsets", [0, 10**9])), "the place or the size"),
    "another shape": (lambda: own(lied("shape", [2**40])), "the place or the size"),
    "a negative shape": (lambda: own(lied("shape", [-3])), "malformed"),
    "another format": (lambda: own(lied("dtype", "I64")), "not of floating point"),
    "classes": (lambda: own(classes=7), "malformed classes"),
    "crop": (lambda: own(crop=[1, 2]), "malformed crop"),
    "a resolution": (lambda: own(resolution=10**9), "'resolution'"),
    "a label": (lambda: own(label=[1]), "no text for 'label'"),
    "a deep header": (
        lambda: struct.pack("<Q", 200_000) + b"{" + b'"a":[' * 10**5,
        "PixelLift did not write",
    ),
    "a deep header with our name": (
        lambda: struct.pack("<Q", 200_000) + b'{"ganworks":' + b"[" * 300_000,
        "not valid JSON",
    ),
    "a huge header": (lambda: struct.pack("<Q", 2**22) + b"{" + b" " * 2**22, "header is too long"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_lies_is_refused(case: str) -> None:
    make, sentence = HEADERS[case]
    assert sentence in refusal(make())
