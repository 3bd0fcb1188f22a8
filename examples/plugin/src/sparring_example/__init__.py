"""An example of a plugin of Sparring: one attack, task, aim, recipe, verifier, metric and section, each in its own file."""
