"""What the commands share, the commands for training, and former names of commands."""
