"""Which gateway runs which pod of the cloud's own: pure rules, and the shell that carries them out."""
