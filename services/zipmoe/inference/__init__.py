"""Inference: owns sequences. Runs the transformer's layers, multiplies with the experts where they lie in the arena."""
