"""How a lab is built: pure steps, compiled from a network. Runs anywhere, unprivileged.

`plan.compile.compile_network` makes a plan, `plan.steps` says what it is made of, `plan.script.write_script` writes it down.
"""
