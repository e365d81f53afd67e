"""What any training needs: the loop, tasks, checkpoints, the run log, metrics, the report."""
