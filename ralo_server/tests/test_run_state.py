"""The life of a run against those who change it at the same time, and against empty rooms."""

import threading

from ralo_server.store import Store
from ralo_server.store.facts import put_facts

ROUNDS = 300


def test_a_stop_is_not_written_over_by_a_learner_that_looks_at_the_same_moment(server):
    run = server("trainer.batch_trees=2")
    (leased,) = run.lease()  # something is outstanding, so the drain does not end
    done, looks = threading.Event(), []
    learner = Store(run.directory, run.store.config)

    def look():
        while not done.is_set():
            looks.append(learner.run.advance())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(ROUNDS):
            put_facts(run.store.database, {"state": "running"})
            run.store.run.request_stop()
            begun = len(looks)
            while len(looks) < begun + 2:  # a look that had begun before the stop is over
                pass
            assert run.store.run.current() == "draining", "the stop was acknowledged and is gone"
    finally:
        done.set()
        looking.join()


def test_a_drain_ends_although_no_worker_is_left_to_ask_for_anything(server):
    run = server("trainer.batch_trees=2", "server.lease_seconds=0.05", "evaluation.problems=0")
    run.lease(2)
    run.store.run.request_stop()
    assert run.store.run.advance() == "draining"
    threading.Event().wait(0.1)
    assert run.store.run.advance() == "finished"
