"""How a lab is built: pure steps, compiled from a network. Runs anywhere, unprivileged.

`compile.compile_network` makes a plan, `steps` says what it is made of, `script.write_script` writes it down.
"""
