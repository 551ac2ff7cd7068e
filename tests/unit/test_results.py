"""A log that cannot be read: what is lost, and what is only to be read later."""

import asyncio
from datetime import timedelta

import pytest
from agentruns.clock import utc_now
from agentruns.cluster import ApiError, Cluster
from agentruns.core.observed import NoResult
from agentruns.results import final_result
from aiohttp import web
from kubernetes.aio import client

from tests.unit.builders import a_pod, an_end


async def asked(answer: web.Response | None, ended: timedelta | None) -> NoResult | ApiError:
    """What comes of asking for the log of a pod that ended a while ago, or runs; no answer breaks the connection."""

    async def answered(request: web.BaseRequest) -> web.Response:
        if answer is None:
            assert request.transport
            request.transport.abort()
        return answer or web.Response()

    runner = web.ServerRunner(web.Server(answered), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = client.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    configuration.retries = None
    cluster = Cluster(client.ApiClient(configuration), client.ApiClient(configuration))
    try:
        end = None if ended is None else an_end(finished_at=utc_now() - ended)
        found = await final_result(cluster, "shop", a_pod(end=end))
        assert isinstance(found, NoResult)
        return found
    except ApiError as error:
        return error
    finally:
        await cluster.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "said", "waits", "seconds"),
    [
        (429, "7", "x", 7.0),
        (503, "7", "x", 7.0),
        (503, "3600", "x", 60.0),
        (503, "Fri, 31 Dec 2027 23:59:59 GMT", "x", 0.0),
        (503, "", "x", 0.0),
        (504, "7", "x", 0.0),
        (500, "7", "etcdserver: mvcc: database space exceeded", 0.0),
    ],
)
def test_trouble_of_the_api_server_is_no_lost_result(status: int, said: str, waits: str, seconds: float) -> None:
    answer = web.Response(status=status, text=waits, headers={"Retry-After": said})
    found = asyncio.run(asked(answer, timedelta(days=1)))
    assert isinstance(found, ApiError)
    assert (found.is_trouble_of_the_server, found.retry_after) == (True, seconds)


def test_a_log_that_its_kubelet_does_not_give_is_asked_for_again_for_a_while() -> None:
    refused = 'Get "https://node:10250/containerLogs/x": dial tcp: connection refused'
    just, before = timedelta(seconds=30), timedelta(seconds=90)
    assert isinstance(asyncio.run(asked(web.Response(status=500, text=refused), just)), ApiError)
    assert asyncio.run(asked(web.Response(status=500, text=refused), before)) == NoResult(complete=False)
    assert asyncio.run(asked(web.Response(status=404, text="gone"), just)) == NoResult(complete=False)


def test_the_log_of_a_pod_that_is_given_up_is_not_waited_for_as_its_node_may_never_answer() -> None:
    assert asyncio.run(asked(None, None)) == NoResult(complete=False)
    assert asyncio.run(asked(web.Response(status=500, text="dial tcp: i/o timeout"), None)) == NoResult(complete=False)
    assert isinstance(asyncio.run(asked(web.Response(status=503), None)), ApiError)
    assert isinstance(asyncio.run(asked(None, timedelta(days=1))), ApiError)
