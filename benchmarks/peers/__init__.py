"""Peers: ZipMoE beside llama.cpp, transformers with accelerate, and itself without its mechanisms. See `__main__`."""
