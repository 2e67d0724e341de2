"""What a video is: the language that every stage shares. Knows no torch, no config, no stage."""
