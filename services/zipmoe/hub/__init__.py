"""The hub: models by their Hugging Face id. What is decided (name, need, shelf) knows no network; `checkpoints` alone
speaks to it, and is imported when a model is not here yet."""
