"""The trainer: leases batches of rollout trees, computes their gradients, uploads them.

A batch goes through four folders, and each of them imports only those before it:

1. `layout` turns trees into sequences and cuts these into padded micro-batches. It begins in
   `batch_planner`; no model is needed.
2. `compute` runs micro-batches through the policy and adds up the gradients of the loss. It begins
   in `objective`; it knows one process only.
3. `parallel` splits a batch over the ranks of a group and adds their sums up. It begins in
   `data_parallel`; one process is a group of one rank.
4. `exchange` talks to the orchestrator while the next batch is computed: it fetches batches and
   weights ahead, and sends gradients.

`runtime` is the loop that drives them, `phases` records where its time goes.
"""
