"""The client of the Hub: every request of ours goes through these layers, from the outside in.

1. ``edit`` and ``pull_request`` change a repository whose head may move, and wait for replicas that
   do not show a commit yet. ``RemoteRepo`` in ``edit`` is one repository of one Hub.
2. ``client`` offers the calls of the Hub, ``repo`` and ``account`` hold their answers.
3. ``retry`` repeats what may be repeated, ``budget`` counts what may still be asked for.
4. ``upload`` sends large files, ``wire`` builds one request and reads one answer.
5. ``transport`` carries it, bounded in time and size; ``failures`` translates what went wrong.
"""
