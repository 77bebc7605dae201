"""Room 4: takes a job and sees it through: assemble, measure, report, owe deliveries.

In:   jobs that completion enqueued; instances from the spool, by way of the ledger.
Out:  result objects in the spool, and what is owed to whom in the ledger.
Holds to: every step is checkpointed, so a killed node goes on where it was; CPU steps run in processes of their own.
Knows nothing of: associations, and how results are sent (it is handed a function that sends).

Its doors are `pipeline.Pipeline`, `port.JobQueue`, `port.QueueView`, `watch` and `steps`; they are not gathered here,
because a sandboxed step must not pay for importing the queue's engine.
"""
