"""Simulation: the scheduler's own choices on recorded or made-up routing, without processes, disks or waiting."""
