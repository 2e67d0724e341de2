"""The only package that knows all stages: from the job file to the report."""
