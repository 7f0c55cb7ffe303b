"""Scripts for the people who work on this repository; nothing of them is installed or shipped."""
