"""Lip networks: one file for each architecture."""
