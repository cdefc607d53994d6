"""Protocol mappers and the SDK they are written with."""
