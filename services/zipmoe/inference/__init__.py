"""Inference: owns sequences. Runs the transformer's layers, multiplies with the experts where they lie in the arena."""

import os

# Read as torch is imported: its idle threads sleep instead of spinning on the cores that the store's workers decode on
# (a fifth less time a token where a third of the experts are resident).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
