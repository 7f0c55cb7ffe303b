"""The commands that sign, publish, deliver, crawl and take down."""
