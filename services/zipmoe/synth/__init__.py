"""Synthetic checkpoints: random weights in the shapes of real models, for benchmarks where none can be downloaded.

Real: names, shapes and config.json; BF16 whose exponents carry 2.58 bits or a little more, as trained ones do; and for
OLMoE's shape, how unequally experts are used, over all requests and within one, and how many experts neighbours share.
The model does that in its own forward, on any tokens; `zipmoe synth --measure` shows it beside the published figures.

Not real: the model knows nothing, and its tokenizer was never trained. Which experts go together is chance. All layers
are alike, as real ones are not. Topics do not exist: a request is like itself because of its own tokens, whatever they
are about. How much the layer before foretells was not aimed at. The tiny model's neighbours share less than they should
(see its measurement). The routing of the Qwen and DeepSeek shapes was never measured, and the latter's attention does
not prefer near tokens.
"""
