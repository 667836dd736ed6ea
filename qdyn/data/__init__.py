"""What a sequence dataset is, how it is stored, and every source of one."""
