"""Many settings on the same footing: trials, campaigns, sweeps, and pages beside published figures."""
