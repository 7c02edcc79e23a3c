"""What the tests of uploads ask of a run, and do to it."""


def another_batch(run):
    run.fill(1)
    return run.batch()


def expire(run, batch):
    with run.store.database.write() as connection:
        connection.execute("UPDATE batches SET expires = 1.0 WHERE id = ?", (batch.id,))
    run.store.expiry.expire()


def states(run):
    rows = run.store.database.rows("SELECT upload_id, state FROM gradients ORDER BY number")
    return {row["upload_id"]: row["state"] for row in rows}


def stats(run):
    return run.http.simulate_get("/stats").json["gradients"]


def files(run):
    return sorted(path.name for path in run.directory.gradients.iterdir())
