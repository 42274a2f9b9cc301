"""A lab that is up: the process that holds it, and the clients that talk to it."""
