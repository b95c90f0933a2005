"""Memory of the C library, kept from one explanation to the next."""

from __future__ import annotations

from functools import cache

import torch

LARGEST = 2**25 - 2**16
"""Bytes: a block of 32 MB, with what is put around it, is the largest from which glibc learns, and which it keeps."""


@cache
def keep_heap() -> None:
    """Have the C library keep up to 64 MB of what is freed, so that the next tensors find it there.

    Every explanation makes and frees the same tensors. glibc hands freed memory back to the system as soon as more of
    it lies at the end of the heap than twice the largest block that it has seen freed. Each page of it is then fetched
    and cleared anew, at the cost of an interrupt: together a tenth of an explanation. A block of the largest size from
    which glibc learns, which is freed unused and so takes no memory, teaches it a better limit for the rest of the
    process. Other C libraries are not affected.
    """
    torch.empty(LARGEST, dtype=torch.uint8, device="cpu")
