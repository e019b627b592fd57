"""Routing: which experts tokens wanted. Written down as a model serves, read by who plans or simulates."""
