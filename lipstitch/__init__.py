"""Re-sync the lips of long dubbed videos: the package that knows all stages."""
