"""Bluetooth LE as a mapper."""
