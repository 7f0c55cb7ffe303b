"""The parts of the static site: its words, its files, its data scripts, and each kind of page.

Every string on a page may come from a stranger's repository. Templates escape everything, data
scripts are JSON in which nothing can end a script, file names are derived hashes, links go to
http(s) addresses only, and the pages forbid scripts and styles that are not theirs.
"""
