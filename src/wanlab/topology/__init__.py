"""What a lab is: pure data, without Linux and without privileges.

`topology.topology.Topology` declares it, `topology.network` is what it resolves to, `topology.files` reads it.
"""
