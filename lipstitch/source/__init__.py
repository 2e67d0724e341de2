"""What the video is, what is checked before any work, weights, and the scan."""
