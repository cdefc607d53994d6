"""Names of the mesh: answered from memory, whatever the line does; all others are forwarded."""
