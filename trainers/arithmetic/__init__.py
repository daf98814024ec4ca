"""Whether a machine computes gradients right."""
