"""The profile: what this device does with this pack, measured in seconds and kept for the planner."""
