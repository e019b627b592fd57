"""The shared memory: one file on tmpfs that holds the model's resident experts, mapped once by every process.

  page 0        header            written once by the expert store when it makes the arena
  page 1        partition         written by the scheduler: which pools of slots there are
  directory     a record an expert    single writer: the scheduler, under the record's lock
  use table     a record an expert    single writer: inference
  slots         the rest              written by the store's workers into slots no record names yet

Locks lie on the bytes of a file beside it, `<arena>.locks` (see `leases`).
"""
