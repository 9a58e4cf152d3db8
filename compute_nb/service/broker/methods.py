"""This module is the table of what a client may call on a channel, answered as RabbitMQ would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from pamqp import base, commands

from compute_nb.service.broker import frames
from compute_nb.service.broker.channel import Channel, ClientConsumer, Unacked
from compute_nb.service.broker.exchanges import Exchange
from compute_nb.service.broker.faults import Code, Fault
from compute_nb.service.broker.queues import Queue
from compute_nb.service.broker.vhost import DEFAULT_EXCHANGE, Mismatch

RESERVED = "amq."


def _flow(channel: Channel, method: commands.Channel.Flow) -> None:
    channel.flowing = bool(method.active)
    channel.send(commands.Channel.FlowOk(active=channel.flowing))
    channel.pump()


def _declare_exchange(channel: Channel, method: commands.Exchange.Declare) -> None:
    name = _changeable(method.exchange)
    if method.passive:
        channel.peer.hub.vhost.exchange(name)
    else:
        channel.peer.require("configure", "exchange", name)
        _refuse_reserved(name)
        if method.internal or method.auto_delete:
            raise Fault(Code.NOT_IMPLEMENTED, "internal and auto_delete exchanges are not known here")
        _declare(lambda: channel.peer.hub.vhost.declare_exchange(name, method.exchange_type))
    if not method.nowait:
        channel.send(commands.Exchange.DeclareOk())


def _delete_exchange(channel: Channel, method: commands.Exchange.Delete) -> None:
    name = _changeable(method.exchange)
    channel.peer.require("configure", "exchange", name)
    _refuse_reserved(name)
    if not channel.peer.hub.vhost.delete_exchange(name, method.if_unused):
        raise Fault(Code.PRECONDITION_FAILED, f"exchange '{name}' in vhost '/' in use")
    if not method.nowait:
        channel.send(commands.Exchange.DeleteOk())


def _declare_queue(channel: Channel, method: commands.Queue.Declare) -> None:
    if method.passive:
        queue = _unlocked(channel, channel.peer.hub.vhost.queue(_queue_name(channel, method.queue)))
        queue.touch()
    else:
        queue = _make_queue(channel, method)
    channel.last_queue = queue.name
    if not method.nowait:
        channel.send(frames.DeclareOk(queue.name, queue.ready_count, queue.consumer_count))


def _make_queue(channel: Channel, method: commands.Queue.Declare) -> Queue:
    name = method.queue or f"{RESERVED}gen-{uuid4().hex}"
    channel.peer.require("configure", "queue", name)
    vhost = channel.peer.hub.vhost
    if vhost.has_queue(name):
        _unlocked(channel, vhost.queue(name))
    elif method.queue:
        _refuse_reserved(name)
    holder = channel.peer if method.exclusive else None
    expires_s = _expiry(method.arguments or {})
    auto_delete = bool(method.auto_delete)
    _declare(lambda: vhost.declare_queue(name, expires_s, None, holder=holder, auto_delete=auto_delete))
    if holder is not None:
        channel.peer.held.add(name)
    return vhost.queue(name)


def _expiry(arguments: Mapping[str, Any]) -> float | None:
    expires_ms = arguments.get("x-expires")
    if expires_ms is None:
        return None
    if not isinstance(expires_ms, int) or expires_ms <= 0:
        raise Fault(Code.PRECONDITION_FAILED, f"invalid arg 'x-expires': {expires_ms!r:.60}")
    return expires_ms / 1000


def _bind_queue(channel: Channel, method: commands.Queue.Bind) -> None:
    queue, exchange = _both_ends(channel, method)
    exchange.bind(method.routing_key, queue)
    if not method.nowait:
        channel.send(commands.Queue.BindOk())


def _unbind_queue(channel: Channel, method: commands.Queue.Unbind) -> None:
    queue, exchange = _both_ends(channel, method)
    exchange.unbind(method.routing_key, queue)
    channel.send(commands.Queue.UnbindOk())


def _both_ends(
    channel: Channel, method: commands.Queue.Bind | commands.Queue.Unbind
) -> tuple[Queue, Exchange]:
    name, source = _queue_name(channel, method.queue), _changeable(method.exchange)
    channel.peer.require("write", "queue", name)
    channel.peer.require("read", "exchange", source, method.routing_key)
    vhost = channel.peer.hub.vhost
    return _owned(channel, vhost.queue(name)), vhost.exchange(source)


def _purge_queue(channel: Channel, method: commands.Queue.Purge) -> None:
    count = _readable(channel, method.queue).purge()
    if not method.nowait:
        channel.send(commands.Queue.PurgeOk(count))


def _delete_queue(channel: Channel, method: commands.Queue.Delete) -> None:
    name = _queue_name(channel, method.queue)
    channel.peer.require("configure", "queue", name)
    if not channel.peer.hub.vhost.has_queue(name):
        _deleted(channel, method, 0)
        return
    queue = _owned(channel, channel.peer.hub.vhost.queue(name))
    if (method.if_unused and queue.consumer_count) or (method.if_empty and queue.ready_count):
        raise Fault(Code.PRECONDITION_FAILED, f"queue '{name}' in vhost '/' is in use or not empty")
    _deleted(channel, method, channel.peer.hub.vhost.delete_queue(name))


def _deleted(channel: Channel, method: commands.Queue.Delete, count: int) -> None:
    if not method.nowait:
        channel.send(commands.Queue.DeleteOk(count))


def _qos(channel: Channel, method: commands.Basic.Qos) -> None:
    if method.prefetch_size:
        raise Fault(Code.NOT_IMPLEMENTED, "prefetch_size!=0 is not known here")
    if method.global_:
        channel.prefetch = method.prefetch_count
        channel.pump()
    else:
        channel.consumer_prefetch = method.prefetch_count
    channel.send(commands.Basic.QosOk())


def _consume(channel: Channel, method: commands.Basic.Consume) -> None:
    queue = _readable(channel, method.queue)
    tag = method.consumer_tag or f"{RESERVED}ctag-{uuid4().hex}"
    if tag in channel.consumers:
        text = f"attempt to reuse consumer tag '{tag}'"
        raise Fault(Code.NOT_ALLOWED, text)
    if queue.exclusive or (method.exclusive and queue.consumer_count):
        text = f"queue '{queue.name}' in vhost '/' in exclusive use"
        raise Fault(Code.ACCESS_REFUSED, text)
    consumer = channel.consumers[tag] = ClientConsumer(
        channel,
        queue,
        tag,
        no_ack=method.no_ack,
        exclusive=method.exclusive,
        prefetch=0 if method.no_ack else channel.consumer_prefetch,
    )
    if not method.nowait:
        channel.send(commands.Basic.ConsumeOk(tag))
    channel.peer.hub.vhost.add_consumer(queue, consumer)


def _cancel(channel: Channel, method: commands.Basic.Cancel) -> None:
    channel.cancel(method.consumer_tag or "")
    if not method.nowait:
        channel.send(commands.Basic.CancelOk(method.consumer_tag))


def _get(channel: Channel, method: commands.Basic.Get) -> None:
    queue = _readable(channel, method.queue)
    if queue.exclusive:
        text = f"queue '{queue.name}' in vhost '/' in exclusive use"
        raise Fault(Code.ACCESS_REFUSED, text)
    entry = queue.get()
    if entry is None:
        channel.send(commands.Basic.GetEmpty())
        return
    tag, message = channel.draw_tag(), entry.message
    if method.no_ack:
        queue.settled(entry)
    else:
        channel.hold(tag, Unacked(queue, entry, None))
    answer = frames.GetOk(tag, entry.redelivered, message.exchange, message.routing_key, queue.ready_count)
    channel.send_content(frames.write_method(channel.number, answer), message)


def _nack(channel: Channel, method: commands.Basic.Nack) -> None:
    channel.nack(method.delivery_tag, method.multiple, method.requeue)


def _reject(channel: Channel, method: commands.Basic.Reject) -> None:
    channel.nack(method.delivery_tag or 0, False, method.requeue)


def _recover(channel: Channel, method: commands.Basic.Recover) -> None:
    _recover_quietly(channel, method)
    channel.send(commands.Basic.RecoverOk())


def _recover_quietly(channel: Channel, method: commands.Basic.Recover | commands.Basic.RecoverAsync) -> None:
    if not method.requeue:
        raise Fault(Code.NOT_IMPLEMENTED, "requeue=false is not known here")
    channel.recover()


def _select_confirms(channel: Channel, method: commands.Confirm.Select) -> None:
    channel.select_confirms()
    if not method.nowait:
        channel.send(commands.Confirm.SelectOk())


def _not_implemented(channel: Channel, method: base.Frame) -> None:
    raise Fault(Code.NOT_IMPLEMENTED, f"{method.name} is not known here")


def _queue_name(channel: Channel, name: str) -> str:
    """An empty name means the last queue that the channel declared."""
    if not name and not channel.last_queue:
        raise Fault(Code.NOT_FOUND, "no previously declared queue")
    return name or channel.last_queue


def _readable(channel: Channel, name: str) -> Queue:
    name = _queue_name(channel, name)
    channel.peer.require("read", "queue", name)
    return _owned(channel, channel.peer.hub.vhost.queue(name))


def _unlocked(channel: Channel, queue: Queue) -> Queue:
    if queue.holder not in {None, channel.peer}:
        text = f"cannot obtain exclusive access to locked queue '{queue.name}' in vhost '/'"
        raise Fault(Code.RESOURCE_LOCKED, text)
    return queue


def _owned(channel: Channel, queue: Queue) -> Queue:
    _unlocked(channel, queue)
    if queue.owner not in {None, channel.peer.username}:
        text = f"queue '{queue.name}' in vhost '/' belongs to another user"
        raise Fault(Code.ACCESS_REFUSED, text)
    return queue


def _changeable(name: str) -> str:
    if name == DEFAULT_EXCHANGE:
        raise Fault(Code.ACCESS_REFUSED, "operation not permitted on the default exchange")
    return name


def _refuse_reserved(name: str) -> None:
    if name.startswith(RESERVED):
        text = f"'{name}' contains the reserved prefix '{RESERVED}*'"
        raise Fault(Code.ACCESS_REFUSED, text)


def _declare(make: Callable[[], object]) -> None:
    try:
        make()
    except Mismatch as error:
        raise Fault(Code.PRECONDITION_FAILED, str(error)) from error


Handler = Callable[[Channel, Any], None]

METHODS: Mapping[type[base.Frame], Handler] = {
    commands.Channel.Flow: _flow,
    commands.Exchange.Declare: _declare_exchange,
    commands.Exchange.Delete: _delete_exchange,
    commands.Exchange.Bind: _not_implemented,
    commands.Exchange.Unbind: _not_implemented,
    commands.Queue.Declare: _declare_queue,
    commands.Queue.Bind: _bind_queue,
    commands.Queue.Unbind: _unbind_queue,
    commands.Queue.Purge: _purge_queue,
    commands.Queue.Delete: _delete_queue,
    commands.Basic.Qos: _qos,
    commands.Basic.Consume: _consume,
    commands.Basic.Cancel: _cancel,
    commands.Basic.Get: _get,
    commands.Basic.Nack: _nack,
    commands.Basic.Reject: _reject,
    commands.Basic.Recover: _recover,
    commands.Basic.RecoverAsync: _recover_quietly,
    commands.Confirm.Select: _select_confirms,
    commands.Tx.Select: _not_implemented,
    commands.Tx.Commit: _not_implemented,
    commands.Tx.Rollback: _not_implemented,
}
