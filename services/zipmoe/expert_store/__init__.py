"""The expert store: owns bytes. Makes the arena, reads the pack, decodes in worker processes; decides nothing."""
