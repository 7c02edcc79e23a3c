"""The store's calls about evaluations, each with what `store_model` says it must return."""

import pytest
from mortal_store import MortalStore
from store_model import BENCHMARKS, LEASE_SECONDS

from ralo_core.data import ItemResponses
from ralo_server.store.evaluation.evaluations import EvaluationUnavailableError
from ralo_server.store.evaluation.shards import Conclusion


class EvaluationCalls(MortalStore):
    """Asks for evaluations, leases their shards, reports them; prunes what need not stay."""

    def claim_evaluation(self, worker, key, version=None):
        model = self.model
        alive, job = self.survives(lambda: self.store.shards.claim(worker, key, version))
        if not alive:
            return None
        again = model.granted(model.evaluations, worker, key)
        waiting = [e for e in model.evaluations if e.state == "waiting"]
        waiting = [e for e in waiting if version in (None, number(e))]
        expected = (again or sorted(waiting, key=number) or [None])[0]
        assert (job and job.id) == (expected and expected.id)
        if not again and job:
            expected.grant(job.lease_id, worker, model.now + LEASE_SECONDS, key)
        return expected

    def report_evaluation(self, shard, late):
        model, (version, benchmark) = self.model, of(shard)
        lease = "another" if late or shard.lease is None else shard.lease
        item = ItemResponses(texts=("",), correct=(True,), tokens=(1,), finish_reasons=("eos",))
        alive, reported = self.survives(
            lambda: self.store.shards.report(shard.id, lease, [item], self.conclude)
        )
        if not alive:
            return
        outcome, result = reported
        there = shard in model.evaluations  # a rollback may have given it up
        holds = there and shard.state == "leased" and lease == shard.lease
        reported = there and shard.state == "reported"
        assert outcome == ("duplicate" if reported else "stored" if holds else "lost")
        if holds:
            shard.state = "reported"
            model.count("evaluation_shards_reported", 1)
        shards = model.shards(version, benchmark)
        last = holds and all(other.state == "reported" for other in shards)
        assert result == ({"responses": len(shards), "version": version} if last else None)
        if last:
            model.asked[version, benchmark] = "reported"

    @staticmethod
    def conclude(evaluation):
        result = {"responses": len(evaluation.responses), "version": evaluation.version}
        return Conclusion(result=result, keep=lambda: None)

    def request_evaluation(self, benchmarks, version):
        model = self.model
        number = model.version if version is None else version
        action = lambda: self.store.evaluations.request(benchmarks, version)  # noqa: E731
        if number in model.pruned or not set(benchmarks) <= BENCHMARKS.keys():
            with pytest.raises(EvaluationUnavailableError):
                self.survives(action)
            return
        alive, asked = self.survives(action)
        if alive:
            model.schedule(number, benchmarks)
            assert asked == [
                {"version": number, "benchmark": name, "state": model.asked[number, name]}
                for name in dict.fromkeys(benchmarks)
            ]

    def prune(self, keep_last):
        alive, gone = self.survives(lambda: self.store.versions.prune(keep_last))
        if alive:
            assert set(gone) == self.model.prune(keep_last)


def of(shard):
    """Return version and benchmark of a shard."""
    _, version, rest = shard.id.split("-", 2)
    return int(version), rest.rpartition("-")[0]


def number(shard):
    return of(shard)[0]
