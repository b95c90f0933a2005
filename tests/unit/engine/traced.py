"""What a trace says of a network."""

from rlrp_nb.engine.tracing import trace


def roles(network, images):
    """Return the roles of each step's sources, and whether it is gated by its own signal, by its name."""
    return {step.name: (step.roles, step.self_gated) for step in trace(network, images).steps if step.sources}
