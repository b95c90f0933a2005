"""The published comparison: which method to believe on which network, measured by `rlrp_nb.compare`."""
