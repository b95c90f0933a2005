"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

import rlrp_nb


def facts() -> tuple[str, ...]:
    """Return one sentence each about processor, system and packages."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "zennit", "captum"))
    processor = (
        f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {_gigabytes():.0f} GB of memory, "
        f"PyTorch's {torch.backends.cpu.get_cpu_capability()} kernels"
    )
    return (
        processor,
        f"{platform.system()} on {platform.machine()}, Python {platform.python_version()}",
        f"rlrp_nb {rlrp_nb.__version__}, {packages}",
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "an unnamed processor"


def _gigabytes() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
