"""Hole punching: what theory says of two NATs, and what happens when it is tried."""
