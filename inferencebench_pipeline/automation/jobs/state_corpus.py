"""The job ``state_corpus``: it signs one statement over the whole corpus and its leaderboard."""

from inferencebench_pipeline.automation.conventions import asset_job
from inferencebench_pipeline.lifecycle.leaderboard.corpus_statement import corpus_statement
from inferencebench_pipeline.lifecycle.leaderboard.leaderboard_index import leaderboard_index

state_corpus = asset_job(
    "state_corpus",
    # The index first: the statement names the digest of each of its files.
    [leaderboard_index, corpus_statement],
    description="Builds the index of the leaderboard, signs one statement over every verified "
    "record and over the files of the index, and publishes both in one commit.",
)
