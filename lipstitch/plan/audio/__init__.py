"""The sounds of a job: where each begins, and what is wrong with it."""
