"""Training: data folders, resuming exactly, the measures, and what a finished run holds."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ganworks
from ganworks.checkpoint import read_header
from ganworks.errors import InvalidInput
from ganworks.networks.stylegan2 import Generator
from ganworks.training import losses, metrics
from ganworks.training.__main__ import main
from ganworks.training.config import Config, Stage
from ganworks.training.data import PictureSet, render_folder
from ganworks.training.domains import portraits
from ganworks.training.finish import finish
from ganworks.training.journal import Progress
from ganworks.training.measuring import measure_generator
from ganworks.training.networks import load_critic, load_for_tuning, synthesize
from ganworks.training.train import Trainer, factor_lengths

WEIGHTS = (5.0, 4.0)
TINY = Config(
    stages=(
        Stage(8, 8),
        Stage(32, 8, rate_to=0.5),
        Stage(32, 16, adversarial=True, rate_from=0.5, rate_to=0.1),
    ),
    batch=4,
    held_out=4,
    w_dim=64,
    channel_base=256,
    channel_max=16,
    discriminator_channel_base=256,
    r1_every=2,
)
# With the optimizer of kernels and the loss of textures too.
SHARP = replace(
    TINY, kernel_rate=0.02, stages=(Stage(16, 8), Stage(32, 16, texture=0.5), Stage(32, 8, adversarial=True))
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    render_folder(portraits, path, 32, size=32, seed=5)
    return path


def new_trainer(folder: Path, work: Path, config: Config = TINY) -> Trainer:
    return Trainer(config, PictureSet(folder, config.held_out), work)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{key}": value
        for part in ("generator", "ema", "discriminator")
        for key, value in getattr(trainer, part).state_dict().items()
        if not key.endswith("noise_const")
    }


def test_a_folder_filled_in_parts_equals_one_filled_at_once(folder: Path, tmp_path: Path) -> None:
    for part in (1, 0):
        render_folder(portraits, tmp_path, 32, size=32, seed=5, part=(part, 2))
    for name in ("pictures", "masks", "latents"):
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), np.load(folder / f"{name}.npy"))


def test_only_finished_pictures_are_used(tmp_path: Path) -> None:
    render_folder(portraits, tmp_path, 32, size=16, part=(0, 2))
    data = PictureSet(tmp_path, held_out=4)
    assert (len(data), len(data.held_rows)) == (12, 4)


def test_a_folder_of_another_size_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="empty folder"):
        render_folder(portraits, folder, 48, size=32)


def test_stored_pictures_are_what_the_renderer_draws(folder: Path) -> None:
    batch = PictureSet(folder).batch(np.array([0, 17]), 32)
    pictures, _ = portraits.render(batch.latents, 32)
    torch.testing.assert_close(batch.pictures, pictures, atol=1.01 / 127.5, rtol=0)


def test_batches_are_reduced_to_the_resolution_asked_for(folder: Path) -> None:
    batch = PictureSet(folder).at_step(3, 4, 8, seed=0)
    assert batch.pictures.shape == (4, 3, 8, 8)
    assert batch.masks.shape == (4, 2, 8, 8)


@pytest.mark.parametrize("config", [TINY, SHARP])
def test_a_stopped_run_goes_on_bit_for_bit(folder: Path, tmp_path: Path, config: Config) -> None:
    straight = new_trainer(folder, tmp_path / "straight", config)
    straight.run()
    stopped = new_trainer(folder, tmp_path / "stopped", config)
    stopped.run(steps=5)  # in the middle of a stage
    resumed = new_trainer(folder, tmp_path / "stopped", replace(config))
    assert resumed.resume()
    resumed.run()
    assert resumed.step == straight.step == 8
    expected, found = weights(straight), weights(resumed)
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_run_can_grow_from_one_at_a_lower_resolution(folder: Path, tmp_path: Path) -> None:
    low = replace(TINY, stages=(Stage(8, 8), Stage(16, 16, adversarial=True)))
    small = new_trainer(folder, tmp_path / "small", low)
    small.run()
    grown = new_trainer(folder, tmp_path / "grown")
    before = weights(grown)
    grown.start_from(tmp_path / "small" / "checkpoint.pt")
    found, learned = weights(grown), weights(small)
    assert grown.step == small.step
    for key, value in found.items():
        assert torch.equal(value, (before if ".b32." in key or "fromrgb" in key else learned)[key]), key
    grown.run(steps=1)
    assert grown.step == small.step + 1


def test_a_run_leaves_log_config_and_sheet(folder: Path, tmp_path: Path) -> None:
    lines: list[Progress] = []
    new_trainer(folder, tmp_path).run(log_every=2, on_progress=lines.append)
    assert [line.pictures for line in lines] == [8, 16, 24, 32]
    assert "pictures/s" in str(lines[0])
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 5
    assert Config.from_json((tmp_path / "config.json").read_text()) == TINY
    assert list((tmp_path / "sheets").glob("*.png"))


def test_a_run_stops_when_asked(folder: Path, tmp_path: Path) -> None:
    trainer = new_trainer(folder, tmp_path)
    trainer.run(should_stop=lambda: trainer.step >= 2)
    assert trainer.step == 2
    assert (tmp_path / "checkpoint.pt").exists()


def test_nothing_is_resumed_from_an_empty_folder(folder: Path, tmp_path: Path) -> None:
    assert not new_trainer(folder, tmp_path).resume()


def test_regression_brings_pictures_closer_to_their_renders(folder: Path, tmp_path: Path) -> None:
    config = replace(TINY, stages=(Stage(8, 400),), batch=8, warm_up_pictures=8, learning_rate=0.01)
    trainer = new_trainer(folder, tmp_path, config)
    first = np.mean([float(trainer.train_step()["paired"]) for _ in range(5)])
    for _ in range(40):
        trainer.train_step()
    assert np.mean([float(trainer.train_step()["paired"]) for _ in range(5)]) < 0.8 * first


def test_rates_follow_the_stages(folder: Path, tmp_path: Path) -> None:
    config = replace(TINY, stages=(Stage(8, 8), Stage(8, 8, rate_from=0.5, rate_to=0.1)), warm_up_pictures=4)
    trainer = new_trainer(folder, tmp_path, config)
    rates = []
    for _ in range(5):
        trainer.train_step()
        rates.append(trainer.generator_optimizer.param_groups[1]["lr"] / config.learning_rate)
    assert rates == pytest.approx([1, 1, 0.5, 0.3, 0.1])


def test_stages_follow_each_other() -> None:
    assert [TINY.stage_at(n).resolution for n in (0, 7, 8, 31, 99)] == [8, 8, 32, 32, 32]
    assert TINY.stage_at(16).adversarial
    assert TINY.total_pictures == 32


def test_growing_synthesis_ends_with_the_networks_own_picture() -> None:
    torch.manual_seed(0)
    generator = Generator(8, 16, 32, num_layers=2, channel_base=256, channel_max=8)
    w = torch.randn(2, 16)
    ws = w[:, None].expand(-1, generator.num_ws, -1)
    whole = generator.synthesis(ws, noise_mode="none")
    torch.testing.assert_close(synthesize(generator.synthesis, ws, 32), whole)
    assert synthesize(generator.synthesis, ws, 8).shape == (2, 3, 8, 8)


def test_alignment_is_zero_when_each_factor_has_its_own_direction() -> None:
    lengths = torch.tensor([2.0, 1.0, 0.5])

    class Aligned(torch.nn.Module):
        def map_to_w(self, z: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(z * lengths, (0, 5)) + 3

    z = torch.randn(400, 3)
    assert losses.factor_alignment(Aligned(), z, lengths) < 1e-8  # type: ignore[arg-type]  # a mapping by its one method
    assert losses.factor_alignment(Aligned(), z, lengths.flip(0)) > 0.1  # type: ignore[arg-type]  # the same


def test_more_visible_factors_get_longer_directions() -> None:
    lengths = dict(
        zip([f.name for f in portraits.FACTORS], factor_lengths(portraits, 128).tolist(), strict=True)
    )
    assert lengths["yaw"] > lengths["smile"] > lengths["lip_fullness"]


def test_mistakes_on_eyes_cost_more() -> None:
    target, masks = torch.zeros(1, 3, 16, 16), torch.zeros(1, 2, 16, 16)
    masks[:, 0, 4:8, 4:8] = 1
    on_eyes, elsewhere = target.clone(), target.clone()
    on_eyes[:, :, 4:8, 4:8] = 0.5
    elsewhere[:, :, 10:14, 10:14] = 0.5
    assert losses.reconstruction(target, target, masks, WEIGHTS) == 0
    assert losses.reconstruction(on_eyes, target, masks, WEIGHTS) > 3 * losses.reconstruction(
        elsewhere, target, masks, WEIGHTS
    )


def test_the_loss_of_textures_sees_blur_but_not_place(folder: Path) -> None:
    data = PictureSet(folder)
    pictures = data.batch(data.rows[:16], 32).pictures

    def loss(drawn: torch.Tensor) -> float:
        return float(losses.texture(drawn, pictures, torch.Generator().manual_seed(4)))

    blurred = torch.nn.functional.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
    assert loss(pictures) == 0
    assert loss(blurred) > 3 * loss(pictures.roll(1, dims=3))


def test_the_loss_of_textures_sharpens(folder: Path) -> None:
    """Pictures that follow its gradient get the contrast of fine details that their targets have."""
    data = PictureSet(folder)
    targets = data.batch(data.rows[:8], 32).pictures
    start = torch.nn.functional.avg_pool2d(targets, 3, stride=1, padding=1, count_include_pad=False)
    pictures = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([pictures], lr=0.02)
    for step in range(30):
        optimizer.zero_grad()
        losses.texture(pictures, targets, torch.Generator().manual_seed(step)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    details = [
        float(next(iter(losses.laplacian_levels(x.detach()))).std()) for x in (start, pictures, targets)
    ]
    assert abs(details[1] / details[2] - 1) < 0.5 * abs(details[0] / details[2] - 1)


def test_directions_are_called_what_somebody_saw(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = new_trainer(folder, tmp_path / "run", SHARP)
    first.run(log_every=1)
    finish(first, tmp_path / "finished", {1: "Longer hair"})
    names, before = tmp_path / "names.json", (tmp_path / "finished" / "components.safetensors").read_bytes()
    asked = ["name", "--generator", str(tmp_path / "finished"), "--names", str(names)]
    names.write_text('{"0": "Winter"}')
    assert main([*asked, "--basis", "factors"]) == 0
    for wrong in ('{"900": "Winter"}', "[1]", '{"first": "Winter"}', "{"):
        names.write_text(wrong)
        assert main(asked) == 1
    assert "There is no direction 900" in capsys.readouterr().err
    assert (tmp_path / "finished" / "components.safetensors").read_bytes() == before
    known = [
        read_header(tmp_path / "finished" / f"{basis}.safetensors", "components").meta["names"][:2]
        for basis in ("components", "factors")
    ]
    assert known == [["Component 1", "Longer hair"], ["Winter", "Factor 2"]]


def test_a_run_can_begin_with_a_finished_generator(folder: Path, tmp_path: Path) -> None:
    first = new_trainer(folder, tmp_path / "first", SHARP)
    first.run(log_every=1)
    finish(first, tmp_path / "finished")
    work = ["--work", str(tmp_path / "second"), "--data", str(folder), "--device", "cpu"]
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(asdict(replace(SHARP, stages=(Stage(32, 4),)))))
    start = ["--config", str(settings), "--start-from", str(tmp_path / "finished")]
    assert main(["train", *work, *start]) == 0
    assert (tmp_path / "second" / "checkpoint.pt").exists()
    second = new_trainer(folder, tmp_path / "third", SHARP)
    critic = load_critic(str(tmp_path / "finished"))
    second.tune(load_for_tuning(str(tmp_path / "finished")), critic)
    kept = second.discriminator.state_dict()
    assert "b32.conv0.weight" in critic
    assert torch.equal(kept["b32.conv0.weight"], critic["b32.conv0.weight"])
    assert torch.equal(
        second.generator.state_dict()["mapping.fc0.weight"], first.ema.state_dict()["mapping.fc0.weight"]
    )
    with pytest.raises(InvalidInput, match="not of the sizes"):
        new_trainer(folder, tmp_path / "other", replace(TINY, w_dim=32)).tune(
            load_for_tuning(str(tmp_path / "finished"))
        )


def test_psnr_of_a_known_error() -> None:
    target = torch.zeros(2, 3, 8, 8)
    assert metrics.psnr(target + 0.2, target).tolist() == pytest.approx([20.0, 20.0], abs=0.01)


def test_distance_between_sets_grows_with_blur(folder: Path) -> None:
    pictures = PictureSet(folder).batch(np.arange(32), 32).pictures
    blurred = torch.nn.functional.avg_pool2d(pictures, 5, stride=1, padding=2, count_include_pad=False)
    same = metrics.sliced_wasserstein(pictures, pictures)
    other = metrics.sliced_wasserstein(blurred, pictures)
    assert set(same) == {32, 16}
    assert other[32] > 2 * same[32]


def test_precision_and_recall_tell_what_is_wrong_and_what_is_missing() -> None:
    random = torch.Generator().manual_seed(6)
    real = torch.randn(300, 4, generator=random)
    again = torch.randn(300, 4, generator=random)
    precision, recall = metrics.precision_and_recall(again, real)
    assert min(precision, recall) > 0.8
    precision, recall = metrics.precision_and_recall(again * 0.1, real)  # all plausible, all alike
    assert precision > 0.9
    assert recall < 0.3
    precision, recall = metrics.precision_and_recall(
        torch.cat([again, again + 50]), real
    )  # half of it nonsense
    assert precision < 0.6
    assert recall > 0.8


def test_a_repeated_picture_has_no_distance_to_its_neighbor() -> None:
    pictures = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(7))
    nearest = metrics.nearest_differences(torch.cat([pictures, pictures[:1]]))
    assert float(nearest[0]) == float(nearest[-1]) == pytest.approx(0, abs=1e-4)
    assert float(nearest[1:6].min()) > 0.01


def test_a_generator_is_measured_against_fresh_renders(folder: Path, tmp_path: Path) -> None:
    trainer = new_trainer(folder, tmp_path / "run")
    trainer.run()
    finish(trainer, tmp_path / "finished")
    name = str(tmp_path / "finished")
    assert main(["measure", "--generator", name, "--fresh", str(folder), "--threads", "1"]) == 0
    figures = measure_generator(name, folder, folder)
    assert figures["pictures"] == 32
    assert figures["swd_generated"][32] > figures["swd_renders"][32], "other patches of the same renders"
    assert figures["precision_renders"] == figures["recall_renders"] == 1
    assert figures["psnr_db"]["lowest"] <= figures["psnr_db"]["mean"] < 25
    with pytest.raises(InvalidInput, match="another domain or size"):
        measure_generator("portraits", folder)


def test_a_finished_run_is_a_generator_with_components_and_critic(folder: Path, tmp_path: Path) -> None:
    config = replace(TINY, stages=(Stage(32, 4, adversarial=True),))
    trainer = new_trainer(folder, tmp_path / "work", config)
    trainer.run()
    figures = finish(trainer, tmp_path / "tiny", {0: "Turn the head"})
    generator = ganworks.open_generator(tmp_path / "tiny" / "generator.safetensors")
    basis = ganworks.open_basis(tmp_path / "tiny" / "components.safetensors")
    basis.check_generator(generator.sha256)
    assert basis.names[:2] == ["Turn the head", "Component 2"]
    assert generator.w_avg.abs().sum() > 0
    assert generator.synthesis(generator.mapping(generator.latents([1]))).shape == (1, 3, 32, 32)
    assert read_header(tmp_path / "tiny" / "critic.safetensors", "critic").meta["resolution"] == 32
    assert (tmp_path / "tiny" / "sheet.webp").stat().st_size > 1000
    assert figures["psnr_db_mean"] > 0
    assert json.loads((tmp_path / "work" / "figures.json").read_text())["pictures_shown"] == 4


def test_a_generator_kept_in_half_precision_draws_the_same_but_for_rounding(
    folder: Path, tmp_path: Path
) -> None:
    trainer = new_trainer(folder, tmp_path / "run")
    trainer.run()
    for name in ("whole", "half"):
        finish(trainer, tmp_path / name, half=name == "half")
    generators = [ganworks.open_generator(tmp_path / name) for name in ("whole", "half")]
    pictures = [generator.synthesis(generator.mapping(generator.latents([1, 2]))) for generator in generators]
    assert 0 < float((pictures[0] - pictures[1]).abs().max()) < 2 / 255
    sizes = [(tmp_path / name / "generator.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.7 * sizes[0]


def test_a_discriminator_that_learned_nothing_is_no_critic(folder: Path, tmp_path: Path) -> None:
    trainer = new_trainer(folder, tmp_path / "run", replace(TINY, stages=(Stage(32, 8),)))
    trainer.run()
    finish(trainer, tmp_path / "finished")
    assert (tmp_path / "finished" / "generator.safetensors").exists()
    assert not (tmp_path / "finished" / "critic.safetensors").exists()
    assert "recall_generated" not in measure_generator(str(tmp_path / "finished"), folder, folder)


def test_the_commands_render_train_and_finish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(TINY, stages=(Stage(8, 4), Stage(16, 4, adversarial=True)), held_out=2)
    (tmp_path / "tiny.json").write_text(json.dumps(asdict(config)))
    work = ["--work", str(tmp_path / "run"), "--threads", "1"]
    assert main(["render", *work, "--count", "16", "--size", "16"]) == 0
    assert main(["train", *work, "--config", str(tmp_path / "tiny.json")]) == 0
    assert main(["train", *work]) == 0
    assert main(["finish", *work, "--to", str(tmp_path / "out")]) == 0
    assert "Going on after 8 pictures." in capsys.readouterr().out
    assert (tmp_path / "out" / "generator.safetensors").exists()


def test_a_wrong_part_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["render", "--work", "somewhere", "--part", "2/2"])
    assert "K/N" in capsys.readouterr().err
