"""The life of a run against those who change it at the same time, and against empty rooms."""

from ralo_server.store import Store


def test_a_stop_between_the_learners_look_and_its_turn_as_a_writer_is_kept(server, monkeypatch):
    run = server("trainer.batch_trees=2")
    run.lease()  # something is outstanding, so the drain does not end
    learner = Store(run.directory, run.store.config)
    turn, stops = learner.database.write, []

    def late_turn():
        stops.append(run.store.run.request_stop())
        return turn()

    monkeypatch.setattr(learner.database, "write", late_turn)
    learner.run.advance()
    if not stops:  # it had nothing to write: the stop comes behind the look
        run.store.run.request_stop()
    assert run.store.run.current() == "draining"


def expire(run):
    """Let the time of every lease be over."""
    with run.store.database.write() as connection:
        connection.execute("UPDATE problems SET expires = 1.0 WHERE expires IS NOT NULL")


def test_a_drain_ends_although_no_worker_is_left_to_ask_for_anything(server):
    run = server("trainer.batch_trees=2", "evaluation.problems=0")
    run.lease(2)
    run.store.run.request_stop()
    assert run.store.run.advance() == "draining"
    expire(run)
    assert run.store.run.advance() == "finished"


def test_a_run_that_was_asked_to_stop_finishes_before_a_start_goes_on_with_it(server):
    run = server("trainer.batch_trees=2", "evaluation.problems=0")
    run.lease()
    run.store.run.request_stop()
    run.store.run.reopen()
    assert run.store.run.current() == "draining"
    expire(run)
    assert run.store.run.advance() == "finished"
    run.store.run.reopen()
    assert run.store.run.current() == "running"


def test_a_drain_that_a_limit_began_ends_with_the_limit(server, make_run):
    run = server("run.max_minutes=1", "evaluation.problems=0")
    run.lease()
    run.store.run.tick(61.0)
    assert run.store.run.advance() == "draining"
    run.store.run.reopen()
    assert run.store.run.current() == "draining"
    directory = make_run("run.max_minutes=2", "evaluation.problems=0")
    raised = Store(directory, directory.load_config(())[0])
    raised.run.reopen()
    assert raised.run.current() == "running"
