"""What runs without a person: jobs, sensors and schedules over the lifecycle's assets."""
