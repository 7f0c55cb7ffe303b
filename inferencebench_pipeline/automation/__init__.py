"""Everything that runs without a person: the jobs, sensors and schedules over the assets."""
