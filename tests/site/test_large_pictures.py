"""Pictures larger than a socket's usual messages reach the page, and long messages still do not get in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bench.member import Member
from bench.websocket import Closed
from ganworks.generator import save_generator
from ganworks.networks.stylegan2 import Generator
from tests.server import SiteServer
from transforms.previews import HEADER, Kind

pytestmark = pytest.mark.timeout(300)
SIDE_PX = 1024
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteServer]:
    """A site with a generator whose pictures are large, and so grainy that no format makes them small."""
    torch.manual_seed(0)
    network = Generator(16, 32, SIDE_PX, num_layers=2, channel_base=2048, channel_max=8)
    for block in network.synthesis.blocks():
        for _, layer in block.layers():
            layer.noise_strength.data.fill_(0.1)
        block.torgb.weight.data.mul_(0.2)
    models = tmp_path_factory.mktemp("models")
    save_generator(network, models / "grain" / "generator.safetensors", label="Grain")
    with SiteServer(tmp_path_factory.mktemp("site"), MODELS_DIR=str(models)) as running:
        yield running


def frame_of(data: object, kind: Kind, seq: int) -> bytes:
    assert isinstance(data, bytes)
    found = HEADER.unpack(data[: HEADER.size])
    assert found[:2] == (kind, seq)
    return data[HEADER.size :]


def test_an_exact_picture_and_a_download_of_many_megabytes_arrive(site: SiteServer) -> None:
    member = Member(site.url)
    (image,) = member.draw("grain")
    with member.socket(f"/ws/transform/{image}/") as editor:
        ready = editor.receive()
        assert isinstance(ready, dict)
        assert ready["width"] == SIDE_PX
        editor.send({"type": "render", "seq": 1, "exact": True})
        exact = frame_of(editor.receive(), Kind.FRAME, 1)
        editor.send({"type": "export", "seq": 2})
        download = frame_of(editor.receive(), Kind.EXPORT, 2)
    assert len(exact) > MEBIBYTE
    assert len(download) > MEBIBYTE
    assert download.startswith(b"\x89PNG")


def test_a_message_that_no_page_sends_ends_the_connection_before_it_is_whole(site: SiteServer) -> None:
    with Member(site.url).socket("/ws/jobs/") as jobs:
        jobs.receive()
        jobs.send({"text": "x" * MEBIBYTE})
        with pytest.raises((Closed, ConnectionError)):
            jobs.receive()


def test_a_page_that_leaves_while_its_picture_is_drawn_is_no_error(site: SiteServer) -> None:
    member = Member(site.url)
    (image,) = member.draw("grain")
    with member.socket(f"/ws/transform/{image}/") as editor:
        editor.receive()
        editor.send({"type": "render", "seq": 1, "exact": True})
    with member.socket(f"/ws/transform/{image}/") as again:  # drawn after the other, so that one is over
        again.receive()
        again.send({"type": "render", "seq": 1, "exact": True})
        assert frame_of(again.receive(), Kind.FRAME, 1)
    assert not [line for line in site.lines if "preview_failed" in line or "never retrieved" in line]
