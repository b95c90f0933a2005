import statistics
import subprocess
import sys

# In a process of its own, where no other test has freed a large block before.
CODE = """
import resource, torch
from torch import nn
from rlrp_nb import explain

network = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten(1))
network = network.append(nn.Linear(32 * 60**2, 2)).eval()
x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
for _ in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    explain(network, x, 0)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_later_explanations_find_their_memory_in_place():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    pages = [int(line) for line in done.stdout.split()]
    activation = 4 * 32 * 60 * 60 * 4 // 4096  # pages of one of the four layers
    assert pages[0] > 4 * activation
    assert statistics.median(pages[1:]) < activation / 4
