"""Coded packets: what each holds, and which of them make a frame."""
