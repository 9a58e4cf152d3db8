"""What must be there on RabbitMQ: queues of watchers and groups are not kept for ever."""

from compute_nb.service.rabbit.topology import Topology, arguments


def made():
    topology = Topology()
    topology.queues.update({"x.tasks": None, "w.1": 10.0, "w.2": 10.0, "results": None})
    topology.bindings["w.1", "results", "#"] = None
    topology.readers["results"] = print
    for queue in topology.queues:
        topology.used(queue, 0.0)
    return topology


def test_queues_that_may_be_gone_are_forgotten():
    topology = made()
    topology.used("w.2", 8.0)
    topology.expire(10.0)
    assert list(topology.queues) == ["x.tasks", "w.1", "w.2", "results"]
    topology.expire(10.1)
    assert list(topology.queues) == ["x.tasks", "w.2", "results"]
    assert not topology.bindings
    topology.expire(1e9)
    assert list(topology.queues) == ["x.tasks", "results"]


def test_agents_queues_are_watched_and_no_others():
    assert made().watched() == ["x.tasks"]


def test_arguments():
    assert arguments(None) is None
    assert arguments(0.3) == {"x-expires": 300}
    assert arguments(0.00001) == {"x-expires": 1}
