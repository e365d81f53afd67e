"""Engines that speak, one folder or file each."""
