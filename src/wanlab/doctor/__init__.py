"""What a machine can do for labs, each thing tried, and what to do where it can't."""
