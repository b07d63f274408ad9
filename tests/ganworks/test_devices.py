"""Devices, threads, memory, and what importing the engine costs."""

import subprocess
import sys
import threading

import pytest
import torch

import ganworks
from ganworks.devices import choose_device, choose_precision, inference_threads, plain_memory_errors


def test_auto_is_the_gpu_where_there_is_one_and_else_the_cpu() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["cuda:99", "toaster", "meta"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ganworks.DeviceNotFound, match="Use auto"):
        choose_device(name)


def test_the_cpu_computes_in_float32() -> None:
    assert choose_precision(torch.device("cpu")) is torch.float32


def test_a_job_may_use_fewer_threads_for_a_while() -> None:
    before = torch.get_num_threads()
    with inference_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_memory_that_runs_out_is_said_in_plain_words() -> None:
    with pytest.raises(ganworks.OutOfMemory, match="not enough memory"), plain_memory_errors():
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="something else"), plain_memory_errors():
        raise RuntimeError("something else")


def test_importing_the_engine_loads_neither_torch_nor_django() -> None:
    code = "import ganworks, sys; sys.exit('torch' in sys.modules or 'django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_listing_a_library_does_not_load_torch() -> None:
    code = "import ganworks, sys; ganworks.Library().generators(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there_and_no_other() -> None:
    for name in ganworks.__all__:
        assert getattr(ganworks, name) is not None
        assert name in dir(ganworks)
    with pytest.raises(AttributeError, match="nonsense"):
        ganworks.nonsense  # noqa: B018  # reading it is the test


def test_every_error_is_a_ganworks_error() -> None:
    for name in ganworks._HOMES["errors"]:
        assert issubclass(getattr(ganworks, name), ganworks.GanworksError)


def test_generators_draw_the_same_from_several_threads(generator: ganworks.Generator) -> None:
    ws = generator.mapping(generator.latents([1]))
    expected, found = generator.synthesis(ws), []
    threads = [threading.Thread(target=lambda: found.append(generator.synthesis(ws))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for picture in found:
        torch.testing.assert_close(picture, expected, rtol=1e-4, atol=1e-4)
