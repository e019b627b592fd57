"""Pack: a model on disk, as this system reads it.

Import by file: `blob` (one run of words), `geometry`, `manifest` (what lies where), `file` (reads), `restore` (bytes to
words), `reader` (an opened pack), `writer` (makes one), `verify` (proves one). Reading imports none of the writing.
"""
