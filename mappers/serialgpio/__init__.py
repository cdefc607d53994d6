"""Boards with pins and modules on serial lines as a mapper."""
