"""The only room that imports Dagster's asset API: assets, partitions, checks, jobs, schedules, automation."""
