"""The planner: what to keep, and in which form, for a model, a machine and a budget. Pure: it measures nothing."""
