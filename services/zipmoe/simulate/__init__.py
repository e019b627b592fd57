"""Simulation: the scheduler's own choices on made-up routing, without processes, disks or waiting."""
