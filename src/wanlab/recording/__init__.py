"""The run directory: all that is known of a lab, written to files and read again."""
