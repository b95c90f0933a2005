"""What R-LRP costs beside its peers, in FLOPs, time and memory: ``python -m benchmarks``."""
