"""What is really so: probes sent through a lab, held against what its topology says."""
