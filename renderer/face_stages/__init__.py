"""What happens to a drawn face before it is blended into its frame: one file for each stage."""
