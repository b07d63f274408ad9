"""The source texts in checkpoints: those of networks pass, those that would harm others are told of."""

import pytest

from ganworks.importing.records import Text
from ganworks.importing.refusal import Refused
from ganworks.importing.sources import inspect

NETWORK = """
import os
import pickle
import numpy as np
import torch
from torch_utils import misc, persistence  # the executable part; see subprocess for more

@persistence.persistent_class
class Layer(torch.nn.Module):
    def forward(self, x):
        self.eval()
        return torch.exec_order(x) if os.path.exists(x) else open(x)
"""


@pytest.mark.parametrize("source", [NETWORK, Text(memoryview(NETWORK.encode()))])
def test_the_text_of_a_network_is_counted(source: str | Text) -> None:
    assert inspect(source) == len(NETWORK)


@pytest.mark.parametrize(
    "line",
    [
        "os.system('touch x')",
        "os . popen ('x')",
        "subprocess.run(['x'])",
        "subprocess.Popen('x')",
        "__import__('os')",
        "exec(bytes([1, 2]))",
        "socket.socket()",
        "os.execvp('x', [])",
    ],
)
def test_a_text_that_would_start_programs_is_refused(line: str) -> None:
    for source in (NETWORK + line, Text(memoryview((NETWORK + line).encode()))):
        with pytest.raises(Refused) as caught:
            inspect(source)
        assert "source text" in caught.value.reason
        assert "was not run" in caught.value.advice
