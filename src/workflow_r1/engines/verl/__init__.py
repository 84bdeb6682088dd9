"""The verl engine: our rollouts, reward and loss inside verl's own trainer, which is started and never changed.

Read in this order: ``plugin`` (what verl loads), ``agent_loop`` with ``server_policy`` (the rollout), ``objective``
(advantage and loss), ``options`` with ``schema`` (our configuration in verl's words), ``launch`` (how it is started and
followed). ``docs/how-to/cluster.md`` explains how to use it.
"""
