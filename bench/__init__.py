"""`annx bench`: times annx against its peers, compares builds, and draws what it found.

Installed as ``annx.bench``; nothing of annx imports it. Modules import one another relatively, so
that ``compare`` can load this package beside a build of another revision.
"""
