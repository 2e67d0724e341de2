"""What will be made: outputs, target, dialogue, soundtrack and clips, as values."""
