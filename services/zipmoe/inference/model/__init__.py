"""The decoders, one file a family over shared blocks. Pure: tensors in, tensors out; nothing here waits."""
