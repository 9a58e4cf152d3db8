"""A service whose RabbitMQ is away: submits are accepted, who asks where to read is told to ask again."""

from uuid import UUID

from compute_nb.tasks import Dispatch, new_id

from .conftest import Agent, run_service


def test_submits_are_accepted_and_sent_when_it_is_back(home, rabbit, vhost):
    with run_service(home, rabbit=vhost.options) as service:
        agent = Agent(service)
        function_id, group = service.function(), str(new_id())
        rabbit.kill()
        status, answer = service.call("GET", "/v2/get_amqp_result_connection_url")
        assert (status, answer["code"]) == (503, "BROKER_AWAY")
        assert "RabbitMQ at amqp://127.0.0.1" in answer["message"]
        assert rabbit.password not in answer["message"]
        status, answer = service.submit(
            agent.endpoint_id, function_id, 3, task_group_id=group, create_queue=True
        )
        assert status == 200
        ids = [UUID(task_id) for task_id in answer["tasks"][function_id]]
        rabbit.start()
        url = f"/v3/endpoints/{agent.endpoint_id}"
        while service.call("PUT", url, {"endpoint_name": "lab", "metadata": {}})[0] == 503:
            pass
        agent.close()
        again = Agent(service, agent.endpoint_id)
        sent = []
        while len(sent) < 3:
            batches = again.expect(Dispatch).batches
            sent += [call.run.task_id for batch in batches for call in batch.tasks]
        assert sent == ids
        again.close()
