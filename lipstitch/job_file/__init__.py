"""What users write: the job file, span files and turn files."""
