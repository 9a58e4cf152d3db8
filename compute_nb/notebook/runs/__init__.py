"""What was submitted from this notebook: runs, their groups, futures, results and failures."""
